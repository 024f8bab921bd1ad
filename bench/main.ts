/** `npm run bench`: the kernels on the layers of the project's networks. */
import { Command, Option } from "commander";
import { openDevice } from "../src/gpu/device.ts";
import { CONV2D_ALGORITHMS, type Conv2dAlgorithm } from "../src/kernels/conv2d.ts";
import { DENSE_ALGORITHMS, type DenseAlgorithm } from "../src/kernels/dense.ts";
import { conv2dCases } from "./conv2d.bench.ts";
import { benchContext, runAll, writeJson } from "./harness.ts";
import { denseCases } from "./matmul.bench.ts";

interface Options {
  readonly filter?: string;
  readonly batch: number;
  readonly conv2d?: Conv2dAlgorithm;
  readonly dense?: DenseAlgorithm;
  readonly json?: string;
}

const options = new Command("npm run bench --")
  .description("Times the kernels on the layers of the project's networks, each checked first.")
  .option("--filter <text>", "only cases whose name contains this, e.g. paper.conv2")
  .option("--batch <n>", "images in a batch", Number, 32)
  .addOption(new Option("--conv2d <algorithm>", "force an algorithm").choices(CONV2D_ALGORITHMS))
  .addOption(new Option("--dense <algorithm>", "force an algorithm").choices(DENSE_ALGORITHMS))
  .option("--json <file>", "also write { context, benchmarks } to this file")
  .parse()
  .opts<Options>();

const { filter = "", batch, json } = options;
const cases = [...conv2dCases(batch, options.conv2d), ...denseCases(batch, options.dense)].filter(
  ({ name }) => name.includes(filter),
);
const device = await openDevice();
try {
  const context = { ...benchContext(device), batch };
  console.error(JSON.stringify(context));
  const chosen = (["conv2d", "dense"] as const)
    .map((op) => (options[op] ? ` --${op} ${options[op]}` : ""))
    .join("");
  const { rows, failed } = await runAll(
    device,
    cases,
    (name) =>
      `npm run bench -- --batch ${batch}${chosen} --filter "${name.split(" ").slice(0, 2).join(" ")}"`,
  );
  if (json !== undefined) writeJson(json, context, rows);
  if (failed > 0) process.exitCode = 1;
} finally {
  device.destroy();
}
