/** `tuningfork export`: a model for other frameworks. */
import { stat } from "node:fs/promises";
import { join } from "node:path";
import { expectOtherFile, InteropError } from "../interop/files.ts";
import { exportKeras } from "../interop/keras_h5.ts";
import { exportOnnx } from "../interop/onnx.ts";
import { exportPytorch } from "../interop/pytorch.ts";
import { exportTfjs } from "../interop/tfjs.ts";
import { formatBytes } from "../tensor.ts";

export interface ExportOptions {
  readonly model: string;
  readonly onnx?: string;
  readonly layout: "nhwc" | "nchw";
  readonly keras?: string;
  readonly tfjs?: string;
  readonly pytorch?: string;
}

/** Writes each format that is asked for, and prints what was written and how to use it. */
export async function exportModel(options: ExportOptions): Promise<number> {
  const { model, onnx, keras, tfjs, pytorch, layout } = options;
  if ([onnx, keras, tfjs, pytorch].every((path) => path === undefined))
    throw new InteropError(
      "export: no format; give --onnx M.onnx, --keras M.keras, --tfjs FOLDER or --pytorch M.safetensors",
    );
  // All names first, so that nothing is written of what then stops half-way.
  if (keras !== undefined && !/\.(keras|h5)$/.test(keras))
    throw new InteropError(
      `export ${keras}: expected a name that ends in .keras or .h5, by which Keras knows the format`,
    );
  if (pytorch !== undefined && !pytorch.endsWith(".safetensors"))
    throw new InteropError(
      `export ${pytorch}: expected a name that ends in .safetensors, the format that is written`,
    );
  if (pytorch !== undefined) expectOtherFile("export", model, pytorch);
  if (onnx !== undefined) {
    const { input, output, dataPath } = await exportOnnx(model, onnx, { layout });
    const axes = layout === "nhwc" ? "height, width, channels" : "channels, height, width";
    await say(onnx, `input "${input}" [batch, ${axes}] in [0, 1], output "${output}"`);
    if (dataPath !== undefined) await say(dataPath, "its weights; keep both in one folder");
  }
  if (keras !== undefined) {
    await exportKeras(model, keras);
    await say(keras, `keras.models.load_model("${keras}")`);
  }
  if (tfjs !== undefined) {
    await exportTfjs(model, tfjs);
    await say(join(tfjs, "weights.bin"), "the weights");
    await say(join(tfjs, "model.json"), "tf.loadLayersModel(...)");
  }
  if (pytorch !== undefined) {
    const python = await exportPytorch(model, pytorch);
    await say(pytorch, "the state dict");
    await say(python, "the module that takes it");
  }
  return 0;
}

async function say(path: string, what: string): Promise<void> {
  console.log(`${path} (${formatBytes((await stat(path)).size)}): ${what}`);
}
