import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import "../../examples/swish/swish.ts"; // the type "Swish"
import { WrongSwish } from "../../examples/swish/wrong_swish.ts";
import { gradcheck, smallInput } from "../../src/cli/gradcheck.ts";
import { Conv2D } from "../../src/nn/conv2d.ts";
import { Dense } from "../../src/nn/dense.ts";
import { registerLayer } from "../../src/nn/network.ts";
import { useDevice } from "../support/device.ts";

registerLayer("WrongSwish", (name) => new WrongSwish(name));

describe("tuningfork gradcheck", () => {
  useDevice(); // skips without an adapter
  let folder = "";
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "tuningfork-gradcheck-"));
  });
  after(async () => {
    await rm(folder, { recursive: true, force: true });
  });

  /** Runs the command on a network with this layer in it; its exit code and what it printed. */
  const run = async (type: string, json: boolean): Promise<{ code: number; output: string }> => {
    const network = join(folder, `${type}.json`);
    const layers = [
      { type: "Conv2D", name: "conv1", filters: 4, kernelSize: [3, 3] },
      { type, name: "act1" },
      { type: "Flatten", name: "flatten" },
      { type: "Dense", name: "dense1", units: 3 },
      { type: "Softmax", name: "softmax" },
    ];
    await writeFile(network, JSON.stringify({ input: [9, 9, 2], layers }));
    const log = console.log;
    const lines: unknown[] = [];
    console.log = (line: unknown) => lines.push(line);
    try {
      const code = await gradcheck({ network, batch: 2, seed: 1, json });
      return { code, output: lines.join("\n") };
    } finally {
      console.log = log;
    }
  };

  it("prints a row a layer and one for the network, and ends with 0 when all is right", async () => {
    const { code, output } = await run("Swish", false);
    expect(code, output).to.equal(0);
    const rows = output.split("\n").map((line) => line.split(/ {2,}/));
    expect(rows.slice(2, 8).map(([name]) => name)).to.deep.equal([
      ...["conv1", "act1", "flatten", "dense1", "softmax", "network"],
    ]);
    expect(output).to.contain("differences of its own forward pass");
    expect(output).to.contain("every gradient is right");
  });

  it("ends with 1 when a gradient is wrong, names the layer and says why", async () => {
    const { code, output } = await run("WrongSwish", false);
    expect(code).to.equal(1);
    expect(output).to.contain("wrong: act1, network");
    expect(output).to.contain("dbeta is -1 times what it should be: a sign is wrong");
  });

  it("prints one object with --json", async () => {
    const { code, output } = await run("WrongSwish", true);
    expect(code).to.equal(1);
    const { ok, rows } = JSON.parse(output) as {
      ok: boolean;
      rows: { name: string; ok: boolean; problems: { kind: string }[] }[];
    };
    expect(ok).to.equal(false);
    expect(rows.filter((row) => !row.ok).map(({ name }) => name)).to.deep.equal([
      "act1",
      "network",
    ]);
    expect(rows[1]!.problems).to.have.length(1);
  });

  it("takes the smallest input that a layer takes", () => {
    const conv = (size: number) => new Conv2D("c", { filters: 1, kernelSize: [size, size] });
    expect(smallInput(conv(3), [96, 80, 64])).to.deep.equal([7, 7, 32]);
    expect(smallInput(conv(9), [96, 80, 64])).to.deep.equal([11, 11, 32]);
    expect(smallInput(conv(3), [5, 9, 3])).to.deep.equal([5, 7, 3]);
    expect(smallInput(new Dense("d", { units: 2 }), [73728])).to.deep.equal([65]);
  });
});
