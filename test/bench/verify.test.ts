import { expect } from "chai";
import type { Conv2dWork, MaxPool2dWork, PassName, Precision } from "../../bench/engine.ts";
import { operandValues, operandsOf, verifierOf, type SampledWork } from "../../bench/verify.ts";
import { conv2dOf, PASSES_OF, pool2dOf } from "../../bench/work.ts";
import { roundToFloat16 } from "../../src/float16.ts";
import * as conv from "../../src/reference/conv2d.ts";
import * as dense from "../../src/reference/dense.ts";
import * as pool from "../../src/reference/max_pool2d.ts";
import type { Reference } from "../../src/reference/reference.ts";

const CONV: Conv2dWork = {
  ...{ op: "conv2d", n: 2, inH: 7, inW: 9, inC: 3, kH: 3, kW: 2, outC: 5 },
  stride: [2, 1],
  dilation: [1, 2],
  padding: [
    [1, 0],
    [2, 1],
  ],
};
const POOL: MaxPool2dWork = {
  ...{ op: "max_pool2d", n: 2, inH: 7, inW: 6, c: 3, kH: 3, kW: 3, stride: [2, 2] },
  padding: [
    [1, 1],
    [1, 1],
  ],
};
const DENSE = { op: "dense", n: 3, inC: 11, outC: 4 } as const;

/** The whole answer, by the reference that the kernels are tested against. */
function answerOf(work: SampledWork, pass: PassName, precision?: Precision): Reference {
  const [a, b] = operandsOf(work, pass).inputs.map((name) =>
    Float64Array.from(operandValues(work, name, precision)),
  ) as [Float64Array, Float64Array];
  if (work.op === "conv2d") {
    if (pass === "forward") return conv.conv2d(a, b, undefined, conv2dOf(work));
    if (pass === "inputGrad") return conv.conv2dInputGrad(a, b, conv2dOf(work));
    return conv.conv2dWeightGrad(a, b, conv2dOf(work));
  }
  if (work.op === "dense") {
    if (pass === "forward") return dense.dense(a, b, undefined, work);
    if (pass === "inputGrad") return dense.denseInputGrad(a, b, work);
    return dense.denseWeightGrad(a, b, work);
  }
  const g = pool2dOf(work as MaxPool2dWork);
  return pass === "forward" ? pool.maxPool2d(a, g) : pool.maxPool2dGrad(b, a, g);
}

describe("bench/verify", () => {
  for (const work of [CONV, DENSE, POOL])
    for (const pass of PASSES_OF[work.op]) {
      it(`${work.op} ${pass}: single elements are those of the reference`, () => {
        const { values } = answerOf(work, pass);
        const { at, check } = verifierOf(work, pass);
        expect(at)
          .to.include(0)
          .and.to.include(values.length - 1);
        expect(check(at.map((index) => Math.fround(values[index]!)))).to.equal(undefined);
      });

      it(`${work.op} ${pass}: under mixed precision allows what float16 rounds, in what is stored so`, () => {
        const { values } = answerOf(work, pass, "mixed");
        const { at, check } = verifierOf(work, pass, 1, "mixed");
        const exact = at.map((index) => values[index]!);
        expect(check(exact.map(Math.fround))).to.equal(undefined);
        const rounded = check([...roundToFloat16(exact)]);
        if (pass === "weightGrad") expect(rounded).to.match(/^wrong at/);
        else expect(rounded).to.equal(undefined);
        expect(check(exact.map((value) => value + 0.002 * Math.abs(value) + 1e-6))).to.match(
          /^wrong at/,
        );
      });

      it(`${work.op} ${pass}: finds an element that is off by a thousandth, and one that is NaN`, () => {
        const { values } = answerOf(work, pass);
        const { at, check } = verifierOf(work, pass);
        for (const wrong of [(value: number) => value + 1e-3, () => NaN])
          for (const position of at.keys()) {
            const got = at.map((index, i) =>
              i === position ? wrong(values[index]!) : values[index]!,
            );
            expect(check(got)).to.match(/^wrong at \[\d+(,\d+)*\]: expected .* got /);
          }
      });
    }
});
