/**
 * SwiftShader, a Vulkan driver in software, and a Vulkan loader, taken out of the npm package that brings them for
 * headless Chromium. Neither needs root. 67 MB are fetched for 8 MB of use, so this is no dependency but a last resort.
 */
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { homedir } from "node:os";
import path from "node:path";
import { brotliDecompressSync, gunzipSync } from "node:zlib";

/** The last line that supports Node 20. */
export const SWIFTSHADER_PACKAGE = "@sparticuz/chromium@147";
const FILES = ["libvulkan.so.1", "libvk_swiftshader.so", "vk_swiftshader_icd.json"];

/**
 * TUNINGFORK_CACHE, or the user's cache folder as the package env-paths has it, which is not there before `npm ci`.
 * @param {NodeJS.ProcessEnv} env
 * @param {string} platform
 */
export function cacheDir(env = process.env, platform = process.platform) {
  if (env.TUNINGFORK_CACHE) return env.TUNINGFORK_CACHE;
  if (platform === "darwin") return path.join(homedir(), "Library", "Caches", "tuningfork");
  if (platform === "win32") {
    const local = env.LOCALAPPDATA || path.join(homedir(), "AppData", "Local");
    return path.join(local, "tuningfork", "Cache");
  }
  return path.join(env.XDG_CACHE_HOME || path.join(homedir(), ".cache"), "tuningfork");
}

/** Where the unpacked files lie; `src/gpu/adapter.ts` reads them there. */
export function swiftShaderDir() {
  return path.join(cacheDir(), "swiftshader-147");
}

/**
 * Fetches and unpacks SwiftShader. It appears in its place only when it is whole.
 * @param {(args: string[], cwd: string) => Promise<void>} npm Runs npm; rejects with a readable message.
 */
export async function fetchSwiftShader(npm) {
  mkdirSync(cacheDir(), { recursive: true });
  const temporary = mkdtempSync(path.join(cacheDir(), "swiftshader-"));
  try {
    await npm(
      ["pack", SWIFTSHADER_PACKAGE, "--ignore-scripts", "--pack-destination", temporary],
      temporary,
    );
    const archive = readdirSync(temporary).find((name) => name.endsWith(".tgz"));
    if (!archive)
      throw new Error(`npm pack ${SWIFTSHADER_PACKAGE}: wrote no .tgz into ${temporary}`);
    const unpacked = path.join(temporary, "unpacked");
    mkdirSync(unpacked);
    unpackSwiftShader(readFileSync(path.join(temporary, archive)), unpacked);
    rmSync(swiftShaderDir(), { recursive: true, force: true });
    renameSync(unpacked, swiftShaderDir());
  } finally {
    rmSync(temporary, { recursive: true, force: true });
  }
}

/**
 * Writes the driver, its description and the loader out of the package into a folder.
 * @param {Buffer} archive The package as npm packs it: tar in gzip.
 * @param {string} folder
 */
export function unpackSwiftShader(archive, folder) {
  const inner = tarFiles(gunzipSync(archive)).get("package/bin/swiftshader.tar.br");
  if (!inner) throw new Error(`${SWIFTSHADER_PACKAGE}: has no bin/swiftshader.tar.br`);
  const files = tarFiles(brotliDecompressSync(inner));
  for (const name of FILES) {
    const bytes = files.get(name);
    if (!bytes) throw new Error(`${SWIFTSHADER_PACKAGE}: bin/swiftshader.tar.br has no ${name}`);
    writeFileSync(path.join(folder, name), bytes, { mode: 0o755 });
  }
}

/**
 * The regular files of a tar archive by name: 512-byte headers, each followed by its file in whole blocks of 512
 * (https://www.gnu.org/software/tar/manual/html_node/Standard.html).
 * @param {Buffer} tar
 * @returns {Map<string, Buffer>}
 */
export function tarFiles(tar) {
  const files = new Map();
  let offset = 0;
  while (offset + 512 <= tar.length && tar[offset] !== 0) {
    const header = tar.subarray(offset, offset + 512);
    const sizeBytes = Number.parseInt(text(header, 124, 12), 8);
    const end = offset + 512 + sizeBytes;
    if (!(end <= tar.length)) throw new Error("tar: the archive ends in the middle of a file");
    const type = text(header, 156, 1);
    if (type === "0" || type === "") {
      const prefix = text(header, 345, 155);
      const name = path.posix.join(prefix, text(header, 0, 100));
      files.set(name, tar.subarray(offset + 512, end));
    }
    offset += 512 + Math.ceil(sizeBytes / 512) * 512;
  }
  return files;
}

/**
 * A field of a tar header, up to its first zero byte.
 * @param {Buffer} header
 * @param {number} start
 * @param {number} length
 */
function text(header, start, length) {
  const [value = ""] = header.toString("latin1", start, start + length).split("\0", 1);
  return value.trim();
}
