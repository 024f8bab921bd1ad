/**
 * The way to a WebGPU adapter on this system: hardware first, then Mesa's software driver, then SwiftShader out of the
 * cache folder, where `scripts/setup.mjs` puts it. When there is none, the error says what to do on this very system.
 */
import { existsSync, readFileSync } from "node:fs";
import { constants } from "node:os";
import { join } from "node:path";
import envPaths from "env-paths";
import { messageOf } from "../system_errors.ts";
import { DeviceError } from "./errors.ts";

/** What kind of adapter it is: settings of the study and choices of shaders depend on it. */
export type AdapterClass = "hardware" | "mesa-software" | "swiftshader" | "other-software";

/**
 * For which kind of adapter shaders and tiles are chosen where nothing was measured: a large GPU with memory of its own, a
 * small one that shares the processor's, or the processor itself. WebGPU does not tell; see `gpuKind`.
 */
export type GpuKind = "discrete" | "integrated" | "software";

/** What `TUNINGFORK_ADAPTER` accepts. */
export const ADAPTER_CHOICES = ["hardware", "mesa", "swiftshader"] as const;
export type AdapterChoice = (typeof ADAPTER_CHOICES)[number];

/** An adapter in words. `vendor` to `software` are published in `results.json`. */
export interface AdapterDetails {
  readonly vendor: string;
  readonly architecture: string;
  readonly device: string;
  readonly description: string;
  readonly software: boolean;
  readonly class: AdapterClass;
  readonly kind: GpuKind;
  /** Name and version of the driver, as far as Dawn tells: the end of `description` or all of it. */
  readonly driver: string;
  readonly backend: "vulkan" | "metal" | "d3d12";
  readonly subgroupMinSize: number;
  readonly subgroupMaxSize: number;
}

export interface OpenAdapterOptions {
  /** Dawn toggles to enable beside ours, e.g. `disable_robustness`. */
  readonly enableToggles?: readonly string[];
  /** Insist on one kind of adapter. Default: the environment's `TUNINGFORK_ADAPTER`, else the best there is. */
  readonly choice?: AdapterChoice | undefined;
  /** Choose algorithms and tiles as on a GPU of this kind, whatever the adapter is. For tests on software adapters. */
  readonly actAs?: Exclude<GpuKind, "software"> | undefined;
}

export interface OpenedAdapter {
  /** Dawn's instance. It must outlive every device: freed by the garbage collector, it takes the process down. */
  readonly gpu: GPU;
  readonly adapter: GPUAdapter;
  readonly summary: AdapterDetails;
}

/** Folder of the unpacked SwiftShader; `scripts/swiftshader.mjs` writes it under the same name (a test compares). */
export function swiftShaderDir(): string {
  const cache = process.env["TUNINGFORK_CACHE"] || envPaths("tuningfork", { suffix: "" }).cache;
  return join(cache, "swiftshader-147");
}

/**
 * Opens the best adapter of this system; see `docs/environment.md` for `TUNINGFORK_ADAPTER`.
 * Throws a `DeviceError` of kind `no-adapter` whose message ends with the next step for this system.
 */
export async function openAdapter(options: OpenAdapterOptions = {}): Promise<OpenedAdapter> {
  const choice = options.choice ?? adapterChoice(process.env["TUNINGFORK_ADAPTER"]);
  const enabled = [
    // Shows what Dawn has as an experiment, subgroup matrices for one. It gives up the promise that pages of a browser may
    // be let at these; our shaders are our own, and all other checks stay.
    "allow_unsafe_apis",
    ...(options.enableToggles ?? []),
    ...uncheckedToggles(process.env["TUNINGFORK_UNCHECKED"]),
  ];
  const toggles = [
    // Otherwise Dawn rounds timestamps to 65.536 us, longer than many of our kernels take.
    "disable-dawn-features=timestamp_quantization",
    `enable-dawn-features=${enabled.join(",")}`,
  ];
  const system = choice === "swiftshader" ? undefined : await requestFromSystem(toggles, choice);
  const opened =
    system ??
    (choice === undefined || choice === "swiftshader"
      ? await requestFromSwiftShader(toggles)
      : undefined);
  if (!opened) throw new DeviceError(noAdapterMessage(systemFacts(), choice), "no-adapter");
  const { actAs } = options;
  if (!actAs) return opened;
  return {
    ...opened,
    summary: { ...opened.summary, class: "hardware", software: false, kind: actAs },
  };
}

/** What `TUNINGFORK_UNCHECKED` accepts, and the toggle of Dawn's behind each. */
const UNCHECKED = {
  /** Shaders may read and write past the end of a tensor: whatever lies there. */
  bounds: "disable_robustness",
  /** Commands that WebGPU would refuse go to the driver, which may crash. */
  validation: "skip_validation",
} as const;

/** Dawn's toggles for the checks that `TUNINGFORK_UNCHECKED` leaves out. @throws DeviceError for an unknown one */
export function uncheckedToggles(value = ""): string[] {
  const names = value.split(",").filter((name) => name !== "");
  return names.map((name) => {
    if (name === "bounds" || name === "validation") return UNCHECKED[name];
    throw new DeviceError(
      `unchecked: expected some of ${Object.keys(UNCHECKED).join(", ")}, got "${name}"`,
      "no-adapter",
    );
  });
}

/** The value of `TUNINGFORK_ADAPTER`, checked. Unset and empty mean no preference. */
export function adapterChoice(value: string | undefined): AdapterChoice | undefined {
  if (value === undefined || value === "") return undefined;
  const choice = ADAPTER_CHOICES.find((name) => name === value);
  if (choice) return choice;
  throw new DeviceError(
    `TUNINGFORK_ADAPTER: unknown adapter: expected ${ADAPTER_CHOICES.join(", ")}, got "${value}"`,
    "no-adapter",
  );
}

async function requestFromSystem(
  toggles: string[],
  choice: AdapterChoice | undefined,
): Promise<OpenedAdapter | undefined> {
  // Without a loader Dawn can only fail, and prints a warning while doing so.
  if (process.platform === "linux" && !hasVulkanLoader()) return undefined;
  // Dawn lists hardware first. `forceFallbackAdapter` would not do: with it, Dawn looks for SwiftShader alone.
  const opened = await request(choice === "mesa" ? [...toggles, "adapter=llvmpipe"] : toggles);
  const wanted = {
    hardware: "hardware",
    mesa: "mesa-software",
    swiftshader: "swiftshader",
  } as const;
  return choice === undefined || opened?.summary.class === wanted[choice] ? opened : undefined;
}

async function requestFromSwiftShader(toggles: string[]): Promise<OpenedAdapter | undefined> {
  const driver = join(swiftShaderDir(), "vk_swiftshader_icd.json");
  if (process.platform !== "linux" || !existsSync(driver)) return undefined;
  // VK_DRIVER_FILES is the present name; loaders before 1.3.207 (Ubuntu 22.04) know only the other one.
  const before = { ...process.env };
  process.env["VK_DRIVER_FILES"] = driver;
  process.env["VK_ICD_FILENAMES"] = driver;
  // Loaded under its soname, so that Dawn's own dlopen("libvulkan.so.1") finds this one.
  loadLibrary(join(swiftShaderDir(), "libvulkan.so.1"));
  const opened = await request(toggles);
  if (opened) return opened;
  for (const name of ["VK_DRIVER_FILES", "VK_ICD_FILENAMES"]) {
    if (before[name] === undefined) Reflect.deleteProperty(process.env, name);
    else process.env[name] = before[name];
  }
  return undefined;
}

async function request(toggles: string[]): Promise<OpenedAdapter | undefined> {
  // Imported late: on Linux, a loader that is to be found must be loaded before.
  const { create } = await import("webgpu");
  const gpu = create(toggles);
  // Where `adapter=` names none of the adapters, Dawn throws; without it, it answers null.
  const adapter = await gpu
    .requestAdapter({ powerPreference: "high-performance" })
    .catch(() => null);
  return adapter ? { gpu, adapter, summary: adapterSummary(adapter) } : undefined;
}

/** What the adapter says of itself, and which class of ours it is. */
export function adapterSummary(adapter: GPUAdapter): AdapterDetails {
  const { vendor, architecture, device, description } = adapter.info;
  const ours = classOf(adapter.info);
  return {
    vendor,
    architecture,
    device,
    description,
    software: ours !== "hardware",
    class: ours,
    kind: ours === "hardware" ? gpuKind(adapter.info) : "software",
    driver: description,
    backend: BACKENDS[process.platform] ?? "vulkan",
    subgroupMinSize: adapter.info.subgroupMinSize ?? 0,
    subgroupMaxSize: adapter.info.subgroupMaxSize ?? 0,
  };
}

/** The backend that Dawn for Node takes on a platform when none is asked for. */
const BACKENDS: Readonly<Record<string, "metal" | "d3d12">> = { darwin: "metal", win32: "d3d12" };

function classOf(info: GPUAdapterInfo): AdapterClass {
  if (info.architecture === "swiftshader") return "swiftshader";
  if (info.vendor === "mesa" && info.architecture === "software") return "mesa-software";
  return info.isFallbackAdapter ? "other-software" : "hardware";
}

/** Graphics processors that share the memory of a processor, by vendor and the name that Dawn gives the device. */
const INTEGRATED: Readonly<Record<string, (name: string) => boolean>> = {
  apple: () => true,
  arm: () => true,
  broadcom: () => true,
  "img-tec": () => true,
  qualcomm: () => true,
  samsung: () => true,
  // Cards are Arc A770, Arc B580, Data Center GPU Flex; Arc Graphics and Arc 140V are not.
  intel: (name) => !/\b(arc.*\b[ab]\d{2,3}\b|data.center|dg[12]|bmg)/.test(name),
  // Cards are Radeon RX 7900, Radeon PRO W7800, Instinct MI300; Radeon Graphics, 780M and RX Vega 11 Graphics are not.
  amd: (name) =>
    !/\b(rx|pro|vii|instinct|mi\d+|firepro|r9)\b/.test(name) || /\bvega.\d+.graphics/.test(name),
  nvidia: (name) => /\b(tegra|orin|xavier|gb10)\b/.test(name),
};

/** Judged by names; an unknown GPU counts as discrete. */
function gpuKind({ vendor, device, description }: GPUAdapterInfo): "discrete" | "integrated" {
  const name = `${device} ${description}`.toLowerCase();
  return INTEGRATED[vendor]?.(name) === true ? "integrated" : "discrete";
}

/** Loads a shared library for the rest of the process. Returns why it could not be loaded, if so. */
function loadLibrary(path: string): string | undefined {
  const RTLD_NODELETE = 0x1000; // the library stays, though Node finds no addon in it and says so by throwing
  try {
    process.dlopen({ exports: {} }, path, constants.dlopen.RTLD_NOW | RTLD_NODELETE);
    return undefined;
  } catch (error) {
    const message = messageOf(error);
    return message.includes("did not self-register") ? undefined : message;
  }
}

/** True when the system's Vulkan loader can be loaded; it then is, under the name by which Dawn asks for it. */
function hasVulkanLoader(): boolean {
  return loadLibrary("libvulkan.so.1") === undefined;
}

/** What the advice depends on. */
export interface SystemFacts {
  readonly platform: string;
  readonly arch: string;
  /** `ID` and `ID_LIKE` of /etc/os-release, e.g. ["ubuntu", "debian"]; empty where there is no such file. */
  readonly distribution: readonly string[];
  /** `VERSION_CODENAME` of /etc/os-release, e.g. "bookworm". */
  readonly codename: string;
  readonly vulkanLoader: boolean;
  readonly swiftShader: boolean;
}

function systemFacts(): SystemFacts {
  const file = "/etc/os-release";
  const release = parseOsRelease(existsSync(file) ? readFileSync(file, "utf8") : "");
  const linux = process.platform === "linux";
  return {
    platform: process.platform,
    arch: process.arch,
    distribution: [release["ID"] ?? "", ...(release["ID_LIKE"] ?? "").split(" ")].filter(Boolean),
    codename: release["VERSION_CODENAME"] ?? "",
    vulkanLoader: linux && hasVulkanLoader(),
    swiftShader: existsSync(swiftShaderDir()),
  };
}

/** The assignments of an os-release file (https://www.freedesktop.org/software/systemd/man/os-release.html). */
export function parseOsRelease(text: string): Readonly<Record<string, string>> {
  const pairs = [...text.matchAll(/^(\w+)=(.*)$/gm)];
  return Object.fromEntries(
    pairs.map(([, key = "", value = ""]) => [key, value.replace(/^(["'])(.*)\1$/, "$2")]),
  );
}

/** Why there is no adapter, and what to do about it on this system. */
export function noAdapterMessage(facts: SystemFacts, choice?: AdapterChoice): string {
  const wanted = choice ? `TUNINGFORK_ADAPTER=${choice}: no such adapter` : "no WebGPU adapter";
  return `${wanted}: ${reason(facts, choice)}; ${nextStep(facts, choice)}`;
}

function reason(facts: SystemFacts, choice: AdapterChoice | undefined): string {
  if (choice === "swiftshader") {
    return facts.swiftShader
      ? `the SwiftShader in ${swiftShaderDir()} cannot be loaded`
      : `SwiftShader is not in ${swiftShaderDir()}`;
  }
  if (choice === "hardware") return "no graphics card here has a driver that Dawn accepts";
  if (facts.platform === "darwin") return "Metal offers no device";
  if (facts.platform === "win32") return "Direct3D 12 offers no device";
  if (!facts.vulkanLoader) return "this system has no Vulkan loader (libvulkan.so.1)";
  if (facts.codename === "bookworm") {
    return "no Vulkan driver here offers what Dawn requires (Debian 12's own Mesa 22.3 is too old)";
  }
  return "no Vulkan driver here offers what Dawn requires";
}

function nextStep(facts: SystemFacts, choice: AdapterChoice | undefined): string {
  if (facts.platform === "darwin") {
    return "run on a Mac (macOS 13 or later) that has a Metal device; virtual machines often have none";
  }
  if (facts.platform === "win32") return "install the present driver of your graphics card";
  if (choice === "hardware") {
    return "install the Vulkan driver of your graphics card, or unset TUNINGFORK_ADAPTER for a software adapter";
  }
  const swiftShader = facts.swiftShader
    ? `delete ${swiftShaderDir()} and run: npm run setup`
    : "run: TUNINGFORK_SETUP=npm npm run setup";
  if (choice === "swiftshader") return swiftShader;
  const mesa = mesaCommand(facts);
  if (choice === "mesa" || facts.arch !== "x64") return mesa;
  return `${mesa}; or, without root and about ten times slower (SwiftShader), ${swiftShader}`;
}

function mesaCommand({ distribution, codename }: SystemFacts): string {
  const packages = "mesa-vulkan-drivers libvulkan1";
  if (codename === "bookworm") {
    return `as root run: npm run setup (it takes Mesa 25 from bookworm-backports: apt-get install -t bookworm-backports ${packages})`;
  }
  if (distribution.includes("debian") || distribution.includes("ubuntu")) {
    return `run: sudo apt-get install ${packages}`;
  }
  if (distribution.includes("fedora"))
    return "run: sudo dnf install mesa-vulkan-drivers vulkan-loader";
  if (distribution.includes("arch")) return "run: sudo pacman -S vulkan-swrast vulkan-icd-loader";
  return "install Mesa's Vulkan drivers (24 or later) and the Vulkan loader by your package manager";
}
