/** What the adapter can do at best, measured in the same run as all that is compared with it. */
import type { Context } from "../src/gpu/context.ts";
import type { Device } from "../src/gpu/device.ts";
import type { Constants } from "../src/gpu/shader.ts";
import type { SubgroupMatrix } from "../src/gpu/subgroup_matrix.ts";
import type { Tensor } from "../src/tensor.ts";
import type { Precision } from "./engine.ts";
import { timePrograms } from "./harness.ts";

/** The roof over every row: no kernel computes or moves more in a second. */
export interface Ceilings {
  /** Multiply-adds in float32 registers (shaders/bench_fma.wgsl), 10^9 operations a second. */
  readonly gflops: number;
  /** A copy between large buffers (shaders/bench_copy.wgsl), read and written, 10^9 bytes a second. */
  readonly gbps: number;
  /**
   * Of rows under mixed precision, where any were asked for: multiply-adds of float16 subgroup matrices with float32 sums
   * (shaders/bench_subgroup_matrix.wgsl), 10^9 operations a second; `gflops` where the adapter has no such matrices, since
   * our kernels compute in float32 there.
   */
  readonly mixedGflops?: number;
}

/** The ceiling of arithmetic under a precision, GFLOP/s. */
export function gflopsUnder(precision: string, { gflops, mixedGflops = gflops }: Ceilings): number {
  return precision === "mixed" ? mixedGflops : gflops;
}

/** Which side of the roof work stands under, and how high the roof is there. */
export function boundOf(
  { flops, bytes }: { readonly flops: number; readonly bytes: number },
  ceilings: Ceilings,
  precision: Precision,
): { readonly bound: "compute" | "memory"; readonly ceiling: number } {
  const gflops = gflopsUnder(precision, ceilings);
  const { gbps } = ceilings;
  const compute = flops / bytes > gflops / gbps;
  return compute ? { bound: "compute", ceiling: gflops } : { bound: "memory", ceiling: gbps };
}

/**
 * Measures them. A ceiling is the best sample of several variants: what is slower says nothing of what is possible.
 * @param mixed measures that of mixed precision too
 */
export async function measureCeilings(
  device: Device,
  seconds: number,
  mixed = false,
): Promise<Ceilings> {
  const gflops = await bestRate(device, fmaVariants(device), seconds);
  const gbps = await copyCeiling(device, seconds);
  if (!mixed) return { gflops, gbps };
  const { subgroupMatrix } = device;
  const products = subgroupMatrix
    ? await bestRate(device, matrixVariants(subgroupMatrix), seconds)
    : 0;
  return { gflops, gbps, mixedGflops: Math.max(gflops, products) };
}

/** How long a sample should take. */
const TARGET_MS = 30;

/** A kernel that does nothing but arithmetic, the same for so many turns. */
export interface Arithmetic {
  readonly shader: string;
  readonly constants: Constants;
  readonly params: Readonly<Record<string, number>>;
  readonly workgroups: number;
  /** Elements of its one tensor, float32. */
  readonly count: number;
  /** Operations of a turn. */
  readonly flops: number;
  /** For a first look at how fast it is, and at most. */
  readonly turns: readonly [number, number];
  /** What every element must be in the end. */
  readonly want: (turns: number) => number;
}

/** Multiply-adds in float32 registers. Every chain tends to c / (1 - m) = 2. */
function fmaVariants({ summary: { software, class: kind } }: Device): Arithmetic[] {
  // Software adapters run a workgroup on one core, its invocations in lanes: small groups keep all chains in registers.
  const variants = software
    ? [4, 6].flatMap((CHAINS) => [8, 32].map((WG_SIZE) => ({ CHAINS, WG_SIZE })))
    : [2, 4, 8].map((CHAINS) => ({ CHAINS, WG_SIZE: 256 }));
  const workgroups = kind === "hardware" ? 8192 : 64;
  return variants.map((constants) => {
    const { CHAINS, WG_SIZE } = constants;
    const count = workgroups * WG_SIZE;
    return {
      ...{ shader: "bench_fma", constants, workgroups, count },
      params: { count, m: 0.5, c: 1 },
      flops: 2 * 4 * CHAINS * count,
      turns: [256, 2 ** 31],
      want: () => 8 * CHAINS,
    };
  });
}

/** Products of subgroup matrices in registers. Operands of ones: the sums count the multiply-adds. */
export function matrixVariants({ m, n, k, lanes, emulated }: SubgroupMatrix): Arithmetic[] {
  const SUBGROUPS = 4;
  const workgroups = emulated ? 4 : 4096;
  const variants = [
    { ROWS: 2, COLS: 2 },
    { ROWS: 2, COLS: 4 },
    { ROWS: 4, COLS: 4 },
  ];
  return variants.slice(0, emulated ? 1 : 3).map((sums) => {
    const count = workgroups * SUBGROUPS;
    const products = m * n * k * sums.ROWS * sums.COLS;
    return {
      shader: "bench_subgroup_matrix",
      constants: {
        ...{ ...sums, SUBGROUPS, LANES: lanes, MATRIX_M: m, MATRIX_N: n, MATRIX_K: k },
        ...(emulated ? { subgroup_matrix: "subgroup_matrix_emulated" } : {}),
      },
      ...{ workgroups, count, params: { one: 1 } },
      flops: 2 * products * count,
      // Float32 counts to 2^24.
      turns: [16, 2 ** 24 / k],
      want: (turns) => products * turns,
    };
  });
}

/** GFLOP/s of the best sample of all variants. @throws Error where one computes something else than it should */
export async function bestRate(
  device: Device,
  variants: readonly Arithmetic[],
  seconds: number,
): Promise<number> {
  let best = 0;
  for (const variant of variants) {
    const { shader, constants, params, workgroups, count, flops } = variant;
    const y = device.tensor([count], "float32", "ceiling");
    const rate = async (turns: number, samples: number) => {
      const dispatch = (ctx: Context) => {
        ctx.dispatch({
          ...{ label: "multiply-adds", shader, constants, tensors: [y] },
          ...{ params: { ...params, turns }, workgroups: [workgroups] },
        });
      };
      const program = await device.record("multiply-adds", dispatch);
      try {
        const ms = await timePrograms(device, [program], { seconds: seconds / 4, samples });
        await expectSums(device, y, variant.want(turns));
        return (flops * turns) / Math.min(...ms) / 1e6;
      } finally {
        program.destroy();
      }
    };
    try {
      const [few, most] = variant.turns;
      const first = await rate(few, 3);
      const wanted = Math.round((first * 1e6 * TARGET_MS) / flops);
      best = Math.max(best, await rate(Math.min(most, Math.max(few / 4, wanted)), 10));
    } finally {
      device.release(y);
    }
  }
  return best;
}

async function expectSums(device: Device, y: Tensor, want: number): Promise<void> {
  const sums = await device.readFloats(y);
  const wrong = sums.find((sum) => !(Math.abs(sum - want) <= 1e-5 * want));
  if (wrong !== undefined)
    throw new Error(
      `ceiling: multiply-adds are wrong: expected ${want}, got ${wrong}; this adapter cannot be measured`,
    );
}

async function copyCeiling(device: Device, seconds: number): Promise<number> {
  // Beyond any cache; a software adapter copies slowly.
  const MB = 1024 * 1024;
  const bytes = Math.min((device.summary.software ? 64 : 256) * MB, device.maxBindingBytes);
  const count = bytes / 4;
  const most = device.limits.maxComputeWorkgroupsPerDimension;
  const x = device.upload(new Float32Array(count).fill(1), [count], "from");
  const y = device.upload(new Float32Array(count), [count], "to");
  const variants = [
    { constants: { Value: "vec4f", WG_SIZE: 64 }, workgroups: Math.min(most, count / 256) },
    { constants: { Value: "vec4f", WG_SIZE: 256 }, workgroups: 4096 },
    { constants: { Value: "f32", WG_SIZE: 256 }, workgroups: 16384 },
  ] satisfies { constants: Constants; workgroups: number }[];
  let best = 0;
  try {
    for (const { constants, workgroups } of variants) {
      const program = await device.record("copy", (ctx) => {
        ctx.dispatch({
          label: "copy",
          shader: "bench_copy",
          constants,
          tensors: [x, y],
          params: { count: constants.Value === "vec4f" ? count / 4 : count },
          workgroups: [workgroups],
        });
      });
      try {
        const ms = await timePrograms(device, [program], { seconds: seconds / 3, samples: 20 });
        best = Math.max(best, (2 * bytes) / Math.min(...ms) / 1e6);
      } finally {
        program.destroy();
      }
    }
    const copied = await device.readFloats(y);
    if (copied.some((value) => value !== 1))
      throw new Error("ceiling: the copy is wrong; this adapter cannot be measured");
    return best;
  } finally {
    device.release(x, y);
    device.trim();
  }
}
