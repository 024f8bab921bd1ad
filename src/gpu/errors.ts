/**
 * The errors of the GPU and of shaders. Each message is one sentence that a user can act on:
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
