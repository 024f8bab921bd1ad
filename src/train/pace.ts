import type { Device } from "../gpu/device.ts";

/** Keeps at most two submissions in flight: a GPU has its next work from the moment that it begins the last. */
export class Pace {
  readonly #device: Device;
  #latest: { reached: () => Promise<void> } | undefined;

  constructor(device: Device) {
    this.#device = device;
  }

  /** Submits. Resolves when the submission before this one is done. */
  async submit(submit: () => void): Promise<void> {
    const before = this.#latest;
    submit();
    this.#latest = this.#device.mark();
    await before?.reached();
  }
}
