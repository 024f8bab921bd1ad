/**
 * How much work a GPU wants at once: the model that chooses tiles and splits where nothing was measured.
 */
import type { Capabilities } from "../gpu/context.ts";

/**
 * Workgroups of about 128 invocations that keep a GPU evenly busy. Products with fewer tiles are split along their sum to
 * reach as many, and large tiles are taken only where half as many are left. Not measured on hardware: 512 are four for
 * each multiprocessor of the largest GPUs (an H200 has 132, and registers for four workgroups whose invocations hold 64 sums),
 * 128 the same for a large integrated one, which cannot spare the bandwidth for more partial sums. On software adapters
 * these shaders run in tests only, which should see what a large GPU would.
 */
export function wantedWorkgroups({ summary }: Pick<Capabilities, "summary">): number {
  return summary.kind === "integrated" ? 128 : 512;
}
