import { expect } from "chai";
import type { Context } from "../../src/gpu/context.ts";
import { ShapeError, slice, type Shape, type TypedArray } from "../../src/tensor.ts";
import { useDevice } from "../support/device.ts";
import { errorOf, expectDeviceError } from "../support/errors.ts";

describe("Device: tensors", () => {
  const device = useDevice();

  const arrays: [string, TypedArray, Shape][] = [
    ["float32", Float32Array.of(1.5, -0, Infinity, 1e-40, 3, 4), [2, 3]],
    ["int32", Int32Array.of(-1, 2 ** 31 - 1, -(2 ** 31)), [3]],
    ["uint32", Uint32Array.of(2 ** 32 - 1, 7), [2, 1]],
    ["uint8", Uint8Array.of(1, 2, 3, 4), [4]],
    ["uint8, one byte", Uint8Array.of(255), [1]],
    ["uint8, no whole words", Uint8Array.of(1, 2, 3, 4, 5, 6, 7), [7, 1]],
    ["a scalar", Float32Array.of(2.5), []],
    ["nothing", new Float32Array(0), [0, 3]],
    ["a view into a larger array", new Float32Array([9, 1, 2, 9]).subarray(1, 3), [2]],
    ["a view of bytes at an odd place", Uint8Array.of(9, 1, 2, 3, 9).subarray(1, 4), [3]],
  ];
  for (const [name, values, shape] of arrays)
    it(`come back as they were sent: ${name}`, async () => {
      const tensor = device().upload(values, shape, "t");
      expect(await device().read(tensor)).to.deep.equal(values);
      expect(await device().copyOut(tensor).finish()).to.deep.equal(values);
      device().release(tensor);
    });

  it("come back in pieces where they are large", async () => {
    const count = 70 * 1024 * 1024 + 3;
    const values = new Uint8Array(count);
    for (let i = 0; i < count; i += 4099) values[i] = i % 251;
    values[count - 1] = 17;
    const tensor = device().upload(values, [count], "large");
    const read = await device().read(tensor);
    expect(Buffer.compare(Buffer.from(read.buffer, 0, count), Buffer.from(values.buffer))).to.equal(
      0,
    );
    device().release(tensor);
    device().trim();
  });

  it("are cleared whole, and slices alone", async () => {
    const tensor = device().upload(new Float32Array(256).fill(7), [4, 64], "t");
    device().clear(slice(tensor, 1, 2));
    const read = await device().read(tensor);
    expect([...read].map((value, i) => value === (i >= 64 && i < 192 ? 0 : 7))).to.not.include(
      false,
    );
    device().clear(tensor);
    expect([...(await device().read(tensor))].every((value) => value === 0)).to.equal(true);
    device().release(tensor);
  });

  it("take their buffers from the pool, by size, and give them back", () => {
    device().trim();
    const before = device().memory();
    const x = device().tensor([100], "float32", "x");
    const during = device().memory();
    expect(during.liveTensors).to.equal(before.liveTensors + 1);
    expect(during.liveBytes).to.equal(before.liveBytes + 400);
    device().release(x);
    expect(device().memory().liveBytes).to.equal(before.liveBytes);
    expect(device().memory().allocatedBytes).to.equal(during.allocatedBytes);
    const again = device().tensor([10, 10], "int32", "y");
    expect(again.buffer).to.equal(x.buffer);
    const other = device().tensor([101], "float32", "z");
    expect(other.buffer).to.not.equal(x.buffer);
    expect(device().memory().buffersCreated).to.equal(during.buffersCreated + 1);
    device().release(again, other);
    device().trim();
    const after = device().memory();
    expect(after.allocatedBytes).to.equal(before.allocatedBytes);
    expect(after.peakBytes).to.be.at.least(before.allocatedBytes + 804);
  });

  it("refuse to be released twice", async () => {
    const x = device().tensor([4], "float32", "x");
    device().release(x);
    await expectDeviceError(
      () => {
        device().release(x);
      },
      "validation",
      'release: tensor "x" is not alive; it was released before',
    );
  });

  const wrong: [string, TypedArray, string][] = [
    ["fewer values", new Float32Array(5), "got 5 of float32"],
    ["more values", new Float32Array(7), "got 7 of float32"],
    ["values of another type", new Int32Array(6), "got 6 of int32"],
  ];
  for (const [name, values, message] of wrong)
    it(`refuse ${name}`, async () => {
      const x = device().tensor([2, 3], "float32", "x");
      await expectDeviceError(
        () => {
          device().write(x, values);
        },
        "validation",
        `^write "x": expected 6 values of float32 for \\[2,3\\], ${message}`,
      );
      device().release(x);
    });

  it("of other types are refused by readFloats", async () => {
    const x = device().upload(Int32Array.of(1), [1], "x");
    await expectDeviceError(
      () => device().readFloats(x),
      "validation",
      'readFloats "x": it holds int32',
    );
    device().release(x);
  });

  for (const shape of [[-1], [2.5], [NaN, 2]])
    it(`refuse the shape [${shape.join(",")}]`, async () => {
      const error = await errorOf(() => device().tensor(shape, "float32", "x"));
      expect(error).to.be.instanceOf(ShapeError);
      expect(error.message).to.equal(
        `tensor "x": sizes must be whole numbers from 0, got [${shape.join(",")}]`,
      );
    });

  it("count what was submitted and read", async () => {
    const x = device().upload(Float32Array.of(1), [1], "x");
    const before = device().traffic();
    await device().run("nothing", () => undefined);
    await device().read(x);
    await device().copyOut(x).finish();
    expect(device().traffic()).to.deep.equal({
      submits: before.submits + 1,
      reads: before.reads + 2,
    });
    device().release(x);
  });
});

describe("Device: out of memory", () => {
  const device = useDevice({ maxMemoryBytes: 1_000_000 });

  it("names what was asked and what the adapter can", async () => {
    const { maxBufferSize } = device().limits;
    const rows = Math.ceil((maxBufferSize + 1) / 4);
    await expectDeviceError(
      () => device().tensor([rows, 1], "float32", "dense1.weight"),
      "out-of-memory",
      `^out of memory: dense1.weight \\[${rows},1\\] asks for .*B; this adapter makes buffers of ${maxBufferSize} bytes at most; use a smaller`,
    );
  });

  it("refuses to record far too large a scratch tensor before anything is planned", async () => {
    const record = (ctx: Context) => {
      ctx.scratch([1e9, 36, 36, 8], "float32", "conv1.y");
      throw new Error("goes on to plan it");
    };
    await expectDeviceError(
      () => device().record("huge", record),
      "out-of-memory",
      /^out of memory: conv1.y \[1000000000,36,36,8\] asks for .+; this adapter makes buffers of/,
    );
  });

  it("names what is in use and what there is", async () => {
    const x = device().tensor([150_000], "float32", "x");
    const before = device().memory();
    await expectDeviceError(
      () => device().tensor([100_001], "float32", "y"),
      "out-of-memory",
      /^out of memory: y \[100001\] asks for 400.0 kB; beside 600.0 kB in use on .+, there are 1.0 MB; use a smaller batch or network$/,
    );
    expect(device().memory()).to.deep.equal(before);
    const y = device().tensor([100_000], "float32", "y");
    device().release(x, y);
  });

  it("does not come while the pool has room", () => {
    const x = device().tensor([200_000], "float32", "x");
    device().release(x);
    const y = device().tensor([240_000], "float32", "y");
    expect(device().memory().allocatedBytes).to.equal(960_000);
    device().release(y);
  });

  /** Lets the next allocation fail as Dawn's do: an invalid buffer at once, the reason some time later. */
  const failNextAllocation = () => {
    const { handle } = device();
    const pop = handle.popErrorScope.bind(handle);
    const create = handle.createBuffer.bind(handle);
    handle.createBuffer = (descriptor) => {
      handle.createBuffer = create;
      handle.pushErrorScope("validation");
      const invalid = create({ ...descriptor, size: 2 * handle.limits.maxBufferSize });
      void pop();
      return invalid;
    };
    handle.popErrorScope = async () => {
      handle.popErrorScope = pop;
      await pop();
      const { globals } = await import("webgpu");
      return new (
        globals as { GPUOutOfMemoryError: typeof GPUOutOfMemoryError }
      ).GPUOutOfMemoryError("no");
    };
  };

  const TEXT =
    /^out of memory: x \[(50,100|5000)\] asks for 20.0 kB; it has no room for them beside .* in use on .+; use a smaller/;

  it("of the adapter is thrown by the next read, not what followed from it", async () => {
    failNextAllocation();
    const x = device().upload(new Float32Array(5000), [50, 100], "x");
    device().clear(x);
    await expectDeviceError(() => device().read(x), "out-of-memory", TEXT);
    await device().finish();
    device().release(x);
    device().trim();
  });

  it("of the adapter is thrown by finish", async () => {
    failNextAllocation();
    const x = device().tensor([50, 100], "float32", "x");
    await expectDeviceError(() => device().finish(), "out-of-memory", TEXT);
    device().release(x);
    device().trim();
  });

  it("of the adapter is thrown where a program is recorded, which gives back what it had", async () => {
    const before = device().memory().liveBytes;
    await expectDeviceError(
      () =>
        device().record("p", (ctx) => {
          ctx.scratch([50], "float32", "before");
          failNextAllocation();
          const y = ctx.scratch([50, 100], "float32", "x");
          const constants = { Value: "f32", Stored: "f32" } as const;
          const params = { count: 5000, slope: 0 };
          ctx.dispatch({
            label: "k",
            shader: "leaky_relu",
            constants,
            tensors: [y, y],
            params,
            workgroups: [1],
          });
        }),
      "out-of-memory",
      TEXT,
    );
    expect(device().memory().liveBytes).to.equal(before);
    device().trim();
  });
});
