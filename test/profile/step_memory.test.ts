import { expect } from "chai";
import { excerptOf } from "../../src/profile/analyse.ts";
import { lifeTable, stepMemory, stepMemoryChart } from "../../src/profile/step_memory.ts";
import { RECORDING } from "./fixture.ts";

describe("stepMemory", () => {
  const found = stepMemory(RECORDING, excerptOf(RECORDING, "steps"))!;

  it("tells what lives at each dispatch of a step", () => {
    expect(found.scopes).to.deep.equal(["head forward", "relu forward"]);
    expect(found.liveBytes).to.deep.equal([16, 32]);
  });

  it("names who writes a tensor first and who uses it last", () => {
    expect(lifeTable(found).rows).to.deep.equal([
      [
        ...["head.y", "1: head forward (dense head.weight)", "2: relu forward (leakyRelu relu.y)"],
        ...["16 B", "1", "0 B"],
      ],
      [
        ...["relu.y", "2: relu forward (leakyRelu relu.y)", "2: relu forward (leakyRelu relu.y)"],
        ...["16 B", "2", "0 B"],
      ],
    ]);
    expect(lifeTable(found, 1).rows).to.have.length(1);
  });

  it("draws each tensor in its buffer, from its first dispatch to its last", () => {
    const svg = stepMemoryChart(found);
    expect(svg).to.contain(
      "<title>head.y: 16 B, from dispatch 1 (head forward) to 2 (relu forward)",
    );
    const rect = (label: string) =>
      new RegExp(`<title>${label}.*?<rect x="([\\d.]+)" y="([\\d.]+)" width="([\\d.]+)"`)
        .exec(svg)!
        .slice(1)
        .map(Number);
    const [head, relu] = [rect("head.y"), rect("relu.y")];
    expect(head[2], "twice as long").to.be.closeTo(2 * relu[2]!, 0.2);
    expect(head[0]! + head[2]!, "both end with the step").to.be.closeTo(relu[0]! + relu[2]!, 0.2);
    expect(head[1], "another buffer").to.not.equal(relu[1]);
  });

  it("says nothing of a step without scratch memory", () => {
    const bare = { ...RECORDING, programs: [{ ...RECORDING.programs[0]!, lives: [] }] };
    expect(stepMemory(bare, excerptOf(bare, "steps"))).to.equal(undefined);
  });
});
