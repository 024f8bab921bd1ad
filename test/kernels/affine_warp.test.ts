import { expect } from "chai";
import { augmentationMatrix, placementMatrix, resizeMatrix } from "../../src/data/augment.ts";
import type { Context } from "../../src/gpu/context.ts";
import type { Device } from "../../src/gpu/device.ts";
import { affineWarp, affineWarpSet } from "../../src/kernels/affine_warp.ts";
import { Random } from "../../src/random.ts";
import type { Tensor } from "../../src/tensor.ts";
import * as reference from "../../src/reference/affine_warp.ts";
import { expectClose } from "../../src/testing/close.ts";
import { useDevice } from "../support/device.ts";
import { skipWithoutFloat16 } from "../support/skip.ts";
import { runKernel } from "../../src/testing/kernel.ts";

type Shape4 = [number, number, number, number];

const randomBytes = (shape: Shape4, seed: number): Uint8Array => {
  const random = new Random(seed, "bytes");
  return Uint8Array.from({ length: shape.reduce((a, b) => a * b) }, () => random.below(256));
};

const size = ([, height, width]: Shape4) => ({ height, width });

async function warp(
  device: Device,
  images: Uint8Array,
  shape: Shape4,
  indices: number[],
  matrices: Float32Array,
  outShape: Shape4,
  stored: "float32" | "float16" = "float32",
): Promise<Float32Array> {
  const n = indices.length;
  const inputs = {
    images: device.upload(images, shape, "images"),
    indices: device.upload(Uint32Array.from(indices), [n], "indices"),
    matrices: device.upload(matrices, [n, 2, 3], "matrices"),
  };
  const encode = (ctx: Context, out: Tensor) => {
    affineWarp(ctx, inputs, {}, out);
  };
  const y = await runKernel(device, outShape, encode, stored);
  device.release(...Object.values(inputs));
  return y;
}

const repeat = (matrix: Float32Array, n: number): Float32Array =>
  Float32Array.from({ length: 6 * n }, (_, i) => matrix[i % 6]!);

const randomMatrices = (n: number, inShape: Shape4, outShape: Shape4): Float32Array => {
  const options = { scale: [0.3, 3], shift: 0.4 } as const;
  return Float32Array.from(
    Array.from({ length: n }, (_, b) => [
      ...augmentationMatrix(new Random(9, "warp", b), options, size(inShape), size(outShape)),
    ]).flat(),
  );
};

describe("affineWarp", () => {
  const device = useDevice();

  for (const shape of [
    [1, 1, 1, 1],
    [3, 5, 7, 3],
    [2, 9, 4, 1],
    [5, 3, 3, 3],
  ] as Shape4[])
    it(`identity of [${shape.join(",")}] gives pixels / 255 exactly`, async () => {
      const images = randomBytes(shape, 1);
      const indices = Array.from({ length: shape[0] }, (_, b) => b);
      const matrices = repeat(resizeMatrix(size(shape), size(shape)), shape[0]);
      const y = await warp(device(), images, shape, indices, matrices, shape);
      expect([...y]).to.deep.equal(Array.from(images, (byte) => Math.fround(byte / 255)));
    });

  // Images of 15, 147, 45 and 27 bytes do not start at whole words.
  for (const [shape, out] of [
    [
      [1, 5, 3, 1],
      [4, 6, 7, 1],
    ],
    [
      [7, 7, 7, 3],
      [9, 8, 8, 3],
    ],
    [
      [4, 3, 5, 3],
      [5, 13, 1, 3],
    ],
    [
      [3, 3, 9, 1],
      [4, 4, 4, 3],
    ],
    [
      [2, 1, 1, 3],
      [2, 3, 3, 3],
    ],
    [
      [2, 20, 30, 2],
      [3, 17, 11, 2],
    ],
  ] as [Shape4, Shape4][])
    it(`random matrices, images=[${shape.join(",")}] y=[${out.join(",")}]`, async () => {
      const images = randomBytes(shape, 2);
      const random = new Random(3, "indices");
      const indices = Array.from({ length: out[0] }, () => random.below(shape[0]));
      const matrices = randomMatrices(out[0], shape, out);
      const want = reference.affineWarp(images, shape, indices, matrices, out);
      expectClose(await warp(device(), images, shape, indices, matrices, out), want, out);
    });

  it("random matrices, y=[3,5,7,3] float16", async function () {
    skipWithoutFloat16(this, device());
    const shape: Shape4 = [2, 9, 8, 3];
    const out: Shape4 = [3, 5, 7, 3];
    const images = randomBytes(shape, 2);
    const matrices = randomMatrices(out[0], shape, out);
    const want = reference.affineWarp(images, shape, [1, 0, 1], matrices, out);
    const y = await warp(device(), images, shape, [1, 0, 1], matrices, out, "float16");
    expectClose(y, want, out, { stored: "float16" });
  });

  it("turns by 90 degrees without interpolating", async () => {
    const shape: Shape4 = [1, 5, 5, 3];
    const images = randomBytes(shape, 4);
    const matrix = placementMatrix({ rotation: 90 }, size(shape), size(shape));
    const y = await warp(device(), images, shape, [0], matrix, shape);
    // Counterclockwise: row i of the result is column 4 - i of the image.
    const want = Array.from(y, (_, o) => {
      const [i, j, c] = [Math.floor(o / 15), Math.floor(o / 3) % 5, o % 3];
      return Math.fround(images[(j * 5 + (4 - i)) * 3 + c]! / 255);
    });
    expect([...y]).to.deep.equal(want);
  });

  it("repeats the edge outside of the image", async () => {
    const images = Uint8Array.of(10, 20, 30, 40);
    const shape: Shape4 = [1, 2, 2, 1];
    const y = await warp(
      device(),
      images,
      shape,
      [0],
      Float32Array.of(1, 0, -2, 0, 1, -2),
      [1, 6, 6, 1],
    );
    const row = (left: number, right: number) => [left, left, left, right, right, right];
    const bytes = [1, 1, 1, 3, 3, 3].flatMap((first) => row(10 * first, 10 * first + 10));
    expect([...y]).to.deep.equal(bytes.map((byte) => Math.fround(byte / 255)));
    const far = Float32Array.of(1, 0, 1e9, 0, 1, -1e9);
    const corner = await warp(device(), images, shape, [0], far, [1, 1, 1, 1]);
    expect(corner[0]).to.equal(Math.fround(20 / 255));
  });

  it("lies between pixels where their mean is", async () => {
    const images = Uint8Array.of(0, 100, 200, 40);
    const centre = Float32Array.of(1, 0, 0.5, 0, 1, 0.5);
    const y = await warp(device(), images, [1, 2, 2, 1], [0], centre, [1, 1, 1, 1]);
    expect(y[0]).to.be.closeTo(85 / 255, 1e-7);
  });

  it("writes nothing for an index that no image has", async () => {
    const shape: Shape4 = [2, 3, 3, 1];
    const matrices = repeat(resizeMatrix(size(shape), size(shape)), 3);
    const images = randomBytes(shape, 5);
    const y = await warp(device(), images, shape, [1, 2, 0], matrices, [3, 3, 3, 1]);
    expect([...y.subarray(9, 18)].every(Number.isNaN)).to.equal(true);
    expect([...y.subarray(0, 9), ...y.subarray(18)].some(Number.isNaN)).to.equal(false);
  });

  const REFUSED: [string, Shape4, "uint8" | "float32", Shape4, string][] = [
    ["float images", [1, 2, 2, 3], "float32", [1, 2, 2, 3], 'images "images": expected uint8'],
    ["two channels for three", [1, 2, 2, 2], "uint8", [1, 2, 2, 3], 'y "y": expected [n,h,w,2]'],
    ["another batch size", [1, 2, 2, 3], "uint8", [2, 2, 2, 3], "expected [2], got [1]"],
  ];
  for (const [name, shape, dtype, out, message] of REFUSED)
    it(`refuses ${name}`, async () => {
      const tensors = {
        images: device().tensor(shape, dtype, "images"),
        indices: device().tensor([1], "uint32", "indices"),
        matrices: device().tensor([1, 2, 3], "float32", "matrices"),
      };
      const y = device().tensor(out, "float32", "y");
      const failed = await device()
        .record("bad", (ctx) => {
          affineWarp(ctx, tensors, {}, y);
        })
        .catch((error: unknown) => error);
      expect(String(failed)).to.contain("affineWarp: ").and.to.contain(message);
      device().release(...Object.values(tensors), y);
    });
});

describe("affineWarp out of a set larger than one binding", () => {
  const device = useDevice({ maxBindingBytes: 9216 });

  it("works in windows over one tensor of images and over the batch", async () => {
    const shape: Shape4 = [301, 5, 7, 1]; // 10,535 bytes: no multiple of 4, windows of 256 images
    const out: Shape4 = [23, 8, 8, 2];
    const images = randomBytes(shape, 6);
    const random = new Random(7, "indices");
    const indices = Array.from({ length: out[0] }, () => random.below(shape[0]));
    indices[0] = 0;
    indices[1] = shape[0] - 1;
    const matrices = randomMatrices(out[0], shape, out);
    const want = reference.affineWarp(images, shape, indices, matrices, out);
    expectClose(await warp(device(), images, shape, indices, matrices, out), want, out);
  });

  it("takes a set in chunks, each image from its own", async () => {
    const shape: Shape4 = [10, 5, 5, 3];
    const out: Shape4 = [7, 6, 6, 3];
    const images = randomBytes(shape, 8);
    const chunks = [
      [0, 3],
      [3, 8],
      [8, 10],
    ].map(([start = 0, end = 0]) => ({
      images: device().upload(images.slice(start * 75, end * 75), [end - start, 5, 5, 3], "chunk"),
      firstIndex: start,
    }));
    const indices = [9, 0, 3, 2, 7, 8, 3];
    const matrices = randomMatrices(out[0], shape, out);
    const inputs = {
      indices: device().upload(Uint32Array.from(indices), [7], "indices"),
      matrices: device().upload(matrices, [7, 2, 3], "matrices"),
    };
    const y = await runKernel(device(), out, (ctx, whole) => {
      affineWarpSet(ctx, { chunks, ...inputs }, whole);
    });
    const want = reference.affineWarp(images, shape, indices, matrices, out);
    expectClose(y, want, out);
    device().release(...chunks.map((chunk) => chunk.images), ...Object.values(inputs));
  });
});
