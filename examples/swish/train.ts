/** Trains a small network with Swish on two classes, freezes its betas, saves it (argument: where) and loads it again. */
import {
  fit,
  loadModel,
  openDevice,
  predict,
  Random,
  readNetwork,
  saveModel,
  Sequential,
  type ImageSet,
} from "tuningfork";
import "./swish.ts"; // makes the type "Swish" known to networks

const model = new Sequential(readNetwork(new URL("./network.json", import.meta.url).pathname));

const device = await openDevice();
await model.build(device, { seed: 1, batchSize: 16 });
const [beta] = model.layer("swish1").parameters;
if (!beta) throw new Error("swish1 has no beta");

const set = stripes(64);
const { history } = await fit(model, set, { epochs: 5, seed: 1, batchSize: 16, augment: false });
console.log(`loss ${history.map(({ loss }) => loss.toFixed(3)).join(" ")}`);
const learnt = await device.readFloats(beta.value);
console.log(`beta, from 1: ${[...learnt].map((value) => value.toFixed(3)).join(" ")}`);

model.freeze(["swish1"]);
await fit(model, set, { epochs: 1, seed: 2, batchSize: 16, augment: false });
const frozen = await device.readFloats(beta.value);
console.log(`frozen, beta ${learnt.join() === frozen.join() ? "stays" : "moved"}`);

const path = process.argv[2] ?? "swish.safetensors";
await saveModel(path, model, { classes: set.classes, crop: 1, dataSet: set.name });
const { model: loaded } = await loadModel(device, path);
const [before, after] = [await predict(model, set, {}), await predict(loaded, set, {})];
console.log(`saved and loaded, the same predictions: ${before.join() === after.join()}`);
device.destroy();

/** Bright rows or bright columns, with noise. */
function stripes(count: number): ImageSet {
  const random = new Random(1, "stripes");
  const images = Uint8Array.from({ length: count * 64 }, (_, i) => {
    const [image, row, column] = [Math.floor(i / 64), Math.floor(i / 8) % 8, i % 8];
    return ((image % 2 === 0 ? row : column) % 2) * 120 + random.below(100);
  });
  return {
    name: "stripes",
    images,
    labels: Int32Array.from({ length: count }, (_, i) => i % 2),
    classes: ["rows", "columns"],
    ids: Array.from({ length: count }, (_, i) => `stripes-${i}`),
    ...{ count, height: 8, width: 8, channels: 1, crop: 1 },
  };
}
