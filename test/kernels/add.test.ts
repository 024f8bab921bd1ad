import { add } from "../../src/kernels/add.ts";
import * as reference from "../../src/reference/add.ts";
import { expectClose } from "../../src/testing/close.ts";
import { randomFloats, toFloat64 } from "../../src/testing/inputs.ts";
import { guarded } from "../../src/testing/guarded.ts";
import { useDevice } from "../support/device.ts";

describe("add", () => {
  const device = useDevice();

  for (const shape of [[1], [64], [67], [3, 11, 13, 17], [3, 5, 7, 12]])
    it(`x=[${shape.join(",")}]`, async () => {
      const [values, before] = [randomFloats(shape, 1), randomFloats(shape, 2)];
      const x = device().upload(values, shape, "x");
      const y = guarded(device(), before, shape, "y");
      await device().run("add", (ctx) => {
        add(ctx, { x }, y.tensor);
      });
      const sum = await y.readFloats();
      expectClose(sum, reference.add(toFloat64(values), toFloat64(before)), shape);
      device().release(x);
      y.release();
    });
});
