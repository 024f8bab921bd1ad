/** Swish, y = x * sigmoid(beta * x), with a beta to learn for each channel: a layer of one's own. */
import {
  ceilDiv,
  elementCount,
  grid1d,
  Layer,
  registerLayer,
  registerShader,
  type Context,
  type ParameterSpec,
  type Shape,
  type Tensor,
} from "tuningfork";

const WG_SIZE = 64;
for (const name of ["swish", "swish_grad", "swish_beta_grad"])
  registerShader(name, new URL(`./${name}.wgsl`, import.meta.url));

/** x, y: [n, ..., c], beta: [c], 1 at the beginning. */
export class Swish extends Layer {
  override readonly type: string = "Swish";
  protected readonly betaGradShader: string = "swish_beta_grad";

  override outputShape(input: Shape): Shape {
    return input;
  }

  override parameterSpecs(input: Shape): ParameterSpec[] {
    return [{ name: "beta", shape: [input.at(-1) ?? 0], init: (values) => values.fill(1) }];
  }

  override forward(ctx: Context, x: Tensor): Tensor {
    const y = ctx.scratch(x.shape, "float32", `${this.name}.y`);
    this.#elementwise(ctx, "swish", [x, this.parameter("beta").value, y]);
    return y;
  }

  override backward(
    ctx: Context,
    { x, dy }: { x: Tensor; dy: Tensor },
    needsDx: boolean,
  ): Tensor | undefined {
    const { value: beta, grad } = this.parameter("beta");
    const c = x.shape.at(-1) ?? 0;
    // A frozen layer has no grad, and no work is done for it.
    if (grad)
      ctx.dispatch({
        label: `${this.betaGradShader} ${this.name}`,
        shader: this.betaGradShader,
        constants: { WG_SIZE },
        tensors: [x, beta, dy, grad],
        params: { rows: elementCount(x.shape) / c, c },
        workgroups: [c],
      });
    if (!needsDx) return undefined;
    const dx = ctx.scratch(x.shape, "float32", `${this.name}.dx`);
    this.#elementwise(ctx, "swish_grad", [x, beta, dy, dx]);
    return dx;
  }

  /** x comes first among the tensors. */
  #elementwise(ctx: Context, shader: string, tensors: readonly [Tensor, ...Tensor[]]): void {
    const count = elementCount(tensors[0].shape);
    ctx.dispatch({
      label: `${shader} ${this.name}`,
      shader,
      constants: { WG_SIZE },
      tensors,
      params: { count, c: tensors[0].shape.at(-1) ?? 0 },
      workgroups: grid1d(ctx.device, ceilDiv(count, WG_SIZE)),
    });
  }

  override config(): Record<string, unknown> {
    return {};
  }
}

registerLayer("Swish", (name) => new Swish(name));
