import { expect } from "chai";
import {
  accuracy,
  argmax,
  majorityBaseline,
  meanCrossEntropy,
} from "../../src/metrics/accuracy.ts";

describe("argmax", () => {
  it("takes the largest of each row, the first at a tie", () => {
    const probabilities = [0.2, 0.5, 0.3, 0.4, 0.4, 0.2, 0.1, 0.45, 0.45];
    expect([...argmax(probabilities, 3)]).to.deep.equal([1, 0, 1]);
  });
  it("finds the largest among negative values (logits)", () => {
    expect([...argmax([-3, -1, -2], 3)]).to.deep.equal([1]);
  });
  it("refuses NaN, naming row and class", () => {
    expect(() => argmax([0.5, 0.5, 0.5, NaN], 2)).to.throw("row 1 has NaN for class 1");
  });
  it("refuses a row that is cut short", () => {
    expect(() => argmax([0.5, 0.5, 0.5], 2)).to.throw("3 values vs rows of 2");
  });
});

describe("accuracy", () => {
  it("counts 3 of 4, unknown labels left out", () => {
    expect(accuracy([0, 1, 2, -1, 2], [0, 1, 1, 0, 2])).to.equal(3 / 4);
  });
  it("does not count a -1 prediction of a -1 label as right", () => {
    expect(accuracy([-1, 0], [-1, 1])).to.equal(0);
  });
  it("refuses to judge nothing", () => {
    expect(() => accuracy([-1, -1], [0, 1])).to.throw("accuracy: at least one labelled image");
  });
  it("refuses lengths that differ", () => {
    expect(() => accuracy([0, 1], [0])).to.throw("2 labels vs 1 values");
  });
});

describe("majorityBaseline", () => {
  it("is the share of the most frequent known label", () => {
    expect(majorityBaseline([2, 2, 2, 0, 1, -1, -1, -1, -1])).to.equal(3 / 5);
  });
});

describe("meanCrossEntropy", () => {
  it("averages -ln p of the true class", () => {
    // (-ln .5 - ln .25) / 2 = (ln 2 + ln 4) / 2 = 1.5 ln 2
    const loss = meanCrossEntropy([0, 1, -1], [0.5, 0.5, 0.75, 0.25, 0.9, 0.1], 2);
    expect(loss).to.be.closeTo(1.5 * Math.LN2, 1e-15);
  });
  it("clips at 1e-7, so one certain mistake stays finite", () => {
    expect(meanCrossEntropy([0], [0, 1], 2)).to.be.closeTo(16.118095650958, 1e-9);
  });
  it("refuses a label that names no class", () => {
    expect(() => meanCrossEntropy([2], [0.5, 0.5], 2)).to.throw("got 2 for image 0");
  });
});
