/** Where a figure stands in the report. */
export type FigureSection =
  | "accuracy"
  | "training"
  | "pretraining"
  | "roc"
  | "small-against-large"
  | "confusion"
  | "samples"
  | "single-images"
  | "feature-maps"
  | "galleries"
  | "applied"
  | "physical";

export interface Figure {
  /** The file's stem: `figures/<name>.svg` and `.png`. */
  readonly name: string;
  readonly section: FigureSection;
  /** A sentence or two; plain text. */
  readonly caption: string;
  /** The paper's number for it, e.g. "17a". */
  readonly paperFigure?: string;
  /** What a reader who cannot see it should know. */
  readonly alt: string;
  /** A whole SVG document. */
  readonly svg: string;
}
