/**
 * The same checks as words of chai: `use(tuningforkChai)`. chai itself is not imported, so that other runners need not
 * have it.
 */
import type { Device } from "../gpu/device.ts";
import type { Layer } from "../nn/layer.ts";
import type { Sequential } from "../nn/model.ts";
import { elementwise, type Reference } from "../reference/reference.ts";
import { elementCount, type Shape, type Tensor } from "../tensor.ts";
import { checkAny, type CheckOptions, type NetworkCheckOptions } from "./check_gradients.ts";
import { expectClose, type Tolerance } from "./close.ts";
import type { GradientFunction } from "./function_layer.ts";

declare global {
  // eslint-disable-next-line @typescript-eslint/no-namespace -- Chai's types are a namespace, and a plugin adds to it
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
      closeToReference(reference: Reference | Float64Array, options?: CloseOptions): Promise<void>;
    }
  }
}

/** A tensor is read from `device`; `shape` says how elements of an array are numbered in messages. */
type CloseOptions = Tolerance & { readonly device?: Device; readonly shape?: Shape };

/** What a chai plugin is given, as far as this one needs it. */
interface ChaiLike {
  readonly Assertion: {
    addMethod(name: string, method: (this: object, ...args: unknown[]) => unknown): void;
  };
}

interface UtilsLike {
  readonly flag: (assertion: object, name: string) => unknown;
}

interface AssertionLike {
  assert(holds: boolean, message: string, negated: string): void;
}

/** `import { use } from "chai"; use(tuningforkChai);` */
export function tuningforkChai({ Assertion }: ChaiLike, { flag }: UtilsLike): void {
  Assertion.addMethod("correctGradients", async function (...args) {
    const assertion = this as AssertionLike;
    const subject = flag(this, "object") as Layer | GradientFunction | Sequential;
    const [options] = args as [CheckOptions | NetworkCheckOptions | undefined];
    const report = await checkAny(subject, options);
    assertion.assert(report.ok, report.message, `${report.subject}: wrong gradients were expected`);
  });
  Assertion.addMethod("closeToReference", async function (...args) {
    const assertion = this as AssertionLike;
    const [reference, options = {}] = args as [Reference | Float64Array, CloseOptions?];
    const want = reference instanceof Float64Array ? elementwise(reference) : reference;
    const { values, shape } = await valuesOf(flag(this, "object"), options);
    let message = "";
    try {
      expectClose(values, want, shape, options);
    } catch (error) {
      message = error instanceof Error ? error.message : String(error);
    }
    assertion.assert(message === "", message, "a difference from the reference was expected");
  });
}

async function valuesOf(
  subject: unknown,
  { device, shape }: CloseOptions,
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
