/** ONNX files, run by onnxruntime (its WebAssembly build, which needs nothing but the npm package). */
import { statSync, readFileSync, chmodSync, mkdirSync } from "node:fs";
import path from "node:path";
import { expect } from "chai";
import * as ort from "onnxruntime-web";
import { exportOnnx, type OnnxOptions } from "../../src/interop/onnx.ts";
import { permute } from "../../src/interop/layouts.ts";
import type { ImageSet } from "../../src/data/dataset.ts";
import { rejection, temporaryFolder } from "../data/fixtures.ts";
import { useDevice } from "../support/device.ts";
import {
  EVERY_LAYER,
  largestDifference,
  ourProbabilities,
  randomImages,
  scaled,
  WINDOWS,
  writeRandomModel,
} from "./models.ts";

ort.env.wasm.numThreads = 1; // worker threads would keep the process alive

describe("exportOnnx", () => {
  const device = useDevice();
  const folder = temporaryFolder();
  const at = (name: string) => path.join(folder(), name);

  async function run(file: string, set: ImageSet, layout: "nhwc" | "nchw"): Promise<Float32Array> {
    const external = `${file}.data`;
    const session = await ort.InferenceSession.create(readFileSync(file), {
      ...(statSync(external, { throwIfNoEntry: false }) && {
        externalData: [{ path: path.basename(external), data: readFileSync(external) }],
      }),
    });
    const nhwc = [set.count, set.height, set.width, set.channels];
    const data = layout === "nhwc" ? scaled(set) : permute(scaled(set), nhwc, [0, 3, 1, 2]);
    const dims = layout === "nhwc" ? nhwc : [set.count, set.channels, set.height, set.width];
    const { probabilities } = await session.run({ image: new ort.Tensor("float32", data, dims) });
    await session.release();
    return probabilities!.data as Float32Array;
  }

  const cases: [string, typeof WINDOWS, OnnxOptions][] = [
    ["every layer, NHWC", EVERY_LAYER, { layout: "nhwc" }],
    ["every layer, NCHW", EVERY_LAYER, { layout: "nchw" }],
    ["strides, dilations, padding by numbers; a softmax is added", WINDOWS, { layout: "nhwc" }],
    ["weights in a second file", EVERY_LAYER, { maxInlineBytes: 1000 }],
  ];
  for (const [name, network, options] of cases)
    it(`gives our probabilities within 1e-5: ${name}`, async () => {
      await writeRandomModel(device(), at("model.safetensors"), network);
      const images = randomImages(5, network.input);
      await exportOnnx(at("model.safetensors"), at("model.onnx"), options);
      const theirs = await run(at("model.onnx"), images, options.layout ?? "nhwc");
      const ours = await ourProbabilities(device(), at("model.safetensors"), images);
      expect(largestDifference(theirs, ours)).to.be.below(1e-5);
    });
});
