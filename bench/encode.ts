/**
 * What it costs the host to encode a training step: `node dist/bench/encode.js [NETWORK] [--batch N]`, by default the paper's
 * network with a batch of 32.
 */
import { parseArgs } from "node:util";
import { fileURLToPath } from "node:url";
import { openDevice } from "../src/gpu/device.ts";
import { readNetwork } from "../src/nn/network.ts";
import { messageOf } from "../src/system_errors.ts";
import { table } from "../src/text_table.ts";
import { openTrainingStep } from "./network.ts";
import { quantiles } from "./results.ts";
import { digits } from "./table.ts";

/** Until Node has compiled what encodes. */
const WARM_UP = 300;
const SAMPLES = { idle: 200, busy: 9 };

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { batch: { type: "string", default: "32" } },
  });
  const batch = Number(values.batch);
  if (!Number.isInteger(batch) || batch < 1)
    throw new Error(`encode: --batch: expected an integer from 1, got ${values.batch}`);
  const [file = fileURLToPath(new URL("../networks/paper.json", import.meta.url))] = positionals;
  const network = readNetwork(file);
  const device = await openDevice();
  const run = await openTrainingStep(device, { op: "training_step", n: batch, network }, "float32");
  const program = run.training.largest!;
  const encode = (): number => {
    const encoder = device.handle.createCommandEncoder();
    const start = performance.now();
    program.encode(encoder);
    const ms = performance.now() - start;
    encoder.finish();
    return ms;
  };
  run.submit(0);
  await device.finish();
  for (let i = 0; i < WARM_UP; i++) encode();
  const idle = Array.from({ length: SAMPLES.idle }, encode);
  const busy: number[] = [];
  for (let i = 1; i <= SAMPLES.busy; i++) {
    run.submit(i);
    busy.push(encode());
    await device.finish();
  }
  const row = (adapter: string, samples: readonly number[]): string[] => {
    const at = quantiles(samples);
    const figures = [0.5, 0.1, 0.9].map((quantile) => digits(at(quantile)!));
    return [adapter, ...figures, String(samples.length)];
  };
  const rows = [["adapter", "ms", "p10", "p90", "n"], row("idle", idle), row("busy", busy)];
  console.log(
    `encoding a training step of ${file}, batch ${batch}: ${program.commandCount} commands`,
  );
  console.log(device.summary.description);
  for (const line of table(rows, [false, true, true, true, true])) console.log(line);
  run.close();
  device.destroy();
}

main().catch((error: unknown) => {
  console.error(messageOf(error));
  process.exitCode = 1;
});
