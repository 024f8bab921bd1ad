import { expect } from "chai";
import { auc, aucPerClass, classScores, macroAuc, rocCurve } from "../../src/metrics/roc.ts";
import { Random } from "../../src/random.ts";

describe("rocCurve", () => {
  it("steps through a case worked by hand", () => {
    // Descending: .9 +, .8 -, .7 +, .6 -; two positives, two negatives.
    const curve = rocCurve([1, 0, 1, 0, -1], [0.9, 0.8, 0.7, 0.6, 0.95], 1);
    expect(curve).to.deep.equal({
      falsePositiveRate: [0, 0, 0.5, 0.5, 1],
      truePositiveRate: [0, 0.5, 0.5, 1, 1],
      thresholds: [Infinity, 0.9, 0.8, 0.7, 0.6],
    });
  });
  it("has one point for each distinct score, a slanted step at a tie", () => {
    const curve = rocCurve([1, 0, 0, 1], [0.5, 0.5, 0.1, 0.9], 1);
    expect(curve?.thresholds).to.deep.equal([Infinity, 0.9, 0.5, 0.1]);
    expect(curve?.falsePositiveRate).to.deep.equal([0, 0, 0.5, 1]);
    expect(curve?.truePositiveRate).to.deep.equal([0, 0.5, 1, 1]);
  });
  it("is null without positives or without negatives", () => {
    expect(rocCurve([0, 0], [0.1, 0.2], 1)).to.equal(null);
    expect(rocCurve([1, 1, -1], [0.1, 0.2, 0.3], 1)).to.equal(null);
  });
  it("refuses NaN", () => {
    expect(() => rocCurve([0, 1], [0.1, NaN], 1)).to.throw("image 1 has NaN");
  });
});

describe("auc", () => {
  it("is 1, 0 and 1/2 for a perfect, a reversed and a constant score", () => {
    expect(auc([1, 1, 0, 0], [4, 3, 2, 1], 1)).to.equal(1);
    expect(auc([1, 1, 0, 0], [1, 2, 3, 4], 1)).to.equal(0);
    expect(auc([1, 1, 0, 0, 0], [7, 7, 7, 7, 7], 1)).to.equal(0.5);
  });
  it("counts a tie half: 3 wins and 1 tie of 4 pairs", () => {
    // Positives .9 and .5, negatives .5 and .1: wins .9>.5, .9>.1, .5>.1, tie .5=.5.
    expect(auc([1, 1, 0, 0], [0.9, 0.5, 0.5, 0.1], 1)).to.equal(3.5 / 4);
  });
  it("equals Mann-Whitney's statistic over all pairs, with many ties and unknown labels", () => {
    const random = new Random(5, "auc");
    for (let trial = 0; trial < 20; trial++) {
      const labels = Array.from({ length: 60 }, () => random.below(4) - 1);
      const scores = Array.from({ length: 60 }, () => random.below(8) / 8);
      for (let c = 0; c < 3; c++) {
        let wins = 0;
        let pairs = 0;
        for (let i = 0; i < 60; i++)
          for (let j = 0; j < 60; j++) {
            if (labels[i] !== c || labels[j] === c || labels[j]! < 0) continue;
            pairs++;
            wins += scores[i]! > scores[j]! ? 1 : scores[i] === scores[j] ? 0.5 : 0;
          }
        expect(auc(labels, scores, c)).to.be.closeTo(wins / pairs, 1e-12);
      }
    }
  });
});

describe("macroAuc", () => {
  // Class 2 has no member, so it has no curve and does not enter the mean.
  const labels = [0, 0, 1, 1];
  const probabilities = [0.8, 0.1, 0.1, 0.3, 0.6, 0.1, 0.4, 0.5, 0.1, 0.1, 0.8, 0.1];

  it("averages over the classes that have members", () => {
    // Class 0: .8 and .3 against .4 and .1: wins .8>.4, .8>.1, .3>.1: 3/4.
    // Class 1: .5 and .8 against .1 and .6: wins .5>.1, .8>.1, .8>.6: 3/4.
    expect(aucPerClass(labels, probabilities, 3)).to.deep.equal([0.75, 0.75, null]);
    expect(macroAuc(labels, probabilities, 3)).to.equal(0.75);
  });
  it("is null when no class can be ranked", () => {
    expect(macroAuc([0, 0], [0.5, 0.5, 0.4, 0.6], 2)).to.equal(null);
  });
  it("refuses rows and labels that do not match", () => {
    expect(() => macroAuc([0, 1, 0], probabilities, 3)).to.throw("3 labels vs 4 rows");
  });
});

describe("classScores", () => {
  it("is a column", () => {
    expect([...classScores([1, 2, 3, 4, 5, 6], 3, 1)]).to.deep.equal([2, 5]);
  });
});
