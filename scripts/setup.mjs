/**
 * Does what is missing before tuningfork can run, and only that: the npm packages, the build, and a Vulkan adapter that
 * Dawn accepts. It runs straight after `git clone`, so it needs nothing but Node.
 *
 *     node scripts/setup.mjs [--quiet]      --quiet: say nothing when there is nothing to do
 *
 * TUNINGFORK_SETUP=npm forbids apt, =none forbids all installing (docs/environment.md).
 */
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import path from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { backportsEntry, parseDeb822Sources, parseListSources } from "./apt_sources.mjs";
import { SWIFTSHADER_PACKAGE, cacheDir, fetchSwiftShader, swiftShaderDir } from "./swiftshader.mjs";

const ROOT = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const BACKPORTS_FILE = "/etc/apt/sources.list.d/tuningfork-backports.sources";
const MESA_PACKAGES = ["mesa-vulkan-drivers", "libvulkan1"];
const BUILD_STAMP = "dist/.built";
const BUILD_INPUTS = [
  "src",
  "bench",
  "shaders",
  "networks",
  "package-lock.json",
  "tsconfig.json",
  "tsconfig.build.json",
  "scripts/copy_shaders.mjs",
];

/** @typedef {"all" | "npm" | "none"} SetupMode What may be installed. */

/**
 * @param {string | undefined} value The value of TUNINGFORK_SETUP.
 * @returns {SetupMode}
 */
export function setupMode(value) {
  if (value === undefined || value === "") return "all";
  if (value === "npm" || value === "none") return value;
  throw new Error(`TUNINGFORK_SETUP: unknown value: expected npm, none or unset, got "${value}"`);
}

/**
 * @typedef {object} AdapterFacts
 * @property {SetupMode} mode
 * @property {string | undefined} present Class of the adapter that opens now; undefined when none does.
 * @property {string | undefined} wanted The value of TUNINGFORK_ADAPTER.
 * @property {string} platform
 * @property {string} arch
 * @property {boolean} root
 * @property {boolean} apt Debian or one of its children, with apt-get.
 */

/**
 * What to try, in this order, until an adapter opens. SwiftShader out of our own cache is the last resort, so where
 * Mesa's may be installed it is, also when SwiftShader is there already: it is about ten times faster.
 * @param {AdapterFacts} facts
 * @returns {("apt" | "swiftshader")[]}
 */
export function adapterSteps({ mode, present, wanted, platform, arch, root, apt }) {
  if (mode === "none" || platform !== "linux") return [];
  // Hardware cannot be installed, and what is no name of an adapter is an error that the probe has found.
  if (wanted !== undefined && wanted !== "mesa" && wanted !== "swiftshader") return [];
  /** @type {("apt" | "swiftshader")[]} */
  const steps = [];
  const lacking = present === undefined;
  if (
    (lacking || present === "swiftshader") &&
    mode === "all" &&
    apt &&
    root &&
    wanted !== "swiftshader"
  ) {
    steps.push("apt");
  }
  if (lacking && arch === "x64" && wanted !== "mesa") steps.push("swiftshader");
  return steps;
}

/**
 * @typedef {{ packages?: Record<string, { version?: string, optional?: boolean, devOptional?: boolean }> }} Lockfile
 */

/**
 * True when what npm has installed is what the lockfile asks for; packages of other platforms may be absent.
 * @param {Lockfile} lock package-lock.json
 * @param {Lockfile} installed node_modules/.package-lock.json, which npm writes when it is done
 */
export function packagesAreCurrent(lock, installed) {
  return Object.entries(lock.packages ?? {}).every(
    ([place, { version, optional, devOptional }]) => {
      if (place === "") return true;
      const found = installed.packages?.[place];
      return found ? found.version === version : (optional ?? devOptional ?? false);
    },
  );
}

/**
 * True when something below the paths was changed after the time given. A folder changes when an entry comes or goes.
 * @param {string[]} paths
 * @param {number} timeMs
 * @returns {boolean}
 */
export function anyNewer(paths, timeMs) {
  return paths.some((name) => {
    const stat = statSync(name, { throwIfNoEntry: false });
    if (!stat) return false;
    if (stat.mtimeMs > timeMs) return true;
    if (!stat.isDirectory()) return false;
    return anyNewer(
      readdirSync(name).map((child) => path.join(name, child)),
      timeMs,
    );
  });
}

/** @typedef {{ class: string, description: string, software: boolean }} ProbedAdapter */

/**
 * Runs the steps. Returns the exit code.
 * @param {{ quiet: boolean }} options
 */
export async function setup({ quiet }) {
  process.chdir(ROOT);
  const mode = setupMode(process.env.TUNINGFORK_SETUP);
  const started = Date.now();

  const packages = packagesMissing() ? "npm packages" : undefined;
  const build = packages || buildIsStale() ? "build" : undefined;
  if (mode === "none" && build) {
    const [what, command] = packages
      ? [
          "the npm packages are missing or not those of package-lock.json",
          "npm ci && npm run build",
        ]
      : ["the build is missing or older than its sources", "npm run build"];
    throw new Error(`${what}, and TUNINGFORK_SETUP=none forbids installing; run: ${command}`);
  }
  if (packages) {
    // The compiler is a development package, and NODE_ENV=production would leave it out.
    await step("npm packages (npm ci)", () =>
      npm(["ci", "--include=dev", "--no-audit", "--no-fund"]),
    );
  }
  if (build) await step("build (npm run build)", runBuild);

  const remembered = rememberedAdapter();
  const { adapter, error } = remembered ? { adapter: remembered } : await findAdapter(mode);
  if (!adapter) {
    // No failure: everything that needs no GPU still works, and each command that needs one says this again.
    console.error(`setup: warning: ${error}`);
  } else if (build || !remembered || !quiet) {
    say(`ready on ${adapter.description} (${describeClass(adapter.class)})`, started);
  }
  return 0;
}

/**
 * The adapter that opens, after installing one where that is allowed and needed.
 * @param {SetupMode} mode
 * @returns {ReturnType<typeof probe>}
 */
async function findAdapter(mode) {
  let found = await probe();
  const steps = adapterSteps({
    mode,
    present: found.adapter?.class,
    wanted: process.env.TUNINGFORK_ADAPTER || undefined,
    platform: process.platform,
    arch: process.arch,
    root: process.getuid?.() === 0,
    apt: hasApt(),
  });
  for (const name of steps) {
    const installed = await (name === "apt" ? installMesa() : installSwiftShader());
    if (installed) found = await probe();
    if (found.adapter) break;
  }
  rememberAdapter(found.adapter);
  return found;
}

/** @param {string} kind */
function describeClass(kind) {
  if (kind === "swiftshader")
    return "SwiftShader, about ten times slower than Mesa's software adapter";
  return kind === "hardware" ? "hardware" : "software";
}

// --- npm packages and build ---------------------------------------------------------------------

function packagesMissing() {
  const installed = "node_modules/.package-lock.json";
  if (!existsSync(installed)) return true;
  return !packagesAreCurrent(readJson("package-lock.json"), readJson(installed));
}

function buildIsStale() {
  const stamp = statSync(BUILD_STAMP, { throwIfNoEntry: false });
  return !stamp || !existsSync("dist/src/gpu/adapter.js") || anyNewer(BUILD_INPUTS, stamp.mtimeMs);
}

async function runBuild() {
  const begun = new Date(); // a source that is edited meanwhile must be newer than the stamp
  // Without our stamp, what the compiler remembers to have written may be gone.
  if (!existsSync(BUILD_STAMP)) rmSync("dist", { recursive: true, force: true });
  await npm(["run", "--silent", "build"]);
  utimesSync(BUILD_STAMP, begun, begun);
}

// --- the adapter --------------------------------------------------------------------------------

/**
 * Opens the adapter in a process of its own.
 * @returns {Promise<{ adapter?: ProbedAdapter, error?: string }>}
 */
async function probe() {
  const script = path.join(ROOT, "scripts", "probe_adapter.mjs");
  const result = await run(process.execPath, [script]);
  const last = result.stdout.trim().split("\n").pop() ?? "";
  if (last.startsWith("{")) return JSON.parse(last);
  return {
    error: `opening the adapter failed (${ended(result)}); run: npm run tuningfork -- doctor`,
  };
}

/**
 * What was found last, as long as nothing changed that it depends on: opening a GPU may take seconds.
 * @returns {ProbedAdapter | undefined}
 */
function rememberedAdapter() {
  const last = readJson(adapterFile());
  return last?.key === adapterKey() ? last.adapter : undefined;
}

/**
 * Only a success is remembered: whoever installs a driver wants it found.
 * @param {ProbedAdapter | undefined} adapter
 */
function rememberAdapter(adapter) {
  try {
    if (!adapter) return rmSync(adapterFile(), { force: true });
    mkdirSync(cacheDir(), { recursive: true });
    const temporary = `${adapterFile()}.${process.pid}`;
    writeFileSync(temporary, JSON.stringify({ key: adapterKey(), adapter }));
    renameSync(temporary, adapterFile());
  } catch {
    // A cache folder that cannot be written costs a probe each time, nothing else.
  }
}

function adapterFile() {
  return path.join(cacheDir(), "adapter.json");
}

/** Changes with Dawn, the drivers and their loader, the devices, and the settings that choose among them. */
function adapterKey() {
  const env = Object.entries(process.env).filter(([name]) =>
    /^(VK_|DAWNNODE_|TUNINGFORK_(ADAPTER|SETUP)$)/.test(name),
  );
  const share = ["/etc", "/usr/share", "/usr/local/share", "/usr/local/etc"];
  const files = [
    ...share.flatMap((base) => entries(`${base}/vulkan/icd.d`)),
    ...entries("/dev", /^(dri|nvidia)/),
    ...entries("/dev/dri"),
    ...[
      "/usr/lib",
      "/usr/lib64",
      "/usr/lib/x86_64-linux-gnu",
      "/usr/lib/aarch64-linux-gnu",
      "/usr/local/lib",
    ].map((base) => `${base}/libvulkan.so.1`),
    swiftShaderDir(),
    "dist/src/gpu/adapter.js",
  ].map((name) => {
    // Devices are written to all the time; that they are there is what matters.
    const known = existsSync(name);
    return [name, known && !name.startsWith("/dev") ? statSync(name).mtimeMs : known];
  });
  const webgpu = readJson("node_modules/webgpu/package.json")?.version;
  const facts = [webgpu, process.version, process.getuid?.() === 0, env.sort(), files];
  return createHash("sha256").update(JSON.stringify(facts)).digest("hex");
}

function hasApt() {
  return existsSync("/usr/bin/apt-get") && existsSync("/etc/debian_version");
}

async function installMesa() {
  const codename =
    /^VERSION_CODENAME="?(\w+)/m.exec(readFileSync("/etc/os-release", "utf8"))?.[1] ?? "";
  // Debian 12's own Mesa, 22.3, gives Dawn no adapter; its backports have 25.
  const release = codename === "bookworm" ? ["-t", "bookworm-backports"] : [];
  const install = ["install", "-y", "--no-install-recommends", ...release, ...MESA_PACKAGES];
  say(
    `no GPU adapter: installing Mesa's software Vulkan driver as root: apt-get ${install.join(" ")}`,
  );
  const entry = release.length > 0 ? backportsEntry(aptSources(), codename) : "";
  if (entry === undefined) {
    return failed(
      "apt: no entry of this machine's sources names bookworm, so its backports cannot be found",
    );
  }
  try {
    if (entry !== "") {
      say(`adding ${BACKPORTS_FILE} (${/^URIs: (.*)$/m.exec(entry)?.[1]} bookworm-backports)`);
      writeFileSync(BACKPORTS_FILE, entry);
    }
    // One broken source among many fails the update, and need not matter to us.
    await step("apt-get update", () => apt(["update"])).catch((error) => failed(messageOf(error)));
    await step("apt-get install", () => apt(install));
    return true;
  } catch (error) {
    if (entry !== "") rmSync(BACKPORTS_FILE, { force: true });
    return failed(messageOf(error));
  }
}

function aptSources() {
  const parts = "/etc/apt/sources.list.d";
  return ["/etc/apt/sources.list", ...entries(parts)].flatMap((name) => {
    if (!existsSync(name)) return [];
    if (name.endsWith(".list")) return parseListSources(readFileSync(name, "utf8"));
    return name.endsWith(".sources") ? parseDeb822Sources(readFileSync(name, "utf8")) : [];
  });
}

/** @param {string[]} args */
async function apt(args) {
  const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
  const wait = ["-o", "DPkg::Lock::Timeout=300"];
  const result = await run("apt-get", [...wait, ...args], { env });
  if (result.code !== 0) {
    throw new Error(`apt-get ${args[0]} failed (${ended(result)}):\n${excerpt(result)}`);
  }
}

async function installSwiftShader() {
  try {
    await step(
      `SwiftShader (npm package ${SWIFTSHADER_PACKAGE}, 67 MB, into ${swiftShaderDir()})`,
      () => fetchSwiftShader(npm),
    );
    return true;
  } catch (error) {
    return failed(messageOf(error));
  }
}

// --- processes and lines ------------------------------------------------------------------------

/**
 * Runs npm; rejects with the end of what it said.
 * @param {string[]} args
 * @param {string} [cwd]
 */
async function npm(args, cwd) {
  // Within `npm run`, the very npm that runs us; its path may be a script, which Windows cannot start by itself.
  const script = process.env.npm_execpath;
  const own = script !== undefined && /\.[cm]?js$/.test(script);
  const result = own
    ? await run(process.execPath, [script, ...args], { cwd })
    : await run("npm", args, { cwd, shell: process.platform === "win32" });
  if (result.code === 0) return;
  const name = `npm ${args.filter((argument) => !argument.startsWith("-"))[0]}`;
  const network = /\b(ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH)\b/.exec(
    result.stderr,
  );
  if (network) {
    throw new Error(
      `${name} failed: the package registry cannot be reached (${network[0]}); connect and run this again`,
    );
  }
  throw new Error(`${name} failed (${ended(result)}):\n${excerpt(result)}`);
}

/**
 * @param {string} command
 * @param {string[]} args
 * @param {import("node:child_process").SpawnOptions} [options]
 * @returns {Promise<{ code: number | null, signal: string | null, stdout: string, stderr: string }>}
 */
function run(command, args, options = {}) {
  return new Promise((resolve) => {
    const child = spawn(command, args, { ...options, stdio: ["ignore", "pipe", "pipe"] });
    let stdout = "";
    let stderr = "";
    child.stdout?.on("data", (chunk) => (stdout += chunk));
    child.stderr?.on("data", (chunk) => (stderr += chunk));
    child.on("error", (error) => {
      resolve({ code: -1, signal: null, stdout, stderr: `${command}: ${error.message}` });
    });
    child.on("close", (code, signal) => resolve({ code, signal, stdout, stderr }));
  });
}

/** @param {{ code: number | null, signal: string | null }} result */
function ended({ code, signal }) {
  return signal ?? `exit code ${code}`;
}

/**
 * What a person needs of the output: the compiler's messages come on stdout, the other tools' on stderr, stacks aside.
 * @param {{ stdout: string, stderr: string }} result
 */
function excerpt({ stdout, stderr }) {
  const lines = `${stdout}\n${stderr}`
    .split("\n")
    .filter((line) => line.trim() && !/^(npm error )?\s+at /.test(line));
  return lines.slice(-20).join("\n");
}

/**
 * Says what is done before and how long it took after.
 * @param {string} name
 * @param {() => Promise<void>} action
 */
async function step(name, action) {
  const started = Date.now();
  process.stdout.write(`setup: ${name} ...`);
  try {
    await action();
    process.stdout.write(` ${seconds(started)}\n`);
  } catch (error) {
    process.stdout.write(` failed, ${seconds(started)}\n`);
    throw error;
  }
}

/**
 * @param {string} message
 * @param {number} [started] Date.now() when the work began
 */
function say(message, started) {
  console.log(`setup: ${message}${started === undefined ? "" : `, ${seconds(started)}`}`);
}

/** @param {string} message */
function failed(message) {
  console.error(`setup: ${message}`);
  return false;
}

/** @param {number} started */
function seconds(started) {
  return `${((Date.now() - started) / 1000).toFixed(1)} s`;
}

/**
 * @param {string} folder
 * @param {RegExp} [pattern]
 */
function entries(folder, pattern = /./) {
  if (!existsSync(folder)) return [];
  const names = readdirSync(folder).filter((name) => pattern.test(name));
  return names.sort().map((name) => path.join(folder, name));
}

/**
 * @param {string} file
 * @returns {any} undefined when it is no JSON file
 */
function readJson(file) {
  try {
    return JSON.parse(readFileSync(file, "utf8"));
  } catch {
    return undefined;
  }
}

/** @param {unknown} error */
function messageOf(error) {
  return error instanceof Error ? error.message : String(error);
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  try {
    process.exitCode = await setup({ quiet: process.argv.includes("--quiet") });
  } catch (error) {
    console.error(`setup: ${messageOf(error)}`);
    process.exitCode = 1;
  }
}
