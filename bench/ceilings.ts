/** What the adapter can do at best, measured in the same run as all that is compared with it. */
import type { Context } from "../src/gpu/context.ts";
import type { Device } from "../src/gpu/device.ts";
import type { Constants } from "../src/gpu/shader.ts";
import type { Tensor } from "../src/tensor.ts";
import { timePrograms } from "./harness.ts";

/** The roof over every row: no kernel computes or moves more in a second. */
export interface Ceilings {
  /** Multiply-adds in registers (shaders/bench_fma.wgsl), 10^9 operations a second. */
  readonly gflops: number;
  /** A copy between large buffers (shaders/bench_copy.wgsl), read and written, 10^9 bytes a second. */
  readonly gbps: number;
}

/** Which side of the roof work stands under, and how high the roof is there. */
export function boundOf(
  { flops, bytes }: { readonly flops: number; readonly bytes: number },
  { gflops, gbps }: Ceilings,
): { readonly bound: "compute" | "memory"; readonly ceiling: number } {
  const compute = flops / bytes > gflops / gbps;
  return compute ? { bound: "compute", ceiling: gflops } : { bound: "memory", ceiling: gbps };
}

/** Measures both. A ceiling is the best sample of several variants: what is slower says nothing of what is possible. */
export async function measureCeilings(device: Device, seconds: number): Promise<Ceilings> {
  const gflops = await fmaCeiling(device, seconds);
  const gbps = await copyCeiling(device, seconds);
  return { gflops, gbps };
}

/** How long a sample should take. */
const TARGET_MS = 30;

async function fmaCeiling(device: Device, seconds: number): Promise<number> {
  const { software, class: kind } = device.summary;
  // Software adapters run a workgroup on one core, its invocations in lanes: small groups keep all chains in registers.
  const variants = software
    ? [4, 6].flatMap((CHAINS) => [8, 32].map((WG_SIZE) => ({ CHAINS, WG_SIZE })))
    : [2, 4, 8].map((CHAINS) => ({ CHAINS, WG_SIZE: 256 }));
  const workgroups = kind === "hardware" ? 8192 : 64;
  let best = 0;
  for (const { CHAINS, WG_SIZE } of variants) {
    const count = workgroups * WG_SIZE;
    const y = device.tensor([count], "float32", "ceiling");
    const flopsOf = (turns: number) => 2 * 4 * CHAINS * count * turns;
    const rate = async (turns: number, samples: number) => {
      const dispatch = (ctx: Context) => {
        ctx.dispatch({
          label: "multiply-adds",
          shader: "bench_fma",
          constants: { CHAINS, WG_SIZE },
          tensors: [y],
          params: { turns, count, m: 0.5, c: 1 },
          workgroups: [workgroups],
        });
      };
      const program = await device.record("multiply-adds", dispatch);
      try {
        const ms = await timePrograms(device, [program], { seconds: seconds / 4, samples });
        return flopsOf(turns) / Math.min(...ms) / 1e6;
      } finally {
        program.destroy();
      }
    };
    try {
      const first = await rate(256, 3);
      const turns = Math.max(64, Math.round((first * 1e6 * TARGET_MS) / flopsOf(1)));
      best = Math.max(best, await rate(turns, 10));
      await expectSums(device, y, CHAINS);
    } finally {
      device.release(y);
    }
  }
  return best;
}

/** Every chain tends to c / (1 - m) = 2. */
async function expectSums(device: Device, y: Tensor, chains: number): Promise<void> {
  const sums = await device.readFloats(y);
  const wrong = sums.find((sum) => Math.abs(sum - 8 * chains) > 1e-3);
  if (wrong !== undefined)
    throw new Error(
      `ceiling: multiply-adds are wrong: expected ${8 * chains}, got ${wrong}; this adapter cannot be measured`,
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
