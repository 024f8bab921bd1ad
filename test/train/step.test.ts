/** What a training step asks of the device, beside its results. */
import { expect } from "chai";
import { DEFAULT_AUGMENTATION } from "../../src/data/augment.ts";
import { fit } from "../../src/train/fit.ts";
import type { FitOptions } from "../../src/train/options.ts";
import { stripes } from "../support/tiny.ts";
import { BASE, useTraining } from "../support/training.ts";

describe("a training step", () => {
  const { device, build } = useTraining();

  it("a steady step creates nothing, submits once and reads nothing back", async () => {
    const calls = recordCalls(device().handle);
    const perStep: Record<string, number>[] = [];
    try {
      const model = await build();
      await fit(model, stripes(160, 1), {
        ...BASE,
        batchSize: 8,
        logEvery: 10,
        augment: DEFAULT_AUGMENTATION,
        onStep: () => perStep.push(calls.take()),
      });
      model.destroy();
    } finally {
      calls.stop();
    }
    expect(perStep).to.have.length(20);
    // perStep[k] is what happened since step k - 1 was about to be submitted; step 10 is followed by a log read.
    const steady = [...perStep.slice(1, 10), ...perStep.slice(13)];
    for (const made of steady) expect(made).to.deep.equal({ submit: 1, writeBuffer: 4 });
    // The read after ten steps copies the log and the status out, in two submissions beside that of the step.
    const reading = perStep.slice(10, 13);
    const sum = (name: string) => reading.reduce((total, made) => total + (made[name] ?? 0), 0);
    expect(sum("submit")).to.equal(3 + 2);
    expect(sum("mapAsync")).to.equal(2);
    expect(sum("copyBufferToBuffer")).to.equal(2);
  });

  it("keeps at most two steps in flight", async () => {
    const { queue } = device().handle;
    const submit = queue.submit.bind(queue);
    let inFlight = 0;
    let most = 0;
    let training = false; // before the first step, moments and status are submitted, too
    const model = await build();
    // A method on the object hides the prototype's.
    queue.submit = (buffers) => {
      submit(buffers);
      if (!training) return;
      most = Math.max(most, ++inFlight);
      void queue.onSubmittedWorkDone().then(() => inFlight--);
    };
    try {
      await fit(model, stripes(160, 1), {
        ...BASE,
        batchSize: 8,
        logEvery: 32,
        onStep: () => (training = true),
      });
    } finally {
      delete (queue as Partial<GPUQueue>).submit;
    }
    expect(most).to.equal(2);
    model.destroy();
  });

  it("needs less memory for a step of several batches than for one of all their images", async () => {
    const set = stripes(256, 1);
    const bytes = async (options: Partial<FitOptions>) => {
      const model = await build();
      device().trim();
      let most = 0;
      const onStep = () => (most = Math.max(most, device().memory().liveBytes));
      await fit(model, set, { ...BASE, ...options, onStep });
      model.destroy();
      return most;
    };
    const whole = await bytes({ batchSize: 256 });
    const parts = await bytes({ batchSize: 16, accumulateSteps: 16 });
    expect(parts).to.be.below(0.5 * whole);
  });
});

/** Counts raw WebGPU calls, whoever makes them, by replacing methods of the prototypes. */
function recordCalls(handle: GPUDevice): {
  take: () => Record<string, number>;
  stop: () => void;
} {
  let counts: Record<string, number> = {};
  const encoder = Object.getPrototypeOf(handle.createCommandEncoder()) as object;
  const watched: [object, RegExp][] = [
    [Object.getPrototypeOf(handle) as object, /^(create(?!CommandEncoder)|importExternal)/],
    [Object.getPrototypeOf(handle.queue) as object, /^(submit|write)/],
    [encoder, /^(copy|clear|resolve)/],
    [GPUBuffer.prototype, /^mapAsync$/],
  ];
  const restore: (() => void)[] = [];
  for (const [prototype, names] of watched)
    for (const name of Object.getOwnPropertyNames(prototype).filter((n) => names.test(n))) {
      const descriptor = Object.getOwnPropertyDescriptor(prototype, name)!;
      const original = descriptor.value as (...args: unknown[]) => unknown;
      Object.defineProperty(prototype, name, {
        ...descriptor,
        value(this: unknown, ...args: unknown[]) {
          counts[name] = (counts[name] ?? 0) + 1;
          return original.apply(this, args);
        },
      });
      restore.push(() => Object.defineProperty(prototype, name, descriptor));
    }
  return {
    take: () => {
      const taken = counts;
      counts = {};
      return taken;
    },
    stop: () => {
      for (const put of restore) put();
    },
  };
}
