import type { Context } from "../gpu/context.ts";
import { dense, denseBiasGrad, denseInputGrad, denseWeightGrad } from "../kernels/dense.ts";
import type { Shape, Tensor } from "../tensor.ts";
import { glorotUniform, zeros } from "./init.ts";
import { Layer, type BackwardReads, type LayerPass, type ParameterSpec } from "./layer.ts";
import { vectorShape, withGrad } from "./shapes.ts";

export interface DenseConfig {
  readonly units: number;
  readonly useBias?: boolean;
}

/** y = x w + b.  x: [n, inputs], weight: [inputs, units], bias: [units]. */
export class Dense extends Layer {
  override readonly type = "Dense";
  override readonly fusesActivation = true;
  override readonly storesFloat16 = true;
  readonly units: number;
  readonly #useBias: boolean;

  constructor(name: string, { units, useBias = true }: DenseConfig) {
    super(name);
    this.units = units;
    this.#useBias = useBias;
  }

  override outputShape(input: Shape): Shape {
    vectorShape(this, input);
    return [this.units];
  }

  override parameterSpecs(input: Shape): ParameterSpec[] {
    const shape = [vectorShape(this, input), this.units];
    const weight = { name: "weight", shape, init: glorotUniform };
    return this.#useBias ? [weight, { name: "bias", shape: [this.units], init: zeros }] : [weight];
  }

  override flops(input: Shape): number {
    return 2 * vectorShape(this, input) * this.units;
  }

  override backwardReads(): BackwardReads {
    return { x: true, y: false };
  }

  override forward(ctx: Context, x: Tensor, pass: LayerPass): Tensor {
    const y = ctx.scratch([x.shape[0] ?? 0, this.units], x.dtype, `${this.name}.y`);
    const w = this.weight(pass);
    const b = this.#useBias ? this.parameter("bias").value : undefined;
    dense(ctx, { x, w, b }, { leakySlope: pass.leakySlope }, y);
    return y;
  }

  override backward(
    ctx: Context,
    { x, dy }: { x: Tensor; dy: Tensor },
    needsDx: boolean,
    pass: LayerPass,
  ): Tensor | undefined {
    withGrad(this.parameter("weight"), (dw) => {
      denseWeightGrad(ctx, { x, dy }, {}, dw);
    });
    if (this.#useBias && !pass.hasBiasGrad)
      withGrad(this.parameter("bias"), (db) => {
        denseBiasGrad(ctx, { dy }, db);
      });
    if (!needsDx) return undefined;
    const dx = ctx.scratch(x.shape, dy.dtype, `${this.name}.dx`);
    denseInputGrad(ctx, { dy, w: this.weight(pass) }, {}, dx);
    return dx;
  }

  override config(): Record<string, unknown> {
    return { units: this.units, ...(this.#useBias ? {} : { useBias: false }) };
  }
}
