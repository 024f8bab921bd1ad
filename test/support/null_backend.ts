/** Dawn's null backend, which computes nothing, though its compiler checks all that it would be asked to compute. */
import { expect } from "chai";
import { SUBGROUP_MATRIX } from "../../src/gpu/subgroup_matrix.ts";
import { skipUnless } from "./skip.ts";

/** Runs `use` with a device of it that has subgroup matrices; skips the test where this Dawn has none. */
export async function withNullDevice(
  context: Mocha.Context,
  use: (handle: GPUDevice) => Promise<void>,
): Promise<void> {
  const { create, globals } = await import("webgpu");
  Object.assign(globalThis, globals);
  const gpu = create(["backend=null", "enable-dawn-features=allow_unsafe_apis"]);
  const adapter = await gpu.requestAdapter();
  skipUnless(context, adapter, "needs a Dawn with its null backend");
  const knows = adapter.features.has(SUBGROUP_MATRIX);
  skipUnless(context, knows, `needs a Dawn that knows ${SUBGROUP_MATRIX}`);
  const handle = await adapter.requestDevice({
    requiredFeatures: [SUBGROUP_MATRIX as GPUFeatureName, "subgroups", "shader-f16"],
  });
  await use(handle);
  handle.destroy();
  expect(gpu).not.to.equal(undefined); // and kept alive to here: devices do not outlive it
}
