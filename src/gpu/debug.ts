/**
 * What `TUNINGFORK_DEBUG`, `TUNINGFORK_PRINT_SHADER` and `TUNINGFORK_VALIDATE` ask for: see docs/profiling.md. All of it
 * goes to stderr.
 */
import { sizeBytes } from "../tensor.ts";
import type { DeviceCore } from "./device_core.ts";
import { DeviceError } from "./errors.ts";
import type { GpuSpan, ProfiledDispatch } from "./profiler.ts";
import type { Constants, Shader } from "./shader.ts";

export interface DebugSettings {
  /** 1 adapter and limits, 2 each dispatch with its time, 3 constants and shapes, 4 the final WGSL; each adds to the last. */
  readonly level: 0 | 1 | 2 | 3 | 4;
  /** Shaders whose name contains one of these are printed. */
  readonly printShaders: readonly string[];
  /** Submit dispatches one by one, each in an error scope, and look for NaN and infinity in what each layer writes. */
  readonly validate: boolean;
}

const LEVELS = [0, 1, 2, 3, 4] as const;

/** @throws DeviceError naming the variable, what it may be and what it is */
export function debugSettings(
  env: Readonly<Record<string, string | undefined>> = process.env,
): DebugSettings {
  const level = LEVELS.find((each) => String(each) === (env["TUNINGFORK_DEBUG"] || "0"));
  if (level === undefined)
    throw new DeviceError(
      `TUNINGFORK_DEBUG: expected a level from 0 to 4, got "${env["TUNINGFORK_DEBUG"] ?? ""}"`,
      "validation",
    );
  const validate = env["TUNINGFORK_VALIDATE"] || "0";
  if (validate !== "0" && validate !== "1")
    throw new DeviceError(`TUNINGFORK_VALIDATE: expected 0 or 1, got "${validate}"`, "validation");
  const names = (env["TUNINGFORK_PRINT_SHADER"] ?? "").split(",").map((name) => name.trim());
  return { level, printShaders: names.filter(Boolean), validate: validate === "1" };
}

/** Level 1: what was opened. */
export function printDevice(
  { level }: DebugSettings,
  { summary, limits, handle }: DeviceCore,
): void {
  if (level < 1) return;
  const { description, driver, backend, class: kind } = summary;
  const features = [...handle.features].sort().join(", ");
  const shown = [
    "maxBufferSize",
    "maxStorageBufferBindingSize",
    "maxComputeWorkgroupStorageSize",
    "maxComputeInvocationsPerWorkgroup",
    "maxComputeWorkgroupsPerDimension",
  ] as const;
  console.error(`adapter: ${description} (${kind}, ${backend}; driver ${driver})`);
  console.error(`features: ${features}`);
  console.error(`limits: ${shown.map((name) => `${name} ${limits[name]}`).join(", ")}`);
}

/** Levels 2 and 3: what ran, and how long. */
export function printDispatches(
  { level }: DebugSettings,
  label: string,
  spans: readonly (GpuSpan & { readonly dispatched?: ProfiledDispatch })[],
): void {
  const total = spans.reduce((sum, { startMs, endMs }) => sum + endMs - startMs, 0);
  console.error(`${label}: ${total.toFixed(3)} ms in ${spans.length} dispatches and copies`);
  for (const { startMs, endMs, dispatched, label: name, bytes: copied = 0 } of spans) {
    const ms = endMs - startMs;
    const tensors = dispatched?.tensors ?? [];
    const bytes = dispatched?.bytes ?? tensors.reduce((sum, t) => sum + sizeBytes(t), 2 * copied);
    const rate = ms > 0 ? (bytes / ms / 1e6).toFixed(2) : "-";
    const where = dispatched ? `${dispatched.shader}.wgsl  ${dispatched.scope}` : "";
    console.error(
      `${ms.toFixed(3).padStart(10)} ms ${rate.padStart(8)} GB/s  ${name}  ${where}`.trimEnd(),
    );
    if (level < 3 || !dispatched) continue;
    const shapes = tensors.map((t) => `${t.label} [${t.shape.join(",")}]`).join(", ");
    const grid = dispatched.workgroups.join(" x ");
    console.error(`${" ".repeat(15)}${constantsText(dispatched.constants)}; ${grid} workgroups`);
    console.error(`${" ".repeat(15)}${shapes}`);
  }
}

/** Level 4, and TUNINGFORK_PRINT_SHADER: the WGSL as the compiler gets it. */
export function printShader(
  { level, printShaders }: DebugSettings,
  shader: Shader,
  constants: Constants,
): void {
  const asked = printShaders.some((name) => name === "all" || shader.name.includes(name));
  if (level < 4 && !asked) return;
  console.error(`// ${shader.name}.wgsl, constants ${constantsText(constants)}\n${shader.code}`);
}

function constantsText(constants: Readonly<Record<string, number | boolean | string>>): string {
  const pairs = Object.entries(constants).map(([key, value]) => `${key}=${String(value)}`);
  return pairs.join(" ") || "none";
}
