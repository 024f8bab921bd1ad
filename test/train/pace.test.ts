import { expect } from "chai";
import type { Device } from "../../src/gpu/device.ts";
import { Pace } from "../../src/train/pace.ts";

/** A device that works through submissions one after another, each of which takes as long as it is told. */
function slowDevice(software: boolean) {
  let end = 0;
  let done = Promise.resolve();
  const work = { inFlight: 0, most: 0, idleMs: 0 };
  const submit = (ms: number) => {
    work.most = Math.max(work.most, ++work.inFlight);
    const now = performance.now();
    if (end > 0) work.idleMs += Math.max(0, now - end);
    end = Math.max(end, now) + ms;
    done = new Promise((resolve) => {
      setTimeout(() => {
        work.inFlight--;
        resolve();
      }, end - performance.now());
    });
  };
  const device = {
    submittedWorkDone: () => done,
    sleep: (ms: number) => new Promise((resolve) => setTimeout(resolve, ms)),
    finish: () => done,
    summary: { software },
  } as unknown as Device;
  return { device, submit, work };
}

describe("Pace", () => {
  /** Milliseconds until all is done. */
  const timeOf = async (durations: readonly number[], software = true) => {
    const { device, submit, work } = slowDevice(software);
    const pace = new Pace(device);
    const started = performance.now();
    for (const duration of durations)
      await pace.submit(8, () => {
        submit(duration);
      });
    await pace.drain();
    expect(work.inFlight, "in flight after drain()").to.equal(0);
    return { ms: performance.now() - started, ...work };
  };
  const steps = (count: number, ms: number) => Array.from({ length: count }, () => ms);

  it("keeps two submissions in flight, never more", async () => {
    expect((await timeOf(steps(12, 10))).most).to.equal(2);
  });

  it("gives a GPU its next work before the last is done, however long each takes", async () => {
    const { idleMs, most } = await timeOf([60, 10, 80, 10, 10, 60, 10, 40, 10, 80, 10], false);
    expect(idleMs).to.be.below(15);
    expect(most).to.equal(2);
  });

  it("is not slowed down by a first run that took long, compiling", async () => {
    const { ms } = await timeOf([500, ...steps(20, 10)]);
    // 700 ms of work, less a timer's early millisecond. Without regard for the first, each step would be slept through
    // for nearly those 500 ms.
    expect(ms).to.be.within(690, 1500);
  });

  it("finds back to short steps after long ones", async () => {
    const { ms } = await timeOf([...steps(10, 100), ...steps(40, 10)]);
    expect(ms).to.be.within(1400, 3200);
  });
});
