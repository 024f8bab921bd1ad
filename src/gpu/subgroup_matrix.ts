/**
 * Subgroup matrices: which ones an adapter multiplies in hardware (tensor cores). Dawn has them as an experiment that
 * follows a draft, https://github.com/gpuweb/gpuweb/blob/main/proposals/subgroup-matrix.md
 */

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
