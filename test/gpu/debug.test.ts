import { expect } from "chai";
import { toFloat16 } from "../../src/float16.ts";
import { debugSettings } from "../../src/gpu/debug.ts";
import { openDevice, type Device } from "../../src/gpu/device.ts";
import { leakyRelu } from "../../src/kernels/leaky_relu.ts";
import { Sequential } from "../../src/nn/model.ts";
import { fit } from "../../src/train/fit.ts";
import { useDevice } from "../support/device.ts";
import { skipWithoutFloat16 } from "../support/skip.ts";
import { stripes, TINY } from "../support/tiny.ts";

const NAMES = ["TUNINGFORK_DEBUG", "TUNINGFORK_PRINT_SHADER", "TUNINGFORK_VALIDATE"] as const;

/** Runs `work` on a device opened with these variables. Resolves with what went to stderr, and the error if any. */
async function withVariables(
  variables: Partial<Record<(typeof NAMES)[number], string>>,
  work: (device: Device) => Promise<unknown>,
): Promise<{ printed: string; error: Error | undefined }> {
  const before = { ...process.env };
  const write = console.error;
  const lines: string[] = [];
  let device: Device | undefined;
  let error: Error | undefined;
  try {
    Object.assign(process.env, variables);
    console.error = (text: string) => lines.push(text);
    device = await openDevice();
    await work(device);
    await device.finish();
  } catch (caught) {
    error = caught as Error;
  } finally {
    console.error = write;
    for (const name of NAMES)
      if (before[name] === undefined) Reflect.deleteProperty(process.env, name);
      else process.env[name] = before[name];
    device?.destroy();
  }
  return { printed: lines.join("\n"), error };
}

/** y = leakyRelu(x) by a program of one dispatch, in the scope "relu forward". */
const halve = async (
  device: Device,
  values: readonly number[],
  dtype: "float32" | "float16" = "float32",
) => {
  const floats = dtype === "float16" ? toFloat16(values) : Float32Array.from(values);
  const x = device.upload(floats, [values.length], "x");
  const y = device.tensor([values.length], dtype, "y");
  const program = await device.record("halving", (ctx) => {
    ctx.scope = "relu forward";
    leakyRelu(ctx, { x }, { slope: 0.5 }, y);
  });
  return { x, y, program };
};

const run = async (device: Device, values = [-2, 4]) => {
  const { y, program } = await halve(device, values);
  device.submit(program);
  return device.readFloats(y);
};

describe("debugSettings", () => {
  it("are off unless asked for; 0 and nothing are off too", () => {
    const off = { level: 0, printShaders: [], validate: false };
    expect(debugSettings({})).to.deep.equal(off);
    const empty = { TUNINGFORK_DEBUG: "", TUNINGFORK_VALIDATE: "0", TUNINGFORK_PRINT_SHADER: "" };
    expect(debugSettings(empty)).to.deep.equal(off);
  });

  it("read levels, names of shaders, and whether to validate", () => {
    const env = { TUNINGFORK_DEBUG: "3", TUNINGFORK_VALIDATE: "1" };
    expect(debugSettings({ ...env, TUNINGFORK_PRINT_SHADER: "conv2d, softmax" })).to.deep.equal({
      level: 3,
      printShaders: ["conv2d", "softmax"],
      validate: true,
    });
  });

  it("refuse what they do not know", () => {
    expect(() => debugSettings({ TUNINGFORK_DEBUG: "loud" })).to.throw(
      'TUNINGFORK_DEBUG: expected a level from 0 to 4, got "loud"',
    );
    expect(() => debugSettings({ TUNINGFORK_VALIDATE: "yes" })).to.throw(
      'TUNINGFORK_VALIDATE: expected 0 or 1, got "yes"',
    );
  });
});

describe("debugging", () => {
  useDevice(); // skips these tests where there is no adapter

  it("prints nothing unless asked to", async () => {
    expect(await withVariables({}, run)).to.deep.equal({ printed: "", error: undefined });
  });

  it("TUNINGFORK_DEBUG=1 prints adapter, features and limits", async () => {
    const { printed } = await withVariables({ TUNINGFORK_DEBUG: "1" }, run);
    expect(printed).to.match(/^adapter: .+\nfeatures: .+\nlimits: maxBufferSize \d+/);
    expect(printed).not.to.include("leakyRelu");
  });

  it("TUNINGFORK_DEBUG=2 adds each dispatch, its time and its GB/s", async () => {
    const { printed } = await withVariables({ TUNINGFORK_DEBUG: "2" }, run);
    expect(printed).to.match(/^halving: [\d.]+ ms in 1 dispatches and copies$/m);
    expect(printed).to.match(
      /^ +[\d.]+ ms +[\d.]+ GB\/s {2}leakyRelu y {2}leaky_relu\.wgsl {2}relu forward$/m,
    );
    expect(printed).not.to.include("workgroups;");
  });

  it("TUNINGFORK_DEBUG=3 adds constants and shapes, =4 the final WGSL", async () => {
    const three = await withVariables({ TUNINGFORK_DEBUG: "3" }, run);
    expect(three.printed).to.match(/Value=f32.*; 1 x 1 x 1 workgroups\n +x \[2\], y \[2\]$/m);
    expect(three.printed).not.to.include("@compute");
    const four = await withVariables({ TUNINGFORK_DEBUG: "4" }, run);
    expect(four.printed).to.include("// leaky_relu.wgsl, constants");
    expect(four.printed).to.include("alias Value = f32;");
  });

  it("TUNINGFORK_PRINT_SHADER prints the shaders of that name alone", async () => {
    const { printed } = await withVariables({ TUNINGFORK_PRINT_SHADER: "leaky_relu" }, run);
    expect(printed).to.match(/^\/\/ leaky_relu\.wgsl, constants/);
    expect((await withVariables({ TUNINGFORK_PRINT_SHADER: "conv2d" }, run)).printed).to.equal("");
  });
});

describe("TUNINGFORK_VALIDATE=1", () => {
  const adapter = useDevice();
  const validating = (work: (device: Device) => Promise<unknown>) =>
    withVariables({ TUNINGFORK_VALIDATE: "1" }, work);

  it("gives the same results as without, and finds no fault in training", async () => {
    const train = async (device: Device) => {
      const model = await new Sequential(TINY).build(device, { seed: 3 });
      const options = { epochs: 1, seed: 3, batchSize: 16 };
      return (await fit(model, stripes(32, 1), options)).history[0]?.loss;
    };
    const losses: unknown[] = [];
    const keep = async (device: Device) => losses.push(await train(device));
    expect((await validating(keep)).error).to.equal(undefined);
    await withVariables({}, keep);
    expect(losses[0]).to.equal(losses[1]);
  });

  for (const value of [NaN, Infinity, -Infinity])
    it(`names the dispatch, the layer and the place of ${value}`, async () => {
      const { error } = await validating((device) => run(device, [1, 2, -value]));
      expect(error?.message).to.match(
        /^leakyRelu y \(relu forward\): wrote -?(NaN|Infinity) at \[2\] of "y" \[3\], 1 of 3 values are not finite; /,
      );
    });

  it("finds infinity in what is stored as float16", async function () {
    skipWithoutFloat16(this, adapter());
    const { error } = await validating(async (device) => {
      const { program } = await halve(device, [1, 2, 65504, 7e4, 3], "float16");
      device.submit(program);
    });
    expect(error?.message).to.match(/wrote Infinity at \[3\] of "y" \[5\], 1 of 5 values are not/);
  });

  it("names the dispatch that the GPU refuses", async () => {
    const { error } = await validating(async (device) => {
      const { x, program } = await halve(device, [1, 2]);
      x.buffer.destroy();
      device.submit(program);
    });
    expect(error?.message).to.match(/^leakyRelu y \(relu forward\): .*destroyed/s);
  });

  it("refuses a profile", async () => {
    const { error } = await validating((device) => device.profile(() => Promise.resolve()));
    expect(error?.message).to.match(/^profile: TUNINGFORK_VALIDATE=1 .*; unset it$/);
  });
});
