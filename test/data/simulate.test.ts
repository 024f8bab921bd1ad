import { expect } from "chai";
import { countPerClass, subset, type ImageSet } from "../../src/data/dataset.ts";
import { PAPER_COUNTS, simulatePhysical, simulateSurvey } from "../../src/data/simulate.ts";
import { makeTexture } from "../../src/data/simulate_disc.ts";
import { drawGalaxy } from "../../src/data/simulate_galaxy.ts";
import { gamma, renderGalaxy, sersicProfile } from "../../src/data/simulate_light.ts";
import { SHAPE_CLASSES, simulateShapes } from "../../src/data/simulate_shapes.ts";
import { Random } from "../../src/random.ts";

const SIZE = 48;
const ELLIPTICAL = 0;
const LENTICULAR = 1;
const SPIRAL = 2;

/** Grey values of image i, 0 to 1. */
function grey(set: ImageSet, i: number): Float64Array {
  const pixels = set.height * set.width;
  return Float64Array.from({ length: pixels }, (_, p) => {
    const at = (i * pixels + p) * 3;
    return (set.images[at]! + set.images[at + 1]! + set.images[at + 2]!) / 765;
  });
}

/** Calls visit(x, y, pixel) with coordinates from the middle, as fractions of the side. */
function eachPixel(size: number, visit: (x: number, y: number, pixel: number) => void): void {
  for (let pixel = 0; pixel < size * size; pixel++)
    visit(
      ((pixel % size) + 0.5) / size - 0.5,
      (Math.floor(pixel / size) + 0.5) / size - 0.5,
      pixel,
    );
}

/** Light-weighted red over blue of the middle. */
function redOverBlue(set: ImageSet, i: number): number {
  let red = 0;
  let blue = 0;
  eachPixel(set.width, (x, y, pixel) => {
    if (Math.hypot(x, y) > 0.25) return;
    red += set.images[(i * set.width ** 2 + pixel) * 3]!;
    blue += set.images[(i * set.width ** 2 + pixel) * 3 + 2]!;
  });
  return red / blue;
}

/** Half of the middle's light lies within this radius, a fraction of the side. */
function halfLightRadius(values: Float64Array, size: number, share = 0.5): number {
  const byRadius = new Float64Array(100);
  eachPixel(size, (x, y, pixel) => {
    const k = Math.floor(Math.hypot(x, y) * 200);
    if (k < 100) byRadius[k]! += Math.max(values[pixel]! - 0.03, 0);
  });
  const total = byRadius.reduce((sum, value) => sum + value, 0);
  let k = 0;
  for (let sum = byRadius[0]!; sum < share * total; sum += byRadius[++k]!);
  return k / 200;
}

/** How much the light varies along ellipses of the image's own shape: rms over mean. Arms make it large. */
function unevenness(values: Float64Array, size: number): number {
  let [total, xx, yy, xy] = [0, 0, 0, 0];
  eachPixel(size, (x, y, pixel) => {
    if (Math.hypot(x, y) > 0.4) return;
    const weight = Math.max(values[pixel]! - 0.05, 0);
    total += weight;
    xx += weight * x * x;
    yy += weight * y * y;
    xy += weight * x * y;
  });
  const determinant = xx * yy - xy * xy;
  const rings = Array.from({ length: 12 }, () => ({ n: 0, sum: 0, squares: 0 }));
  eachPixel(size, (x, y, pixel) => {
    const r2 = (total * (yy * x * x - 2 * xy * x * y + xx * y * y)) / determinant;
    const ring = rings[Math.floor(Math.sqrt(r2) * 6)];
    if (!ring) return;
    ring.n++;
    ring.sum += values[pixel]!;
    ring.squares += values[pixel]! ** 2;
  });
  const outer = rings.slice(4);
  const variance = outer.reduce((sum, r) => sum + r.squares - r.sum ** 2 / Math.max(r.n, 1), 0);
  return (
    Math.sqrt(variance * outer.reduce((sum, r) => sum + r.n, 0)) /
    outer.reduce((sum, r) => sum + r.sum, 0)
  );
}

function median(values: number[]): number {
  return values.sort((a, b) => a - b)[Math.floor(values.length / 2)]!;
}

/** Median of a measure over a class. */
function typical(set: ImageSet, label: number, measure: (i: number) => number): number {
  const values = [];
  for (let i = 0; i < set.count; i++) if (set.labels[i] === label) values.push(measure(i));
  return median(values);
}

describe("simulated surveys", () => {
  const efigi = simulateSurvey({ survey: "efigi", count: 400, size: SIZE, seed: 7 });
  const na10 = simulateSurvey({ survey: "na10", count: 400, size: SIZE, seed: 7 });

  it("are image sets of RGB galaxies with the paper's classes", () => {
    expect(efigi.images.length).to.equal(400 * SIZE * SIZE * 3);
    expect([efigi.height, efigi.width, efigi.channels, efigi.crop]).to.deep.equal([
      SIZE,
      SIZE,
      3,
      1,
    ]);
    expect(efigi.classes).to.deep.equal(["Elliptical", "Lenticular", "Spiral"]);
    expect(efigi.ids[123]).to.equal("sim-efigi-000123");
    expect(na10.ids[0]).to.equal("sim-na10-000000");
    expect(PAPER_COUNTS).to.deep.equal({ na10: 10956, efigi: 4458 });
  });

  it("labels follow the paper's T-Type rule", () => {
    for (const set of [efigi, na10])
      for (let i = 0; i < set.count; i++) {
        const t = set.tTypes[i]!;
        expect(t).to.be.within(-6, 9);
        expect(set.labels[i]).to.equal(t <= -4 ? ELLIPTICAL : t <= 0 ? LENTICULAR : SPIRAL);
      }
  });

  it("have EFIGI's class fractions, and in NA10 fewer spirals", () => {
    // EFIGI 1.6.2: 289, 733 and 3119 of 4141.
    const expected = [289, 733, 3119].map((n) => (n / 4141) * 400);
    for (const [k, n] of countPerClass(efigi).entries()) expect(n).to.be.closeTo(expected[k]!, 2);
    const [e, l, s] = countPerClass(na10) as [number, number, number];
    expect(l).to.be.above(e);
    expect(s).to.be.within(200, 240);
  });

  it("galaxy i is the same however many are drawn, and differs by seed", () => {
    const few = simulateSurvey({ survey: "efigi", count: 12, size: SIZE, seed: 7 });
    expect(few.tTypes).to.deep.equal(efigi.tTypes.slice(0, 12));
    expect(Buffer.compare(few.images, efigi.images.subarray(0, few.images.length))).to.equal(0);
    const other = simulateSurvey({ survey: "efigi", count: 12, size: SIZE, seed: 8 });
    expect(Buffer.compare(few.images, other.images)).to.not.equal(0);
  });

  it("show the same galaxy at any size", () => {
    const half = simulateSurvey({ survey: "efigi", count: 40, size: SIZE / 2, seed: 7 });
    expect(half.tTypes).to.deep.equal(efigi.tTypes.slice(0, 40));
    for (let i = 0; i < 40; i++) {
      const mean = (set: ImageSet) => grey(set, i).reduce((a, b) => a + b, 0) / set.width ** 2;
      expect(mean(half)).to.be.closeTo(mean(efigi), 0.02);
    }
  });

  for (const set of [efigi, na10])
    it(`${set.name}: ellipticals are redder and more concentrated than spirals, lenticulars between in colour`, () => {
      const colour = [ELLIPTICAL, LENTICULAR, SPIRAL].map((label) =>
        typical(set, label, (i) => redOverBlue(set, i)),
      );
      expect(colour[ELLIPTICAL]).to.be.above(colour[LENTICULAR]! * 1.01);
      expect(colour[LENTICULAR]).to.be.above(colour[SPIRAL]! * 1.1);
      const concentration = (i: number) => {
        const values = grey(set, i);
        return halfLightRadius(values, SIZE, 0.8) / halfLightRadius(values, SIZE, 0.2);
      };
      expect(typical(set, ELLIPTICAL, concentration)).to.be.above(
        1.03 * typical(set, SPIRAL, concentration),
      );
    });

  it("spirals are uneven along their isophotes, ellipticals are not", () => {
    const uneven = [ELLIPTICAL, LENTICULAR, SPIRAL].map((label) =>
      typical(efigi, label, (i) => unevenness(grey(efigi, i), SIZE)),
    );
    expect(uneven[SPIRAL]).to.be.above(1.5 * uneven[ELLIPTICAL]!);
    expect(uneven[LENTICULAR]).to.be.within(uneven[ELLIPTICAL]! * 0.9, uneven[SPIRAL]!);
  });

  it("NA10's galaxies are smaller in the frame, redder and noisier than EFIGI's", () => {
    const cornerNoise = (set: ImageSet) => (i: number) => {
      const values = grey(set, i);
      let squares = 0;
      for (let row = 0; row < 6; row++)
        for (let col = 0; col < 6; col++)
          squares += (values[row * SIZE + col]! - values[row * SIZE + col + 1]!) ** 2;
      return Math.sqrt(squares / 36);
    };
    for (const label of [ELLIPTICAL, LENTICULAR, SPIRAL]) {
      const measure = (f: (set: ImageSet) => (i: number) => number) =>
        [na10, efigi].map((set) => typical(set, label, f(set))) as [number, number];
      const [naSize, efigiSize] = measure((set) => (i) => halfLightRadius(grey(set, i), SIZE));
      expect(naSize).to.be.below(0.75 * efigiSize);
      const [naColour, efigiColour] = measure((set) => (i) => redOverBlue(set, i));
      expect(naColour).to.be.above(1.1 * efigiColour);
      const [naNoise, efigiNoise] = measure(cornerNoise);
      expect(naNoise).to.be.above(1.3 * efigiNoise);
    }
  });

  it("report progress, one call a galaxy", () => {
    const calls: [number, number][] = [];
    simulateSurvey({
      survey: "na10",
      count: 3,
      size: 16,
      seed: 1,
      onProgress: (done, total) => calls.push([done, total]),
    });
    expect(calls).to.deep.equal([
      [1, 3],
      [2, 3],
      [3, 3],
    ]);
  });

  it("refuse a count or size that is no number of images or pixels", () => {
    const run = (count: number, size: number) => () =>
      simulateSurvey({ survey: "na10", count, size, seed: 1 });
    expect(run(1.5, 32)).to.throw("count: expected an integer of 0 or more, got 1.5");
    expect(run(1, 4)).to.throw("size: expected an integer of 8 or more, got 4");
    expect(run(0, 32)().count).to.equal(0);
  });
});

describe("a simulated galaxy", () => {
  const texture = makeTexture(new Random(1, "texture"));
  const scale = { medianRadius: 0.04, radiusScatter: 0, exposure: 1, reddening: 0 };

  it("gamma function", () => {
    expect(gamma(1)).to.be.closeTo(1, 1e-8);
    expect(gamma(0.5)).to.be.closeTo(Math.sqrt(Math.PI), 1e-8);
    expect(gamma(10) / 362880).to.be.closeTo(1, 1e-9);
  });

  for (const sersicIndex of [1, 2.5, 4])
    it(`Sersic n=${sersicIndex}: half the flux within the half-light ellipse, all of it in the end`, () => {
      const profile = sersicProfile({ flux: 3, radius: 2, sersicIndex }, 0.6);
      // Along the minor axis, with ellipses of area pi r^2 / 0.6; r = t^4 resolves the cusp.
      const within = (r: number) => {
        let sum = 0;
        const last = r ** 0.25;
        const dt = last / 20000;
        for (let t = dt / 2; t < last; t += dt)
          sum += profile(0, t ** 4) * ((2 * Math.PI * t ** 4) / 0.6) * 4 * t ** 3 * dt;
        return sum;
      };
      expect(within(2 * 0.6)).to.be.closeTo(1.5, 0.002);
      expect(within(1e4)).to.be.closeTo(3, 0.003);
    });

  it("keeps its light at any inclination when there is no dust", () => {
    const drawn = drawGalaxy(new Random(3, "galaxy"), 3, scale);
    const galaxy = { ...drawn, knots: [], disc: { ...drawn.disc, dust: 0 } };
    for (const inclination of [0, 0.8, 1.1, 1.3, 1.5]) {
      const bands = renderGalaxy({ ...galaxy, inclination }, 96, texture);
      const r = bands.subarray(96 * 96, 2 * 96 * 96).reduce((a, b) => a + b, 0) / 96 ** 2;
      const flux = galaxy.bulge.flux + galaxy.disc.flux;
      expect(r / flux, `inclination ${inclination}`).to.be.closeTo(1, 0.04);
    }
  });

  it("is dimmed and reddened by dust, most of all edge-on", () => {
    const drawn = drawGalaxy(new Random(4, "galaxy"), 2, scale);
    const lightOf = (dust: number, inclination: number, band: number) =>
      renderGalaxy({ ...drawn, inclination, disc: { ...drawn.disc, dust } }, 64, texture)
        .subarray(band * 4096, (band + 1) * 4096)
        .reduce((a, b) => a + b, 0);
    const left = (inclination: number, band: number) =>
      lightOf(0.7, inclination, band) / lightOf(0, inclination, band);
    expect(left(1.45, 1)).to.be.below(left(0.2, 1));
    expect(left(0.2, 1)).to.be.below(1);
    expect(left(1.45, 0)).to.be.below(left(1.45, 2) - 0.03);
  });
});

describe("simulated physical properties", () => {
  const set = simulateSurvey({ survey: "efigi", count: 400, size: 8, seed: 7 });
  const rows = simulatePhysical(set, set.tTypes, 7);

  it("early types are heavier, hotter and form fewer stars", () => {
    const of = (label: number, key: "logMass" | "sigma" | "logSfr") =>
      typical(set, label, (i) => rows[i]![key]);
    expect(of(ELLIPTICAL, "logMass")).to.be.above(of(SPIRAL, "logMass") + 0.3);
    expect(of(ELLIPTICAL, "sigma")).to.be.above(1.5 * of(SPIRAL, "sigma"));
    expect(of(ELLIPTICAL, "logSfr")).to.be.below(of(SPIRAL, "logSfr") - 0.5);
  });

  it("are plausible numbers, and a subset keeps them", () => {
    for (const row of rows) {
      expect(row.redshift).to.be.within(0.001, 0.3);
      expect(row.logMass).to.be.within(7.5, 12.5);
      expect(row.sigma).to.be.within(10, 600);
    }
    const part = simulatePhysical(subset(set, [5, 2]), [set.tTypes[5]!, set.tTypes[2]!], 7);
    expect(part).to.deep.equal([rows[5], rows[2]]);
  });
});

describe("simulated shapes", () => {
  const shapes = simulateShapes({ count: 200, seed: 3 });
  /** Median value of a class at the middle pixel. */
  const middle = (name: string) =>
    typical(shapes, SHAPE_CLASSES.indexOf(name), (i) => shapes.images[i * 784 + 14 * 28 + 14]!);

  it("are ten classes of 28x28 grey images, equally many", () => {
    expect([shapes.height, shapes.width, shapes.channels]).to.deep.equal([28, 28, 1]);
    expect(countPerClass(shapes)).to.deep.equal(Array<number>(10).fill(20));
    expect(new Set(shapes.classes).size).to.equal(10);
  });

  it("are hollow or full as their names say", () => {
    for (const name of ["Disc", "Square", "Cross", "Star", "Triangle"])
      expect(middle(name), name).to.be.above(90);
    for (const name of ["Ring", "Frame"]) expect(middle(name), name).to.be.below(60);
  });

  it("shape i is the same however many are drawn, at the size asked for", () => {
    const few = simulateShapes({ count: 7, seed: 3 });
    expect(Buffer.compare(few.images, shapes.images.subarray(0, few.images.length))).to.equal(0);
    expect(simulateShapes({ count: 2, seed: 3, size: 40 }).images.length).to.equal(2 * 1600);
  });
});
