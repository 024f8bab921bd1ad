import { expect } from "chai";
import {
  DEFAULT_AUGMENTATION,
  augmentationMatrix,
  checkAugmentOptions,
  placementMatrix,
  resizeMatrix,
  type AugmentOptions,
  type Placement,
} from "../../src/data/augment.ts";
import { Random } from "../../src/random.ts";

const SQUARE = { height: 8, width: 8 };
const WIDE = { height: 4, width: 10 };
const IDENTITY = [1, 0, 0, 0, 1, 0];

/** Where an output position is looked up. */
function apply(m: ArrayLike<number>, [x, y]: readonly [number, number]): [number, number] {
  return [m[0]! * x + m[1]! * y + m[2]!, m[3]! * x + m[4]! * y + m[5]!];
}

function expectPoint(got: readonly [number, number], want: readonly [number, number]): void {
  expect(got[0]).to.be.closeTo(want[0], 1e-6);
  expect(got[1]).to.be.closeTo(want[1], 1e-6);
}

describe("resizeMatrix", () => {
  it("is exactly the identity when sizes agree", () => {
    for (const size of [SQUARE, WIDE, { height: 69, width: 424 }])
      expect([...resizeMatrix(size, size)]).to.deep.equal(IDENTITY);
  });

  it("maps corners to corners", () => {
    const matrix = resizeMatrix(WIDE, SQUARE);
    expectPoint(apply(matrix, [0, 0]), [0, 0]);
    expectPoint(apply(matrix, [8, 8]), [10, 4]);
    expectPoint(apply(matrix, [8, 0]), [10, 0]);
  });

  it("maps corners to those of the central crop", () => {
    const matrix = resizeMatrix(WIDE, SQUARE, 0.5);
    expectPoint(apply(matrix, [0, 0]), [2.5, 1]);
    expectPoint(apply(matrix, [8, 8]), [7.5, 3]);
  });

  it("refuses a crop of nothing and one beyond the image", () => {
    for (const crop of [0, 1.5, NaN])
      expect(() => resizeMatrix(SQUARE, SQUARE, crop)).to.throw(
        `resize: crop: expected 0 < crop <= 1, got ${crop}`,
      );
  });
});

describe("placementMatrix", () => {
  it("turns the picture counterclockwise: what was right is on top", () => {
    const matrix = placementMatrix({ rotation: 90 }, SQUARE, SQUARE);
    expectPoint(apply(matrix, [4, 0]), [8, 4]);
    expectPoint(apply(matrix, [0, 0]), [8, 0]);
    expectPoint(apply(matrix, [8, 0]), [8, 8]);
    expectPoint(apply(matrix, [4, 4]), [4, 4]);
  });

  it("is the identity after a full turn, two half turns or two equal flips", () => {
    const twice = (placement: Placement, point: [number, number]) => {
      const matrix = placementMatrix(placement, WIDE, WIDE);
      return apply(matrix, apply(matrix, point));
    };
    for (const point of [
      [0, 0],
      [10, 4],
      [1.5, 3.25],
    ] as [number, number][]) {
      expectPoint(apply(placementMatrix({ rotation: 360 }, WIDE, WIDE), point), point);
      expectPoint(twice({ rotation: 180 }, point), point);
      expectPoint(twice({ flipHorizontal: true }, point), point);
      expectPoint(twice({ flipVertical: true }, point), point);
    }
  });

  it("mirrors about the centre", () => {
    const horizontal = placementMatrix({ flipHorizontal: true }, WIDE, WIDE);
    expectPoint(apply(horizontal, [1, 3]), [9, 3]);
    const vertical = placementMatrix({ flipVertical: true }, WIDE, WIDE);
    expectPoint(apply(vertical, [1, 3]), [1, 1]);
  });

  it("magnifies about the centre and shifts by fractions of the input", () => {
    const magnified = placementMatrix({ scale: 2 }, WIDE, WIDE);
    expectPoint(apply(magnified, [0, 0]), [2.5, 1]);
    expectPoint(apply(magnified, [5, 2]), [5, 2]);
    const shifted = placementMatrix({ shift: [0.1, -0.25] }, WIDE, SQUARE);
    expectPoint(apply(shifted, [4, 4]), [6, 1]);
  });

  it("rotates without shear: an oblong input is turned in its own pixels", () => {
    const matrix = placementMatrix({ rotation: 37 }, WIDE, WIDE);
    const [x0, y0] = apply(matrix, [5, 2]);
    for (const [dx, dy] of [
      [3, 0],
      [0, 3],
    ] as const) {
      const [x1, y1] = apply(matrix, [5 + dx, 2 + dy]);
      expect(Math.hypot(x1 - x0, y1 - y0)).to.be.closeTo(3, 1e-6);
    }
  });
});

describe("augmentationMatrix", () => {
  const NOTHING: AugmentOptions = {
    ...{ rotate: 0, flipHorizontal: false, flipVertical: false },
    ...{ scale: [1, 1], shift: 0, crop: 1 },
  };
  const draw = (options: AugmentOptions, seed: number) =>
    augmentationMatrix(new Random(seed, "augment"), options, SQUARE, SQUARE);

  it("is the identity with everything switched off", () => {
    for (let seed = 0; seed < 8; seed++) expect([...draw(NOTHING, seed)]).to.deep.equal(IDENTITY);
  });

  it("is the same for the same stream, another for another", () => {
    expect(draw({}, 1)).to.deep.equal(draw({}, 1));
    expect(draw({}, 1)).not.to.deep.equal(draw({}, 2));
  });

  it("draws each option over its range", () => {
    const angles: number[] = [];
    const scales: number[] = [];
    const shifts: number[] = [];
    let mirrored = 0;
    const count = 400;
    for (let seed = 0; seed < count; seed++) {
      const [a = 0, , , c = 0] = draw({ ...NOTHING, rotate: 30 }, seed);
      angles.push((Math.atan2(c, a) * 180) / Math.PI);
      scales.push(1 / draw({ ...NOTHING, scale: [0.5, 2] }, seed)[0]!);
      shifts.push(draw({ ...NOTHING, shift: 0.25 }, seed)[2]! / SQUARE.width);
      mirrored += Number(draw({ ...NOTHING, flipVertical: true }, seed)[4]! < 0);
    }
    const range = (values: number[]) => [Math.min(...values), Math.max(...values)] as const;
    for (const [values, low, high] of [
      [angles, -30, 30],
      [scales, 0.5, 2],
      [shifts, -0.25, 0.25],
    ] as const) {
      const slack = (high - low) * 0.02;
      expect(range(values)[0]).to.be.within(low - 1e-4, low + slack);
      expect(range(values)[1]).to.be.within(high - slack, high + 1e-4);
    }
    // Four standard deviations of a fair coin.
    expect(mirrored / count).to.be.closeTo(0.5, 2 / Math.sqrt(count));
  });

  it("changes one draw only when one option changes", () => {
    // Switching the flips off leaves rotation, scale and shift as they were, up to the mirror.
    const both = draw({}, 3);
    const none = draw({ flipHorizontal: false, flipVertical: false }, 3);
    for (const i of [0, 1, 3, 4]) expect(Math.abs(both[i]!)).to.equal(Math.abs(none[i]!));
  });
});

describe("checkAugmentOptions", () => {
  it("fills in the defaults", () => {
    expect(checkAugmentOptions({})).to.deep.equal(DEFAULT_AUGMENTATION);
    expect(checkAugmentOptions({ rotate: 5 })).to.deep.equal({
      ...DEFAULT_AUGMENTATION,
      rotate: 5,
    });
  });

  const BAD: [Record<string, unknown>, string][] = [
    [{ rotate: 200 }, "augment: rotate: expected degrees from 0 to 180, got 200"],
    [{ rotate: "any" }, 'augment: rotate: expected degrees from 0 to 180, got "any"'],
    [{ flipHorizontal: 1 }, "augment: flipHorizontal: expected true or false, got 1"],
    [{ flipVertical: "no" }, 'augment: flipVertical: expected true or false, got "no"'],
    [{ scale: [0, 1] }, "augment: scale: expected [smallest, largest] above 0, got [0,1]"],
    [{ scale: [2, 1] }, "augment: scale: expected [smallest, largest] above 0, got [2,1]"],
    [{ scale: [1, 2, 3] }, "augment: scale: expected [smallest, largest] above 0, got [1,2,3]"],
    [{ scale: 1 }, "augment: scale: expected [smallest, largest] above 0, got 1"],
    [{ shift: 1 }, "augment: shift: expected a fraction from 0 to below 1, got 1"],
    [{ crop: 0 }, "augment: crop: expected a fraction above 0 and up to 1, got 0"],
    [
      { zoom: 1 },
      'augment: unknown option "zoom"; expected one of rotate, flipHorizontal, flipVertical, scale, shift, crop',
    ],
  ];
  for (const [options, message] of BAD)
    it(`refuses ${JSON.stringify(options)}`, () => {
      expect(() => checkAugmentOptions(options)).to.throw(message);
    });
});
