import { expect } from "chai";
import {
  denseFromTorch,
  denseToTorch,
  hwioToOihw,
  oihwToHwio,
  permute,
} from "../../src/interop/layouts.ts";

const counted = (count: number) => Float32Array.from({ length: count }, (_, i) => i);

describe("layouts", () => {
  it("permute: each element goes to its place, for every order of three axes", () => {
    const shape = [2, 3, 4];
    const strides = [12, 4, 1];
    const orders = [
      [0, 1, 2],
      [0, 2, 1],
      [1, 0, 2],
      [1, 2, 0],
      [2, 0, 1],
      [2, 1, 0],
    ];
    for (const axes of orders) {
      const want: number[] = [];
      const [a, b, c] = axes as [number, number, number];
      for (let i = 0; i < shape[a]!; i++)
        for (let j = 0; j < shape[b]!; j++)
          for (let k = 0; k < shape[c]!; k++)
            want.push(i * strides[a]! + j * strides[b]! + k * strides[c]!);
      expect([...permute(counted(24), shape, axes)], String(axes)).to.deep.equal(want);
    }
  });

  it("filters: HWIO [2,1,2,3] to OIHW and back", () => {
    const w = counted(12); // w[h][0][i][o] = 6 h + 3 i + o
    const torch = hwioToOihw(w, [2, 1, 2, 3]);
    expect([...torch]).to.deep.equal([0, 6, 3, 9, 1, 7, 4, 10, 2, 8, 5, 11]);
    expect(oihwToHwio(torch, [2, 1, 2, 3])).to.deep.equal(w);
  });

  it("dense after Flatten: inputs in NHWC order to NCHW order and back", () => {
    // One row of two pixels with two channels: inputs (x0 c0) (x0 c1) (x1 c0) (x1 c1), one output.
    const w = Float32Array.of(1, 2, 3, 4);
    const torch = denseToTorch(w, [4, 1], [1, 2, 2]);
    expect([...torch]).to.deep.equal([1, 3, 2, 4]); // (c0 x0) (c0 x1) (c1 x0) (c1 x1)
    expect(denseFromTorch(torch, [4, 1], [1, 2, 2])).to.deep.equal(w);
  });

  it("other dense layers: [in, out] to [out, in] and back", () => {
    expect([...denseToTorch(counted(6), [2, 3])]).to.deep.equal([0, 3, 1, 4, 2, 5]);
    expect(denseFromTorch(denseToTorch(counted(6), [2, 3]), [2, 3])).to.deep.equal(counted(6));
  });
});
