/**
 * Subgroup matrices: which ones an adapter multiplies in hardware (tensor cores). Dawn has them as an experiment that
 * follows a draft, https://github.com/gpuweb/gpuweb/blob/main/proposals/subgroup-matrix.md
 */
import { DeviceError } from "./errors.ts";
import { compilePipeline } from "./pipeline.ts";
import { loadShader, type Constants } from "./shader.ts";

/** The device feature, visible where Dawn's toggle `allow_unsafe_apis` is on. */
export const SUBGROUP_MATRIX = "chromium-experimental-subgroup-matrix";

/** Products of m x k by k x n matrices of float16 with float32 sums. */
export interface SubgroupMatrix {
  readonly m: number;
  readonly n: number;
  readonly k: number;
  /** Of the subgroup that holds a matrix. */
  readonly lanes: number;
  /** In plain WGSL, by subgroups of the adapter: for tests, never chosen. */
  readonly emulated: boolean;
}

/** What an adapter's information lists (GPUSubgroupMatrixConfig). */
export interface SubgroupMatrixConfig {
  readonly componentType: string;
  readonly resultComponentType: string;
  readonly M: number;
  readonly N: number;
  readonly K: number;
}

/** What `findSubgroupMatrix` looks at. */
export interface MatrixAdapter {
  readonly features: { has: (feature: string) => boolean };
  readonly limits: Pick<GPUSupportedLimits, "maxComputeInvocationsPerWorkgroup">;
  readonly info: {
    readonly subgroupMinSize?: number;
    readonly subgroupMaxSize?: number;
    readonly subgroupMatrixConfigs?: Iterable<SubgroupMatrixConfig>;
  };
}

/** `TUNINGFORK_SUBGROUP_MATRIX`: a driver may crash on what is an experiment of Dawn's; all else works without it. */
export function subgroupMatricesAllowed(value = "on"): boolean {
  if (value === "on" || value === "off") return value === "on";
  throw new DeviceError(
    `TUNINGFORK_SUBGROUP_MATRIX: expected on or off, got "${value}"; set one of them, or unset it`,
    "validation",
  );
}

/**
 * The largest matrices of float16 with float32 sums that an adapter lists and our shaders can be built with: subgroups of
 * one size, four of them to a workgroup, and sizes of 8 or 16. Undefined where there are none.
 */
export function findSubgroupMatrix(adapter: MatrixAdapter): SubgroupMatrix | undefined {
  const { features, limits, info } = adapter;
  if (![SUBGROUP_MATRIX, "subgroups", "shader-f16"].every((name) => features.has(name)))
    return undefined;
  const { subgroupMinSize: lanes = 0, subgroupMaxSize = 0, subgroupMatrixConfigs = [] } = info;
  // Dawn wants full subgroups of the largest size; our tiles want to know it.
  if (lanes === 0 || lanes !== subgroupMaxSize) return undefined;
  if (4 * lanes > limits.maxComputeInvocationsPerWorkgroup) return undefined;
  const fits = (size: number): boolean => size === 8 || size === 16;
  const [best] = [...subgroupMatrixConfigs]
    .filter(
      ({ componentType, resultComponentType, M, N, K }) =>
        componentType === "f16" && resultComponentType === "f32" && [M, N, K].every(fits),
    )
    .sort((a, b) => b.M * b.N * b.K - a.M * a.N * a.K);
  return best && { m: best.M, n: best.N, k: best.K, lanes, emulated: false };
}

/**
 * Whether a device multiplies these matrices rightly: what is an experiment in Dawn may fail on a driver that lists it, and
 * a wrong product would show as nothing but a network that does not learn. Compiles and runs one small shader,
 * subgroup_matrix_check.wgsl.
 */
export async function multipliesRightly(
  device: GPUDevice,
  { m, n, k, lanes, emulated }: SubgroupMatrix,
): Promise<boolean> {
  const constants: Constants = {
    ...{ MATRIX_M: m, MATRIX_N: n, MATRIX_K: k, LANES: lanes },
    ...(emulated ? { subgroup_matrix: "subgroup_matrix_emulated" } : {}),
  };
  const shader = loadShader("subgroup_matrix_check", constants);
  device.pushErrorScope("validation");
  const size = 2 * 16 * 16 * 4;
  const c = device.createBuffer({ size, usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC });
  const read = device.createBuffer({
    size,
    usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST,
  });
  try {
    const { handle, layout } = await compilePipeline(device, shader, constants);
    const encoder = device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    pass.setPipeline(handle);
    const entries = [{ binding: 0, resource: { buffer: c } }];
    pass.setBindGroup(0, device.createBindGroup({ layout, entries }));
    pass.dispatchWorkgroups(1);
    pass.end();
    encoder.copyBufferToBuffer(c, 0, read, 0, size);
    device.queue.submit([encoder.finish()]);
    await read.mapAsync(GPUMapMode.READ);
    const got = new Float32Array(read.getMappedRange());
    return [0, 1].every((product) => {
      for (let row = 0; row < m; row++)
        for (let column = 0; column < n; column++) {
          let sum = 0;
          for (let i = 0; i < k; i++)
            sum += (((5 * row + 3 * i) % 7) - 3) * (((2 * i + 3 * column) % 5) - 2);
          if (got[(product * 16 + row) * 16 + column] !== sum) return false;
        }
      return true;
    });
  } catch {
    return false;
  } finally {
    await device.popErrorScope();
    c.destroy();
    read.destroy();
  }
}
