/** All that a layer's gradients must be, at one input shape. */
import type { Device } from "../gpu/device.ts";
import type { Layer } from "../nn/layer.ts";
import { Softmax } from "../nn/softmax.ts";
import { layerLabel } from "../nn/shapes.ts";
import { Random } from "../random.ts";
import { elementwise, type Reference } from "../reference/reference.ts";
import { elementCount, formatShape, type Shape } from "../tensor.ts";
import { compare, expectedFrom, type Expected, type Tolerance } from "./close.ts";
import {
  differences,
  expectedByDifferences,
  FLOAT32,
  FLOAT64,
  sample,
  type Differences,
} from "./differences.ts";
import { explain } from "./explain.ts";
import { awayFromZero, distinctFloats, toFloat64 } from "./inputs.ts";
import { linearityProblems, sameBits } from "./kernel.ts";
import {
  forwardOf,
  gradientName,
  referencePass,
  runLayer,
  type Outcome,
  type ParameterValues,
  type Subject,
} from "./probe.ts";
import { referenceOf, type LayerReference, type Values } from "./references.ts";
import {
  checkedTensor,
  makeReport,
  type Against,
  type CheckedTensor,
  type GradientProblem,
  type GradientReport,
} from "./report.ts";

export interface LayerCheckOptions extends Tolerance {
  /** `[n, h, w, c]` or `[n, units]`; small, since each element is moved by itself. */
  readonly inputShape: Shape;
  /**
   * Default: the engine's, for its own layers; for others, and with "none", gradients are compared with differences of the
   * layer's forward pass on the GPU.
   */
  readonly reference?: LayerReference | "none" | undefined;
  /** The input, in memory order. Default: distinct values in [-2, 2], away from 0, so that no kink is near. */
  readonly x?: Float32Array | undefined;
  /** The gradient with respect to y. Default: of size 0.25 to 1.25, of either sign. */
  readonly dy?: Float32Array | undefined;
  /** Values of parameters by name. Default: as the layer initialises them, moved by up to 0.5 so that none is 0 or 1. */
  readonly parameters?: Readonly<Record<string, Float32Array>> | undefined;
  /** Of all that is drawn. Default 1. */
  readonly seed?: number | undefined;
  /** Whether forward runs as in training. Default true. */
  readonly training?: boolean | undefined;
  /** Elements of one tensor that are moved, at most; others are sampled. Default 512. */
  readonly maxElements?: number | undefined;
}

/** Checks a layer at one input shape. It need not be built; its own parameters, if it has any, are left as they are. */
export async function checkLayer(
  device: Device,
  layer: Layer,
  options: LayerCheckOptions,
): Promise<GradientReport> {
  const name = `${layerLabel(layer)} at ${formatShape(options.inputShape)}`;
  const check = new LayerCheck(device, subjectOf(layer, options), options);
  await check.run();
  return makeReport(name, check.tensors, check.problems);
}

/** The layer at the values that the options give, or at values drawn for it. */
function subjectOf(layer: Layer, options: LayerCheckOptions): Subject {
  const { inputShape: shape, seed = 1, training = true } = options;
  const [n = 0, ...input] = shape;
  const count = elementCount(shape);
  if (!(count > 0) || !shape.every((size) => Number.isInteger(size)))
    throw new Error(
      `checkGradients: inputShape: expected [n, ...] of integers above 0, got ${formatShape(shape)}`,
    );
  const given = (what: string, values: Float32Array, size: Shape): Float32Array => {
    if (values.length === elementCount(size)) return values;
    throw new Error(
      `checkGradients: ${what}: expected ${elementCount(size)} values for ${formatShape(size)}, got ${values.length}`,
    );
  };
  // Half a step off 0 when the count is odd and 0 is among the values.
  const shift = count % 2 === 0 ? 0 : 1 / count;
  const drawn = () => distinctFloats(shape, seed, "x").map((value) => 2 * value + shift);
  const specs = layer.parameterSpecs(input);
  const unknown = Object.keys(options.parameters ?? {}).find(
    (key) => !specs.some((spec) => spec.name === key),
  );
  if (unknown !== undefined)
    throw new Error(
      `checkGradients: parameters: ${layerLabel(layer)} has no "${unknown}"; it has ${specs.map((spec) => spec.name).join(", ") || "none"}`,
    );
  const parameters = specs.map((spec): ParameterValues => {
    const own = options.parameters?.[spec.name];
    if (own) return { ...spec, values: given(`parameters.${spec.name}`, own, spec.shape) };
    const values = new Float32Array(elementCount(spec.shape));
    spec.init(values, spec.shape, new Random(seed, `init ${spec.name}`));
    const random = new Random(seed, `move ${spec.name}`);
    return { ...spec, values: values.map((value) => value + random.between(-0.5, 0.5)) };
  });
  return {
    layer,
    shape,
    outputShape: [n, ...layer.outputShape(input)],
    x: options.x ? given("x", options.x, shape) : drawn(),
    parameters,
    seed,
    training,
  };
}

class LayerCheck {
  readonly tensors: CheckedTensor[] = [];
  readonly problems: GradientProblem[] = [];
  readonly #device: Device;
  readonly #subject: Subject;
  readonly #options: LayerCheckOptions;
  readonly #reference: LayerReference | undefined;
  readonly #dy: Float32Array;

  constructor(device: Device, subject: Subject, options: LayerCheckOptions) {
    const { layer, shape, outputShape, seed } = subject;
    this.#device = device;
    this.#subject = subject;
    this.#options = options;
    this.#reference =
      options.reference === "none"
        ? undefined
        : (options.reference ?? referenceOf(layer, shape, referencePass(subject)));
    this.#dy = options.dy ?? awayFromZero(outputShape, seed, "dy", 0.25);
    if (this.#dy.length !== elementCount(outputShape))
      throw new Error(
        `checkGradients: dy: expected ${elementCount(outputShape)} values for ${formatShape(outputShape)}, got ${this.#dy.length}`,
      );
  }

  async run(): Promise<void> {
    const forward = await this.#run({});
    this.problems.push(...forward.problems);
    const { y } = forward;
    if (!y || this.problems.length > 0) return;
    this.#compareForward(y);
    await this.#evaluationPass();
    // A final Softmax has no backward: its gradient is the loss kernel's.
    if (this.#subject.layer instanceof Softmax) return;

    const outcome = await this.#run({ dy: this.#dy });
    if (outcome.problems.length > 0) {
      this.problems.push(...(await this.#withAccumulation(outcome, outcome.problems)));
      if (outcome.gradients.size === 0) return;
    }
    for (const [variable, gradient] of outcome.gradients)
      if (gradient.every(Number.isFinite)) await this.#compareGradient(variable, gradient);
    if (outcome.problems.length > 0) return;
    await this.#linearity(outcome);
    await this.#frozen(outcome);
  }

  #run(settings: Parameters<typeof runLayer>[2]): Promise<Outcome> {
    return runLayer(this.#device, this.#subject, settings);
  }

  get #values(): { x: Float64Array; parameters: Values } {
    const { x, parameters } = this.#subject;
    return {
      x: toFloat64(x),
      parameters: Object.fromEntries(parameters.map((p) => [p.name, toFloat64(p.values)])),
    };
  }

  #compareForward(y: Float32Array): void {
    if (!this.#reference) return;
    const { x, parameters } = this.#values;
    const { outputShape } = this.#subject;
    const want = asReference(this.#reference.forward(x, parameters));
    if (want.values.length !== y.length)
      throw new Error(
        `checkGradients: reference: expected ${y.length} values for ${formatShape(outputShape)}, got ${want.values.length}`,
      );
    const comparison = compare(y, expectedFrom(want, this.#options), outputShape);
    const tensor = checkedTensor("y", outputShape, "float64 reference", comparison);
    this.tensors.push(tensor);
    if (comparison.failed > 0)
      this.problems.push({
        kind: "forward",
        message:
          "the output of forward is not that of the reference; the gradients are compared with the reference's all the same",
        tensor,
      });
  }

  /** Evaluation must run too, where it is another pass. */
  async #evaluationPass(): Promise<void> {
    const subject = { ...this.#subject, training: !this.#subject.training };
    const { problems } = await runLayer(this.#device, subject, {});
    const pass = subject.training ? "in training" : "in evaluation";
    for (const problem of problems)
      this.problems.push({ ...problem, message: `${pass}: ${problem.message}` });
  }

  /** A kernel that adds to an output which holds NaN leaves NaN there: tried again on zeros, it gives itself away. */
  async #withAccumulation(
    { gradients }: Outcome,
    problems: readonly GradientProblem[],
  ): Promise<GradientProblem[]> {
    const onZeros = await this.#run({ dy: this.#dy, fill: "zeros" });
    const adds = [...gradients].some(([variable, values]) =>
      onZeros.gradients
        .get(variable)
        ?.some((value, i) => Number.isNaN(values[i]) && Number.isFinite(value) && value !== 0),
    );
    return problems.map((problem) =>
      adds && (problem.kind === "not written" || problem.kind === "not finite")
        ? {
            kind: "not finite",
            message: `${problem.message.split(":", 1)[0] ?? ""}: right only when the output begins as zeros: the kernel adds to it (+=), and must write it (=)`,
          }
        : problem,
    );
  }

  async #compareGradient(variable: string, got: Float32Array): Promise<void> {
    const { shape: inputShape, parameters, x } = this.#subject;
    const own = parameters.find(({ name }) => name === variable);
    const shape = own?.shape ?? inputShape;
    const expected = await this.#expected(variable, own?.values ?? x, shape);
    const { want, against, parts } = expected;
    const name = gradientName(variable);
    const unsure = parts?.unsure.length ?? 0;
    if (unsure > 0.2 * want.values.length) {
      this.problems.push({
        kind: "not smooth",
        message: `${name}: at ${unsure} of ${want.values.length} elements differences find no derivative, as at a kink; give inputs of your own (x, parameters) away from it`,
      });
      return;
    }
    const comparison = compare(got, want, shape);
    const tensor = checkedTensor(name, shape, against, comparison);
    this.tensors.push(tensor);
    if (comparison.failed === 0) return;
    const indices = want.indices ?? Uint32Array.from(want.values, (_, i) => i);
    const message = explain({
      name,
      shape,
      indices,
      got: Float64Array.from(indices, (i) => got[i] ?? NaN),
      want: want.values,
      failures: comparison.failures,
      axes: axesOf(shape, own !== undefined),
      rows: inputShape[0] ?? 1,
      dy:
        formatShape(shape) === formatShape(this.#subject.outputShape)
          ? Float32Array.from(indices, (i) => this.#dy[i] ?? NaN)
          : undefined,
      ...(own ? { firstRow: parts?.firstRow, lastRow: parts?.lastRow } : {}),
    });
    this.problems.push({ kind: "gradient", message, tensor });
  }

  /** What a gradient should be, from the best source there is. */
  async #expected(
    variable: string,
    values: Float32Array,
    shape: Shape,
  ): Promise<{ want: Expected; against: Against; parts?: PartialDifferences }> {
    const { x, parameters } = this.#values;
    const dy = toFloat64(this.#dy);
    const rows = this.#subject.shape[0] ?? 1;
    const reference = this.#reference;
    if (reference?.backward) {
      const backward = (weights: Float64Array) => {
        const found = reference.backward?.(x, parameters, weights)[variable];
        if (!found) throw new Error(`checkGradients: reference.backward gives no "${variable}"`);
        return found;
      };
      const rowLength = dy.length / rows;
      const only = (row: number) =>
        backward(dy.map((v, j) => (Math.floor(j / rowLength) === row ? v : 0))).values;
      const parts = { unsure: [], firstRow: only(0), lastRow: only(rows - 1) };
      const want = expectedFrom(backward(dy), this.#options);
      return { want, against: "float64 reference", parts };
    }
    const indices = sample(shape, this.#options.maxElements ?? 512);
    if (reference) {
      const evaluate = (points: readonly Float64Array[]) =>
        Promise.resolve(
          points.map((point) => {
            const y =
              variable === "x"
                ? reference.forward(point, parameters)
                : reference.forward(x, { ...parameters, [variable]: point });
            return y instanceof Float64Array ? y : y.values;
          }),
        );
      const found = await differences(evaluate, toFloat64(values), indices, dy, rows, FLOAT64);
      const want = expectedByDifferences(found, FLOAT64, this.#options);
      return { want, against: "differences of the float64 reference", parts: found };
    }
    // Drawn inputs lie 4 / count apart and a quarter of that away from 0.
    const near =
      variable === "x" && !this.#options.x ? 2 ** Math.floor(Math.log2(1 / x.length)) : 1;
    const settings = { ...FLOAT32, h: Math.min(FLOAT32.h, near) };
    const { evaluate, destroy } = await forwardOf(this.#device, this.#subject, variable);
    try {
      const found = await differences(evaluate, toFloat64(values), indices, dy, rows, settings);
      const want = expectedByDifferences(found, settings, this.#options);
      return { want, against: "differences of its own forward pass", parts: found };
    } finally {
      destroy();
    }
  }

  async #linearity({ gradients }: Outcome): Promise<void> {
    const again = await this.#run({ dy: this.#dy });
    const zero = await this.#run({ dy: new Float32Array(this.#dy.length) });
    const twice = await this.#run({ dy: this.#dy.map((value) => 2 * value) });
    this.problems.push(...again.problems, ...zero.problems, ...twice.problems);
    for (const [variable, once] of gradients) {
      const of = (outcome: Outcome) => outcome.gradients.get(variable) ?? new Float32Array();
      const runs = { once, again: of(again), zero: of(zero), twice: of(twice) };
      for (const problem of linearityProblems(runs))
        this.problems.push({
          kind: problem.startsWith("two runs") ? "not repeatable" : "not linear",
          message: `${gradientName(variable)}: ${problem}`,
        });
    }
  }

  /** Frozen, a layer computes dx alone; where nothing below it learns, it computes no dx. */
  async #frozen(learning: Outcome): Promise<void> {
    const report = (message: string) => this.problems.push({ kind: "frozen", message });
    const withoutDx = await this.#run({ dy: this.#dy, needsDx: false });
    this.problems.push(...withoutDx.problems);
    for (const [variable, gradient] of withoutDx.gradients)
      if (!sameBits(gradient, learning.gradients.get(variable) ?? new Float32Array()))
        report(`${gradientName(variable)} is another when no dx is asked for`);
    if (withoutDx.backward.length > 0 && work(withoutDx) === work(learning))
      report("dx is computed although it is not asked for; return undefined when !needsDx");
    if (this.#subject.parameters.length === 0) return;

    const frozen = await this.#run({ dy: this.#dy, learns: false });
    this.problems.push(...frozen.problems);
    const [dx, learnt] = [frozen.gradients.get("x"), learning.gradients.get("x")];
    if (dx && learnt && !sameBits(dx, learnt)) report("dx is another when the layer is frozen");
    if (frozen.problems.length === 0 && work(frozen) === work(learning))
      report(
        "frozen, the layer dispatches as much as when it learns; compute a parameter's gradient only where parameter.grad is there",
      );
  }
}

type PartialDifferences = Pick<Differences, "firstRow" | "lastRow"> & {
  readonly unsure: readonly number[];
};

/** What backward dispatched, as one text to compare. */
const work = ({ backward }: Outcome): string =>
  backward
    .map(({ shader, constants }) => `${shader} ${JSON.stringify(constants ?? {})}`)
    .join("\n");

function axesOf(shape: Shape, isParameter: boolean): readonly string[] {
  const numbered = shape.map((_, axis) => String(axis));
  if (!isParameter) return shape.length === 4 ? ["n", "h", "w", "c"] : ["n", ...numbered.slice(1)];
  return shape.length === 4 ? ["kH", "kW", "inC", "outC"] : numbered;
}

const asReference = (y: Float64Array | Reference): Reference =>
  y instanceof Float64Array ? { ...elementwise(y), absSum: y.map((v) => 8 * Math.abs(v)) } : y;
