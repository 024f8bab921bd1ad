import { expect } from "chai";
import { roundToFloat16, toFloat16 } from "../../src/float16.ts";
import type { Context } from "../../src/gpu/context.ts";
import type { Device } from "../../src/gpu/device.ts";
import {
  chooseDenseAlgorithm,
  dense,
  DENSE_ALGORITHMS,
  denseBiasGrad,
  denseInputGrad,
  denseWeightGrad,
  type DenseAlgorithm,
} from "../../src/kernels/dense.ts";
import { matmulSplits } from "../../src/kernels/matmul.ts";
import { biasGrad } from "../../src/reference/bias_grad.ts";
import * as reference from "../../src/reference/dense.ts";
import type { Shape, Tensor } from "../../src/tensor.ts";
import { expectClose } from "../../src/testing/close.ts";
import { useDevice } from "../support/device.ts";
import { skipWithoutFloat16, skipWithoutSubgroups } from "../support/skip.ts";
import { dot, expectGradient } from "../../src/testing/differences.ts";
import { expectLeaky, leakyReference } from "../support/leaky.ts";
import { randomFloats, toFloat64 } from "../../src/testing/inputs.ts";
import { expectLinearAndRepeatable, runKernel } from "../../src/testing/kernel.ts";

interface Case {
  readonly n: number;
  readonly inC: number;
  readonly outC: number;
}

const CASES: Case[] = [
  { n: 1, inC: 1, outC: 1 },
  { n: 33, inC: 7, outC: 3 },
  { n: 1, inC: 257, outC: 10 },
  { n: 32, inC: 64, outC: 64 },
  { n: 33, inC: 257, outC: 65 },
  { n: 65, inC: 33, outC: 63 },
  { n: 2, inC: 2304, outC: 63 },
  { n: 33, inC: 2304, outC: 3 },
];
/** Small enough for a central difference of each weight. */
const SMALL_CASES: Case[] = [
  { n: 1, inC: 1, outC: 1 },
  { n: 3, inC: 7, outC: 5 },
  { n: 2, inC: 11, outC: 10 },
];
/** At 16384 bytes a binding: windows of w, of the batch, of both. Whole whatever the adapter's alignment, up to 256. */
const WINDOW_BYTES = 16384;
const WINDOW_CASES: { sizes: Case; windows: number }[] = [
  { sizes: { n: 5, inC: 130, outC: 63 }, windows: 3 },
  { sizes: { n: 1, inC: 2304, outC: 3 }, windows: 2 },
  { sizes: { n: 70, inC: 64, outC: 3 }, windows: 2 },
  { sizes: { n: 70, inC: 128, outC: 48 }, windows: 6 },
];

const FLOAT16_CASES: Case[] = [
  { n: 1, inC: 1, outC: 1 },
  { n: 33, inC: 7, outC: 3 },
  { n: 2, inC: 2304, outC: 4 }, // sums in splits
];
/** Windows of w; of w and of the batch, whose sums in float32 take more of them than x. */
const FLOAT16_WINDOW_CASES: Case[] = [
  { n: 1, inC: 2304, outC: 4 },
  { n: 140, inC: 128, outC: 80 },
];

const title = ({ n, inC, outC }: Case) => `x=[${n},${inC}] w=[${inC},${outC}]`;

const inputs = ({ n, inC, outC }: Case) => ({
  x: randomFloats([n, inC], 1, "x"),
  w: randomFloats([inC, outC], 1, "w"),
  b: randomFloats([outC], 1, "b"),
  dy: randomFloats([n, outC], 1, "dy"),
});

/** Uploads the inputs, runs one kernel, releases them. */
async function run(
  device: Device,
  values: Record<string, [Float32Array | Uint16Array, Shape]>,
  shape: Shape,
  encode: (ctx: Context, tensors: Record<string, Tensor>, out: Tensor) => void,
  dtype: "float32" | "float16" = "float32",
): Promise<Float32Array> {
  const tensors = Object.fromEntries(
    Object.entries(values).map(([name, [data, size]]) => [name, device.upload(data, size, name)]),
  );
  try {
    const record = (ctx: Context, out: Tensor) => {
      encode(ctx, tensors, out);
    };
    return await runKernel(device, shape, record, dtype);
  } finally {
    device.release(...Object.values(tensors));
  }
}

const forward = (
  device: Device,
  sizes: Case,
  hasBias: boolean,
  algorithm: DenseAlgorithm,
  leakySlope?: number,
) => {
  const { n, inC, outC } = sizes;
  const { x, w, b } = inputs(sizes);
  return run(
    device,
    { x: [x, [n, inC]], w: [w, [inC, outC]], b: [b, [outC]] },
    [n, outC],
    (ctx, t, y) => {
      const b = hasBias ? t["b"] : undefined;
      dense(ctx, { x: t["x"]!, w: t["w"]!, b }, { algorithm, leakySlope }, y);
    },
  );
};

const inputGrad = (device: Device, sizes: Case, dy: Float32Array, algorithm: DenseAlgorithm) => {
  const { n, inC, outC } = sizes;
  return run(
    device,
    { dy: [dy, [n, outC]], w: [inputs(sizes).w, [inC, outC]] },
    [n, inC],
    (ctx, t, dx) => {
      denseInputGrad(ctx, { dy: t["dy"]!, w: t["w"]! }, { algorithm }, dx);
    },
  );
};

const weightGrad = (device: Device, sizes: Case, dy: Float32Array, algorithm: DenseAlgorithm) => {
  const { n, inC, outC } = sizes;
  return run(
    device,
    { x: [inputs(sizes).x, [n, inC]], dy: [dy, [n, outC]] },
    [inC, outC],
    (ctx, t, dw) => {
      denseWeightGrad(ctx, { x: t["x"]!, dy: t["dy"]! }, { algorithm }, dw);
    },
  );
};

const referenceForward = (sizes: Case, hasBias: boolean) => {
  const { x, w, b } = inputs(sizes);
  return reference.dense(toFloat64(x), toFloat64(w), hasBias ? toFloat64(b) : undefined, sizes);
};

/** The three passes of a case whose activations and weights are float16. */
function checkFloat16(device: () => Device, sizes: Case, algorithm: DenseAlgorithm): void {
  const { n, inC, outC } = sizes;
  it(`float16 ${title(sizes)}`, async function () {
    skipWithoutFloat16(this, device());
    if (algorithm === "subgroup") skipWithoutSubgroups(this, device());
    const { b } = inputs(sizes);
    const [x, w, dy] = [inputs(sizes).x, inputs(sizes).w, inputs(sizes).dy].map(roundToFloat16) as [
      Float32Array,
      Float32Array,
      Float32Array,
    ];
    const stored = "float16";
    const tensors = {
      x: [toFloat16(x), [n, inC]],
      w: [toFloat16(w), [inC, outC]],
      dy: [toFloat16(dy), [n, outC]],
      b: [b, [outC]],
    } satisfies Record<string, [Float32Array | Uint16Array, Shape]>;
    const y = await run(
      device(),
      tensors,
      [n, outC],
      (ctx, t, out) => {
        dense(ctx, { x: t["x"]!, w: t["w"]!, b: t["b"] }, { algorithm, leakySlope: 0.3 }, out);
      },
      stored,
    );
    const want = reference.dense(toFloat64(x), toFloat64(w), toFloat64(b), sizes);
    expectClose(y, leakyReference(want, 0.3), [n, outC], { stored });
    const dx = await run(
      device(),
      tensors,
      [n, inC],
      (ctx, t, out) => {
        denseInputGrad(ctx, { dy: t["dy"]!, w: t["w"]! }, { algorithm }, out);
      },
      stored,
    );
    const wantDx = reference.denseInputGrad(toFloat64(dy), toFloat64(w), sizes);
    expectClose(dx, wantDx, [n, inC], { stored });
    const dw = await run(device(), tensors, [inC, outC], (ctx, t, out) => {
      denseWeightGrad(ctx, { x: t["x"]!, dy: t["dy"]! }, { algorithm }, out);
    });
    const wantDw = reference.denseWeightGrad(toFloat64(x), toFloat64(dy), sizes);
    expectClose(dw, wantDw, [inC, outC]);
  });
}

/** The three passes of one case against the reference, and what every backward kernel must be. */
function checkCase(device: () => Device, sizes: Case, algorithm: DenseAlgorithm): void {
  const { n, inC, outC } = sizes;

  for (const hasBias of [false, true])
    it(`forward ${title(sizes)}${hasBias ? " b" : ""}`, async function () {
      if (algorithm === "subgroup") skipWithoutSubgroups(this, device());
      const y = await forward(device(), sizes, hasBias, algorithm);
      expectClose(y, referenceForward(sizes, hasBias), [n, outC]);
      const again = await forward(device(), sizes, hasBias, algorithm);
      expect(Buffer.from(again.buffer).equals(Buffer.from(y.buffer)), "same bits").to.equal(true);
      expectLeaky(await forward(device(), sizes, hasBias, algorithm, 0.3), y, 0.3);
    });

  it(`input gradient ${title(sizes)}`, async function () {
    if (algorithm === "subgroup") skipWithoutSubgroups(this, device());
    const { w, dy } = inputs(sizes);
    const want = reference.denseInputGrad(toFloat64(dy), toFloat64(w), sizes);
    expectClose(await inputGrad(device(), sizes, dy, algorithm), want, [n, inC]);
    await expectLinearAndRepeatable(dy, (values) => inputGrad(device(), sizes, values, algorithm));
  });

  it(`weight gradient ${title(sizes)}`, async function () {
    if (algorithm === "subgroup") skipWithoutSubgroups(this, device());
    const { x, dy } = inputs(sizes);
    const want = reference.denseWeightGrad(toFloat64(x), toFloat64(dy), sizes);
    expectClose(await weightGrad(device(), sizes, dy, algorithm), want, [inC, outC]);
    await expectLinearAndRepeatable(dy, (values) => weightGrad(device(), sizes, values, algorithm));
  });
}

describe("dense reference: gradients against central differences", () => {
  for (const sizes of SMALL_CASES)
    it(title(sizes), () => {
      const [x, w, b, dy] = Object.values(inputs(sizes)).map(toFloat64) as [
        Float64Array,
        Float64Array,
        Float64Array,
        Float64Array,
      ];
      const loss = (xs: Float64Array, ws: Float64Array, bs: Float64Array) =>
        dot(reference.dense(xs, ws, bs, sizes).values, dy);
      expectGradient((v) => loss(v, w, b), x, reference.denseInputGrad(dy, w, sizes).values);
      expectGradient((v) => loss(x, v, b), w, reference.denseWeightGrad(x, dy, sizes).values);
      expectGradient((v) => loss(x, w, v), b, biasGrad(dy, sizes.outC).values);
    });
});

for (const algorithm of DENSE_ALGORITHMS) {
  describe(`dense, algorithm ${algorithm}`, () => {
    const device = useDevice();
    for (const sizes of CASES) checkCase(device, sizes, algorithm);
    for (const sizes of FLOAT16_CASES) checkFloat16(device, sizes, algorithm);
  });

  describe(`dense, algorithm ${algorithm}, tensors larger than one binding`, () => {
    const device = useDevice({ maxBindingBytes: WINDOW_BYTES });
    for (const { sizes } of WINDOW_CASES) checkCase(device, sizes, algorithm);
    for (const sizes of FLOAT16_WINDOW_CASES) checkFloat16(device, sizes, algorithm);
  });
}

describe("denseBiasGrad", () => {
  const device = useDevice();
  for (const sizes of [...CASES, { n: 1000, inC: 1, outC: 3 }])
    it(`dy=[${sizes.n},${sizes.outC}]`, async () => {
      const { n, outC } = sizes;
      const { dy } = inputs(sizes);
      const backward = (values: Float32Array) =>
        run(device(), { dy: [values, [n, outC]] }, [outC], (ctx, t, db) => {
          denseBiasGrad(ctx, { dy: t["dy"]! }, db);
        });
      expectClose(await backward(dy), biasGrad(toFloat64(dy), outC), [outC]);
      await expectLinearAndRepeatable(dy, backward);
    });
});

describe("what dense dispatches", () => {
  const device = useDevice({ maxBindingBytes: WINDOW_BYTES });

  for (const { sizes, windows } of WINDOW_CASES)
    it(`${title(sizes)} in ${windows} windows, the bias added once`, async () => {
      const { n, inC, outC } = sizes;
      const x = device().tensor([n, inC], "float32", "x");
      const w = device().tensor([inC, outC], "float32", "w");
      const b = device().tensor([outC], "float32", "b");
      const y = device().tensor([n, outC], "float32", "y");
      const program = await device().record("windows", (ctx) => {
        dense(ctx, { x, w, b }, { algorithm: "direct" }, y);
      });
      expect(program.dispatches).to.have.length(windows);
      const withBias = program.dispatches.filter((d) => d.constants?.["HAS_BIAS"] === true);
      const adding = program.dispatches.filter((d) => d.constants?.["ACCUMULATE"] === true);
      expect(withBias.length + adding.length).to.equal(windows);
      program.destroy();
      device().release(x, w, b, y);
    });

  it("splits the long sum of a small batch, and not where the tiles suffice", () => {
    const c = (rows: number, columns: number) => ({
      tensor: { shape: [rows, columns], dtype: "float32" } as unknown as Tensor,
      firstColumn: 0,
      rowLength: columns,
    });
    const { summary } = device();
    const large = { maxBindingBytes: 2 ** 27, summary };
    const product = (m: number, n: number, k: number, on = large) => {
      const view = c(m, n);
      return matmulSplits(on, { label: "", m, n, k, a: view, b: view, c: view });
    };
    expect(product(32, 1000, 73728), "dense1 forward").to.equal(32);
    const integrated = { ...large, summary: { ...summary, kind: "integrated" as const } };
    expect(product(32, 1000, 73728, integrated), "on a small GPU").to.equal(8);
    expect(product(73728, 1000, 32), "dense1 weight gradient").to.equal(1);
    expect(product(32, 1000, 200), "k too short").to.equal(1);
    expect(product(1, 3, 2304), "every split has work").to.equal(9);
    const small = { maxBindingBytes: 3 * 4 * 32 * 1000, summary };
    expect(product(32, 1000, 73728, small), "partials in one binding").to.equal(3);
  });

  it("takes subgroups on software adapters that have them, else tiles", () => {
    const adapter = (software: boolean, subgroupSize: number) =>
      chooseDenseAlgorithm({ summary: { software }, subgroupSize } as unknown as Device);
    expect(adapter(true, 8)).to.equal("subgroup");
    expect(adapter(true, 32), "too large for the shader's registers").to.equal("tiled");
    expect(adapter(true, 0)).to.equal("tiled");
    expect(adapter(false, 32)).to.equal("tiled");
  });
});

describe("dense refuses", () => {
  const device = useDevice();

  const SHAPES = { x: [2, 3], w: [3, 4], b: [4], y: [2, 4] };
  const attempt = async (
    shapes: Partial<Record<keyof typeof SHAPES, number[]>>,
    options: { algorithm?: DenseAlgorithm } = {},
    dtype: "float32" | "int32" = "float32",
  ): Promise<string> => {
    const tensors = Object.entries({ ...SHAPES, ...shapes }).map(([name, shape]) =>
      device().tensor(shape, name === "x" ? dtype : "float32", name),
    );
    const [x, w, b, y] = tensors as [Tensor, Tensor, Tensor, Tensor];
    try {
      const program = await device().record("refused", (ctx) => {
        dense(ctx, { x, w, b }, options, y);
      });
      program.destroy();
      return "accepted";
    } catch (error) {
      return String(error);
    } finally {
      device().release(...tensors);
    }
  };

  it("nothing of the control case", async () => {
    expect(await attempt({})).to.equal("accepted");
  });
  it("a w that does not fit x", async () => {
    expect(await attempt({ w: [5, 4] })).to.equal(
      "ShapeError: dense: input channels differ: x [2,3] has 3, w [5,4] [inC,outC] expects 5",
    );
  });
  it("images", async () => {
    expect(await attempt({ x: [8, 7, 7, 3] })).to.contain(
      'dense: x "x": expected [n,3] with n of at least 1, got [8,7,7,3]; flatten it before',
    );
  });
  it("an empty batch", async () => {
    expect(await attempt({ x: [0, 3] })).to.contain("n of at least 1, got [0,3]");
  });
  it("a w of another rank", async () => {
    expect(await attempt({ w: [3] })).to.contain('w "w": expected [inC,outC]');
  });
  it("a bias of another length", async () => {
    expect(await attempt({ b: [3] })).to.contain('dense: b "b": expected [4], got [3]');
  });
  it("an output of another shape", async () => {
    expect(await attempt({ y: [4, 2] })).to.contain('dense: y "y": expected [2,4], got [4,2]');
  });
  it("integers", async () => {
    expect(await attempt({}, {}, "int32")).to.contain('"x": expected float32, got int32');
  });
  it("an unknown algorithm", async () => {
    expect(await attempt({}, { algorithm: "fast" as DenseAlgorithm })).to.contain(
      'unknown algorithm: expected direct, tiled, subgroup, got "fast"',
    );
  });
  it("gradients of other shapes", async () => {
    const dy = device().tensor([2, 5], "float32", "dy");
    const w = device().tensor([3, 4], "float32", "w");
    const x = device().tensor([2, 3], "float32", "x");
    const refused = (encode: (ctx: Context) => void) =>
      device()
        .record("refused", encode)
        .catch((error: unknown) => error);
    const results = await Promise.all([
      refused((ctx) => {
        denseInputGrad(ctx, { dy, w }, {}, x);
      }),
      refused((ctx) => {
        denseWeightGrad(ctx, { x, dy }, {}, w);
      }),
      refused((ctx) => {
        denseBiasGrad(ctx, { dy }, x);
      }),
    ]);
    expect(String(results[0])).to.contain('denseInputGrad: dy "dy": expected [2,4], got [2,5]');
    expect(String(results[1])).to.contain('denseWeightGrad: dy "dy": expected [2,4], got [2,5]');
    expect(String(results[2])).to.contain('denseBiasGrad: db "x": expected [5], got [2,3]');
    device().release(dy, w, x);
  });
});
