import { expect } from "chai";
import { setTimeout } from "node:timers/promises";
import type { Device } from "../../src/gpu/device.ts";
import { Pace } from "../../src/train/pace.ts";

/** A device that works through submissions one after another, each of which takes as long as it is told. */
function slowDevice() {
  let end = 0;
  let done = Promise.resolve();
  const work = { inFlight: 0, most: 0, idleMs: 0 };
  const submit = (ms: number) => {
    work.most = Math.max(work.most, ++work.inFlight);
    const now = performance.now();
    if (end > 0) work.idleMs += Math.max(0, now - end);
    end = Math.max(end, now) + ms;
    done = setTimeout(end - now).then(() => {
      work.inFlight--;
    });
  };
  const mark = () => {
    const marked = done;
    return { reached: () => marked };
  };
  return { device: { mark } as unknown as Device, submit, work };
}

describe("Pace", () => {
  it("keeps two submissions in flight, never more, so that the GPU always has work", async () => {
    const { device, submit, work } = slowDevice();
    const pace = new Pace(device);
    for (const ms of [60, 10, 80, 10, 10, 60, 10, 40, 10, 80, 10])
      await pace.submit(() => {
        submit(ms);
      });
    expect(work.most).to.equal(2);
    expect(work.inFlight, "when the last submission has been made").to.equal(1);
    expect(work.idleMs).to.be.below(15);
  });
});
