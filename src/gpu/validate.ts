/**
 * `TUNINGFORK_VALIDATE=1`: a program submitted command by command, each in an error scope of its own, so that an error of
 * the GPU's names the dispatch; and what each layer wrote looked at for NaN and infinity. Slow, and needs memory for
 * copies of all that is written.
 */
import { fromFloat16 } from "../float16.ts";
import { elementCount, formatShape, sizeBytes, type Tensor } from "../tensor.ts";
import type { DeviceCore } from "./device_core.ts";
import { DeviceError } from "./errors.ts";

/** A dispatch or a copy of a program, alone. */
export interface SingleCommand {
  readonly label: string;
  readonly scope: string;
  readonly writes: readonly Tensor[];
  readonly encode: (encoder: GPUCommandEncoder) => void;
}

/**
 * Submits commands one by one. Resolves with the first fault, in the order of the commands, once all have run.
 */
export async function submitSingly(
  device: DeviceCore,
  commands: readonly SingleCommand[],
): Promise<DeviceError | undefined> {
  const { handle } = device;
  const findings = commands.flatMap((command, index) => {
    handle.pushErrorScope("validation");
    const encoder = handle.createCommandEncoder({ label: command.label });
    command.encode(encoder);
    handle.queue.submit([encoder.finish()]);
    const refused = handle.popErrorScope().then((error) => error && refusal(command, error));
    const ends = commands[index + 1]?.scope !== command.scope;
    return [refused, ...(ends ? lastWritten(commands, index).map((t) => check(device, t)) : [])];
  });
  const found = await Promise.all(findings);
  return found.find((fault) => fault !== null && fault !== undefined) ?? undefined;
}

function refusal({ label, scope }: SingleCommand, error: GPUError): DeviceError {
  return new DeviceError(`${label}${within(scope)}: ${error.message.trim()}`, "validation");
}

const within = (scope: string): string => (scope === "" ? "" : ` (${scope})`);

interface Written {
  readonly tensor: Tensor;
  readonly command: SingleCommand;
}

/** What the commands of a scope that ends at `last` wrote, without what they wrote over. */
function lastWritten(commands: readonly SingleCommand[], last: number): Written[] {
  const scope = commands[last]?.scope;
  const kept: Written[] = [];
  for (let index = last; index >= 0; index--) {
    const command = commands[index];
    if (!command || command.scope !== scope) break;
    for (const tensor of command.writes)
      if (isFloat(tensor) && !kept.some((later) => overlap(later.tensor, tensor)))
        kept.push({ tensor, command });
  }
  return kept.reverse();
}

const isFloat = ({ dtype }: Tensor): boolean => dtype === "float32" || dtype === "float16";

function overlap(a: Tensor, b: Tensor): boolean {
  return (
    a.buffer === b.buffer &&
    a.offsetBytes < b.offsetBytes + sizeBytes(b) &&
    b.offsetBytes < a.offsetBytes + sizeBytes(a)
  );
}

async function check(
  device: DeviceCore,
  { tensor, command }: Written,
): Promise<DeviceError | undefined> {
  const stored = await device.copyOut(tensor).finish();
  const values = stored instanceof Uint16Array ? fromFloat16(stored) : stored;
  const bits = new Uint32Array(values.buffer as ArrayBuffer, 0, elementCount(tensor.shape));
  const EXPONENT = 0x7f800000; // all ones in NaN and infinity only
  const notFinite = (word: number) => (word & EXPONENT) === EXPONENT;
  const first = bits.findIndex(notFinite);
  if (first < 0) return undefined;
  const count = bits.reduce((sum, word) => sum + Number(notFinite(word)), 0);
  const place = formatShape(indexOf(first, tensor.shape));
  return new DeviceError(
    `${command.label}${within(command.scope)}: wrote ${String(values[first])} at ${place} of "${tensor.label}" ` +
      `${formatShape(tensor.shape)}, ${count} of ${bits.length} values are not finite; look at its inputs and its shader`,
    "validation",
  );
}

/** The index along each axis of element `flat`. */
function indexOf(flat: number, shape: readonly number[]): number[] {
  let rest = flat;
  return [...shape]
    .reverse()
    .map((size) => {
      const index = rest % size;
      rest = Math.floor(rest / size);
      return index;
    })
    .reverse();
}
