/** What a device says when something went wrong that no call asked about, and when it is gone. */
import { expect } from "chai";
import { openDevice, type Device } from "../../src/gpu/device.ts";
import { DeviceError } from "../../src/gpu/errors.ts";
import type { Program } from "../../src/gpu/program.ts";
import type { Tensor } from "../../src/tensor.ts";
import { useDevice } from "../support/device.ts";
import { errorOf, expectDeviceError } from "../support/errors.ts";

/** Makes the device report an error that nobody asked about. */
function uncapturedError(device: Device): void {
  const buffer = device.handle.createBuffer({ size: 16, usage: GPUBufferUsage.COPY_DST });
  device.handle.queue.writeBuffer(buffer, 64, new Uint8Array(16));
}

/** Whatever can be asked of a device, with x [4] and a program of its own. */
const everyUse = (device: Device, x: Tensor, program: Program): [string, () => unknown][] => [
  ["tensor", () => device.tensor([4096], "float32", "y")],
  ["upload", () => device.upload(Float32Array.of(1), [1], "y")],
  [
    "write",
    () => {
      device.write(x, new Float32Array(4));
    },
  ],
  [
    "clear",
    () => {
      device.clear(x);
    },
  ],
  ["read", () => device.read(x)],
  ["copyOut", () => device.copyOut(x)],
  [
    "submit",
    () => {
      device.submit(program);
    },
  ],
  ["record", () => device.record("p", () => undefined)],
  ["run", () => device.run("p", () => undefined)],
  ["time", () => program.time()],
  ["finish", () => device.finish()],
];

describe("Device: errors that nobody asked about", () => {
  const device = useDevice();
  const TEXT = /^device: Write range .* does not fit in .*Buffer/;

  it("are thrown once, by the next call", async () => {
    uncapturedError(device());
    await expectDeviceError(
      () => {
        device().check();
      },
      "validation",
      TEXT,
    );
    device().check();
  });

  it("are thrown by whatever comes next", async () => {
    const x = device().upload(new Float32Array(4), [4], "x");
    await device().finish();
    const program = await device().record("nothing", () => undefined);
    for (const [name, call] of everyUse(device(), x, program)) {
      uncapturedError(device());
      const error = await errorOf(call);
      expect(error.message, name).to.match(TEXT);
    }
    program.destroy();
    device().release(x);
  });

  it("the first of several counts", async () => {
    uncapturedError(device());
    device().handle.createBuffer({ label: "second", size: 16, usage: 0x4000 });
    await expectDeviceError(
      () => {
        device().check();
      },
      "validation",
      TEXT,
    );
    device().check();
  });

  it("are thrown by the very submit that causes them", async () => {
    const x = device().upload(new Float32Array(4), [4], "x");
    await expectDeviceError(
      () =>
        device().run("overlap", (ctx) => {
          ctx.copy(x, x);
        }),
      "validation",
      /Source and destination are the same buffer .*"x \[4\]"/,
    );
    await device().finish();
    device().release(x);
  });
});

describe("Device: lost and destroyed", () => {
  useDevice(); // without an adapter all of it skips

  const openedWith = async () => {
    const device = await openDevice();
    const x = device.upload(Float32Array.of(1, 2, 3, 4), [4], "x");
    const program = await device.record("nothing", () => undefined);
    return { device, x, program, calls: everyUse(device, x, program) };
  };

  it("every use after destroy() is refused; giving back is not", async () => {
    const { device, x, program, calls } = await openedWith();
    device.destroy();
    device.destroy();
    for (const [name, call] of calls)
      expect((await errorOf(call)).message, name).to.equal("device: used after destroy()");
    program.destroy();
    device.release(x);
    expect(device.memory().liveTensors).to.equal(0);
  });

  it("a lost device says so at every use", async () => {
    const { device, x, program, calls } = await openedWith();
    const pending = device.copyOut(x);
    device.handle.destroy();
    await device.handle.lost;
    for (const [name, call] of [...calls, ...calls])
      expect((await errorOf(call)).message, name).to.match(
        /^device: lost \(destroyed\): .+; open another one$/,
      );
    await expectDeviceError(() => pending.finish(), "lost", /^device: lost/);
    program.destroy();
    device.release(x);
    device.destroy();
  });

  it("a read that destroy() cuts off fails with a DeviceError", async () => {
    const device = await openDevice();
    const x = device.upload(new Float32Array(4), [4], "x");
    const read = errorOf(() => device.read(x));
    device.destroy();
    expect(await read)
      .to.be.instanceOf(DeviceError)
      .with.property("kind", "lost");
  });

  it("two devices live side by side", async () => {
    const [a, b] = [await openDevice(), await openDevice()];
    const x = a.upload(Float32Array.of(1), [1], "x");
    const y = b.upload(Float32Array.of(2), [1], "y");
    a.destroy();
    expect([...(await b.read(y))]).to.deep.equal([2]);
    expect(x.buffer).to.not.equal(y.buffer);
    b.destroy();
  });
});
