import { expect } from "chai";
import { clearStatus, stepState } from "../../src/kernels/step_state.ts";

describe("stepState", () => {
  it("holds step, corrected rate and slot", () => {
    const words = stepState({ step: 0, learningRate: 0.002, beta1: 0.9, slot: 3 });
    expect([words[0], words[2], words[3]]).to.deep.equal([0, 3, 0]);
    // t = 1: .002 / (1 - .9) = .02; t = 2: .002 / (1 - .81) = .0105263...
    expect(new Float32Array(words.buffer)[1]).to.equal(Math.fround(0.002 / (1 - 0.9)));
    const second = stepState({ step: 1, learningRate: 0.002, beta1: 0.9, slot: 0 });
    expect(new Float32Array(second.buffer)[1]).to.be.closeTo(0.002 / 0.19, 1e-9);
  });

  it("keeps the learning rate itself once the correction has died out", () => {
    const words = stepState({ step: 2 ** 32 - 1, learningRate: 0.002, beta1: 0.9, slot: 0 });
    expect(new Float32Array(words.buffer)[1]).to.equal(Math.fround(0.002));
    expect(words[0]).to.equal(0xffffffff);
  });

  const good = { step: 0, learningRate: 0.1, beta1: 0.9, slot: 0 };
  const BAD: [Partial<typeof good>, string][] = [
    [{ step: -1 }, "stepState: step: expected an integer from 0 to 2^32 - 1, got -1"],
    [{ slot: 0.5 }, "stepState: slot: expected an integer from 0 to 2^32 - 1, got 0.5"],
    [{ learningRate: NaN }, "stepState: learningRate: expected a number >= 0, got NaN"],
    [{ beta1: 1 }, "stepState: beta1: expected 0 <= beta1 < 1, got 1"],
  ];
  for (const [change, message] of BAD)
    it(`refuses ${JSON.stringify(change)}`, () => {
      expect(() => stepState(good)).not.to.throw();
      expect(() => stepState({ ...good, ...change })).to.throw(message);
    });

  it("starts with a clear status, whose first bad step any step precedes", () => {
    expect([...clearStatus()]).to.deep.equal([0, 0xffffffff, 0, 0]);
  });
});
