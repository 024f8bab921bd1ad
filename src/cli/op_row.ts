/**
 * What an operation of `tuningfork op` is: a row of its table, typed so that `encode` sees exactly what the row promises.
 */
import type { Padding, Size2d } from "../geometry.ts";
import type { Context } from "../gpu/context.ts";
import type { Device } from "../gpu/device.ts";
import type { DType, Shape, Tensor, TypedArray } from "../tensor.ts";

/** A tensor that an operation takes. */
export interface Input {
  readonly dtype: DType;
  /** `[n,inC]`: as errors print it, and of how many axes; "any shape". */
  readonly layout: string;
  readonly optional: boolean;
}

interface Attribute<T, Optional extends boolean = boolean> {
  /** Returns the value, or throws saying what was expected. */
  readonly parse: (value: unknown) => T;
  readonly optional: Optional;
  readonly fallback?: T;
  /** A value for the error that names a missing attribute. */
  readonly example: string;
}

type Inputs = Readonly<Record<string, Input>>;
type Attributes = Readonly<Record<string, Attribute<unknown>>>;
type Tensors<I extends Inputs> = {
  readonly [K in keyof I as I[K]["optional"] extends true ? never : K]: Tensor;
} & { readonly [K in keyof I as I[K]["optional"] extends true ? K : never]?: Tensor };
type HostTensors<I extends Inputs> = { readonly [K in keyof I]: HostTensor };
type Values<A extends Attributes> = {
  readonly [K in keyof A as A[K]["optional"] extends true ? never : K]: ReturnType<A[K]["parse"]>;
} & {
  readonly [K in keyof A as A[K]["optional"] extends true ? K : never]?: ReturnType<A[K]["parse"]>;
};

/** An input as read from the file. */
export interface HostTensor {
  readonly shape: Shape;
  readonly values: TypedArray;
}

/** One operation: what it takes, the shapes of what it gives, and how it is recorded. */
interface OpSpec<I extends Inputs, A extends Attributes, Name extends string> {
  readonly inputs: I;
  readonly attributes: A;
  readonly outputs: (inputs: HostTensors<I>, attributes: Values<A>) => Record<Name, Shape>;
  readonly encode: (
    ctx: Context,
    inputs: Tensors<I>,
    attributes: Values<A>,
    outputs: Record<Name, Tensor>,
    device: Device,
  ) => void;
}

/** A row of the table. */
export type Op = OpSpec<Inputs, Attributes, string>;

/** Checks the types of one table row, then forgets them: rows of different types share the table. */
export function op<const I extends Inputs, const A extends Attributes, Name extends string>(
  spec: OpSpec<I, A, Name>,
): Op {
  return spec as unknown as Op;
}

// Kinds of inputs.

export const NHWC = "[n,h,w,c]";
export const HWIO = "[kH,kW,inC,outC]";
/** An operation that works element by element. */
export const ANY = "any shape";

/** A float32 tensor. */
export const floats = (layout: string) => ({ dtype: "float32", layout, optional: false }) as const;
/** One that may be left out. */
export const optionalFloats = (layout: string) =>
  ({ dtype: "float32", layout, optional: true }) as const;

// Kinds of attributes: whether they may be left out, and what they hold.

/** An attribute that has no default. */
export const required = <T>(
  parse: (value: unknown) => T,
  example: string,
): Attribute<T, false> => ({
  parse,
  optional: false,
  example,
});
/** One that the kernel has a default for. */
export const optional = <T>(parse: (value: unknown) => T): Attribute<T, true> => ({
  parse,
  optional: true,
  example: "",
});
/** One that has its default here. */
export const withDefault = <T>(parse: (value: unknown) => T, fallback: T): Attribute<T, false> => ({
  parse,
  optional: false,
  fallback,
  example: "",
});

/** What a parser expected; `parseAttributes` says where. */
export class Expected extends Error {}

/** By default within float32's range. */
export function number(what: string, least = -1e38, most = 1e38): (value: unknown) => number {
  return (value) => {
    if (typeof value !== "number" || !(value >= least && value <= most)) throw new Expected(what);
    return value;
  };
}

/** An integer, both ends included. */
export function integer(least: number, most: number): (value: unknown) => number {
  return (value) => {
    if (!isInteger(value, least) || value > most)
      throw new Expected(`an integer from ${least} to ${most}`);
    return value;
  };
}

function isInteger(value: unknown, least: number): value is number {
  return Number.isSafeInteger(value) && Number(value) >= least;
}

/** Height and width, or one number for both. */
export function size2d(value: unknown): Size2d {
  if (isInteger(value, 1)) return value;
  if (Array.isArray(value)) {
    const [h, w, ...rest] = value as unknown[];
    if (isInteger(h, 1) && isInteger(w, 1) && rest.length === 0) return [h, w];
  }
  throw new Expected("an integer from 1 or a list of two, [height,width]");
}

/** A number or a list of them, for a shape of which the tensors know a part. */
export function sizes(value: unknown): readonly number[] {
  const list: unknown[] = Array.isArray(value) ? value : [value, value];
  if (list.length >= 2 && list.length <= 4 && list.every((size) => isInteger(size, 1))) return list;
  throw new Expected("an integer from 1 or a list of two to four");
}

/** The padding of a convolution or a pool. */
export function padding(value: unknown): Padding {
  if (value === "same" || value === "valid") return value;
  const rows: unknown[] = Array.isArray(value) ? value : [];
  const isSide = (row: unknown): boolean =>
    Array.isArray(row) && row.length === 2 && row.every((size) => isInteger(size, 0));
  if (rows.length === 2 && rows.every(isSide)) return value as Padding;
  throw new Expected('"same", "valid" or [[top,bottom],[left,right]]');
}

/** One of several names. */
export function oneOf<const T extends string>(names: readonly T[]): (value: unknown) => T {
  return (value) => {
    const found = names.find((name) => name === value);
    if (found === undefined) throw new Expected(names.map((name) => `"${name}"`).join(", "));
    return found;
  };
}
