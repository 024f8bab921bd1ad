import { expect } from "chai";
import { setTimeout } from "node:timers/promises";
import { waitWithPauses } from "../../src/gpu/wait.ts";

describe("waitWithPauses", () => {
  it("gives what the promise gives, also when it is kept already", async () => {
    expect(await waitWithPauses(setTimeout(5, "late"))).to.equal("late");
    expect(await waitWithPauses(Promise.resolve("early"))).to.equal("early");
  });

  it("fails as the promise does", async () => {
    const failure = new Error("lost");
    const rejected = setTimeout(5).then(() => Promise.reject(failure));
    expect(await waitWithPauses(rejected).catch((error: unknown) => error)).to.equal(failure);
  });

  it("stops what polls at each turn of the event loop, but not for long", async () => {
    let turns = 0;
    let longestMs = 0;
    let latest = performance.now();
    let polling: NodeJS.Immediate;
    const poll = () => {
      const now = performance.now();
      longestMs = Math.max(longestMs, now - latest);
      latest = now;
      turns++;
      polling = setImmediate(poll);
    };
    poll();
    await waitWithPauses(setTimeout(300));
    clearImmediate(polling!);
    // Tens of thousands without pauses. 5 % longer each time to 2 ms, then 150 of them, and as many on a busy machine.
    expect(turns).to.be.within(100, 1500);
    expect(longestMs).to.be.below(100);
  });
});
