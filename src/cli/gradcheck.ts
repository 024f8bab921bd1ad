/** `tuningfork gradcheck`: the gradients of every layer of a network file, and of the network as a whole. */
import { openDevice, type Device } from "../gpu/device.ts";
import type { Layer } from "../nn/layer.ts";
import { Sequential } from "../nn/model.ts";
import { layersOf, readNetwork } from "../nn/network.ts";
import { table } from "../text_table.ts";
import { elementCount, formatShape, type Shape } from "../tensor.ts";
import { checkGradients } from "../testing/check_gradients.ts";
import type { CheckedTensor, GradientReport } from "../testing/report.ts";

export interface GradcheckOptions {
  readonly network: string;
  readonly batch: number;
  readonly seed: number;
  readonly json: boolean;
}

/** A row of the outcome: a layer, or at the end the whole network. */
interface Checked {
  readonly name: string;
  readonly type: string;
  readonly inputShape: Shape;
  readonly report: GradientReport;
}

/** Prints a table, and what is wrong in words. Returns the exit code: 1 when a gradient is wrong. */
export async function gradcheck(options: GradcheckOptions): Promise<number> {
  const { batch, seed } = options;
  const network = readNetwork(options.network);
  const model = new Sequential(network);
  const shapes = model.shapes();
  const device = await openDevice();
  const checked: Checked[] = [];
  try {
    for (const [index, layer] of layersOf(network).entries())
      checked.push(await checkLayer(device, layer, shapes[index] ?? [], options));
    const report = await checkGradients(model, { device, batchSize: batch, seed });
    const inputShape = [batch, ...model.input];
    checked.push({ name: "network", type: "the loss", inputShape, report });
  } finally {
    device.destroy();
  }
  const ok = checked.every(({ report }) => report.ok);
  if (options.json) {
    const rows = checked.map(({ report, ...row }) => ({ ...row, ...report }));
    console.log(JSON.stringify({ ok, network: options.network, batch, seed, rows }, undefined, 2));
  } else console.log(formatChecks(checked));
  return ok ? 0 : 1;
}

async function checkLayer(
  device: Device,
  layer: Layer,
  input: Shape,
  { batch, seed }: GradcheckOptions,
): Promise<Checked> {
  const inputShape = [batch, ...smallInput(layer, input)];
  const report = await checkGradients(layer, { device, inputShape, seed });
  return { name: layer.name, type: layer.type, inputShape, report };
}

/**
 * An input small enough to move each element by itself: a layer is the same function of it. The smallest that the layer
 * takes, from 7x7 pixels on (odd, so that tails show), at most 32 channels or 65 units; else the network's own.
 */
export function smallInput(layer: Layer, input: Shape): Shape {
  const [h = 1, w = 1, c = 1] = input;
  const candidates =
    input.length === 3
      ? [7, 11, 17, 33, 65].map((size) => [Math.min(h, size), Math.min(w, size), Math.min(c, 32)])
      : input.map((units) => [Math.min(units, 65)]).slice(0, 1);
  const takes = (shape: Shape): boolean => {
    try {
      return layer.outputShape(shape).every((size) => size > 0) && elementCount(shape) > 0;
    } catch {
      return false;
    }
  };
  return candidates.find(takes) ?? input;
}

/** The table, then the reports of what failed. */
export function formatChecks(checked: readonly Checked[]): string {
  const heads = ["layer", "type", "at", "worst error, as a part of its bound", "against", ""];
  const rows = checked.map(({ name, type, inputShape, report }) => [
    name,
    type,
    formatShape(inputShape),
    report.tensors.map(shareOf).join("  "),
    [...new Set(report.tensors.map(({ against }) => against))].join(", "),
    report.ok ? "ok" : "WRONG",
  ]);
  const failed = checked.filter(({ report }) => !report.ok);
  return [
    ...table([heads, ...rows], [false, false, false, false, false, false]),
    "",
    failed.length === 0
      ? "every gradient is right"
      : `wrong: ${failed.map(({ name }) => name).join(", ")}`,
    ...failed.flatMap(({ report }) => ["", report.message]),
  ].join("\n");
}

/** `dweight 0.04`; of a network's rows only the layer's name. */
function shareOf({ name, share }: CheckedTensor): string {
  const short = name.replace(/^gradients of \w+ "(.+)"$/, "$1");
  return `${short} ${Number.isFinite(share) ? Number(share.toPrecision(2)) : "-"}`;
}
