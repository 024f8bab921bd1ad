/** A process that opens a device ends by itself, whatever it leaves behind. */
import { execFile } from "node:child_process";
import { expect } from "chai";
import { useDevice } from "../support/device.ts";

describe("Device: a process of its own", function () {
  useDevice();
  this.timeout(60_000);
  const SOURCE = new URL("../../src/", import.meta.url);

  /** Runs a module in which `device` is open and `work(device)` runs a kernel; ends it when it does not end itself. */
  const run = (body: string) =>
    new Promise<{ code: unknown; stdout: string; stderr: string }>((resolve) => {
      const script = `
        import { openDevice } from "${new URL("gpu/device.ts", SOURCE).href}";
        import { leakyRelu } from "${new URL("kernels/leaky_relu.ts", SOURCE).href}";
        const collect = async () => {
          for (let i = 0; i < 3; i++) { gc(); await new Promise((done) => setTimeout(done, 5)); }
        };
        const work = async (device) => {
          const x = device.upload(Float32Array.of(-2, 3), [2], "x");
          const y = device.tensor([2], "float32", "y");
          await device.run("k", (ctx) => { leakyRelu(ctx, { x }, { slope: 0.5 }, y); });
          console.log((await device.read(y)).join(" "));
          return { x, y };
        };
        ${body}`;
      const args = ["--expose-gc", "--import=tsx", "--input-type=module", "-e", script];
      const child = execFile(
        process.execPath,
        args,
        { timeout: 50_000 },
        (error, stdout, stderr) => {
          resolve({ code: error ? (child.signalCode ?? error.code) : 0, stdout, stderr });
        },
      );
    });

  const cases: [string, string][] = [
    ["after destroy()", "const device = await openDevice(); await work(device); device.destroy();"],
    [
      "with garbage collected all the while, and after",
      `const device = await openDevice();
       for (let i = 0; i < 3; i++) { await collect(); await work(device); await collect(); }
       device.destroy(); await collect();`,
    ],
    [
      "without destroy()",
      "const device = await openDevice(); await work(device); await collect();",
    ],
    [
      "without destroy(), held for ever",
      "globalThis.device = await openDevice(); await work(device);",
    ],
    ["when it drops the device", "await openDevice().then(work); await collect();"],
    [
      "when it drops all but a tensor",
      "globalThis.tensors = await openDevice().then(work); await collect();",
    ],
    [
      "when it destroys the device with work in flight",
      `const device = await openDevice(); const { x, y } = await work(device);
       const program = await device.record("k", (ctx) => {
         for (let i = 0; i < 100; i++) leakyRelu(ctx, { x }, { slope: 0.5 }, y);
       });
       device.submit(program); device.destroy(); await collect();`,
    ],
  ];
  for (const [name, body] of cases)
    it(`ends by itself with code 0 ${name}`, async () => {
      const { code, stdout, stderr } = await run(body);
      expect({ code, stdout: stdout.split("\n")[0] }, stderr).to.deep.equal({
        code: 0,
        stdout: "-1 3",
      });
    });

  it("ends with code 1 and the message when its last submission fails, though it reads nothing after", async () => {
    const { code, stderr } = await run(
      `const device = await openDevice(); const { x } = await work(device);
       try { await device.run("overlap", (ctx) => { ctx.copy(x, x); }); } finally { device.destroy(); }
       console.log("not reached");`,
    );
    expect(code, stderr).to.equal(1);
    expect(stderr).to.match(/DeviceError: device: Source and destination are the same buffer/);
  });
});
