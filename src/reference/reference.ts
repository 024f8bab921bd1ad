/**
 * What every float64 reference returns: the values, and how far a float32 computation of them may honestly differ.
 */

export interface Reference {
  readonly values: Float64Array;
  /** Sum of |terms| of each element's reduction; |value| where there is none. */
  readonly absSum: Float64Array;
  /** The longest reduction of any element. */
  readonly reduction: number;
}

/** A reference without a reduction: each element is one rounded expression. */
export function elementwise(values: Float64Array, reduction = 1): Reference {
  return { values, absSum: values.map(Math.abs), reduction };
}
