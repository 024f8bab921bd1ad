import { expect } from "chai";
import { formatBytes, sizeBytes, type DType, type Shape } from "../src/tensor.ts";

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
