import { expect } from "chai";
import {
  ceilDiv,
  grid1d,
  itemsPerInvocation,
  chunkGrid,
  valueType,
} from "../../src/gpu/context.ts";
import type { Device } from "../../src/gpu/device.ts";

const MOST = 65535;

/** All that grids ask of a device. */
const deviceOf = (kind: Device["summary"]["class"]) =>
  ({
    summary: { class: kind },
    limits: { maxComputeWorkgroupsPerDimension: MOST },
  }) as unknown as Device;

describe("gpu/context", () => {
  const gpu = deviceOf("hardware");

  it("ceilDiv rounds up", () => {
    expect([ceilDiv(0, 4), ceilDiv(1, 4), ceilDiv(4, 4), ceilDiv(5, 4)]).to.deep.equal([
      0, 1, 1, 2,
    ]);
  });

  for (const count of [1, 2, MOST, MOST + 1, 2 * MOST, 2 * MOST + 1, 1e6 + 7, MOST * MOST])
    it(`grid1d(${count}) has room for all within the limits, and little to spare`, () => {
      const [x, y] = grid1d(gpu, count);
      expect(x).to.be.within(1, MOST);
      expect(y).to.be.within(1, MOST);
      expect(x * y).to.be.within(count, count + y - 1);
      if (count <= MOST) expect(y).to.equal(1);
    });

  it("grid1d of nothing is one workgroup, which finds nothing to do", () => {
    expect(grid1d(gpu, 0)).to.deep.equal([1, 1]);
  });

  it("gives an invocation one item on a GPU and several on software adapters", () => {
    expect(itemsPerInvocation(gpu)).to.equal(1);
    for (const kind of ["mesa-software", "swiftshader", "other-software"] as const)
      expect(itemsPerInvocation(deviceOf(kind))).to.be.greaterThan(1);
  });

  it("chunkGrid covers the count once and stops at the limit", () => {
    expect(chunkGrid(gpu, 0, 64)).to.deep.equal([1]);
    expect(chunkGrid(gpu, 64, 64)).to.deep.equal([1]);
    expect(chunkGrid(gpu, 65, 64)).to.deep.equal([2]);
    expect(chunkGrid(gpu, 1e9, 64)).to.deep.equal([MOST]);
    const software = deviceOf("mesa-software");
    const items = 64 * itemsPerInvocation(software);
    expect(chunkGrid(software, items, 64)).to.deep.equal([1]);
    expect(chunkGrid(software, items + 1, 64)).to.deep.equal([2]);
  });

  it("valueType takes vec4f where four divides the count", () => {
    expect(valueType(12)).to.deep.equal({ Value: "vec4f", Stored: "vec4f", lanes: 4 });
    expect(valueType(12, "float16")).to.deep.equal({ Value: "vec4f", Stored: "vec4h", lanes: 4 });
    for (const count of [1, 2, 3, 13, 14]) {
      expect(valueType(count)).to.deep.equal({ Value: "f32", Stored: "f32", lanes: 1 });
      expect(valueType(count, "float16")).to.deep.equal({ Value: "f32", Stored: "f16", lanes: 1 });
    }
  });
});
