/**
 * Shaders as files: reading them, the constants they are built with, the parameters and bindings they declare.
 *
 * A shader file is WGSL with two additions, both invisible to a reader who does not care:
 * - `// lib: philox, index` appends `shaders/lib/philox.wgsl` and `index.wgsl` after the file;
 * - `#unroll i ROWS` ... `#end` repeats the lines between for i = 0 .. ROWS-1, writing `$i` as that number.
 * Constants that the file declares as `override` are set at pipeline creation; the others (tile sizes of register
 * arrays, counts of `#unroll`) are appended as `const`, and a type, e.g. `Value: "vec4f"`, as `alias`. All additions keep the line numbers of the file on disk.
 */
import { readFileSync } from "node:fs";
import { ShaderError } from "./errors.ts";

export type Constants = Readonly<Record<string, number | boolean | "f32" | "vec4f">>;

export interface Shader {
  readonly name: string;
  readonly code: string;
  /** Values for the `override` declarations of the file. */
  readonly overrides: Record<string, number>;
  /** Access of group 0's bindings, in order. */
  readonly bindings: readonly ("read" | "read_write")[];
  /** Fields of `struct Params` (group 1 binding 0), in order; empty without one. */
  readonly params: readonly { readonly name: string; readonly type: "u32" | "i32" | "f32" }[];
}

/** `shaders/` lies beside `src/`, in the repository as in `dist/`. */
const SHADER_FOLDER = new URL("../../shaders/", import.meta.url);

/**
 * Reads `shaders/NAME.wgsl` and prepares it for the given constants.
 * @throws ShaderError when the file is missing or does not mention a constant.
 */
export function loadShader(name: string, constants: Constants): Shader {
  const source = readShaderFile(`${name}.wgsl`);
  return prepareShader(name, source, constants, (lib) => readShaderFile(`lib/${lib}.wgsl`));
}

function readShaderFile(file: string): string {
  try {
    return readFileSync(new URL(file, SHADER_FOLDER), "utf8");
  } catch (cause) {
    throw new ShaderError(
      `shader ${file}: cannot be read from ${SHADER_FOLDER.pathname}`,
      { file },
      { cause },
    );
  }
}

/** The text work of `loadShader`, free of files. */
export function prepareShader(
  name: string,
  source: string,
  constants: Constants,
  readLib: (name: string) => string,
): Shader {
  const libs = [...source.matchAll(/^\/\/ lib: (.+)$/gm)]
    .flatMap((match) => (match[1] ?? "").split(","))
    .map((lib) => readLib(lib.trim()));
  const declared = new Set([...source.matchAll(/^override (\w+)/gm)].map((match) => match[1]));
  const overrides: Record<string, number> = {};
  const consts: string[] = [];
  for (const [constant, value] of Object.entries(constants)) {
    if (!new RegExp(`\\b${constant}\\b`).test(source))
      throw new ShaderError(
        `${name}.wgsl: constant ${constant} was given, but the file does not use it`,
        { file: `${name}.wgsl` },
      );
    if (declared.has(constant)) overrides[constant] = Number(value);
    else if (typeof value === "string") consts.push(`alias ${constant} = ${value};`);
    else consts.push(`const ${constant} = ${value};`);
  }
  const code = [unroll(name, source, constants), ...libs, ...consts].join("\n");
  return {
    name,
    code,
    overrides,
    bindings: parseBindings(name, source),
    params: parseParams(source),
  };
}

/** Expands `#unroll` blocks, innermost last, each onto the line of its `#unroll` so that line numbers stay. */
function unroll(name: string, source: string, constants: Constants): string {
  const lines = source.split("\n");
  const open: { index: number; variable: string; count: number }[] = [];
  for (let index = 0; index < lines.length; index++) {
    const line = lines[index] ?? "";
    const start = /^\s*#unroll (\w+) (\w+)(?: \/ (\w+))?\s*$/.exec(line);
    if (start) {
      const [, variable = "", countText = "", divisor = "1"] = start;
      const count =
        evaluate(name, index, countText, constants) / evaluate(name, index, divisor, constants);
      if (!Number.isInteger(count))
        throw new ShaderError(
          `${name}.wgsl:${index + 1} #unroll: ${countText} / ${divisor} is no integer`,
          { file: `${name}.wgsl` },
        );
      open.push({ index, variable, count });
    } else if (/^\s*#end\s*$/.test(line)) {
      const block = open.pop();
      if (!block)
        throw new ShaderError(`${name}.wgsl:${index + 1} #end without #unroll`, {
          file: `${name}.wgsl`,
        });
      const body = lines
        .slice(block.index + 1, index)
        .map((text) => text.replace(/\/\/.*$/, "").trim())
        .filter((text) => text !== "")
        .join(" ");
      const pattern = new RegExp(`\\$${block.variable}\\b`, "g");
      const copies = Array.from({ length: block.count }, (_, i) =>
        body.replace(pattern, String(i)),
      );
      lines[block.index] = copies.join(" ");
      lines.fill("", block.index + 1, index + 1);
    }
  }
  const left = open.pop();
  if (left)
    throw new ShaderError(`${name}.wgsl:${left.index + 1} #unroll without #end`, {
      file: `${name}.wgsl`,
    });
  return lines.join("\n");
}

function evaluate(name: string, index: number, text: string, constants: Constants): number {
  const value = /^\d+$/.test(text) ? Number(text) : Number(constants[text]);
  if (!Number.isInteger(value))
    throw new ShaderError(`${name}.wgsl:${index + 1} #unroll: no constant ${text} was given`, {
      file: `${name}.wgsl`,
    });
  return value;
}

function parseBindings(name: string, source: string): ("read" | "read_write")[] {
  const found = [
    ...source.matchAll(/@group\(0\) @binding\((\d+)\)\s*var<storage, (read|read_write)>/g),
  ];
  found.forEach((match, index) => {
    if (Number(match[1]) !== index)
      throw new ShaderError(
        `${name}.wgsl: bindings of group 0 must be numbered in order; found ${match[1]} at ${index}`,
        { file: `${name}.wgsl` },
      );
  });
  return found.map((match) => match[2] as "read" | "read_write");
}

function parseParams(source: string): Shader["params"] {
  const body = /struct Params \{([^}]*)\}/.exec(source)?.[1] ?? "";
  return [...body.replace(/\/\/.*$/gm, "").matchAll(/(\w+)\s*:\s*(u32|i32|f32)/g)].map((match) => ({
    name: match[1] ?? "",
    type: match[2] as "u32" | "i32" | "f32",
  }));
}

/**
 * Packs values by field name as `struct Params` lays them out.
 * @throws ShaderError naming a field that is missing, unknown or no number of its type.
 */
export function packParams(shader: Shader, values: Readonly<Record<string, number>>): ArrayBuffer {
  const bytes = new ArrayBuffer(Math.max(16, Math.ceil((shader.params.length * 4) / 16) * 16));
  const view = new DataView(bytes);
  const unknown = Object.keys(values).find(
    (key) => !shader.params.some((field) => field.name === key),
  );
  if (unknown !== undefined)
    throw new ShaderError(
      `${shader.name}.wgsl: params has no field ${unknown}; it has ${shader.params.map((f) => f.name).join(", ")}`,
      { file: `${shader.name}.wgsl` },
    );
  shader.params.forEach((field, index) => {
    const value = values[field.name];
    if (value === undefined)
      throw new ShaderError(`${shader.name}.wgsl: params.${field.name} was not given`, {
        file: `${shader.name}.wgsl`,
      });
    const low = field.type === "u32" ? 0 : -(2 ** 31);
    if (field.type !== "f32" && !(Number.isInteger(value) && value >= low && value < 2 ** 32))
      throw new ShaderError(
        `${shader.name}.wgsl: params.${field.name} is a ${field.type}, got ${value}`,
        { file: `${shader.name}.wgsl` },
      );
    if (field.type === "f32") view.setFloat32(index * 4, value, true);
    else if (field.type === "u32") view.setUint32(index * 4, value, true);
    else view.setInt32(index * 4, value, true);
  });
  return bytes;
}
