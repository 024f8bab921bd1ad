import type { Context } from "../gpu/context.ts";
import { conv2dGeometry, type Padding } from "../geometry.ts";
import {
  conv2d,
  conv2dBiasGrad,
  conv2dInputGrad,
  conv2dWeightGrad,
  type Conv2dOptions,
} from "../kernels/conv2d.ts";
import type { Shape, Tensor } from "../tensor.ts";
import { glorotUniform, zeros } from "./init.ts";
import { Layer, type BackwardReads, type LayerPass, type ParameterSpec } from "./layer.ts";
import { imageShape, withGrad } from "./shapes.ts";

export interface Conv2DConfig {
  readonly filters: number;
  readonly kernelSize: readonly [number, number];
  readonly strides?: readonly [number, number];
  readonly dilations?: readonly [number, number];
  readonly padding?: Padding;
  readonly useBias?: boolean;
}

/** y = x * w + b.  x: [n, h, w, c] NHWC, weight: [kH, kW, c, filters] HWIO, bias: [filters]. */
export class Conv2D extends Layer {
  override readonly type = "Conv2D";
  override readonly fusesActivation = true;
  override readonly storesFloat16 = true;
  readonly #config: Conv2DConfig;

  constructor(name: string, config: Conv2DConfig) {
    super(name);
    this.#config = config;
  }

  get #options(): Conv2dOptions {
    const { strides = [1, 1], dilations = [1, 1], padding = "valid" } = this.#config;
    return { strides, dilations, padding };
  }

  #weightShape(input: Shape): [number, number, number, number] {
    const [, , channels] = imageShape(this, input);
    return [...this.#config.kernelSize, channels, this.#config.filters];
  }

  #geometry(input: Shape) {
    return conv2dGeometry([1, ...input], this.#weightShape(input), this.#options);
  }

  override outputShape(input: Shape): Shape {
    const { outH, outW, outC } = this.#geometry(input);
    return [outH, outW, outC];
  }

  override parameterSpecs(input: Shape): ParameterSpec[] {
    const weight = { name: "weight", shape: this.#weightShape(input), init: glorotUniform };
    if (this.#config.useBias === false) return [weight];
    return [weight, { name: "bias", shape: [this.#config.filters], init: zeros }];
  }

  override flops(input: Shape): number {
    const g = this.#geometry(input);
    return 2 * g.outH * g.outW * g.outC * g.kH * g.kW * g.inC;
  }

  override backwardReads(): BackwardReads {
    return { x: true, y: false };
  }

  override forward(ctx: Context, x: Tensor, pass: LayerPass): Tensor {
    const [n = 0, ...input] = x.shape;
    const y = ctx.scratch([n, ...this.outputShape(input)], x.dtype, `${this.name}.y`);
    const w = this.weight(pass);
    const b = this.#config.useBias === false ? undefined : this.parameter("bias").value;
    conv2d(ctx, { x, w, b }, { ...this.#options, leakySlope: pass.leakySlope }, y);
    return y;
  }

  override backward(
    ctx: Context,
    { x, dy }: { x: Tensor; dy: Tensor },
    needsDx: boolean,
    pass: LayerPass,
  ): Tensor | undefined {
    withGrad(this.parameter("weight"), (dw) => {
      conv2dWeightGrad(ctx, { x, dy }, this.#options, dw);
    });
    if (this.#config.useBias !== false && !pass.hasBiasGrad)
      withGrad(this.parameter("bias"), (db) => {
        conv2dBiasGrad(ctx, { dy }, db);
      });
    if (!needsDx) return undefined;
    const dx = ctx.scratch(x.shape, dy.dtype, `${this.name}.dx`);
    conv2dInputGrad(ctx, { dy, w: this.weight(pass) }, this.#options, dx);
    return dx;
  }

  override config(): Record<string, unknown> {
    return { ...this.#config };
  }
}
