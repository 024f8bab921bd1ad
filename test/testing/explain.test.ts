import { expect } from "chai";
import { explain, type WrongGradient } from "../../src/testing/explain.ts";
import { awayFromZero, toFloat64 } from "../../src/testing/inputs.ts";
import { indexOf } from "../../src/testing/close.ts";
import { elementCount, type Shape } from "../../src/tensor.ts";

const ACTIVATION = ["n", "h", "w", "c"];
const FILTER = ["kH", "kW", "inC", "outC"];

/** What `explain` says of a gradient whose element at each index is made by `make` from the right ones. */
const said = (
  shape: Shape,
  make: (index: number[], at: (...index: number[]) => number) => number,
  more: Partial<WrongGradient> = {},
): string => {
  const want = toFloat64(awayFromZero(shape, 1));
  const at = (...index: number[]) =>
    index.every((i, axis) => i >= 0 && i < shape[axis]!)
      ? want[index.reduce((flat, i, axis) => flat * shape[axis]! + i, 0)]!
      : 0.7;
  const got = want.map((_, i) => Math.fround(make(indexOf(i, shape), at)));
  const failures = [...want.keys()].filter((i) => Math.abs(got[i]! - want[i]!) > 1e-5);
  const indices = Uint32Array.from({ length: elementCount(shape) }, (_, i) => i);
  return explain({
    ...{ name: "dx", shape, indices, got, want, failures, axes: ACTIVATION, rows: shape[0]! },
    ...more,
  });
};

describe("explain a wrong gradient", () => {
  const x: Shape = [3, 5, 6, 2];
  const CASES: [string, string, () => string][] = [
    [
      "a sign",
      "dx is -1 times what it should be: a sign is wrong",
      () => said(x, (i, at) => -at(...i)),
    ],
    [
      "a factor 2",
      "dx is 2 times what it should be: something is counted twice",
      () => said(x, (i, at) => 2 * at(...i)),
    ],
    [
      "a mean over the batch",
      "dx is 0.333 times what it should be: it is divided by the batch of 3",
      () => said(x, (i, at) => at(...i) / 3),
    ],
    [
      "any factor",
      "dx is 1.7 times what it should be: a constant factor",
      () => said(x, (i, at) => 1.7 * at(...i)),
    ],
    ["nothing computed", "dx is zero everywhere", () => said(x, () => 0)],
    [
      "dy passed on",
      "dx is dy itself",
      () =>
        said(x, (i) => Math.fround(Math.sin(elementOf(i, x))), {
          dy: Float32Array.from({ length: elementCount(x) }, (_, i) => Math.sin(i)),
        }),
    ],
    [
      "axes of a matrix swapped",
      "dx is transposed: axes 0 and 1 of [4,4]",
      () => said([4, 4], ([a = 0, b = 0], at) => at(b, a), { axes: ["0", "1"] }),
    ],
    [
      "axes of a filter swapped in memory",
      "dx is transposed: axes inC and outC of [3,3,2,5]",
      () => {
        const shape = [3, 3, 2, 5];
        return said(
          shape,
          (i, at) => {
            const [k = 0, l = 0, a = 0, b = 0] = indexOf(elementOf(i, shape), [3, 3, 5, 2]);
            return at(k, l, b, a);
          },
          { axes: FILTER },
        );
      },
    ],
    [
      "a filter turned round",
      "dx is reversed along kH and kW: a convolution where a correlation is meant",
      () =>
        said([3, 3, 2, 2], ([a = 0, b = 0, c = 0, d = 0], at) => at(2 - a, 2 - b, c, d), {
          axes: FILTER,
        }),
    ],
    [
      "columns off by one",
      "dx is shifted by one along w",
      () => said(x, ([n = 0, h = 0, w = 0, c = 0], at) => at(n, h, w - 1, c)),
    ],
    [
      "a border",
      "dx differs only at the border",
      () => said(x, (i, at) => at(...i) + (i[1] === 0 || i[2] === 5 ? 1 : 0)),
    ],
    [
      "one side of the border",
      "dx differs only at the first place along h, at the border",
      () => said(x, (i, at) => at(...i) + (i[1] === 0 ? 1 : 0)),
    ],
    [
      "a dropped tail",
      "dx differs only in the last 3 of 180 elements",
      () => said(x, (i, at) => (elementOf(i, x) >= 177 ? 9 : at(...i))),
    ],
    [
      "later images",
      "dx is right for the first image only",
      () => said(x, (i, at) => (i[0] === 0 ? 1 : 0.3 * i[3]!) * at(...i) + i[0]! * i[2]!),
    ],
    [
      "one channel",
      "dx differs only where c is 1 of 1",
      () => said(x, (i, at) => at(...i) * (i[3] === 1 ? 1.3 + i[1]! : 1)),
    ],
    [
      "a term left out",
      "of 180 elements differ, yet it points much the same way",
      () => said(x, (i, at) => at(...i) + 0.2 * Math.sin(7 * elementOf(i, x))),
    ],
    [
      "noise",
      "without a pattern that is known",
      () => said(x, (i) => Math.sin(7 * elementOf(i, x))),
    ],
  ];
  for (const [what, message, make] of CASES)
    it(what, () => {
      expect(make()).to.contain(message);
    });

  it("an image that a sum over the batch leaves out", () => {
    const want = Float64Array.of(5, 7, -2);
    const [firstRow, lastRow] = [Float64Array.of(1, 2, 3), Float64Array.of(2, 4, -1)];
    const of = (got: Float64Array) =>
      explain({
        ...{ name: "dw", shape: [3], indices: Uint32Array.of(0, 1, 2), got, want },
        ...{ failures: [0, 1, 2], axes: ["c"], rows: 4, firstRow, lastRow },
      });
    expect(of(firstRow)).to.equal("dw counts only the first of the 4 images of the batch");
    expect(of(Float64Array.of(3, 3, -1))).to.contain("dw leaves out the last of the 4 images");
    expect(of(Float64Array.of(4, 5, -5))).to.contain("dw leaves out the first of the 4 images");
  });
});

/** The place in memory of an index. */
function elementOf(index: readonly number[], shape: Shape): number {
  return index.reduce((flat, i, axis) => flat * shape[axis]! + i, 0);
}
