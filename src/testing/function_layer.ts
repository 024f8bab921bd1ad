/** Kernels without a layer: what is checked as one all the same. */
import type { Context } from "../gpu/context.ts";
import { zeros } from "../nn/init.ts";
import { Layer, type ParameterSpec } from "../nn/layer.ts";
import { formatShape, type Shape, type Tensor } from "../tensor.ts";

/** Tensors by name: x, and the parameters. */
type Tensors<Name extends string> = Readonly<Record<Name | "x", Tensor>>;

/** A function that kernels compute, and the kernels of its gradients. Tensors go by name, `x` among them. */
export interface GradientFunction<Name extends string = string> {
  readonly name: string;
  /** Shapes of what it takes beside x, e.g. `{ w: [3, 4], b: [4] }`. */
  readonly parameters?: Readonly<Record<Name, Shape>>;
  /** The shape of y for that of x, both with the batch. */
  outputShape(x: Shape): Shape;
  /** Records y = f(x, parameters). */
  forward(ctx: Context, tensors: Tensors<NoInfer<Name>>, y: Tensor): void;
  /** For `x` and each parameter: records its gradient into `out`, given all tensors, y and dy. */
  readonly gradients: Readonly<
    Record<
      NoInfer<Name> | "x",
      (ctx: Context, tensors: Tensors<NoInfer<Name> | "y" | "dy">, out: Tensor) => void
    >
  >;
}

/** A function as a layer, for one shape of x. */
export class FunctionLayer extends Layer {
  override readonly type = "function";
  readonly #function: GradientFunction;
  readonly #shape: Shape;

  constructor(of: GradientFunction, shape: Shape) {
    super(of.name);
    this.#function = of;
    this.#shape = shape;
    for (const name of ["x", ...Object.keys(of.parameters ?? {})])
      if (!of.gradients[name])
        throw new Error(
          `checkGradients: "${of.name}": gradients: expected one for ${name}, got ${Object.keys(of.gradients).join(", ") || "none"}`,
        );
  }

  override outputShape(): Shape {
    const shape = this.#function.outputShape(this.#shape);
    if (shape[0] === this.#shape[0]) return shape.slice(1);
    throw new Error(
      `checkGradients: "${this.name}": outputShape: expected the batch of ${formatShape(this.#shape)} first, got ${formatShape(shape)}`,
    );
  }

  override parameterSpecs(): ParameterSpec[] {
    const shapes = Object.entries(this.#function.parameters ?? {});
    return shapes.map(([name, shape]) => ({ name, shape, init: zeros }));
  }

  #tensors(x: Tensor): Tensors<string> {
    const names = Object.keys(this.#function.parameters ?? {});
    return {
      ...Object.fromEntries(names.map((name) => [name, this.parameter(name).value])),
      x,
    };
  }

  override forward(ctx: Context, x: Tensor): Tensor {
    const y = ctx.scratch(this.#function.outputShape(x.shape), "float32", `${this.name}.y`);
    this.#function.forward(ctx, this.#tensors(x), y);
    return y;
  }

  override backward(
    ctx: Context,
    { x, y, dy }: { x: Tensor; y: Tensor; dy: Tensor },
    needsDx: boolean,
  ): Tensor | undefined {
    const tensors = { ...this.#tensors(x), y, dy };
    const { gradients } = this.#function;
    for (const { name, grad } of this.parameters)
      if (grad) gradients[name.slice(this.name.length + 1)]?.(ctx, tensors, grad);
    if (!needsDx) return undefined;
    const dx = ctx.scratch(x.shape, "float32", `${this.name}.dx`);
    gradients["x"]?.(ctx, tensors, dx);
    return dx;
  }

  override config(): Record<string, unknown> {
    return {};
  }
}
