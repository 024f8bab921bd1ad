/**
 * The errors that this project throws on purpose. Each message is one sentence that a user can act on:
 * `<what>: <rule broken>: <expected> vs <got>; <next step>`. The fields hold the same facts for a program.
 */

/** What went wrong with the device: no adapter at all, a call refused, memory exhausted, the device gone, Dawn's own fault. */
export type DeviceErrorKind = "no-adapter" | "validation" | "out-of-memory" | "lost" | "internal";

/** The GPU, or the way to it, failed. */
export class DeviceError extends Error {
  override readonly name = "DeviceError";
  readonly kind: DeviceErrorKind;

  constructor(message: string, kind: DeviceErrorKind, options?: ErrorOptions) {
    super(message, options);
    this.kind = kind;
  }
}

/** Shapes that do not fit together, found on the host before anything is encoded. */
export class ShapeError extends Error {
  override readonly name = "ShapeError";
  /** The operation or layer that refused, e.g. `conv2d` or `dense "head"`. */
  readonly op: string;
  /** The offending shapes by tensor name, e.g. `{ x: [8, 56, 56, 64], w: [3, 3, 32, 128] }`. */
  readonly shapes: Readonly<Record<string, readonly number[]>>;

  constructor(
    op: string,
    message: string,
    shapes: Readonly<Record<string, readonly number[]>> = {},
    options?: ErrorOptions,
  ) {
    super(`${op}: ${message}`, options);
    this.op = op;
    this.shapes = shapes;
  }
}

/** One message of the WGSL compiler. Lines and columns count from 1, as in the file on disk. */
export interface ShaderMessage {
  readonly type: "error" | "warning" | "info";
  readonly line: number;
  readonly column: number;
  readonly text: string;
}

/** A shader that does not compile, with the compiler's messages and the constants in force. */
export class ShaderError extends Error {
  override readonly name = "ShaderError";
  /** File name without its folder, e.g. `conv2d_implicit_gemm.wgsl`. */
  readonly file: string;
  readonly messages: readonly ShaderMessage[];
  readonly constants: Readonly<Record<string, number | boolean | string>>;

  constructor(
    message: string,
    details: {
      readonly file: string;
      readonly messages?: readonly ShaderMessage[];
      readonly constants?: Readonly<Record<string, number | boolean | string>>;
    },
    options?: ErrorOptions,
  ) {
    super(message, options);
    this.file = details.file;
    this.messages = details.messages ?? [];
    this.constants = details.constants ?? {};
  }
}

/** A file of weights or of training state that cannot be used. */
export class CheckpointError extends Error {
  override readonly name = "CheckpointError";
  /** The file, as the user named it. */
  readonly path: string;

  constructor(path: string, message: string, options?: ErrorOptions) {
    super(`checkpoint ${path}: ${message}`, options);
    this.path = path;
  }
}
