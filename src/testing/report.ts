/** What a check of gradients found, for programs and for people. */
import { formatShape, type Shape } from "../tensor.ts";
import { elementLines, type Comparison, type ElementDifference } from "./close.ts";

/** What a tensor was compared with. */
export type Against =
  | "float64 reference"
  | "differences of the float64 reference"
  | "differences of its own forward pass"
  | "differences of the loss along one direction";

/** One tensor that was compared: the output y, or a gradient. */
export interface CheckedTensor {
  /** `y`, `dx`, `dweight`, ... */
  readonly name: string;
  readonly shape: Shape;
  readonly against: Against;
  /** Elements compared, and how many of them differ by more than their bound. */
  readonly checked: number;
  readonly failed: number;
  /** The largest error as a part of its bound; up to 1 passes. */
  readonly share: number;
  readonly worst: ElementDifference | undefined;
  /** The first five that failed. */
  readonly first: readonly ElementDifference[];
}

/** What a gradient check may find. */
export type ProblemKind =
  /** A shape or type that does not keep what the layer promises. */
  | "shape"
  /** The layer threw, or its shader does not compile. */
  | "error"
  | "not written"
  | "written outside"
  | "not finite"
  | "forward"
  | "gradient"
  | "not repeatable"
  | "not linear"
  /** A frozen layer does the work of one that learns, or a gradient that nobody needs is computed. */
  | "frozen"
  /** An input or a parameter was changed. */
  | "overwritten"
  /** Too many inputs lie at kinks for differences to say anything. */
  | "not smooth";

/** One fault that a gradient check found. */
export interface GradientProblem {
  readonly kind: ProblemKind;
  /** What is wrong, and what it looks like. */
  readonly message: string;
  /** The tensor it shows in. */
  readonly tensor?: CheckedTensor;
}

/** The outcome of `checkGradients`. */
export interface GradientReport {
  readonly ok: boolean;
  /** What was checked, e.g. `Swish "swish1" at [2,7,7,3]`. */
  readonly subject: string;
  readonly tensors: readonly CheckedTensor[];
  readonly problems: readonly GradientProblem[];
  /** All of it as text: a line a problem, with its worst elements. */
  readonly message: string;
}

/** Thrown by `expectCorrectGradients` and by the chai plugin. */
export class GradientError extends Error {
  override readonly name = "GradientError";
  readonly report: GradientReport;

  constructor(report: GradientReport) {
    super(report.message);
    this.report = report;
  }
}

export function checkedTensor(
  name: string,
  shape: Shape,
  against: Against,
  { checked, failed, share, worst, first }: Comparison,
): CheckedTensor {
  return { name, shape, against, checked, failed, share, worst, first };
}

export function makeReport(
  subject: string,
  tensors: readonly CheckedTensor[],
  problems: readonly GradientProblem[],
): GradientReport {
  const ok = problems.length === 0;
  const lines = ok
    ? [`${subject}: gradients are right`, ...tensors.map((tensor) => `  ${tensorLine(tensor)}`)]
    : [
        `${subject}: ${problems.length === 1 ? "1 problem" : `${problems.length} problems`}`,
        ...problems.flatMap(({ message, tensor }) => [
          `- ${message}`,
          ...(tensor ? [`  ${tensorLine(tensor)}`, ...elementLines(comparisonOf(tensor))] : []),
        ]),
      ];
  return { ok, subject, tensors, problems, message: lines.join("\n") };
}

/** `dx [2,7,7,3]: 294 elements against the float64 reference, worst 0.31 of its bound`. */
function tensorLine({ name, shape, against, checked, failed, share }: CheckedTensor): string {
  const found =
    failed > 0
      ? `${failed} of ${checked} elements differ from`
      : checked === 1
        ? "1 element agrees with"
        : `${checked} elements agree with`;
  const worst = Number.isFinite(share)
    ? `${Number(share.toPrecision(2))} of its bound`
    : "no number";
  return `${name} ${formatShape(shape)}: ${found} the ${against}; worst: ${worst}`;
}

const comparisonOf = (tensor: CheckedTensor): Comparison => ({ ...tensor, failures: [] });
