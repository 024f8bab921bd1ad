/** `tuningfork doctor`: what this system offers the engine, and what to do when that is nothing. */
import { existsSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import os from "node:os";
import { type AdapterDetails, openAdapter, parseOsRelease } from "../gpu/adapter.ts";
import { DeviceError } from "../gpu/errors.ts";

const FEATURES = [
  "timestamp-query",
  "subgroups",
  "shader-f16",
  "chromium-experimental-subgroup-matrix",
] as const;

const LIMITS = [
  "maxBufferSize",
  "maxStorageBufferBindingSize",
  "maxStorageBuffersPerShaderStage",
  "maxComputeWorkgroupStorageSize",
  "maxComputeInvocationsPerWorkgroup",
  "maxComputeWorkgroupsPerDimension",
  "minStorageBufferOffsetAlignment",
] as const;

/** What `doctor --json` prints. Without an adapter, `adapter` is null and `error` ends with the next step. */
export interface Diagnosis {
  readonly adapter: AdapterDetails | null;
  readonly error?: string;
  readonly features: Readonly<Record<string, boolean>>;
  readonly limits: Readonly<Record<string, number>>;
  readonly node: string;
  readonly webgpu: string;
  readonly os: string;
  readonly platform: string;
  readonly cpus: number;
}

/** Prints the diagnosis. Returns the exit code: 1 without an adapter. */
export async function doctor(options: { readonly json: boolean }): Promise<number> {
  const diagnosis = await diagnose();
  if (options.json) console.log(JSON.stringify(diagnosis, undefined, 2));
  else console.log(formatDiagnosis(diagnosis));
  return diagnosis.adapter ? 0 : 1;
}

/** Opens the adapter as training does and notes what it offers. */
export async function diagnose(): Promise<Diagnosis> {
  const system = {
    node: process.version,
    webgpu: webgpuVersion(),
    os: osName(),
    platform: `${process.platform}-${process.arch}`,
    cpus: os.availableParallelism(),
  };
  try {
    const { adapter, summary } = await openAdapter();
    return {
      adapter: summary,
      features: Object.fromEntries(FEATURES.map((name) => [name, adapter.features.has(name)])),
      limits: Object.fromEntries(LIMITS.map((name) => [name, adapter.limits[name]])),
      ...system,
    };
  } catch (error) {
    if (!(error instanceof DeviceError)) throw error;
    return { adapter: null, error: error.message, features: {}, limits: {}, ...system };
  }
}

/** The diagnosis as aligned lines. */
export function formatDiagnosis(diagnosis: Diagnosis): string {
  const { adapter, features, limits } = diagnosis;
  const rows: [string, string][] = [];
  if (adapter) {
    rows.push(
      ["adapter", [adapter.vendor, adapter.architecture, adapter.device].filter(Boolean).join(" ")],
      ["driver", `${adapter.driver} (${adapter.backend})`],
      ["kind", KINDS[adapter.class]],
    );
    for (const [name, present] of Object.entries(features))
      rows.push([name, yesOrNo(name, present, adapter)]);
    for (const [name, value] of Object.entries(limits)) rows.push([name, formatLimit(name, value)]);
  } else {
    rows.push(["adapter", "none"]);
  }
  rows.push(
    ["node", diagnosis.node],
    ["webgpu", diagnosis.webgpu],
    ["system", `${diagnosis.os}, ${diagnosis.platform}, ${diagnosis.cpus} CPUs`],
  );
  const width = Math.max(...rows.map(([name]) => name.length)) + 2;
  const lines = rows.map(([name, value]) => name.padEnd(width) + value);
  if (diagnosis.error !== undefined) lines.push("", diagnosis.error);
  return lines.join("\n");
}

const KINDS: Readonly<Record<AdapterDetails["class"], string>> = {
  hardware: "hardware",
  "mesa-software": "software (Mesa's, on the CPU)",
  swiftshader:
    "software (SwiftShader, on the CPU; Mesa's is about ten times faster: as root run npm run setup)",
  "other-software": "software (on the CPU)",
};

function yesOrNo(name: string, present: boolean, adapter: AdapterDetails): string {
  if (!present) return "no";
  // openAdapter() sees to it; see docs/profiling.md.
  if (name === "timestamp-query") return "yes (not rounded: Dawn's quantization is off)";
  if (name !== "subgroups") return "yes";
  const { subgroupMinSize: min, subgroupMaxSize: max } = adapter;
  return `yes (${min === max ? min : `${min} to ${max}`} lanes)`;
}

const SIZES = /^max(BufferSize|StorageBufferBindingSize|ComputeWorkgroupStorageSize)$/;

function formatLimit(name: string, value: number): string {
  if (!SIZES.test(name)) return value.toLocaleString("en-US");
  const units = ["B", "KiB", "MiB", "GiB"];
  const power = Math.min(Math.floor(Math.log2(value) / 10), units.length - 1);
  return `${Number((value / 1024 ** power).toPrecision(4))} ${units[power] ?? ""}`;
}

/** Version of the npm package `webgpu`, with which Dawn comes. */
export function webgpuVersion(): string {
  const require = createRequire(import.meta.url);
  const { version } = JSON.parse(readFileSync(require.resolve("webgpu/package.json"), "utf8")) as {
    version: string;
  };
  return version;
}

function osName(): string {
  const file = "/etc/os-release";
  const name = existsSync(file)
    ? parseOsRelease(readFileSync(file, "utf8"))["PRETTY_NAME"]
    : undefined;
  return name ?? `${os.type()} ${os.release()}`;
}
