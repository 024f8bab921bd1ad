/**
 * Shaders as files: reading them, the constants they are built with, the parameters and bindings they declare.
 *
 * A shader file, and a library, is WGSL with two additions, both invisible to a reader who does not care:
 * - `// lib: philox, index` appends `shaders/lib/philox.wgsl` and `index.wgsl` after the file; a constant of a library's
 *   name puts another one in its place;
 * - `#unroll i ROWS` ... `#end` repeats the lines between for i = 0 .. ROWS-1, writing `$i` as that number; the count
 *   may be a number or a constant, divided by another (`#unroll j THREAD_N / 4`); 0 leaves them out.
 * Constants that the file declares as `override` are set at pipeline creation; the others (tile sizes of register
 * arrays, counts of `#unroll`) are appended as `const`, and a type, e.g. `Value: "vec4f"`, as `alias`. All additions
 * keep the line numbers of the file on disk. A type of float16 puts `enable f16;` in front of the first line; what a
 * library enables goes there too, since WGSL wants it before all declarations.
 */
import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { ShaderError } from "./errors.ts";

/** Types that a shader may be built with, see `Constants`. */
export type ShaderType = "f32" | "vec4f" | "f16" | "vec4h" | "u32" | "vec4u";

/** Libraries that take the place of others, see `Constants`. */
export type ShaderLib = "subgroup_matrix_emulated";

export type Constants = Readonly<Record<string, number | boolean | ShaderType | ShaderLib>>;

export interface Shader {
  readonly name: string;
  readonly code: string;
  /** Values for the `override` declarations of the file. */
  readonly overrides: Record<string, number>;
  /** Access of group 0's bindings, in order. */
  readonly bindings: readonly ("read" | "read_write")[];
  /** Fields of `struct Params` (the binding behind the tensors), in order; empty without one. */
  readonly params: readonly { readonly name: string; readonly type: "u32" | "i32" | "f32" }[];
  /** The files that `code` consists of, and the line (from 1) on which each begins. */
  readonly files: readonly { readonly file: string; readonly firstLine: number }[];
}

/** `shaders/` lies beside `src/`, in the repository as in `dist/`. */
const SHADER_FOLDER = new URL("../../shaders/", import.meta.url);

/** Shaders of packages that build on this one, by name. */
const registered = new Map<string, URL>();

/**
 * Makes a shader of one's own known: `registerShader("swish", new URL("./swish.wgsl", import.meta.url))` lets kernels
 * dispatch `shader: "swish"`. It is WGSL as this project's shaders are, with `// lib:` and `#unroll`.
 * @param name as errors and profiles show it; the file may have another
 * @throws ShaderError when the name is taken, by this project or by another file
 */
export function registerShader(name: string, file: URL): void {
  const taken = registered.get(name);
  if (taken?.href === file.href) return;
  if (taken !== undefined || existsSync(new URL(`${name}.wgsl`, SHADER_FOLDER)))
    throw new ShaderError(
      `shader ${name}: the name is taken by ${fileURLToPath(taken ?? new URL(`${name}.wgsl`, SHADER_FOLDER))}; choose another, e.g. with your package's name before it`,
      { file: `${name}.wgsl` },
    );
  registered.set(name, file);
}

/**
 * Reads `NAME.wgsl`, or the file that was registered under the name, and prepares it for the given constants.
 * @param folder where the file lies, a URL that ends with a slash; `lib/` is always this project's
 * @throws ShaderError when the file is missing or does not use a constant.
 */
export function loadShader(name: string, constants: Constants, folder = SHADER_FOLDER): Shader {
  const source = readShaderFile(registered.get(name)?.href ?? `${name}.wgsl`, folder);
  return prepareShader(name, source, constants, (lib) =>
    readShaderFile(`lib/${lib}.wgsl`, SHADER_FOLDER),
  );
}

function readShaderFile(file: string, folder: URL): string {
  try {
    return readFileSync(new URL(file, folder), "utf8");
  } catch (cause) {
    throw new ShaderError(
      file.startsWith("file:")
        ? `shader ${fileURLToPath(file)}: cannot be read; was it copied to where the package is run from?`
        : `shader ${file}: cannot be read from ${fileURLToPath(folder)}`,
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
  const libNames = [...source.matchAll(/^\/\/ lib: (.+)$/gm)]
    .flatMap((match) => (match[1] ?? "").split(","))
    .map((lib) => lib.trim());
  const enables: string[] = [];
  const libs = libNames.map((lib) => {
    const named = constants[lib] ?? lib;
    if (typeof named !== "string") throw refusal(name, `: lib ${lib} is no constant, got ${named}`);
    const text = readLib(named).replace(/^enable .+;$/gm, (line) => {
      enables.push(line);
      return "";
    });
    return { name: `lib/${named}`, text };
  });
  const withoutComments = (text: string): string => text.replace(/\/\/.*$/gm, "");
  const wgsl = withoutComments(source);
  const all = withoutComments([source, ...libs.map(({ text }) => text)].join("\n"));
  const declared = new Set([...wgsl.matchAll(/^override (\w+)/gm)].map((match) => match[1]));
  const overrides: Record<string, number> = {};
  const consts: string[] = [];
  for (const [constant, value] of Object.entries(constants)) {
    if (libNames.includes(constant)) continue;
    if (!new RegExp(`\\b${constant}\\b`).test(all))
      throw refusal(name, `: constant ${constant} was given, but the file does not use it`);
    if (declared.has(constant)) {
      if (typeof value === "string")
        throw refusal(name, `: override ${constant} is no type, got ${value}`);
      overrides[constant] = Number(value);
    } else if (typeof value === "string") consts.push(`alias ${constant} = ${value};`);
    else consts.push(`const ${constant} = ${value};`);
  }
  const halves = Object.values(constants).some((value) => value === "f16" || value === "vec4h");
  if (halves) enables.unshift("enable f16;");
  const parts = [{ name, text: source }, ...libs];
  let firstLine = 1;
  const files = parts.map((part) => {
    const file = { file: `${part.name}.wgsl`, firstLine };
    firstLine += part.text.split("\n").length;
    return file;
  });
  return {
    name,
    code:
      enables.map((line) => `${line} `).join("") +
      [...parts.map((part) => unroll(part.name, part.text, constants)), ...consts].join("\n"),
    overrides,
    bindings: parseBindings(name, wgsl),
    params: parseParams(name, wgsl),
    files,
  };
}

/** An error whose message starts with the shader's file. */
function refusal(name: string, text: string): ShaderError {
  const file = `${name}.wgsl`;
  return new ShaderError(`${file}${text}`, { file });
}

/** Expands `#unroll` blocks, inner ones first, each onto the line of its `#unroll` so that line numbers stay. */
function unroll(name: string, source: string, constants: Constants): string {
  const lines = source.split("\n");
  const open: { index: number; variable: string; count: number }[] = [];
  for (let index = 0; index < lines.length; index++) {
    const line = lines[index] ?? "";
    const start = /^\s*#unroll (\w+) (\w+)(?: \/ (\w+))?\s*$/.exec(line);
    if (start) {
      const [, variable = "", count = "", divisor = "1"] = start;
      const value = (text: string): number => {
        const given = /^\d+$/.test(text) ? Number(text) : constants[text];
        if (typeof given !== "number")
          throw refusal(
            name,
            `:${index + 1} #unroll: no constant ${text} was given, or it is no number`,
          );
        return given;
      };
      const quotient = value(count) / value(divisor);
      if (!Number.isInteger(quotient) || quotient < 0)
        throw refusal(
          name,
          `:${index + 1} #unroll: ${count} / ${divisor} = ${quotient} is no count`,
        );
      open.push({ index, variable, count: quotient });
    } else if (/^\s*#end\s*$/.test(line)) {
      const block = open.pop();
      if (!block) throw refusal(name, `:${index + 1} #end without #unroll`);
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
  if (left) throw refusal(name, `:${left.index + 1} #unroll without #end`);
  return lines.join("\n");
}

function parseBindings(name: string, wgsl: string): ("read" | "read_write")[] {
  const found = [
    ...wgsl.matchAll(/@group\(0\) @binding\((\d+)\)\s*var<storage, (read|read_write)>/g),
  ];
  found.forEach((match, index) => {
    if (Number(match[1]) !== index)
      throw refusal(
        name,
        `: bindings of group 0 must be numbered in order; found ${match[1] ?? ""} at ${index}`,
      );
  });
  const uniform = /@group\((\d+)\) @binding\((\d+)\)\s*var<uniform>/.exec(wgsl);
  if (uniform && (uniform[1] !== "0" || Number(uniform[2]) !== found.length))
    throw refusal(
      name,
      `: params must be @group(0) @binding(${found.length}), behind the tensors; found @group(${uniform[1] ?? ""}) @binding(${uniform[2] ?? ""})`,
    );
  return found.map((match) => match[2] as "read" | "read_write");
}

function parseParams(name: string, wgsl: string): Shader["params"] {
  const body = /struct Params \{([^}]*)\}/.exec(wgsl)?.[1] ?? "";
  return [...body.matchAll(/(\w+)\s*:\s*(\w+)/g)].map(([, field = "", type = ""]) => {
    if (type !== "u32" && type !== "i32" && type !== "f32")
      throw refusal(name, `: params.${field} is a ${type}; fields are u32, i32 or f32`);
    return { name: field, type };
  });
}

/** The values that a field of each type holds; a fraction or an overflow would be rounded or wrapped in silence. */
const HOLDS = {
  u32: (value: number) => Number.isInteger(value) && value >= 0 && value < 2 ** 32,
  i32: (value: number) => Number.isInteger(value) && value >= -(2 ** 31) && value < 2 ** 31,
  f32: (value: number) => Number.isFinite(Math.fround(value)),
} as const;

/**
 * Packs values by field name as `struct Params` lays them out: 4 bytes each, little-endian, padded to a multiple of 16.
 * @throws ShaderError naming a field that is missing, unknown or no number of its type.
 */
export function packParams(shader: Shader, values: Readonly<Record<string, number>>): ArrayBuffer {
  const bytes = new ArrayBuffer(Math.max(16, Math.ceil((shader.params.length * 4) / 16) * 16));
  const view = new DataView(bytes);
  const names = shader.params.map((field) => field.name);
  const unknown = Object.keys(values).find((key) => !names.includes(key));
  if (unknown !== undefined)
    throw refusal(
      shader.name,
      `: params has no field ${unknown}; it has ${names.join(", ") || "none"}`,
    );
  shader.params.forEach(({ name, type }, index) => {
    const value = values[name];
    if (value === undefined) throw refusal(shader.name, `: params.${name} was not given`);
    if (!HOLDS[type](value))
      throw refusal(shader.name, `: params.${name} is a ${type}, got ${value}`);
    if (type === "f32") view.setFloat32(index * 4, value, true);
    else if (type === "u32") view.setUint32(index * 4, value, true);
    else view.setInt32(index * 4, value, true);
  });
  return bytes;
}
