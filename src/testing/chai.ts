/**
 * The same checks as words of chai: `use(tuningforkChai)`. chai itself is not imported, so that other runners need not
 * have it.
 */
import type { Device } from "../gpu/device.ts";
import type { Layer } from "../nn/layer.ts";
import { Sequential } from "../nn/model.ts";
import type { Reference } from "../reference/reference.ts";
import { elementwise } from "../reference/reference.ts";
import { elementCount, type Shape, type Tensor } from "../tensor.ts";
import { checkGradients, type CheckOptions, type NetworkCheckOptions } from "./check_gradients.ts";
import { expectClose, type Tolerance } from "./close.ts";
import type { GradientFunction } from "./function_layer.ts";

declare global {
  // Chai's types are a namespace, and a plugin adds to it.
  // eslint-disable-next-line @typescript-eslint/no-namespace
  namespace Chai {
    interface Assertion {
      /**
       * A layer, function or network has the gradients of its forward pass; see `checkGradients`. Await it.
       * `not` passes for wrong gradients.
       */
      correctGradients(options?: CheckOptions | NetworkCheckOptions): Promise<void>;
      /**
       * A Float32Array, or a tensor of the device in `options`, is within the bound of docs/numerics.md of a float64
       * reference: a `Reference`, or plain values of elementwise expressions. Await it.
       */
      closeToReference(
        reference: Reference | Float64Array,
        options?: Tolerance & { readonly device?: Device; readonly shape?: Shape },
      ): Promise<void>;
    }
  }
}

/** What a chai plugin is given, as far as this one needs it. */
interface ChaiLike {
  readonly Assertion: {
    addMethod(name: string, method: (this: object, ...args: never[]) => unknown): void;
  };
}

interface AssertionLike {
  readonly _obj: unknown;
  assert(holds: boolean, message: string, negated: string): void;
}

/** `import { use } from "chai"; use(tuningforkChai);` */
export function tuningforkChai({ Assertion }: ChaiLike): void {
  Assertion.addMethod("correctGradients", async function (options: CheckOptions) {
    const assertion = this as AssertionLike;
    const subject = assertion._obj as Layer | GradientFunction | Sequential;
    const report =
      subject instanceof Sequential
        ? await checkGradients(subject, options)
        : await checkGradients(subject, options);
    assertion.assert(report.ok, report.message, `${report.subject}: wrong gradients were expected`);
  });
  Assertion.addMethod(
    "closeToReference",
    async function (
      reference: Reference | Float64Array,
      options: Tolerance & { device?: Device; shape?: Shape } = {},
    ) {
      const assertion = this as AssertionLike;
      const want = reference instanceof Float64Array ? elementwise(reference) : reference;
      const { values, shape } = await valuesOf(assertion._obj, options);
      let message = "";
      try {
        expectClose(values, want, shape, options);
      } catch (error) {
        message = error instanceof Error ? error.message : String(error);
      }
      assertion.assert(message === "", message, "a difference from the reference was expected");
    },
  );
}

async function valuesOf(
  subject: unknown,
  { device, shape }: { device?: Device; shape?: Shape },
): Promise<{ values: Float32Array; shape: Shape }> {
  if (subject instanceof Float32Array) {
    if (shape && elementCount(shape) !== subject.length)
      throw new Error(
        `closeToReference: shape: expected ${subject.length} elements, [${shape.join(",")}] has ${elementCount(shape)}`,
      );
    return { values: subject, shape: shape ?? [subject.length] };
  }
  const tensor = subject as Partial<Tensor> | undefined;
  if (!tensor?.buffer || !tensor.shape)
    throw new Error("closeToReference: expected a Float32Array or a tensor, got neither");
  if (!device)
    throw new Error(
      "closeToReference: device: a tensor is read from its device; give { device } beside the reference",
    );
  return { values: await device.readFloats(tensor as Tensor), shape: tensor.shape };
}
