/**
 * The forward and the backward pass of layers in a row: which activations live how long, and which leaky ReLUs the layers
 * below them apply themselves.
 */
import type { Context } from "../gpu/context.ts";
import { leakyReluBiasGrad, leakyReluGrad } from "../kernels/leaky_relu.ts";
import { sameMemory, type Tensor } from "../tensor.ts";
import type { BackwardReads, Layer, LayerPass, Pass } from "./layer.ts";
import { LeakyReLU } from "./leaky_relu.ts";
import { MaxPool2D } from "./max_pool2d.ts";
import { backwardLayer, forwardLayer, weightCopy } from "./precision.ts";
import { Softmax } from "./softmax.ts";

/**
 * The activations of a recorded forward pass: `outputs[i]` is layer i's, `outputs[-1]` would be the input. Those that
 * nothing recorded later reads are freed: give `observe` to see them.
 */
export interface Activations {
  readonly x: Tensor;
  readonly outputs: readonly Tensor[];
  /** What layers keep for backward beside their inputs and outputs. */
  readonly kept: Map<Layer, Tensor>;
  /** Float16 copies of weights, for backward. */
  readonly weights: ReadonlyMap<Layer, Tensor>;
  /** Outputs that were freed already. */
  readonly freed: readonly Tensor[];
}

/** The index of the lowest layer that learns; backward stops there. -1 when none does. */
export function lowestTrainable(layers: readonly Layer[]): number {
  return layers.findIndex((layer) => layer.trainable && layer.parameters.length > 0);
}

/** The index of the layer that yields the logits: the last one but for a Softmax. */
export function logitsIndex(layers: readonly Layer[]): number {
  return layers.length - (layers.at(-1) instanceof Softmax ? 2 : 1);
}

/** Records the passes of layers as they are now, frozen or not. */
export class Passes {
  readonly #layers: readonly Layer[];
  readonly #fuse: boolean;
  readonly #lowest: number;
  readonly #top: number;

  /** @param fuse whether layers apply the leaky ReLU behind them themselves */
  constructor(layers: readonly Layer[], fuse: boolean) {
    this.#layers = layers;
    this.#fuse = fuse;
    this.#lowest = lowestTrainable(layers);
    this.#top = logitsIndex(layers);
  }

  /** Records the forward pass of x [n, ...input]; see `Sequential.forward`. */
  forward(ctx: Context, x: Tensor, pass: Pass): Activations {
    const outputs: Tensor[] = [];
    const kept = new Map<Layer, Tensor>();
    const weights = new Map<Layer, Tensor>();
    const freed: Tensor[] = [];
    const last = pass.training ? this.#top : this.#layers.length - 1;
    let current = x;
    for (const [index, layer] of this.#layers.slice(0, last + 1).entries()) {
      ctx.scope = `${layer.name} forward`;
      const leakySlope = this.#fusedSlope(index, pass);
      const absorbed = this.#fusedSlope(index - 1, pass) !== undefined;
      const weight = weightCopy(ctx, layer, current);
      const y = absorbed
        ? current
        : forwardLayer(ctx, layer, current, {
            ...pass,
            index,
            kept,
            ...(leakySlope !== undefined && { leakySlope }),
            ...(weight && { weight }),
          });
      if (weight && pass.training && this.#needsDx(index)) weights.set(layer, weight);
      else if (weight) ctx.free(weight);
      pass.observe?.(ctx, { layer, kind: "output", name: layer.name, tensor: y });
      outputs.push(y);
      const passedOn = sameMemory(current, x) || sameMemory(current, y);
      if (!passedOn && !this.#readInBackward(current, outputs, kept, pass)) {
        ctx.free(current);
        freed.push(current);
      }
      current = y;
    }
    ctx.scope = "";
    return { x, outputs, kept, weights, freed };
  }

  /** Whether backward of layer `index` computes the gradient of its input: layers below it learn. */
  #needsDx(index: number): boolean {
    return this.#lowest >= 0 && index > this.#lowest;
  }

  /**
   * The slope of the leaky ReLU behind layer `index` which that layer applies itself. Backward then takes the sign from
   * the output, so the slope must not be negative; and an observer wants to see every output as it is.
   */
  #fusedSlope(index: number, pass: Pass): number | undefined {
    const next = this.#layers[index + 1];
    const fuses = this.#fuse && !pass.observe && this.#layers[index]?.fusesActivation === true;
    return fuses && next instanceof LeakyReLU && next.slope >= 0 ? next.slope : undefined;
  }

  /** Whether a max pooling stands behind a leaky ReLU that another layer applies: it then masks the gradient, too. */
  #poolsFused(index: number, pass: Pass): boolean {
    const isPool = this.#layers[index] instanceof MaxPool2D;
    return isPool && this.#fusedSlope(index - 2, pass) !== undefined;
  }

  /** Whether backward reads an output that the layers so far, `outputs`, have seen. */
  #readInBackward(
    tensor: Tensor,
    outputs: readonly Tensor[],
    kept: Map<Layer, Tensor>,
    pass: Pass,
  ): boolean {
    if (!pass.training || this.#lowest < 0) return false;
    return outputs.some((y, index) => {
      if (index < this.#lowest) return false;
      const reads = this.#backwardReads(index, kept, pass);
      const x = outputs[index - 1];
      const readsX = reads.x && x !== undefined && sameMemory(x, tensor);
      return readsX || (reads.y && sameMemory(y, tensor));
    });
  }

  #backwardReads(index: number, kept: Map<Layer, Tensor>, pass: Pass): BackwardReads {
    const layer = this.#layers[index];
    const reads = layer?.backwardReads({ ...pass, index, kept }) ?? { x: true, y: true };
    const absorbed = this.#fusedSlope(index - 1, pass) !== undefined;
    // The sign comes from the leaky ReLU's output, or from that of the pooling behind it.
    if (absorbed) return { x: false, y: !this.#poolsFused(index + 1, pass) };
    return this.#poolsFused(index, pass) ? { ...reads, y: true } : reads;
  }

  /** Records the backward pass from the gradient of the logits; see `Sequential.backward`. */
  backward(ctx: Context, activations: Activations, dLogits: Tensor, pass: Pass): void {
    const { x, outputs, kept, weights, freed } = activations;
    if (this.#lowest < 0)
      throw new Error("model: every layer is frozen, so there is nothing to train; unfreeze one");
    let dy = dLogits;
    for (let index = this.#top; index >= this.#lowest; index--) {
      const layer = this.#layers[index];
      const y = outputs[index];
      const input = outputs[index - 1] ?? x;
      if (!layer || !y) throw new Error(`model: no activation of layer ${index}`);
      ctx.scope = `${layer.name} backward`;
      const weight = weights.get(layer);
      const layerPass = { ...pass, index, kept, ...(weight && { weight }) };
      const dx = this.#layerBackward(ctx, layer, { x: input, y, dy }, layerPass);
      if (weight) ctx.free(weight);
      for (const { name, grad } of layer.parameters)
        if (grad) pass.observe?.(ctx, { layer, kind: "parameter gradient", name, tensor: grad });
      if (dx) pass.observe?.(ctx, { layer, kind: "input gradient", name: layer.name, tensor: dx });
      const extra = kept.get(layer);
      if (extra) ctx.free(extra);
      if (!sameMemory(dy, dLogits)) {
        if (!dx || !sameMemory(dx, dy)) ctx.free(dy);
        if (!sameMemory(y, input) && !freed.some((gone) => sameMemory(gone, y))) ctx.free(y);
      }
      if (!dx) break;
      dy = dx;
    }
    ctx.scope = "";
  }

  /**
   * One layer's backward. A leaky ReLU that was fused into the layer below it masks dy and sums the bias gradient at
   * once; with a max pooling behind it before the pooling's gradient, where there are fewer elements, since both agree:
   * only the maximum of a window has a gradient, and its sign is that of the pooling's output.
   */
  #layerBackward(
    ctx: Context,
    layer: Layer,
    tensors: { readonly x: Tensor; readonly y: Tensor; readonly dy: Tensor },
    pass: LayerPass,
  ): Tensor | undefined {
    const { index } = pass;
    const absorbed = this.#fusedSlope(index - 1, pass) !== undefined;
    if (absorbed)
      return this.#poolsFused(index + 1, pass)
        ? tensors.dy
        : this.#maskedGradient(ctx, index - 1, tensors, pass);
    const masked = this.#poolsFused(index, pass)
      ? this.#maskedGradient(ctx, index - 2, tensors, pass)
      : tensors.dy;
    const hasBiasGrad = this.#fusedSlope(index, pass) !== undefined;
    const dx = backwardLayer(ctx, layer, { ...tensors, dy: masked }, this.#needsDx(index), {
      ...pass,
      hasBiasGrad,
    });
    if (masked !== tensors.dy) ctx.free(masked);
    return dx;
  }

  /** dy through the leaky ReLU that layer `index` applied itself, and the gradient of that layer's bias, if it learns. */
  #maskedGradient(
    ctx: Context,
    index: number,
    { y, dy }: { readonly y: Tensor; readonly dy: Tensor },
    pass: Pass,
  ): Tensor {
    const layer = this.#layers[index];
    const slope = this.#fusedSlope(index, pass) ?? 1;
    const dx = ctx.scratch(dy.shape, dy.dtype, `${layer?.name ?? ""}.dy`);
    const db = layer?.parameters.find(({ name }) => name === `${layer.name}.bias`)?.grad;
    if (db) leakyReluBiasGrad(ctx, { y, dy }, { slope }, { dx, db });
    else leakyReluGrad(ctx, { x: y, dy }, { slope }, dx);
    return dx;
  }
}
