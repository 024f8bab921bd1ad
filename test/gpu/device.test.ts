import { execFile } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, sep } from "node:path";
import { pathToFileURL } from "node:url";
import { expect } from "chai";
import { openDevice, type Device } from "../../src/gpu/device.ts";
import { DeviceError, ShaderError } from "../../src/gpu/errors.ts";
import {
  formatBytes,
  ShapeError,
  sizeBytes,
  slice,
  type DType,
  type Shape,
  type TypedArray,
} from "../../src/tensor.ts";
import { useDevice } from "../support/device.ts";

/** What a promise or a call throws. */
async function errorOf(call: () => unknown): Promise<Error> {
  try {
    await call();
  } catch (error) {
    return error as Error;
  }
  throw new Error("expected an error, got none");
}

async function expectError(
  call: () => unknown,
  kind: DeviceError["kind"],
  message: string | RegExp,
): Promise<void> {
  const error = await errorOf(call);
  expect(error, error.stack).to.be.instanceOf(DeviceError);
  expect(error).to.have.property("kind", kind);
  expect(error.message).to.match(typeof message === "string" ? new RegExp(message) : message);
}

/** Makes the device report an error that nobody asked about. */
function uncapturedError(device: Device): void {
  const buffer = device.handle.createBuffer({ size: 16, usage: GPUBufferUsage.COPY_DST });
  device.handle.queue.writeBuffer(buffer, 64, new Uint8Array(16));
}

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
    await expectError(
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
      await expectError(
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
    await expectError(() => device().readFloats(x), "validation", 'readFloats "x": it holds int32');
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
    await expectError(
      () => device().tensor([rows, 1], "float32", "dense1.weight"),
      "out-of-memory",
      `^out of memory: dense1.weight \\[${rows},1\\] asks for .*B; this adapter makes buffers of ${maxBufferSize} bytes at most; use a smaller`,
    );
  });

  it("names what is in use and what there is", async () => {
    const x = device().tensor([150_000], "float32", "x");
    const before = device().memory();
    await expectError(
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
    await expectError(() => device().read(x), "out-of-memory", TEXT);
    await device().finish();
    device().release(x);
    device().trim();
  });

  it("of the adapter is thrown by finish", async () => {
    failNextAllocation();
    const x = device().tensor([50, 100], "float32", "x");
    await expectError(() => device().finish(), "out-of-memory", TEXT);
    device().release(x);
    device().trim();
  });

  it("of the adapter is thrown where a program is recorded, which gives back what it had", async () => {
    const before = device().memory().liveBytes;
    await expectError(
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

describe("Device: errors that nobody asked about", () => {
  const device = useDevice();
  const TEXT = /^device: Write range .* does not fit in .*Buffer/;

  it("are thrown once, by the next call", async () => {
    uncapturedError(device());
    await expectError(
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
    const calls: [string, () => unknown][] = [
      ["read", () => device().read(x)],
      ["copyOut", () => device().copyOut(x)],
      [
        "write",
        () => {
          device().write(x, new Float32Array(4));
        },
      ],
      [
        "clear",
        () => {
          device().clear(x);
        },
      ],
      [
        "submit",
        () => {
          device().submit(program);
        },
      ],
      ["record", () => device().record("p", () => undefined)],
      ["finish", () => device().finish()],
      ["tensor", () => device().tensor([4096], "float32", "y")],
    ];
    for (const [name, call] of calls) {
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
    await expectError(
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
    await expectError(
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

describe("Device: shaders that do not compile", () => {
  const folder = mkdtempSync(join(tmpdir(), "tuningfork-shaders-"));
  const device = useDevice({ shaderFolder: pathToFileURL(folder + sep) });
  after(() => {
    rmSync(folder, { recursive: true });
  });
  const write = (name: string, ...lines: string[]) => {
    writeFileSync(join(folder, `${name}.wgsl`), lines.join("\n"));
  };
  const compile = async (name: string, constants = {}) => {
    const error = await errorOf(() => device().pipeline(name, constants));
    if (error instanceof ShaderError) return error;
    throw error;
  };
  const MAIN = "@compute @workgroup_size(1) fn main() {";
  const BINDING = "@group(0) @binding(0) var<storage, read_write> y: array<f32>;";

  it("name file, line and column on disk, and the constants in force", async () => {
    write(
      "broken",
      BINDING,
      "override SCALE: f32 = 1;",
      MAIN,
      "  #unroll i ROWS",
      "  y[$i] = SCALE;",
      "  #end",
      "  y[0] = tile_k;",
      "}",
    );
    const error = await compile("broken", { ROWS: 2, SCALE: 0.5 });
    expect(error.message).to.equal(
      "broken.wgsl:7:10 unresolved value 'tile_k' (constants ROWS=2 SCALE=0.5)",
    );
    expect(error.file).to.equal("broken.wgsl");
    expect(error.constants).to.deep.equal({ ROWS: 2, SCALE: 0.5 });
    expect(error.messages).to.deep.equal([
      { type: "error", line: 7, column: 10, text: "unresolved value 'tile_k'" },
    ]);
    expect(error.cause).to.be.instanceOf(Error);
  });

  it("name the snippet where it is in that", async () => {
    write(
      "snippet",
      "// lib: index, reduce",
      BINDING,
      MAIN,
      "  y[0] = workgroup_sum(1.0, 0);",
      "}",
    );
    const error = await compile("snippet");
    expect(error.message).to.match(/^lib\/reduce\.wgsl:3:42 unresolved value 'WG_SIZE'/);
    expect(error.message).to.match(/\(constants none\)$/);
  });

  it("say what the pipeline refuses", async () => {
    write(
      "large",
      BINDING,
      "var<workgroup> tile: array<f32, SIZE>;",
      MAIN,
      "  tile[0] = 1; y[0] = tile[1];",
      "}",
    );
    const error = await compile("large", { SIZE: 60_000 });
    expect(error.message).to.match(/^large\.wgsl .*workgroup.*\(constants SIZE=60000\)$/is);
  });

  it("leave nothing behind: the device works on, and gives the same answer again", async () => {
    write("again", MAIN, "  nonsense", "}");
    const first = await compile("again");
    expect((await compile("again")).message).to.equal(first.message);
    await device().finish();
  });

  it("are compiled once for the same constants in any order", async () => {
    write(
      "fine",
      BINDING,
      "override A: f32 = 1;",
      "override B: f32 = 1;",
      MAIN,
      "  y[0] = A + B;",
      "}",
    );
    const one = await device().pipeline("fine", { A: 1, B: 2 });
    expect(await device().pipeline("fine", { B: 2, A: 1 })).to.equal(one);
    expect(await device().pipeline("fine", { A: 2, B: 1 })).to.not.equal(one);
  });
});

describe("Device: lost and destroyed", () => {
  useDevice(); // without an adapter all of it skips

  const use = async (device: Device) => {
    const x = device.upload(Float32Array.of(1, 2, 3, 4), [4], "x");
    const program = await device.record("nothing", () => undefined);
    const calls: [string, () => unknown][] = [
      ["tensor", () => device.tensor([4], "float32", "y")],
      ["upload", () => device.upload(Float32Array.of(1), [1], "y")],
      [
        "write",
        () => {
          device.write(x, Float32Array.of(1, 2, 3, 4));
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
    return { x, program, calls };
  };

  it("every use after destroy() is refused; giving back is not", async () => {
    const device = await openDevice();
    const { x, program, calls } = await use(device);
    device.destroy();
    device.destroy();
    for (const [name, call] of calls)
      expect((await errorOf(call)).message, name).to.equal("device: used after destroy()");
    program.destroy();
    device.release(x);
    expect(device.memory().liveTensors).to.equal(0);
  });

  it("a lost device says so at every use", async () => {
    const device = await openDevice();
    const { x, program, calls } = await use(device);
    const pending = device.copyOut(x);
    device.handle.destroy();
    await device.handle.lost;
    for (const [name, call] of [...calls, ...calls])
      expect((await errorOf(call)).message, name).to.match(
        /^device: lost \(destroyed\): .+; open another one$/,
      );
    await expectError(() => pending.finish(), "lost", /^device: lost/);
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

describe("formatBytes", () => {
  const cases: [number, string][] = [
    [0, "0 B"],
    [999, "999 B"],
    [1000, "1.0 kB"],
    [294_912_000, "294.9 MB"],
    [4.2e9, "4.2 GB"],
    [3e15, "3000.0 TB"],
  ];
  for (const [bytes, text] of cases)
    it(text, () => {
      expect(formatBytes(bytes)).to.equal(text);
    });
});

describe("sizeBytes", () => {
  const cases: [Shape, DType, number][] = [
    [[], "float32", 4],
    [[2, 3], "int32", 24],
    [[5], "uint8", 8],
    [[0, 7], "uint8", 0],
  ];
  for (const [shape, dtype, bytes] of cases)
    it(`of ${dtype} [${shape.join(",")}] is ${bytes}`, () => {
      expect(sizeBytes({ shape, dtype })).to.equal(bytes);
    });
});
