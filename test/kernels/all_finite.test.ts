import { expect } from "chai";
import type { Device } from "../../src/gpu/device.ts";
import type { DeviceOptions } from "../../src/gpu/device_core.ts";
import { allFinite } from "../../src/kernels/all_finite.ts";
import { clearStatus, stepState } from "../../src/kernels/step_state.ts";
import { useDevice } from "../support/device.ts";
import { guarded } from "../../src/testing/guarded.ts";
import { randomFloats } from "../../src/testing/inputs.ts";

/** The status after looking at x, at step 12 unless told. */
async function statusAfter(
  device: Device,
  x: Float32Array,
  { before = clearStatus(), step = 12 } = {},
): Promise<number[]> {
  const input = device.upload(x, [x.length], "x");
  const words = stepState({ step, learningRate: 1, beta1: 0.9, slot: 0 });
  const stepTensor = device.upload(words, [4], "step");
  const status = guarded(device, before, [4], "status");
  await device.run("test", (ctx) => {
    allFinite(ctx, { x: input, step: stepTensor }, status.tensor);
  });
  const result = [...(await status.read())];
  status.release();
  device.release(input, stepTensor);
  return result;
}

const CLEAR = [0, 0xffffffff, 0, 0];
const CASES: { name: string; options: DeviceOptions }[] = [
  { name: "allFinite", options: {} },
  { name: "allFinite of a tensor larger than one binding", options: { maxBindingBytes: 1024 } },
];

for (const { name, options } of CASES)
  describe(name, () => {
    const device = useDevice(options);

    for (const count of [1, 63, 1025, 5000])
      for (const bad of [NaN, Infinity, -Infinity])
        it(`count=${count} sees ${bad} in any place`, async () => {
          const x = randomFloats([count], 1, "x", 3e38);
          expect(await statusAfter(device(), x), "control").to.deep.equal(CLEAR);
          for (const place of new Set([0, Math.floor(count / 2), count - 1])) {
            const spoilt = x.with(place, bad);
            expect(await statusAfter(device(), spoilt), `at ${place}`).to.deep.equal([1, 12, 0, 0]);
          }
        });

    it("refuses what is not float32, whose bits it would misread", async () => {
      const x = device().tensor([4], "float16", "x");
      const words = device().tensor([4], "uint32", "words");
      const failed = await device()
        .record("bad", (ctx) => {
          allFinite(ctx, { x, step: words }, words);
        })
        .catch((error: unknown) => error);
      expect(String(failed)).to.contain('allFinite: "x": expected float32, got float16');
      device().release(x, words);
    });

    it("takes the largest, the smallest and denormal numbers for finite", async () => {
      const x = Float32Array.of(3.4028234663852886e38, -3.4028234663852886e38, 1e-45, -0, 1e-38);
      expect(await statusAfter(device(), x)).to.deep.equal(CLEAR);
    });

    it("keeps the first step at which something was not finite", async () => {
      const bad = Float32Array.of(NaN);
      const before = Uint32Array.of(1, 7, 0, 0);
      expect(await statusAfter(device(), bad, { before })).to.deep.equal([1, 7, 0, 0]);
      expect(await statusAfter(device(), bad, { before, step: 3 })).to.deep.equal([1, 3, 0, 0]);
      expect(await statusAfter(device(), Float32Array.of(1), { before, step: 3 })).to.deep.equal([
        1, 7, 0, 0,
      ]);
    });
  });
