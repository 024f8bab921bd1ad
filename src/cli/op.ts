/** `tuningfork op`: one kernel on tensors from a file, for comparison with any other framework. */
import { openDevice } from "../gpu/device.ts";
import { expectOtherFile } from "../interop/files.ts";
import { FILE_DTYPE, openSafetensors, writeSafetensors, type FileDType } from "../safetensors.ts";
import { messageOf } from "../system_errors.ts";
import { elementCount, formatShape, type DType, type Shape } from "../tensor.ts";
import { ANY, Expected, type HostTensor, type Input, type Op } from "./op_row.ts";
import { OPS } from "./op_table.ts";

export interface OpOptions {
  /** One of OP_NAMES. */
  readonly name: string;
  /** The safetensors file with the inputs. */
  readonly in: string;
  /** The safetensors file to write. */
  readonly out: string;
  /** The attributes, a JSON object. Default none. */
  readonly attrs?: string;
}

/** The operations that `tuningfork op` knows. */
export const OP_NAMES: readonly string[] = Object.keys(OPS);

/**
 * Runs one operation on the tensors of a file and writes what it gives to another.
 * @returns the exit code, 0
 * @throws Error with one sentence for whatever is wrong with name, attributes or tensors
 */
export async function runOp({ name, in: from, out, attrs = "{}" }: OpOptions): Promise<number> {
  const spec = findOp(name);
  expectOtherFile(`op ${name}`, from, out);
  const attributes = parseAttributes(name, attrs);
  const inputs = await readInputs(name, spec, from);
  const shapes = spec.outputs(inputs, attributes);
  const device = await openDevice();
  try {
    const uploaded = Object.entries(inputs).map(
      ([input, { values, shape }]) => [input, device.upload(values, shape, input)] as const,
    );
    const outputs = Object.fromEntries(
      Object.entries(shapes).map(([output, shape]) => [
        output,
        device.tensor(shape, "float32", output),
      ]),
    );
    await device.run(name, (ctx) => {
      spec.encode(ctx, Object.fromEntries(uploaded), attributes, outputs, device);
    });
    const tensors = Object.values(outputs).map((tensor) => ({
      name: tensor.label,
      dtype: FILE_DTYPE[tensor.dtype],
      shape: tensor.shape,
      bytes: async () => {
        const { buffer, byteOffset, byteLength } = await device.read(tensor);
        return new Uint8Array(buffer, byteOffset, byteLength);
      },
    }));
    const metadata = {
      op: name,
      attributes: JSON.stringify(attributes),
      adapter: device.summary.description,
    };
    await writeSafetensors(out, { tensors, metadata });
  } finally {
    device.destroy();
  }
  const given = Object.entries(shapes).map(([output, shape]) => `${output} ${formatShape(shape)}`);
  console.log(`${name}: ${given.join(", ")} written to ${out}`);
  return 0;
}

function findOp(name: string): Op {
  const spec = Object.hasOwn(OPS, name) ? OPS[name] : undefined;
  if (!spec)
    throw new Error(`op: unknown operation: expected ${OP_NAMES.join(", ")}, got "${name}"`);
  return spec;
}

/**
 * The attributes of an operation out of their JSON text: checked, with defaults; those that were left out and have none
 * are absent.
 * @throws Error for an unknown key, a missing one, or a value of the wrong kind
 */
export function parseAttributes(name: string, text: string): Record<string, unknown> {
  const { attributes } = findOp(name);
  const given = parseObject(name, text);
  const known = Object.keys(attributes);
  for (const key of Object.keys(given))
    if (!known.includes(key))
      throw new Error(
        `op ${name}: unknown attribute ${key}: expected ` +
          (known.length > 0 ? known.join(", ") : "none, this operation has no attributes"),
      );
  const values: Record<string, unknown> = {};
  for (const [key, attribute] of Object.entries(attributes)) {
    if (Object.hasOwn(given, key)) {
      try {
        values[key] = attribute.parse(given[key]);
      } catch (error) {
        if (!(error instanceof Expected)) throw error;
        throw new Error(
          `op ${name}: attribute ${key}: expected ${error.message}, got ${JSON.stringify(given[key])}`,
          { cause: error },
        );
      }
    } else if (attribute.fallback !== undefined) values[key] = attribute.fallback;
    else if (!attribute.optional)
      throw new Error(
        `op ${name}: missing attribute ${key}; give it, e.g. --attrs '{"${key}":${attribute.example}}'`,
      );
  }
  return values;
}

function parseObject(name: string, text: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    const reason = messageOf(cause);
    throw new Error(`op ${name}: --attrs is no JSON: ${reason}`, { cause });
  }
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw new Error(`op ${name}: --attrs: expected a JSON object, got ${text}`);
  return value as Record<string, unknown>;
}

/** Types of a file that serve where one of ours is meant: floating point is converted, integers are not. */
const ACCEPTED: Readonly<Record<DType, readonly FileDType[]>> = {
  float32: ["F32", "F64", "F16", "BF16"],
  float16: ["F16"],
  int32: ["I32"],
  uint32: ["U32"],
  uint8: ["U8"],
};

async function readInputs(
  name: string,
  spec: Op,
  path: string,
): Promise<Record<string, HostTensor>> {
  const file = await openSafetensors(path);
  try {
    const inputs: Record<string, HostTensor> = {};
    for (const [input, wanted] of Object.entries(spec.inputs)) {
      const found = file.tensors.get(input);
      if (!found) {
        if (wanted.optional) continue;
        throw new Error(
          `op ${name}: ${path} has no tensor ${input} (${wanted.dtype}, ${wanted.layout}); ` +
            `it has ${[...file.tensors.keys()].join(", ") || "none"}`,
        );
      }
      checkInput(name, input, wanted, found);
      const values = await file.read(input, { toFloat32: true });
      inputs[input] = { shape: found.shape, values };
    }
    warnOfUnknown(name, spec, [...file.tensors.keys()]);
    return inputs;
  } finally {
    await file.close();
  }
}

function checkInput(
  name: string,
  input: string,
  { dtype, layout }: Input,
  found: { readonly dtype: FileDType; readonly shape: Shape },
): void {
  if (!ACCEPTED[dtype].includes(found.dtype))
    throw new Error(
      `op ${name}: ${input}: expected ${dtype} (${ACCEPTED[dtype].join(", ")}), got ${found.dtype}; save it as ${dtype}`,
    );
  const rank = layout === ANY ? found.shape.length : layout.split(",").length;
  if (found.shape.length !== rank)
    throw new Error(`op ${name}: ${input}: expected ${layout}, got ${formatShape(found.shape)}`);
  if (elementCount(found.shape) === 0)
    throw new Error(`op ${name}: ${input}: ${formatShape(found.shape)} has no elements`);
}

/** One file may serve several operations; a name that none of them has is more likely a slip. */
function warnOfUnknown(name: string, spec: Op, names: readonly string[]): void {
  const known = new Set(
    Object.values(OPS).flatMap(({ inputs }) => [...Object.keys(inputs), "y", "dx", "db", "loss"]),
  );
  const ignored = names.filter((tensor) => !known.has(tensor));
  if (ignored.length > 0)
    console.error(
      `op ${name}: ignoring ${ignored.join(", ")}; it takes ${Object.keys(spec.inputs).join(", ")}`,
    );
}
