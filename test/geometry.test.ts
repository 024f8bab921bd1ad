import { expect } from "chai";
import {
  conv2dGeometry,
  conv2dParams,
  pool2dGeometry,
  type Conv2dSizes,
  type Padding,
  type Pool2dSizes,
} from "../src/geometry.ts";

/** Input, kernel, stride, dilation, padding: output and the padding before and after, worked by hand from Keras' rule. */
const AXES: [number, number, number, number, Padding, [number, number, number]][] = [
  [5, 3, 1, 1, "valid", [3, 0, 0]],
  [5, 3, 2, 1, "valid", [2, 0, 0]],
  [6, 3, 2, 1, "valid", [2, 0, 0]],
  [7, 3, 2, 2, "valid", [2, 0, 0]],
  [5, 5, 7, 1, "valid", [1, 0, 0]],
  [96, 6, 1, 1, "same", [96, 2, 3]],
  [24, 2, 1, 1, "same", [24, 0, 1]],
  [96, 5, 1, 1, "same", [96, 2, 2]],
  [224, 3, 2, 1, "same", [112, 0, 1]],
  [225, 3, 2, 1, "same", [113, 1, 1]],
  [10, 3, 3, 1, "same", [4, 1, 1]],
  [9, 3, 1, 2, "same", [9, 2, 2]],
  [9, 2, 1, 3, "same", [9, 1, 2]],
  [1, 5, 1, 1, "same", [1, 2, 2]],
  // The stride leaves rows out, so that no padding is needed.
  [8, 1, 2, 1, "same", [4, 0, 0]],
  [6, 2, 3, 1, "same", [2, 0, 0]],
];

describe("conv2dGeometry", () => {
  for (const [size, k, stride, dilation, padding, want] of AXES)
    it(`${size} by kernel ${k} stride ${stride} dilation ${dilation} ${padding as string}`, () => {
      const options = (h: number, w: number): Conv2dSizes => ({
        strides: [h ? stride : 1, w ? stride : 1],
        dilations: [h ? dilation : 1, w ? dilation : 1],
        padding,
      });
      // The other axis has a size of its own, so that a mix-up shows.
      const tall = conv2dGeometry([2, size, 1, 3], [k, 1, 3, 4], options(1, 0));
      expect([tall.outH, tall.padTop, tall.padBottom]).to.deep.equal(want);
      expect([tall.outW, tall.padLeft, tall.padRight]).to.deep.equal([1, 0, 0]);
      const wide = conv2dGeometry([2, 1, size, 3], [1, k, 3, 4], options(0, 1));
      expect([wide.outW, wide.padLeft, wide.padRight]).to.deep.equal(want);
      expect([wide.outH, wide.padTop, wide.padBottom]).to.deep.equal([1, 0, 0]);
    });

  it("takes explicit padding as given", () => {
    const padding = [
      [0, 3],
      [2, 1],
    ] as const;
    const g = conv2dGeometry([2, 5, 6, 2], [3, 4, 2, 5], { padding, strides: [1, 2] });
    expect(g).to.deep.equal({
      ...{ n: 2, inH: 5, inW: 6, inC: 2, kH: 3, kW: 4, outC: 5, outH: 6, outW: 3 },
      ...{ strideH: 1, strideW: 2, dilationH: 1, dilationW: 1 },
      ...{ padTop: 0, padLeft: 2, padBottom: 3, padRight: 1 },
    });
    expect(conv2dParams(g)).to.not.have.any.keys("padBottom", "padRight");
  });

  const x = [1, 5, 6, 2];
  const w = [3, 3, 2, 4];
  const rules: [string, number[], number[], unknown, string][] = [
    ["rank of x", [5, 6, 2], w, {}, "conv2d: x has the wrong rank or an empty axis"],
    ["rank of w", x, [3, 3, 2], {}, "conv2d: w has the wrong rank or an empty axis"],
    ["an empty batch", [0, 5, 6, 2], w, {}, "got [0,5,6,2]"],
    ["channels", x, [3, 3, 3, 4], {}, "x [1,5,6,2] NHWC has 2, w [3,3,3,4] HWIO expects 3"],
    ["stride 0", x, w, { strides: 0 }, "strides: expected an integer of at least 1"],
    ["stride 1.5", x, w, { strides: [1, 1.5] }, "got [1,1.5]"],
    ["three strides", x, w, { strides: [1, 1, 1] }, "got [1,1,1]"],
    ["dilation 0", x, w, { dilations: [0, 1] }, "dilations: expected an integer of at least 1"],
    ["large kernel", x, [6, 3, 2, 4], {}, "in height: kernel 6 with dilation 1 spans 6"],
    ["dilated kernel", x, w, { dilations: [1, 3] }, "in width: kernel 3 with dilation 3 spans 7"],
    ["unknown padding", x, w, { padding: "full" }, 'padding: expected "same", "valid"'],
    ["negative padding", x, w, { padding: [[-1, 0], [0, 0]] }, "got [[-1,0],[0,0]]"], // prettier-ignore
    ["a stride beyond int32", x, w, { strides: 1e12 }, "sizes out of range in height: expected"],
    ["a span beyond int32", x, w, { dilations: [1, 2 ** 29 + 1], padding: "same" }, "of at most 1073741824, got 1073741827"], // prettier-ignore
    ["flat padding", x, w, { padding: [1, 1] }, "got [1,1]"],
  ];
  it("refuses nothing of the control case", () => {
    expect(() => conv2dGeometry(x, w, {})).to.not.throw();
  });
  for (const [name, xShape, wShape, options, message] of rules)
    it(`refuses ${name}`, () => {
      expect(() => conv2dGeometry(xShape, wShape, options as Conv2dSizes)).to.throw(message);
    });
});

describe("pool2dGeometry", () => {
  it("strides by the window unless told otherwise", () => {
    const g = pool2dGeometry([2, 7, 9, 3], { size: [2, 3] });
    expect(g).to.deep.equal({
      ...{ n: 2, inH: 7, inW: 9, c: 3, kH: 2, kW: 3, outH: 3, outW: 3, strideH: 2, strideW: 3 },
      ...{ padTop: 0, padLeft: 0, padBottom: 0, padRight: 0 },
    });
    const same = pool2dGeometry([2, 7, 9, 3], { size: 2, strides: 1, padding: "same" });
    expect([same.outH, same.outW]).to.deep.equal([7, 9]);
    expect([same.padTop, same.padBottom]).to.deep.equal([0, 1]);
  });

  const rules: [string, unknown, string][] = [
    ["a size of 0", { size: 0 }, "maxPool2d: size: expected an integer of at least 1"],
    ["a window beyond the image", { size: 8 }, "maxPool2d: kernel exceeds the input in height"],
    ["a window that may lie in the padding", { size: 2, padding: [[2, 0], [0, 0]] }, "maxPool2d: padding reaches the window's size"], // prettier-ignore
  ];
  for (const [name, options, message] of rules)
    it(`refuses ${name}`, () => {
      expect(() => pool2dGeometry([2, 7, 9, 3], options as Pool2dSizes)).to.throw(message);
    });
});
