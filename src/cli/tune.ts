/** `tuningfork tune`: measures the algorithms of a network's convolutions and dense layers on this adapter. */
import { openDevice } from "../gpu/device.ts";
import { Sequential } from "../nn/model.ts";
import { readNetwork } from "../nn/network.ts";
import type { Precision } from "../nn/precision.ts";
import { table } from "../text_table.ts";
import { describeOperation, tuneOperations, type TunedOperation } from "../nn/tune.ts";
import { choicesFile } from "../nn/choices_file.ts";
import { describeDevice } from "./train.ts";

export interface TuneOptions {
  readonly network: string;
  readonly batch: number;
  readonly precision?: Precision;
  readonly json: boolean;
}

/** Tunes every operation of the network's training step. Returns the exit code. */
export async function tune({ network, batch, precision, json }: TuneOptions): Promise<number> {
  const config = readNetwork(network);
  const device = await openDevice();
  try {
    const model = new Sequential(config);
    await model.build(device, { seed: 1, batchSize: batch, precision, tune: "off" });
    const operations = model.operations(batch);
    model.destroy();
    console.error(
      `${network}: ${operations.length} operations with a batch of ${batch}, on ${describeDevice(device)}`,
    );
    const tuned = await tuneOperations(device, operations, ({ operation, chosen }, done) => {
      console.error(`${done}/${operations.length} ${describeOperation(operation)}: ${chosen}`);
    });
    if (json) for (const line of tuned) console.log(JSON.stringify(line));
    else console.log(`\n${formatTuned(tuned)}\n\nremembered in ${choicesFile(device)}`);
    const wrong = tuned
      .flatMap(({ trials }) => trials)
      .filter(({ note }) => note?.startsWith("WRONG"));
    return wrong.length > 0 ? 1 : 0;
  } finally {
    device.destroy();
  }
}

function formatTuned(tuned: readonly TunedOperation[]): string {
  const rows = tuned.map(({ operation, byClass, chosen, trials }) => {
    const ms = (algorithm: string) => trials.find((t) => t.algorithm === algorithm)?.ms;
    const [was, is] = [ms(byClass), ms(chosen)];
    return [
      describeOperation(operation),
      chosen,
      is?.toFixed(2) ?? "",
      chosen === byClass ? "" : byClass,
      was === undefined || is === undefined || chosen === byClass
        ? ""
        : `${(was / is).toFixed(2)}x`,
      trials
        .filter(({ algorithm }) => algorithm !== chosen && algorithm !== byClass)
        .map(
          ({ algorithm, ms, note }) =>
            `${algorithm} ${ms === undefined ? (note ?? "") : `${ms.toFixed(2)} ms`}`,
        )
        .join("; "),
    ];
  });
  const heads = ["operation", "chosen", "ms", "instead of", "faster", "others"];
  return table([heads, ...rows], [false, false, true, false, true, false]).join("\n");
}
