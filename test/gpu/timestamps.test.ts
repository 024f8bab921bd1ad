import { expect } from "chai";
import { durationsMs, type Interval } from "../../src/gpu/timestamps.ts";

const MS = 1_000_000n;
/** Two times for each pass, in milliseconds. */
const of = (...times: readonly (readonly [number, number])[]) => {
  const intervals = times.map((_, i): Interval => [2 * i, 2 * i + 1]);
  return durationsMs(
    BigUint64Array.from(times.flat(), (ms) => BigInt(ms) * MS),
    intervals,
  );
};

describe("durationsMs", () => {
  it("takes each pass from its beginning to its end", () => {
    expect(of([10, 13], [13, 14], [20, 25])).to.deep.equal([3, 1, 5]);
  });

  it("counts no time twice where the GPU writes when it reads the commands, all passes at once", () => {
    expect(of([10, 13], [10, 14], [11, 19])).to.deep.equal([3, 1, 5]);
  });

  it("is 0 for the pass in which the clock wraps, and goes on from there", () => {
    expect(of([10, 13], [13, 1], [1, 3])).to.deep.equal([3, 0, 2]);
  });
});
