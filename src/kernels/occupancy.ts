/**
 * How much work a GPU wants at once: the model that chooses tiles and splits where nothing was measured.
 */
import { ceilDiv, type Capabilities } from "../gpu/context.ts";
import { elementCount, type Tensor } from "../tensor.ts";

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

/**
 * Terms that a split of y or dx sums at least, as in a dense layer: with fewer it costs more in its second pass, which
 * writes and reads all partial sums, than it gives.
 */
const LEAST_K_PER_SPLIT = 256;

/**
 * Into how many parts the sums of y or dx are split: more than one where fewer than half of the workgroups that a GPU
 * wants would compute it. No split of the longest sum is left without work, and all partial sums fit in one binding.
 * @param workgroups how many have work where sums are not split
 * @param k terms of the longest sum
 */
export function splitsToFill(
  device: Capabilities,
  { shape }: Tensor,
  { workgroups, k }: { workgroups: number; k: number },
): number {
  const wanted = wantedWorkgroups(device);
  if (workgroups >= wanted / 2) return 1;
  const most = Math.floor(device.maxBindingBytes / (4 * elementCount(shape)));
  const fill = ceilDiv(wanted, workgroups);
  return Math.max(1, Math.min(fill, Math.floor(k / LEAST_K_PER_SPLIT), most));
}
