import { expect } from "chai";
import { PNG } from "pngjs";
import type { DataSetChoice } from "../../src/study/results.ts";
import { appliedShares } from "../../src/study/figures/applied.ts";
import { drawFigures } from "../../src/study/figures/draw_figures.ts";
import type { Figure } from "../../src/study/figures/figure.ts";
import { featureMapGridPng, featureMapPair, gallery } from "../../src/study/image_grid.ts";
import { bestTest, recipe } from "../../src/study/summary.ts";
import { rocPlot } from "../../src/study/plots/roc.ts";
import { escapeXml, fitText, svgDataUri, svgToPng, textWidth } from "../../src/draw/svg.ts";
import { fakeStudy } from "../support/fake_study.ts";

describe("drawFigures", () => {
  const { results, evidence } = fakeStudy({
    seeds: 2,
    imageSize: 32,
    mapSize: 16,
    nTest: 120,
    firstId: `<b>&"`,
  });
  let figures: Figure[];
  before(async () => {
    figures = await drawFigures(results, evidence);
  });
  const figure = (name: string): Figure => figures.find((made) => made.name === name)!;

  it("makes SVGs that a strict reader draws, with names of their own, captions and alt texts", () => {
    const names = figures.map(({ name }) => name);
    expect(new Set(names).size).to.equal(names.length);
    for (const { name, svg, caption, alt } of figures) {
      expect(name).to.match(/^[\w-]+$/);
      expect(caption).to.not.equal("");
      expect(alt).to.not.equal("");
      expect(alt + caption, name).to.not.match(/undefined|NaN|null/);
      // resvg refuses XML that is not well-formed.
      expect(PNG.sync.read(svgToPng(svg, 0.5)).width, name).to.be.greaterThan(50);
      expect(svg, name).to.not.match(/NaN|undefined/);
    }
  });

  it("loads nothing from outside", () => {
    for (const { svg, name } of figures)
      for (const [, address] of svg.matchAll(/href="([^"]{0,30})/g))
        expect(address, name).to.match(/^data:image\/(jpeg|png);base64,/);
  });

  it("writes the AUC of each class that results.json has into the ROC's legend", () => {
    for (const [name, area] of Object.entries(results.tests.g!.auc))
      expect(figure("roc_g").svg).to.include(`${name}, AUC ${area!.toFixed(3)}`);
  });

  it("numbers the figures as the paper does", () => {
    expect(figure("roc_a").paperFigure).to.equal("17a");
    expect(figure("roc_g").paperFigure).to.equal("18c");
    expect(figure("feature_maps_conv4").paperFigure).to.equal("16");
    expect(figure("gallery_wrong").paperFigure).to.equal("22");
  });

  it("says where fine-tuning left a layer as it was, and only there", () => {
    expect(figure("feature_maps_pool1").caption).to.include("were frozen");
    expect(figure("feature_maps_conv4").caption).to.not.include("were frozen");
  });

  it("shows only mistakes in the gallery of mistakes", () => {
    const texts = [...figure("gallery_wrong").svg.matchAll(/<text[^>]*>([^<]*)</g)].map(
      (m) => m[1]!,
    );
    const truths = texts.filter((text) => text.startsWith("true: ")).map((t) => t.slice(6));
    const given = texts.filter((text) => text.startsWith("→ ")).map((t) => t.slice(2));
    expect(truths.length).to.be.greaterThan(0).and.equal(given.length);
    truths.forEach((truth, i) => expect(given[i]).to.not.equal(truth));
  });

  it("draws star formation rates when the rows have them", async () => {
    expect(figures.some(({ name }) => name === "sfr_mass")).to.equal(false);
    const rows = evidence.physical!.rows.map((row) => ({ ...row, logSfr: row.logMass - 10 }));
    const more = await drawFigures(
      { ...results, tests: {}, pretraining: [] },
      { ...evidence, predictions: {}, physical: { rows, note: "" } },
    );
    expect(more.map(({ name }) => name)).to.include("sfr_mass");
  });
});

describe("bestTest and recipe", () => {
  const { results } = fakeStudy({ imageSize: 8, optionalParts: false });
  it("ranks by the mean over the seeds where there are several", () => {
    const accuracy = (
      mean: number,
    ): { accuracy: { mean: number; std: number; values: number[] } } => ({
      accuracy: { mean, std: 0.01, values: [mean, mean] },
    });
    expect(bestTest({ ...results, seeds: { b: accuracy(0.99) } })).to.equal("b");
    expect(bestTest({ ...results, tests: {} })).to.equal(null);
  });
  it("tells how a test came about", () => {
    expect(recipe(results, "a")).to.equal("gz2 only");
    expect(recipe(results, "e")).to.equal("gz1 only");
    expect(recipe(results, "g")).to.equal("gz1 → gz2, conv3 conv4 + dense");
  });
});

describe("appliedShares", () => {
  it("agrees with shares counted by hand", () => {
    const { results } = fakeStudy({ tests: ["g"], imageSize: 8, optionalParts: false });
    const test = {
      ...results.tests.g!,
      n_test: 10,
      classes: ["E", "S"],
      confusion: [
        [5, 1],
        [2, 2],
      ],
    };
    const shares = appliedShares(
      { ...results, data_set: "real" satisfies DataSetChoice, tests: { g: test } },
      {
        test: "g",
        predictions: {
          classes: ["E", "S"],
          labels: Int32Array.of(-1, -1, -1, -1),
          probabilities: Float32Array.of(0.75, 0.25, 0.25, 0.75, 0.25, 0.75, 0, 1),
          ids: ["1", "2", "3", "4"],
        },
      },
    );
    expect(shares[0]).to.deep.equal({
      name: "E",
      applied: 1 / 4,
      appliedCount: 1,
      meanProbability: 1.25 / 4,
      labelled: 6 / 10,
      predictedOnTest: 7 / 10,
    });
  });
});

describe("rocPlot", () => {
  it("names a class that has no member instead of drawing it", async () => {
    const svg = await rocPlot(
      {
        classes: ["E", "L", "S"],
        labels: Int32Array.of(0, 2, 0, 2),
        probabilities: Float32Array.of(0.8, 0.1, 0.1, 0.2, 0.1, 0.7, 0.4, 0.2, 0.4, 0.5, 0.1, 0.4),
        ids: ["1", "2", "3", "4"],
      },
      "Test x",
      "",
    );
    expect(svg).to.include("L: none in the set");
  });
});

describe("featureMapPair", () => {
  it("scales a channel over both panels: equal values have equal colours", async () => {
    const values = Float32Array.of(0, 1, 1, 2);
    const map = { layer: "conv1", height: 2, width: 2, channels: 1 };
    const svg = await featureMapPair([
      { ...map, when: "before fine-tuning", values },
      { ...map, when: "after fine-tuning", values: values.map((v) => v * 2) },
    ]);
    const [before, after] = [...svg.matchAll(/base64,([^"]+)"/g)].map((match) =>
      PNG.sync.read(Buffer.from(match[1]!, "base64")),
    );
    const pixel = (png: PNG, x: number, y: number): number[] => [
      ...png.data.subarray((y * png.width + x) * 4, (y * png.width + x) * 4 + 3),
    ];
    const end = before!.width - 1;
    expect(pixel(before!, end, end)).to.deep.equal(pixel(after!, end, 0)); // 2 in both
    expect(pixel(after!, end, end)).to.not.deep.equal(pixel(before!, end, end)); // 4 is brighter
    expect(pixel(after!, end, end)).to.deep.equal([253, 231, 37]); // the top of viridis
    expect(pixel(before!, 0, 0)).to.deep.equal([68, 1, 84]); // its foot
  });
});

describe("featureMapGridPng", () => {
  it("has a tile for each channel, a constant one dark", async () => {
    const values = new Float32Array(3 * 3 * 10).fill(0.5);
    const png = PNG.sync.read(
      await featureMapGridPng({ layer: "x", height: 3, width: 3, channels: 10, values }),
    );
    expect([png.width, png.height]).to.deep.equal([8 * 102 - 6, 2 * 102 - 6]);
    expect([...png.data.subarray(0, 3)]).to.deep.equal([68, 1, 84]);
  });
});

describe("gallery", () => {
  const { evidence } = fakeStudy({ tests: ["a"], imageSize: 16, optionalParts: false, nTest: 60 });
  const set = evidence.testImages;
  it("escapes what is written under an image", async () => {
    const svg = await gallery({
      cells: [{ set, index: 0, lines: [{ text: `<b>&"` }] }, null],
      columns: 2,
    });
    expect(svg).to.include("&lt;b&gt;&amp;&quot;");
    expect(svg).to.not.include("<b>");
  });
  it("refuses an image that is not in the set", async () => {
    let message = "";
    try {
      await gallery({ cells: [{ set, index: 60, lines: [] }], columns: 1 });
    } catch (error) {
      message = String(error);
    }
    expect(message).to.include("image 60 is not in gz2/test, which has 60 images");
  });
});

describe("text in figures", () => {
  it("is measured in our font, whatever the machine has: DejaVu Sans' 'm' is 0.974 em", () => {
    // hmtx of DejaVuSans.ttf: 'm' advances 1995 of 2048 units.
    expect(textWidth("mmmmmmmmmm", 10)).to.be.closeTo((10 * 10 * 1995) / 2048, 2);
    expect(textWidth("iiii", 10)).to.be.lessThan(textWidth("mmmm", 10) / 2);
    expect(textWidth("mm", 10, "bold")).to.be.greaterThan(textWidth("mm", 10));
    expect(textWidth("", 10)).to.equal(0);
  });
  it("is cut with an ellipsis where it does not fit", () => {
    expect(fitText("short", 100, 10)).to.equal("short");
    const cut = fitText("587722984435351614", 60, 10);
    expect(cut).to.match(/^\d+…$/);
    expect(textWidth(cut, 10)).to.be.at.most(60);
    expect(fitText("anything", 0, 10)).to.equal("");
  });
  it("is escaped, control characters dropped", () => {
    expect(escapeXml("a\u0000<\u001b'>&\"")).to.equal("a&lt;&#39;&gt;&amp;&quot;");
  });
  it("survives as a data address", () => {
    const svg = `<svg xmlns="x">100 % #1 & "q" \n é</svg>`;
    const uri = svgDataUri(svg);
    expect(uri).to.not.match(/["<>#\n]/);
    expect(decodeURIComponent(uri.slice(uri.indexOf(",") + 1))).to.equal(svg);
  });
});
