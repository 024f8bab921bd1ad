/** Run by test/train/process.test.ts with --expose-gc: a training run in which garbage is collected at every step. */
import { openDevice } from "../../src/gpu/device.ts";
import { Sequential } from "../../src/nn/model.ts";
import { fit } from "../../src/train/fit.ts";
import { stripes, TINY } from "./tiny.ts";

const { gc } = globalThis;
if (!gc) throw new Error("train_under_gc: run it with node --expose-gc");
const device = await openDevice();
gc();
const model = await new Sequential(TINY).build(device, { seed: 1, batchSize: 8 });
const { history } = await fit(model, stripes(40, 1), {
  epochs: 3,
  batchSize: 8,
  seed: 1,
  logEvery: 2,
  validation: stripes(10, 2),
  onStep: () => {
    gc();
  },
});
gc();
device.destroy();
gc();
console.log(JSON.stringify(history.map(({ loss }) => loss)));
