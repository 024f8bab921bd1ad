/** A model as an ONNX file: https://onnx.ai/onnx/operators/ has the operators, opset 13. */
import { basename } from "node:path";
import type { Conv2dGeometry, Pool2dGeometry } from "../geometry.ts";
import { PIXEL_SCALING } from "../nn/weights.ts";
import { elementCount, type Shape } from "../tensor.ts";
import { writePieces } from "./files.ts";
import { hwioToOihw } from "./layouts.ts";
import { bytesOf, openModel, type OpenModel } from "./model_file.ts";
import {
  encodeOnnx,
  FLOAT,
  type OnnxAttribute,
  type OnnxModel,
  type OnnxNode,
  type OnnxTensor,
  type OnnxValue,
} from "./onnx_schema.ts";
import { stepsOf, type Step } from "./steps.ts";

/** What `exportOnnx` takes. */
export interface OnnxOptions {
  /** Of the images: [batch, h, w, c] (default) or [batch, c, h, w]. */
  readonly layout?: "nhwc" | "nchw";
  /**
   * Weights of more bytes in all go into a second file, `<path>.data`. Default 1 GiB: protobuf
   * messages end at 2 GiB, and some readers sooner.
   */
  readonly maxInlineBytes?: number;
}

/** What was written: the names of the graph's input and output. */
export interface OnnxSummary {
  readonly input: string;
  readonly output: string;
  /** The file of the weights, where there is one. */
  readonly dataPath?: string;
}

const INPUT = "image";
const GIBIBYTE = 2 ** 30;

/**
 * Writes a model file of ours as ONNX: images in, float32 and scaled to [0, 1], probabilities out. Where the network does
 * not end in a softmax, one is added; dropout is left out. Classes, input size, scaling and crop are in the metadata.
 * @throws CheckpointError, InteropError
 */
export async function exportOnnx(
  modelPath: string,
  onnxPath: string,
  { layout = "nhwc", maxInlineBytes = GIBIBYTE }: OnnxOptions = {},
): Promise<OnnxSummary> {
  const source = await openModel(modelPath);
  try {
    const { nodes, output } = graphOf(source, layout);
    const bytes = 4 * source.parameters.reduce((sum, { shape }) => sum + elementCount(shape), 0);
    const dataPath = bytes > maxInlineBytes ? `${onnxPath}.data` : undefined;
    const [height, width, channels] = source.model.input;
    const image = layout === "nhwc" ? [height, width, channels] : [channels, height, width];
    const header = {
      ir_version: 7,
      producer_name: "tuningfork",
      opset_import: [{ domain: "", version: 13 }],
      metadata_props: metadataOf(source, layout),
      graph: {
        name: "tuningfork",
        node: nodes,
        input: [value(INPUT, image)],
        output: [value(output, [source.model.classCount])],
      },
    };
    const read = (tensor: OnnxTensor) => readTensor(source, tensor);
    await writePieces(onnxPath, async function* () {
      if (dataPath === undefined) yield* encodeOnnx(header, tensorsOf(source), read);
      else yield* encodeOnnx(header, await writeExternal(source, dataPath));
    });
    return { input: INPUT, output, ...(dataPath !== undefined && { dataPath }) };
  } finally {
    await source.close();
  }
}

function metadataOf({ model, info }: OpenModel, layout: string): OnnxModel["metadata_props"] {
  const entries = {
    classes: JSON.stringify(info.classes),
    input_size: JSON.stringify(model.input),
    input_layout: layout.toUpperCase(),
    pixel_scaling: PIXEL_SCALING,
    crop: String(info.crop),
    data_set: info.dataSet,
  };
  return Object.entries(entries).map(([key, text]) => ({ key, value: text }));
}

function value(name: string, sizes: Shape): OnnxValue {
  const dim = [{ dim_param: "batch" }, ...sizes.map((size) => ({ dim_value: size }))];
  return { name, type: { tensor_type: { elem_type: FLOAT, shape: { dim } } } };
}

/** The operators in order. ONNX convolves NCHW alone, so that images are transposed once before and once after. */
function graphOf(
  { model }: OpenModel,
  layout: "nhwc" | "nchw",
): { nodes: OnnxNode[]; output: string } {
  const nodes: OnnxNode[] = [];
  let current = INPUT;
  const add = (
    name: string,
    type: string,
    weights: readonly string[] = [],
    attribute: readonly OnnxAttribute[] = [],
  ) => {
    const output = `${name}.y`;
    nodes.push({ name, op_type: type, input: [current, ...weights], output: [output], attribute });
    current = output;
  };
  if (layout === "nhwc") add("nhwc_to_nchw", "Transpose", [], [ints("perm", [0, 3, 1, 2])]);
  for (const step of stepsOf(model, "ONNX")) {
    // Dense weights keep our order.
    if (step.type === "Flatten")
      add(`${step.name}.nchw_to_nhwc`, "Transpose", [], [ints("perm", [0, 2, 3, 1])]);
    addStep(step, add);
  }
  const probabilities = model.classCount > 1;
  if (probabilities && !model.endsInSoftmax)
    add("softmax_of_logits", "Softmax", [], [int("axis", 1)]);
  const output = probabilities ? "probabilities" : "output";
  const last = nodes.at(-1);
  if (last) nodes[nodes.length - 1] = { ...last, output: [output] };
  return { nodes, output };
}

function addStep(
  step: Step,
  add: (
    name: string,
    type: string,
    weights?: readonly string[],
    attribute?: readonly OnnxAttribute[],
  ) => void,
): void {
  const { name } = step;
  switch (step.type) {
    case "Conv2D": {
      const { dilationH, dilationW } = step.geometry;
      add(name, "Conv", parameterNames(step), [
        ...windowAttributes(step.geometry),
        ints("dilations", [dilationH, dilationW]),
      ]);
      break;
    }
    case "MaxPool2D":
      add(name, "MaxPool", [], windowAttributes(step.geometry));
      break;
    case "LeakyReLU":
      if (step.slope === 0) add(name, "Relu");
      else add(name, "LeakyRelu", [], [{ name: "alpha", type: "FLOAT", f: step.slope }]);
      break;
    case "Flatten":
      add(name, "Flatten", [], [int("axis", 1)]);
      break;
    case "Dense":
      add(name, "Gemm", parameterNames(step));
      break;
    case "Softmax":
      add(name, "Softmax", [], [int("axis", 1)]);
      break;
    case "Dropout": // drops nothing at inference
  }
}

const parameterNames = ({ name, useBias }: { name: string; useBias: boolean }): string[] =>
  useBias ? [`${name}.weight`, `${name}.bias`] : [`${name}.weight`];

/** Padding is spelt out, since "same" of an even kernel is uneven. */
function windowAttributes(g: Conv2dGeometry | Pool2dGeometry): OnnxAttribute[] {
  return [
    ints("kernel_shape", [g.kH, g.kW]),
    ints("strides", [g.strideH, g.strideW]),
    ints("pads", [g.padTop, g.padLeft, g.padBottom, g.padRight]),
  ];
}

const int = (name: string, i: number): OnnxAttribute => ({ name, type: "INT", i });
const ints = (name: string, values: readonly number[]): OnnxAttribute => ({
  name,
  type: "INTS",
  ints: values,
});

/** The weights as ONNX has them: filters OIHW, dense weights as ours. */
function tensorsOf({ parameters }: OpenModel): OnnxTensor[] {
  return parameters.map(({ name, shape }) => {
    const [kH = 1, kW = 1, inC = 1, outC = 1] = shape;
    const dims = shape.length === 4 ? [outC, inC, kH, kW] : shape;
    return { name, dims, data_type: FLOAT };
  });
}

async function readTensor({ parameters, read }: OpenModel, { name }: OnnxTensor) {
  const values = await read(name);
  const shape = parameters.find((parameter) => parameter.name === name)?.shape ?? [];
  return bytesOf(shape.length === 4 ? hwioToOihw(values, shape) : values);
}

/** ONNX asks for offsets that can be mapped into memory. */
const PAGE_BYTES = 4096;

/** Writes the weights beside the model: https://onnx.ai/onnx/repo-docs/ExternalData.html */
async function writeExternal(source: OpenModel, dataPath: string): Promise<OnnxTensor[]> {
  const placed: OnnxTensor[] = [];
  await writePieces(dataPath, async function* () {
    let offset = 0;
    for (const tensor of tensorsOf(source)) {
      const bytes = await readTensor(source, tensor);
      const place = { location: basename(dataPath), offset, length: bytes.length };
      const entries = Object.entries(place).map(([key, v]) => ({ key, value: String(v) }));
      placed.push({ ...tensor, data_location: "EXTERNAL", external_data: entries });
      yield bytes;
      const padding = new Uint8Array(-bytes.length & (PAGE_BYTES - 1));
      yield padding;
      offset += bytes.length + padding.length;
    }
  });
  return placed;
}
