/** The table that `model.summary()` prints. */
import type { ScratchMemory } from "../gpu/memory_plan.ts";
import { elementCount, formatBytes, sizeBytes, type Shape } from "../tensor.ts";
import { table } from "../text_table.ts";
import type { Layer } from "./layer.ts";
import type { Precision } from "./precision.ts";

/** Layers in a row, as FLOPs are counted; `Sequential` is one. */
interface Layers {
  readonly layers: readonly Layer[];
  /** The input shape and each layer's output shape, without the batch axis. */
  shapes(): Shape[];
}

/** What the table looks at; `Sequential` is one. */
interface Model extends Layers {
  readonly input: Shape;
  readonly isBuilt: boolean;
  readonly precision: Precision;
  readonly activationType: "float32" | "float16";
  stepMemory(batchSize: number): ScratchMemory;
}

interface Row {
  readonly layer: string;
  readonly type: string;
  readonly output: string;
  readonly parameters: number;
  readonly state: string;
  readonly flops: number;
  readonly activationBytes: number;
}

/** FLOPs of one training image: forward, and for each layer that learns or passes gradients on as much again. */
export function trainingFlops(model: Layers): number {
  const shapes = model.shapes();
  const lowest = model.layers.findIndex(
    (layer, i) => layer.trainable && layer.parameterSpecs(shapes[i] ?? []).length > 0,
  );
  return model.layers.reduce((sum, layer, index) => {
    const input = shapes[index] ?? [];
    const flops = layer.flops(input);
    const learns = layer.trainable && layer.parameterSpecs(input).length > 0;
    const passes = 1 + Number(lowest >= 0 && learns) + Number(lowest >= 0 && index > lowest);
    return sum + flops * passes;
  }, 0);
}

/** FLOPs of one image's forward pass. */
export function forwardFlops(model: Layers): number {
  const shapes = model.shapes();
  return model.layers.reduce((sum, layer, index) => sum + layer.flops(shapes[index] ?? []), 0);
}

/** The table behind `model.summary()`: layers, shapes, parameters, FLOPs, memory, totals. */
export function summarize(model: Model, batchSize: number): string {
  const shapes = model.shapes();
  const rows = model.layers.map((layer, index): Row => {
    const specs = layer.parameterSpecs(shapes[index] ?? []);
    const parameters = specs.reduce((sum, { shape }) => sum + elementCount(shape), 0);
    const output = shapes[index + 1] ?? [];
    return {
      layer: layer.name,
      type: layer.type,
      output: `[n,${output.join(",")}]`,
      parameters,
      state: parameters === 0 ? "" : layer.trainable ? "trainable" : "frozen",
      flops: layer.flops(shapes[index] ?? []),
      activationBytes: sizeBytes({
        shape: [batchSize, ...output],
        dtype: layer.type === "Softmax" ? "float32" : model.activationType,
      }),
    };
  });
  const total = rows.reduce((sum, row) => sum + row.parameters, 0);
  const trainable = rows.reduce(
    (sum, row) => sum + (row.state === "trainable" ? row.parameters : 0),
    0,
  );
  const activations = rows.reduce((sum, row) => sum + row.activationBytes, 0);
  const cells = rows.map((row) => [
    row.layer,
    row.type,
    row.output,
    row.parameters === 0 ? "" : integer(row.parameters),
    row.state,
    row.flops === 0 ? "" : (row.flops / 1e6).toFixed(2),
    formatBytes(row.activationBytes),
  ]);
  const heads = [
    "layer",
    "type",
    "output",
    "parameters",
    "state",
    "MFLOP",
    `activations (n=${batchSize})`,
  ];
  return [
    ...table([heads, ...cells], [false, false, false, true, false, true, true]),
    "",
    `input              [n,${model.input.join(",")}]`,
    `parameters         ${integer(total)} (${integer(trainable)} trainable, ${integer(total - trainable)} frozen)`,
    `FLOPs per image    ${(forwardFlops(model) / 1e9).toFixed(3)} GFLOP forward, ${(trainingFlops(model) / 1e9).toFixed(3)} GFLOP in a training step`,
    // A trainable parameter has its value, its gradient and Adamax' two moments.
    `memory             ${formatBytes(4 * total + 12 * trainable)} parameters, gradients and optimizer`,
    `activations        ${activationsLine(model, batchSize, activations)}`,
    ...(model.precision === "mixed"
      ? ["precision          mixed: activations in float16; parameters and sums in float32"]
      : []),
  ].join("\n");
}

/** Planned against naive, once a device is there to plan for. */
function activationsLine(model: Model, batchSize: number, outputBytes: number): string {
  if (!model.isBuilt) return `${formatBytes(outputBytes)} at n=${batchSize}, before planning`;
  const { naiveBytes, plannedBytes, liveBytes } = model.stepMemory(batchSize);
  return (
    `${formatBytes(plannedBytes)} in a training step at n=${batchSize}, gradients of activations included ` +
    `(${formatBytes(naiveBytes)} without sharing memory, ${formatBytes(liveBytes)} alive at once)`
  );
}

const integer = (value: number): string => value.toLocaleString("en-US");
