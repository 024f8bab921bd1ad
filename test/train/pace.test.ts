import { expect } from "chai";
import type { Device } from "../../src/gpu/device.ts";
import { Pace } from "../../src/train/pace.ts";

/** What the host takes for a submission, less than the shortest one takes the device. */
const HOST_MS = 5;

/**
 * A device that works through submissions one after another, each of which takes as long as it is told, by a clock of
 * its own: a submission takes the host `HOST_MS`, and waiting for a mark takes until what was submitted before it is done.
 */
function slowDevice() {
  let now = 0;
  const ends: number[] = [];
  const work = { most: 0, idleMs: 0, inFlight: () => ends.filter((end) => end > now).length };
  const submit = (ms: number) => {
    now += HOST_MS;
    const free = ends.at(-1) ?? now;
    work.idleMs += Math.max(0, now - free);
    ends.push(Math.max(free, now) + ms);
    work.most = Math.max(work.most, work.inFlight());
  };
  const mark = () => {
    const end = ends.at(-1) ?? now;
    return {
      reached: () => {
        now = Math.max(now, end);
        return Promise.resolve();
      },
    };
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
    expect(work.inFlight(), "when the last submission has been made").to.equal(1);
    expect(work.idleMs).to.equal(0);
  });
});
