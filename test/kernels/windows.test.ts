import { expect } from "chai";
import type { Device } from "../../src/gpu/device.ts";
import { DeviceError } from "../../src/gpu/errors.ts";
import { flat, forEachWindow, leadingWindows } from "../../src/kernels/windows.ts";
import {
  ShapeError,
  sizeBytes,
  slice,
  type DType,
  type Shape,
  type Tensor,
} from "../../src/tensor.ts";

const ALIGNMENT = 256;

/** All that windows ask of a device. */
const deviceBinding = (maxBindingBytes: number) =>
  ({
    maxBindingBytes,
    limits: { minStorageBufferOffsetAlignment: ALIGNMENT },
  }) as unknown as Device;

/** A tensor that is never bound. */
const tensor = (shape: Shape, dtype: DType = "float32", label = "x"): Tensor => ({
  buffer: {} as GPUBuffer,
  offsetBytes: 0,
  shape,
  dtype,
  label,
});

describe("windows", () => {
  const cases: [string, number, Tensor[]][] = [
    ["floats, one to a row", 1024, [tensor([5000])]],
    ["two vectors of one length", 1024, [tensor([1234]), tensor([1234], "int32", "y")]],
    ["rows that are aligned by themselves", 4096, [tensor([33, 64])]],
    ["odd rows, aligned every 64", 4096, [tensor([1000, 3])]],
    ["rows of different sizes", 8192, [tensor([300, 12]), tensor([300, 5], "float32", "y")]],
    ["bytes", 512, [tensor([3001], "uint8")]],
    ["images of bytes, rows no whole words", 1024, [tensor([1100, 3, 1, 1], "uint8")]],
    ["bytes beside floats", 2048, [tensor([999, 7], "uint8"), tensor([999], "float32", "y")]],
    ["a last window of one row", 256, [tensor([65])]],
    ["a binding that is no multiple of the alignment", 1000, [tensor([777])]],
  ];
  for (const [name, maxBindingBytes, tensors] of cases)
    it(`cover each row once, fit and are aligned: ${name}`, () => {
      const rows = tensors[0]!.shape[0]!;
      const windows = leadingWindows(deviceBinding(maxBindingBytes), tensors);
      expect(windows.length).to.be.greaterThan(1);
      let next = 0;
      for (const { start, count } of windows) {
        expect(start).to.equal(next);
        expect(count).to.be.greaterThan(0);
        next += count;
        for (const whole of tensors) {
          const part = slice(whole, start, count);
          expect(part.offsetBytes % ALIGNMENT, "offset").to.equal(0);
          expect(sizeBytes(part), "bytes").to.be.at.most(maxBindingBytes);
        }
      }
      expect(next).to.equal(rows);
    });

  it("are no more than needed", () => {
    // 64 floats are 256 bytes, 1024 bytes hold 4 * 64.
    expect(leadingWindows(deviceBinding(1024), [tensor([600])])).to.deep.equal([
      { start: 0, count: 256 },
      { start: 256, count: 256 },
      { start: 512, count: 88 },
    ]);
  });

  it("are one, of the tensors themselves, where all fit", () => {
    const tensors = [tensor([256]), tensor([256, 1], "float32", "y")];
    const seen: unknown[] = [];
    forEachWindow(deviceBinding(1024), tensors, (slices, window) => seen.push(slices, window));
    expect(seen).to.deep.equal([tensors, { start: 0, count: 256 }]);
    expect(seen[0]).to.equal(tensors);
  });

  it("slice all tensors alike", () => {
    const tensors = [tensor([100, 16]), tensor([100, 4], "float32", "y")];
    const seen: [string, Shape, number][] = [];
    forEachWindow(deviceBinding(4096), tensors, (slices) => {
      for (const { label, shape, offsetBytes } of slices) seen.push([label, shape, offsetBytes]);
    });
    expect(seen).to.deep.equal([
      ["x[0:64]", [64, 16], 0],
      ["y[0:64]", [64, 4], 0],
      ["x[64:100]", [36, 16], 4096],
      ["y[64:100]", [36, 4], 1024],
    ]);
  });

  it("refuse rows that do not fit in one binding", () => {
    expect(() => leadingWindows(deviceBinding(1024), [tensor([4, 257], "float32", "w")])).to.throw(
      DeviceError,
      'windows: 64 rows of "w" [4,257] exceed one binding of 1024 bytes',
    );
    expect(leadingWindows(deviceBinding(1024), [tensor([4, 256])])).to.have.length(4);
  });

  it("refuse tensors of different lengths, also where they fit", () => {
    const tensors = [tensor([8]), tensor([9], "float32", "y")];
    for (const maxBindingBytes of [1024, 32])
      expect(() => leadingWindows(deviceBinding(maxBindingBytes), tensors)).to.throw(
        ShapeError,
        'windows: leading axes differ: "x" [8], "y" [9]',
      );
  });

  it("of flat tensors are of vectors", () => {
    expect(flat(tensor([2, 3, 4]), tensor([])).map(({ shape }) => shape)).to.deep.equal([
      [24],
      [1],
    ]);
  });
});

describe("slice", () => {
  it("counts offsets in bytes of the dtype, and adds them up", () => {
    const part = slice(slice(tensor([10, 3], "uint8"), 4, 6), 2, 3);
    expect(part).to.include({ offsetBytes: 18, label: "x[4:10][2:5]" });
    expect(part.shape).to.deep.equal([3, 3]);
    expect(slice(tensor([10, 3]), 10, 0).offsetBytes).to.equal(120);
  });

  for (const [start, count] of [
    [0, 11],
    [10, 1],
    [-1, 2],
    [2, -1],
    [NaN, 1],
  ] as const)
    it(`refuses rows ${start} to ${start + count} of 10`, () => {
      expect(() => slice(tensor([10, 3]), start, count)).to.throw(
        ShapeError,
        `slice: "x" [10,3] has no rows ${start} to ${start + count}`,
      );
    });
});
