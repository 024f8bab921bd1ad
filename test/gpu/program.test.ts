import { expect } from "chai";
import type { Context, Dispatch } from "../../src/gpu/context.ts";
import type { Device } from "../../src/gpu/device.ts";
import { DeviceError, ShaderError } from "../../src/gpu/errors.ts";
import { leakyRelu } from "../../src/kernels/leaky_relu.ts";
import { maxPool2dArgmax } from "../../src/kernels/max_pool2d.ts";
import { reshape, slice, type Tensor } from "../../src/tensor.ts";
import { useDevice } from "../support/device.ts";
import { errorOf } from "../support/errors.ts";
import { skipUnless } from "../support/skip.ts";

/** y = slope * x of negative values, as a dispatch whose every part can be spoiled. */
const dispatchOf = (x: Tensor, y: Tensor): Dispatch => ({
  label: "k",
  shader: "leaky_relu",
  constants: { Value: "f32", Stored: "f32" },
  tensors: [x, y],
  params: { count: 4, slope: 0.5 },
  workgroups: [1],
});

const useTensors = (device: () => Device) => {
  const tensors: Tensor[] = [];
  afterEach(() => {
    device().release(...tensors.splice(0));
  });
  return (values: readonly number[], label = "t"): Tensor => {
    const tensor = device().upload(Float32Array.from(values), [values.length], label);
    tensors.push(tensor);
    return tensor;
  };
};

describe("Program", () => {
  const device = useDevice();
  const upload = useTensors(device);
  const halve = (ctx: Context, x: Tensor, y: Tensor) => {
    leakyRelu(ctx, { x }, { slope: 0.5 }, y);
  };

  it("runs its dispatches and copies in the order of recording, as often as it is submitted", async () => {
    const [x, y, z] = [upload([-8, 3]), upload([0, 0]), upload([0, 0])];
    const program = await device().record("p", (ctx) => {
      halve(ctx, x, y);
      ctx.copy(y, z);
      halve(ctx, z, x);
      ctx.copy(x, z);
      halve(ctx, z, y);
    });
    expect(program.dispatches).to.have.length(3);
    expect([...(await device().read(x))]).to.deep.equal([-8, 3]);
    device().submit(program);
    expect([...(await device().read(y))]).to.deep.equal([-1, 3]);
    device().submit(program, program);
    expect([...(await device().read(y))]).to.deep.equal([-0.0625, 3]);
    program.destroy();
  });

  it("creates nothing when it runs", async () => {
    const [x, y] = [upload([-8, 3]), upload([0, 0])];
    const program = await device().record("p", (ctx) => {
      const t = ctx.scratch([2], "float32", "t");
      halve(ctx, x, t);
      halve(ctx, t, y);
    });
    device().submit(program);
    await device().read(y);
    const before = device().memory();
    for (let i = 0; i < 5; i++) device().submit(program);
    await device().read(y);
    expect(device().memory()).to.deep.equal(before);
    program.destroy();
  });

  it("is refused after destroy(), which may come twice", async () => {
    const program = await device().record("p", () => undefined);
    program.destroy();
    program.destroy();
    for (const call of [
      () => {
        device().submit(program);
      },
      () => program.time(),
      () => device().record("q", () => undefined, program),
    ]) {
      const error = await errorOf(call);
      expect(error).to.be.instanceOf(DeviceError);
      expect(error.message).to.equal('program "p": used after destroy()');
    }
  });
});

describe("Program: scratch tensors", () => {
  const device = useDevice();
  const upload = useTensors(device);
  const COUNT = 4096;
  const record = (build: (ctx: Context) => void) => device().record("p", build);

  it("share memory once freed, and not before", async () => {
    const before = device().memory();
    let t: Record<string, Tensor> = {};
    const program = await record((ctx) => {
      const a = ctx.scratch([COUNT], "float32", "a");
      const b = ctx.scratch([COUNT], "float32", "b");
      ctx.copy(a, b);
      ctx.free(a);
      const c = ctx.scratch([64, 64], "int32", "c");
      const d = ctx.scratch([COUNT], "float32", "d");
      ctx.copy(c, d);
      ctx.free(c);
      const e = ctx.scratch([8], "float32", "e");
      ctx.copy(e, ctx.scratch([8], "float32", "f"));
      t = { a, b, c, d, e };
    });
    const place = (name: string) => [t[name]?.buffer, t[name]?.offsetBytes];
    expect(place("b")[0], "a and b meet").to.not.equal(place("a")[0]);
    expect(place("c")).to.deep.equal(place("a"));
    expect(t["c"]).to.deep.include({ shape: [64, 64], dtype: "int32", label: "c" });
    expect(place("d")[0], "c and d meet").to.not.equal(place("c")[0]);
    expect(place("e")).to.deep.equal(place("c"));
    expect(program.memory).to.deep.equal({
      naiveBytes: 4 * 4 * COUNT + 64,
      plannedBytes: 3 * 4 * COUNT + 32,
      liveBytes: 3 * 4 * COUNT,
    });
    const lives = program.lives.map(({ label, first, last }) => `${label} ${first}-${last}`);
    expect(lives.sort()).to.deep.equal(["a 0-0", "b 0-0", "c 1-1", "d 1-1", "e 2-2", "f 2-2"]);
    expect(program.scratch).to.have.length(4);
    expect(device().memory().liveTensors).to.equal(before.liveTensors + 4);
    program.destroy();
    expect(device().memory().liveBytes).to.equal(before.liveBytes);
  });

  it("are refused to a recording that asks for others the second time", async () => {
    let run = 0;
    const before = device().memory();
    const error = await errorOf(() =>
      record((ctx) => {
        ctx.scratch([COUNT + run++], "float32", "a");
      }),
    );
    expect(error.message).to.contain('scratch tensor "a" was not asked for');
    expect(device().memory().liveBytes).to.equal(before.liveBytes);
  });

  it("hold their values until they are freed", async () => {
    const [x, y] = [upload([-16, 3]), upload([0, 0])];
    await device().run("chain", (ctx) => {
      const [a, b] = [ctx.scratch([2], "float32", "a"), ctx.scratch([2], "float32", "b")];
      leakyRelu(ctx, { x }, { slope: 0.5 }, a);
      leakyRelu(ctx, { x: a }, { slope: 0.5 }, b);
      ctx.free(a);
      const c = ctx.scratch([2], "float32", "c");
      leakyRelu(ctx, { x: b }, { slope: 0.5 }, c);
      leakyRelu(ctx, { x: c }, { slope: 0.5 }, y);
    });
    expect([...(await device().read(y))]).to.deep.equal([-1, 3]);
  });

  it("may share a buffer where one command writes them both", async () => {
    const [x, out] = [upload(Array.from({ length: 32 }, (_, i) => i)), upload(Array(8).fill(0))];
    let lie: Tensor[] = [];
    const program = await record((ctx) => {
      const before = ctx.scratch([COUNT], "float32", "before");
      ctx.copy(before, ctx.scratch([COUNT], "float32", "copy"));
      ctx.free(before);
      const y = ctx.scratch([1, 1, 2, 4], "float32", "y");
      const argmax = ctx.scratch(y.shape, "uint8", "argmax");
      const image = reshape(x, [1, 2, 4, 4]);
      maxPool2dArgmax(ctx, { x: image }, { size: [2, 2] }, { y, argmax });
      ctx.copy(y, reshape(out, y.shape));
      lie = [before, y, argmax];
    });
    expect(program.scratch).to.have.length(2);
    expect(new Set(lie.map(({ buffer }) => buffer))).to.have.length(1);
    device().submit(program);
    const [, y, argmax] = lie;
    expect([...(await device().read(out))]).to.deep.equal([20, 21, 22, 23, 28, 29, 30, 31]);
    expect(y?.offsetBytes).to.not.equal(argmax?.offsetBytes);
    expect([...(await device().read(argmax!))]).to.deep.equal(Array(8).fill(3));
    program.destroy();
  });

  it("leave their place to others after their last use, however late they are freed", async () => {
    const program = await record((ctx) => {
      const [a, b] = [ctx.scratch([COUNT], "float32", "a"), ctx.scratch([COUNT], "float32", "b")];
      ctx.copy(a, b);
      const [c, d] = [ctx.scratch([COUNT], "float32", "c"), ctx.scratch([COUNT], "float32", "d")];
      ctx.copy(c, d);
      for (const tensor of [a, b, c, d]) ctx.free(tensor);
    });
    expect(program.memory.liveBytes).to.equal(2 * 4 * COUNT);
    expect(program.memory.plannedBytes).to.equal(2 * 4 * COUNT);
    program.destroy();
  });

  it("may be freed by a slice of them, once", async () => {
    const program = await record((ctx) => {
      const a = ctx.scratch([COUNT, 2], "float32", "a");
      ctx.free(slice(a, 128, 128));
      ctx.scratch([COUNT, 2], "float32", "b");
    });
    expect(program.scratch).to.have.length(1);
    program.destroy();
  });

  const misuses: [string, (ctx: Context, x: Tensor) => void][] = [
    [
      "freed twice",
      (ctx) => {
        const a = ctx.scratch([4], "float32", "x");
        ctx.free(a);
        ctx.free(a);
      },
    ],
    [
      "freed though it is no scratch tensor",
      (ctx, x) => {
        ctx.free(x);
      },
    ],
  ];
  for (const [name, build] of misuses)
    it(`refuse to be ${name}, and leave no memory behind`, async () => {
      const x = upload([1, 2, 3, 4], "x");
      const before = device().memory();
      const error = await errorOf(() =>
        record((ctx) => {
          build(ctx, x);
        }),
      );
      expect(error).to.be.instanceOf(DeviceError);
      expect(error.message).to.equal('free: "x" is no live scratch tensor of this recording');
      expect(device().memory().liveBytes).to.equal(before.liveBytes);
      expect(device().memory().liveTensors).to.equal(before.liveTensors);
    });

  it("can be lent to another program, which is refused once they are gone", async () => {
    const [x, y] = [upload([-16, 3]), upload([0, 0])];
    const lender = await record((ctx) => {
      ctx.scratch([4 * COUNT], "float32", "large");
    });
    const before = device().memory();
    let borrowed: Tensor[] = [];
    const borrower = await device().record(
      "borrower",
      (ctx) => {
        // However much larger the lender's is: it is there anyway.
        const a = ctx.scratch([2], "float32", "a");
        leakyRelu(ctx, { x }, { slope: 0.5 }, a);
        leakyRelu(ctx, { x: a }, { slope: 0.5 }, y);
        ctx.free(a);
        const b = ctx.scratch([4 * COUNT], "float32", "b");
        ctx.free(b);
        borrowed = [a, b];
      },
      lender,
    );
    for (const { buffer } of borrowed) expect(buffer).to.equal(lender.scratch[0]?.buffer);
    expect(device().memory()).to.deep.equal(before);
    device().submit(borrower);
    expect([...(await device().read(y))]).to.deep.equal([-4, 3]);
    lender.destroy();
    const error = await errorOf(() => {
      device().submit(borrower);
    });
    expect(error.message).to.equal('program "p": used after destroy()');
    borrower.destroy();
  });
});

describe("Program: what the recorder refuses", () => {
  const device = useDevice({ maxBindingBytes: 4096 });
  const upload = useTensors(device);

  type Spoil = (good: Dispatch, x: Tensor) => Partial<Dispatch>;
  const view = (tensor: Tensor, part: Partial<Tensor>): Tensor => ({ ...tensor, ...part });
  const cases: [string, Spoil, new (...args: never[]) => Error, string | RegExp][] = [
    [
      "a tensor too few",
      (_, x) => ({ tensors: [x] }),
      ShaderError,
      "k: leaky_relu.wgsl has 2 bindings, got 1 tensors",
    ],
    [
      "a tensor too many",
      (_, x) => ({ tensors: [x, x, x] }),
      ShaderError,
      "has 2 bindings, got 3 tensors",
    ],
    [
      "a misaligned tensor",
      (_, x) => ({ tensors: [view(x, { offsetBytes: 4, shape: [4] }), x] }),
      DeviceError,
      /^k: "x" starts at byte 4, no multiple of \d+$/,
    ],
    [
      "a tensor above one binding",
      (_, x) => ({ tensors: [view(x, { shape: [1025] }), x] }),
      DeviceError,
      'k: "x" of 1025 elements takes 4100 bytes, and one binding holds at most 4096; the kernel must work in windows',
    ],
    [
      "a tensor beyond its buffer",
      (_, x) => ({ tensors: [view(x, { shape: [900] }), x] }),
      DeviceError,
      /^device: Binding size \(3600\) is larger than the size \(3200\) of \[Buffer "x/,
    ],
    [
      "a parameter left out",
      () => ({ params: { count: 1 } }),
      ShaderError,
      "leaky_relu.wgsl: params.slope was not given",
    ],
    [
      "no parameters at all",
      ({ label, shader, tensors, workgroups }) => ({
        label,
        shader,
        tensors,
        workgroups,
        params: {},
      }),
      ShaderError,
      "params.count was not given",
    ],
    [
      "an unknown parameter",
      (good) => ({ params: { ...good.params, rate: 1 } }),
      ShaderError,
      "params has no field rate",
    ],
    [
      "an unknown constant",
      (good) => ({ constants: { ...good.constants, TILE: 1 } }),
      ShaderError,
      "leaky_relu.wgsl: constant TILE was given",
    ],
    [
      "a constant left out",
      () => ({ constants: { Value: "f32" } }),
      ShaderError,
      /^leaky_relu.wgsl:\d+:\d+ unresolved type 'Stored' \(constants Value=f32\)$/,
    ],
    [
      "an unknown shader",
      () => ({ shader: "leaky_rleu" }),
      ShaderError,
      "shader leaky_rleu.wgsl: cannot be read",
    ],
    [
      "no workgroups",
      () => ({ workgroups: [0] }),
      DeviceError,
      /^k: workgroups \[0,1,1\] are outside 1 to \d+; use grid1d$/,
    ],
    [
      "too many workgroups",
      () => ({ workgroups: [1, 1 << 20] }),
      DeviceError,
      /^k: workgroups \[1,1048576,1\]/,
    ],
    [
      "half a workgroup",
      () => ({ workgroups: [1, 1, 2.5] }),
      DeviceError,
      /^k: workgroups \[1,1,2.5\]/,
    ],
  ];
  it("nothing of the control case", async () => {
    const x = upload([-1, 2, 3, 4], "x");
    const y = upload([0, 0, 0, 0], "y");
    await device().run("good", (ctx) => {
      ctx.dispatch(dispatchOf(x, y));
    });
    expect([...(await device().read(y))]).to.deep.equal([-0.5, 2, 3, 4]);
  });
  for (const [name, spoil, type, message] of cases)
    it(`${name}, and keeps no memory`, async () => {
      const x = upload(
        Array.from({ length: 800 }, () => 1),
        "x",
      );
      const y = upload([0, 0, 0, 0], "y");
      const before = device().memory();
      const error = await errorOf(() =>
        device().record("bad", (ctx) => {
          ctx.scratch([100], "float32", "scratch");
          const good = dispatchOf(x, y);
          ctx.dispatch(good);
          ctx.dispatch({ ...good, ...spoil(good, x) });
        }),
      );
      expect(error, error.stack).to.be.instanceOf(type);
      if (typeof message === "string") expect(error.message).to.contain(message);
      else expect(error.message).to.match(message);
      const { liveBytes, liveTensors } = device().memory();
      expect({ liveBytes, liveTensors }).to.deep.equal({
        liveBytes: before.liveBytes,
        liveTensors: before.liveTensors,
      });
      await device().finish();
    });

  it("copies between tensors of different size", async () => {
    const [x, y] = [upload([1, 2], "x"), upload([1, 2, 3], "y")];
    const error = await errorOf(() =>
      device().record("bad", (ctx) => {
        ctx.copy(x, y);
      }),
    );
    expect(error).to.be.instanceOf(DeviceError);
    expect(error.message).to.equal('copy "x" to "y": 8 bytes vs 12');
    await device().run("good", (ctx) => {
      ctx.copy(x, slice(y, 1, 2));
    });
    expect([...(await device().read(y))]).to.deep.equal([1, 1, 2]);
  });

  it("what the caller's own code throws, unchanged", async () => {
    const before = device().memory().liveBytes;
    const mine = new RangeError("mine");
    const error = await errorOf(() =>
      device().record("bad", (ctx) => {
        ctx.scratch([100], "float32", "scratch");
        throw mine;
      }),
    );
    expect(error).to.equal(mine);
    expect(device().memory().liveBytes).to.equal(before);
  });
});

describe("Program.time", () => {
  const device = useDevice();
  const upload = useTensors(device);
  beforeEach(function () {
    const hasTimestamps = device().handle.features.has("timestamp-query");
    skipUnless(this, hasTimestamps, "needs an adapter with timestamp-query");
  });

  it("gives one row for each dispatch, in order, and computes as a run does", async () => {
    const count = 1 << 20;
    const x = upload(new Array<number>(count).fill(-1), "x");
    const small = upload([-8, 2], "small");
    const [y, z] = [upload(new Array<number>(count).fill(0)), upload([0, 0])];
    const program = await device().record("p", (ctx) => {
      leakyRelu(ctx, { x }, { slope: 0.5 }, y);
      leakyRelu(ctx, { x: small }, { slope: 0.5 }, z);
      ctx.copy(z, small);
      leakyRelu(ctx, { x }, { slope: 0.25 }, y);
    });
    await program.time(); // the first run may still compile
    const start = performance.now();
    const times = await program.time();
    const wall = performance.now() - start;
    expect(times.map(({ label, shader }) => [label, shader])).to.deep.equal(
      program.dispatches.map(({ label, shader }) => [label, shader]),
    );
    expect(Math.min(...times.map(({ ms }) => ms))).to.be.at.least(0);
    const sum = times.reduce((total, { ms }) => total + ms, 0);
    expect(sum, "GPU time within wall time").to.be.within(0.001, wall);
    // The fastest of several: other work may hold one of them up.
    const runs = [times, await program.time(), await program.time(), await program.time()];
    const fastest = (index: number) => Math.min(...runs.map((run) => run[index]?.ms ?? NaN));
    expect(fastest(0), "a million elements take longer than two").to.be.greaterThan(fastest(1));
    expect([...(await device().read(z))]).to.deep.equal([-8 / 2 ** 5, 2]);
    expect((await device().read(y)).every((value) => value === -0.25)).to.equal(true);
    program.destroy();
  });

  it("gives nothing for a program without dispatches, which still copies", async () => {
    const [x, y] = [upload([1, 2]), upload([0, 0])];
    const program = await device().record("p", (ctx) => {
      ctx.copy(x, y);
    });
    expect(await program.time()).to.deep.equal([]);
    expect([...(await device().read(y))]).to.deep.equal([1, 2]);
    program.destroy();
  });

  it("leaves no tensor behind", async () => {
    const [x, y] = [upload([1]), upload([1])];
    const program = await device().record("p", (ctx) => {
      leakyRelu(ctx, { x }, { slope: 0 }, y);
    });
    const before = device().memory();
    await program.time();
    expect(device().memory()).to.deep.equal(before);
    program.destroy();
  });
});
