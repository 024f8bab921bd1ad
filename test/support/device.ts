/**
 * One device for a whole test file. Without an adapter its tests skip with the reason; TUNINGFORK_REQUIRE_GPU=1 fails.
 */
import { openDevice, type Device } from "../../src/gpu/device.ts";
import type { DeviceOptions } from "../../src/gpu/device_core.ts";
import { skipWithoutAdapter } from "./skip.ts";

// What was measured on this machine before must not decide what the tests run.
process.env["TUNINGFORK_TUNE"] ??= "off";

/** Opens a device before the tests of the enclosing `describe` and destroys it after; errors fail the test that met them. */
export function useDevice(options: DeviceOptions = {}): () => Device {
  let device: Device | undefined;
  before(async function () {
    try {
      device = await openDevice(options);
    } catch (error) {
      skipWithoutAdapter(this, error);
    }
  });
  afterEach(async () => {
    await device?.finish();
  });
  after(() => {
    device?.destroy();
  });
  return () => {
    if (!device) throw new Error("useDevice: asked for the device outside of a test");
    return device;
  };
}
