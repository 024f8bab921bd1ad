/**
 * Softmax and cross-entropy against integer labels, fused with its gradient; optional class weights as Keras has them.
 */
import { expectDType, expectFloats, grid1d, storedType, type Context } from "../gpu/context.ts";
import { expectShape, formatShape, ShapeError, type Tensor } from "../tensor.ts";
import { rowWorkgroupSize } from "./softmax.ts";

/** What `softmaxCrossEntropy` reads. */
export interface SoftmaxCrossEntropyInputs {
  /** Logits, [n, classes], float32 or float16. */
  readonly x: Tensor;
  /**
   * int32 [n]. A label outside [0, classes) makes its row's loss and gradient NaN, its `correct` 0; whoever fills
   * `labels` checks them first.
   */
  readonly labels: Tensor;
  /** [classes]; 1 for each class when left out. */
  readonly classWeights?: Tensor | undefined;
  /** Rows that dx's mean is taken over; default n, more where a step is made of several batches. */
  readonly meanOver?: number | undefined;
  /** [4], see updateLossScale: dx is multiplied by its scale. The losses are not. 1 when left out. */
  readonly lossScale?: Tensor | undefined;
}

/** What `softmaxCrossEntropy` writes. */
export interface SoftmaxCrossEntropyOutputs {
  /** [n], weight[label] * -log softmax(x)[label]. */
  readonly rowLoss: Tensor;
  /** uint32 [n], 1 where the first largest logit is the label's. */
  readonly correct: Tensor;
  /** [n, classes], stored as x is, the gradient of scale * sum(rowLoss) / meanOver; not computed when left out. */
  readonly dx?: Tensor | undefined;
}

/**
 * Loss, hit and gradient of each row, stable through log-sum-exp.
 * Shader: softmax_cross_entropy.wgsl.  Writes rowLoss, correct, dx (=).
 */
export function softmaxCrossEntropy(
  ctx: Context,
  { x, labels, classWeights, meanOver, lossScale }: SoftmaxCrossEntropyInputs,
  { rowLoss, correct, dx }: SoftmaxCrossEntropyOutputs,
): void {
  const op = "softmaxCrossEntropy";
  const [rows, classes] = x.shape;
  if (x.shape.length !== 2 || !rows || !classes)
    throw new ShapeError(op, `x "${x.label}": expected [n, classes], got ${formatShape(x.shape)}`);
  expectShape(op, "labels", labels, [rows]);
  if (classWeights) expectShape(op, "classWeights", classWeights, [classes]);
  expectShape(op, "rowLoss", rowLoss, [rows]);
  expectShape(op, "correct", correct, [rows]);
  if (dx) expectShape(op, "dx", dx, x.shape);
  if (lossScale) expectShape(op, "lossScale", lossScale, [4]);
  expectFloats(op, x, ...(dx ? [dx] : []));
  expectDType(op, "float32", rowLoss, ...(classWeights ? [classWeights] : []));
  // Each binding needs a buffer, and none may be written through two: what is not asked for gets a stand-in.
  const gradient = dx ?? ctx.scratch([1], "float32", "no dx");
  ctx.dispatch({
    label: `${op} ${x.label}`,
    shader: "softmax_cross_entropy",
    constants: {
      WG_SIZE: rowWorkgroupSize(classes),
      HAS_WEIGHTS: classWeights !== undefined,
      HAS_SCALE: lossScale !== undefined,
      HAS_DX: dx !== undefined,
      Stored: storedType(x),
    },
    tensors: [x, labels, classWeights ?? x, lossScale ?? x, rowLoss, correct, gradient],
    params: { rows, classes, mean_over: meanOver ?? rows },
    workgroups: grid1d(ctx.device, rows),
  });
  if (!dx) ctx.free(gradient);
}
