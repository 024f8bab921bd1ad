/** ONNX files, run by onnxruntime (its WebAssembly build, which needs nothing but the npm package). */
import { mkdirSync, readdirSync, readFileSync, statSync } from "node:fs";
import path from "node:path";
import { expect } from "chai";
import * as ort from "onnxruntime-web";
import type { Context } from "../../src/gpu/context.ts";
import { Layer } from "../../src/nn/layer.ts";
import type { Shape, Tensor } from "../../src/tensor.ts";
import { registerLayer } from "../../src/nn/network.ts";
import { writeSafetensors } from "../../src/safetensors.ts";
import { exportOnnx, type OnnxOptions } from "../../src/interop/onnx.ts";
import { permute } from "../../src/interop/layouts.ts";
import type { ImageSet } from "../../src/data/dataset.ts";
import { rejection } from "../support/errors.ts";
import { temporaryFolder } from "../support/files.ts";
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

  it("holds classes, input size, layout, scaling and crop", async () => {
    await writeRandomModel(device(), at("model.safetensors"), EVERY_LAYER);
    await exportOnnx(at("model.safetensors"), at("model.onnx"), { layout: "nchw" });
    const text = readFileSync(at("model.onnx"), "latin1");
    expect(text).to.match(/classes[^]*\["elliptical","spiral","other"\]/);
    for (const entry of ["[9,8,3]", "NCHW", "1/255", "0.6", "gz2"]) expect(text).to.contain(entry);
  });

  it("refuses a place that cannot be written, and leaves nothing", async () => {
    await writeRandomModel(device(), at("model.safetensors"), EVERY_LAYER);
    const refusal = (to: string) => rejection(exportOnnx(at("model.safetensors"), to));
    expect(await refusal(at("none/m.onnx"))).to.equal(
      `export ${at("none/m.onnx")}: cannot be written: no such file or folder`,
    );
    mkdirSync(at("folder.onnx"));
    expect(await refusal(at("folder.onnx"))).to.match(/cannot be written/);
    expect(readdirSync(folder()).sort()).to.deep.equal(["folder.onnx", "model.safetensors"]);
  });

  it("refuses a file that is no model, or of a layer of one's own", async () => {
    await writeSafetensors(at("plain.safetensors"), { tensors: [], metadata: {} });
    expect(await rejection(exportOnnx(at("plain.safetensors"), at("m.onnx")))).to.contain(
      "no network in its metadata, so it is no model of tuningfork; take it in with",
    );
    class Mirror extends Layer {
      override readonly type = "Mirror";
      override outputShape = (input: Shape) => input;
      override forward = (_ctx: Context, x: Tensor) => x;
      override backward = (_ctx: Context, { dy }: { dy: Tensor }) => dy;
      override config = () => ({});
    }
    registerLayer("Mirror", (name) => new Mirror(name));
    const layers = [
      { type: "Flatten" },
      { type: "Mirror", name: "mirror" },
      { type: "Dense", units: 2 },
    ];
    await writeRandomModel(device(), at("own.safetensors"), { input: [4, 4, 3], layers });
    expect(await rejection(exportOnnx(at("own.safetensors"), at("m.onnx")))).to.contain(
      'layer "mirror" is of type Mirror, which has no counterpart in ONNX',
    );
    const images = [{ type: "Conv2D", filters: 2, kernelSize: 1 }];
    await writeRandomModel(device(), at("images.safetensors"), {
      input: [4, 4, 3],
      layers: images,
    });
    expect(await rejection(exportOnnx(at("images.safetensors"), at("m.onnx")))).to.contain(
      "got a network that ends in images [4,4,2]; add Flatten and Dense",
    );
  });
});
