import { expect } from "chai";
import {
  collapsed,
  columnSums,
  confusionMatrix,
  precisionRecall,
} from "../../src/metrics/confusion.ts";

describe("confusionMatrix", () => {
  it("has the true class in rows and the predicted one in columns", () => {
    const labels = [0, 0, 0, 1, 1, 2, -1];
    const predicted = [0, 0, 1, 1, 2, 2, 0];
    expect(confusionMatrix(labels, predicted, 3)).to.deep.equal([
      [2, 1, 0],
      [0, 1, 1],
      [0, 0, 1],
    ]);
  });
  it("refuses a prediction that names no class", () => {
    expect(() => confusionMatrix([0], [3], 3)).to.throw(
      "classes run from 0 to 2: got 3 for image 0",
    );
  });
});

describe("precisionRecall", () => {
  it("agrees with numbers worked by hand", () => {
    const [first, second] = precisionRecall([
      [6, 2],
      [3, 9],
    ]);
    // Class 0: predicted 9, of them 6 right; 8 exist. P = 2/3, R = 3/4, F1 = 2 * 6 / 17.
    expect(first).to.deep.equal({ precision: 6 / 9, recall: 6 / 8, f1: 12 / 17, support: 8 });
    expect(second).to.deep.equal({ precision: 9 / 11, recall: 9 / 12, f1: 18 / 23, support: 12 });
  });
  it("gives null for 0/0: a class that is never predicted, one without members", () => {
    const [, never, absent] = precisionRecall([
      [4, 0, 0],
      [2, 0, 1],
      [0, 0, 0],
    ]);
    expect(never).to.deep.equal({ precision: null, recall: 0, f1: 0, support: 3 });
    expect(absent).to.deep.equal({ precision: 0, recall: null, f1: 0, support: 0 });
    expect(precisionRecall([[0]])[0]).to.deep.equal({
      precision: null,
      recall: null,
      f1: null,
      support: 0,
    });
  });
});

describe("collapsed", () => {
  it("is true at 99 % of the predictions in one class", () => {
    expect(
      collapsed([
        [1, 49],
        [0, 50],
      ]),
    ).to.equal(true);
  });
  it("is false just below, and for a good network with an uneven test set", () => {
    expect(
      collapsed([
        [2, 48],
        [0, 50],
      ]),
    ).to.equal(false);
    expect(
      collapsed([
        [2, 0],
        [0, 98],
      ]),
    ).to.equal(false);
  });
  it("is false for an empty matrix", () => {
    expect(collapsed([[0]])).to.equal(false);
  });
});

describe("columnSums", () => {
  it("counts the predictions of each class", () => {
    expect(
      columnSums([
        [1, 2],
        [3, 4],
      ]),
    ).to.deep.equal([4, 6]);
  });
});
