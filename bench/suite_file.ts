/** Suites of one's own: `--suite FILE.json` and `--shape n=32,inH=56,...`. Every key is checked and named when wrong. */
import { readFileSync } from "node:fs";
import { basename, dirname, resolve } from "node:path";
import { conv2dGeometry, pool2dGeometry, type Padding } from "../src/geometry.ts";
import { readNetwork } from "../src/nn/network.ts";
import { messageOf, systemReason } from "../src/system_errors.ts";
import type { Pair, Work } from "./engine.ts";
import { OPS, padsOf, type OpName, type SuiteCase } from "./work.ts";

/** Keys of each operation; those with `?` may be left out. */
const KEYS: Readonly<Record<OpName, readonly string[]>> = {
  conv2d: ["n", "inH", "inW", "inC", "kH", "kW", "outC", "stride?", "dilation?", "padding?"],
  dense: ["n", "inC", "outC"],
  max_pool2d: ["n", "inH", "inW", "c", "kH", "kW", "stride?", "padding?"],
  leaky_relu: ["count"],
  dropout: ["count"],
  adamax: ["count"],
  softmax: ["n", "classes"],
  softmax_cross_entropy: ["n", "classes"],
  training_step: ["n", "network"],
  inference: ["n", "network"],
};

/** Reads `{"cases":[{"op":"conv2d","n":32,...},...]}`. @throws Error naming the case and the key */
export function readSuite(path: string): SuiteCase[] {
  const where = `suite ${path}`;
  const json = parse(where, path);
  const cases = isObject(json) ? json["cases"] : undefined;
  if (!isObject(json) || !Array.isArray(cases) || cases.length === 0)
    throw new Error(
      `${where}: expected {"cases":[...]} with at least one case, got ${brief(json)}`,
    );
  const unknown = Object.keys(json).find((key) => key !== "cases");
  if (unknown !== undefined)
    throw new Error(`${where}: unknown key "${unknown}"; expected cases alone`);
  const names = new Set<string>();
  return cases.map((entry: unknown, index) => {
    const at = `${where}: cases[${index}]`;
    if (!isObject(entry)) throw new Error(`${at}: expected an object, got ${brief(entry)}`);
    const { op = "conv2d", name, ...sizes } = entry;
    const known = OPS.find((candidate) => candidate === op);
    if (!known) throw new Error(`${at}: op: expected ${OPS.join(", ")}, got ${brief(op)}`);
    const label = name ?? `${known}${index + 1}`;
    if (typeof label !== "string" || !/^[\w.-]+$/.test(label) || names.has(label))
      throw new Error(
        `${at}: name: expected letters, digits, _ . and -, no two alike, got ${brief(label)}`,
      );
    names.add(label);
    return {
      suite: basename(path, ".json"),
      name: label,
      work: workFrom(at, known, sizes, dirname(path)),
    };
  });
}

/** A case from `n=32,inH=56,inW=56,inC=64,kH=3,kW=3,outC=64,stride=1,padding=same`. @throws Error naming the key */
export function shapeCase(op: OpName, text: string): SuiteCase {
  const sizes: Record<string, unknown> = {};
  for (const part of text.split(",")) {
    const [key = "", value, ...rest] = part.trim().split("=");
    if (key === "" || value === undefined || rest.length > 0)
      throw new Error(`--shape: expected key=value, with commas between, got "${part}"`);
    if (key in sizes) throw new Error(`--shape: ${key} is given twice`);
    const pair = /^(\d+)x(\d+)$/.exec(value);
    const number = /^\d+$/.test(value) ? Number(value) : value;
    sizes[key] = pair ? [Number(pair[1]), Number(pair[2])] : number;
  }
  const work = workFrom(`--shape (${op})`, op, sizes, ".");
  return { suite: "shape", name: op, work };
}

/**
 * The options that measure a case again.
 * @param name and suites as in the run at hand; a network is too large to be written as a shape
 */
export function rerunOptions(work: Work, name: string, suites: readonly string[]): string {
  if ("network" in work) return `--suite ${suites.join(",")} --name ${name} --op ${work.op}`;
  const shape = Object.entries(work)
    .filter(([key]) => key !== "op")
    .map(([key, value]) => {
      if (key !== "padding") return `${key}=${Array.isArray(value) ? value.join("x") : value}`;
      const [[top, bottom], [left, right]] = value as [[number, number], [number, number]];
      return `padding=${top}:${bottom}:${left}:${right}`;
    });
  return `--op ${work.op} --shape ${shape.join(",")}`;
}

function workFrom(
  where: string,
  op: OpName,
  sizes: Readonly<Record<string, unknown>>,
  folder: string,
): Work {
  const keys = KEYS[op].map((key) => key.replace("?", ""));
  for (const key of Object.keys(sizes))
    if (!keys.includes(key))
      throw new Error(`${where}: unknown key "${key}"; ${op} takes ${keys.join(", ")}`);
  for (const key of KEYS[op])
    if (!key.endsWith("?") && !(key in sizes))
      throw new Error(`${where}: ${key} is missing; ${op} takes ${keys.join(", ")}`);
  const count = (key: string): number => {
    const value = sizes[key];
    if (!Number.isSafeInteger(value) || Number(value) < 1 || Number(value) > 2 ** 40)
      throw new Error(`${where}: ${key}: expected an integer from 1, got ${brief(value)}`);
    return Number(value);
  };
  const pair = (key: string, fallback: Pair): Pair => {
    const value = sizes[key] ?? fallback;
    const [h, w, ...rest] = (Array.isArray(value) ? value : [value, value]) as unknown[];
    if (!isCount(h) || !isCount(w) || rest.length > 0)
      throw new Error(`${where}: ${key}: expected an integer from 1 or two, got ${brief(value)}`);
    return [h, w];
  };
  const counts = (...names: string[]) => Object.fromEntries(names.map((key) => [key, count(key)]));
  try {
    switch (op) {
      case "conv2d": {
        const sized = counts("n", "inH", "inW", "inC", "kH", "kW", "outC") as Record<Sizes, number>;
        const { n, inH, inW, inC, kH, kW, outC } = sized;
        const stride = pair("stride", [1, 1]);
        const dilation = pair("dilation", [1, 1]);
        const options = {
          strides: stride,
          dilations: dilation,
          padding: paddingOf(where, sizes["padding"]),
        };
        const g = conv2dGeometry([n, inH, inW, inC], [kH, kW, inC, outC], options);
        return { op, ...sized, stride, dilation, padding: padsOf(g) };
      }
      case "max_pool2d": {
        const sized = counts("n", "inH", "inW", "c", "kH", "kW") as Record<Sizes, number>;
        const { n, inH, inW, c, kH, kW } = sized;
        const stride = pair("stride", [kH, kW]);
        const options = {
          size: [kH, kW] as const,
          strides: stride,
          padding: paddingOf(where, sizes["padding"]),
        };
        const g = pool2dGeometry([n, inH, inW, c], options);
        return { op, ...sized, stride, padding: padsOf(g) };
      }
      case "dense":
        return { op, n: count("n"), inC: count("inC"), outC: count("outC") };
      case "softmax":
      case "softmax_cross_entropy":
        return { op, n: count("n"), classes: count("classes") };
      case "training_step":
      case "inference": {
        const { network } = sizes;
        if (typeof network !== "string")
          throw new Error(`network: expected the path of a network file, got ${brief(network)}`);
        return { op, n: count("n"), network: readNetwork(resolve(folder, network)) };
      }
      default:
        return { op, count: count("count") };
    }
  } catch (cause) {
    const message = messageOf(cause);
    if (message.startsWith(where)) throw cause;
    throw new Error(`${where}: ${message}`, { cause });
  }
}

type Sizes = "n" | "inH" | "inW" | "inC" | "kH" | "kW" | "outC" | "c";

/** "same", "valid", a number for all sides, two for rows and columns, four from the top, or [[top,bottom],[left,right]]. */
function paddingOf(where: string, value: unknown = "valid"): Padding {
  if (value === "same" || value === "valid") return value;
  const sides = typeof value === "string" ? value.split(":").map(Number) : undefined;
  const [top, bottom, left, right] = sides?.length === 4 ? sides : [];
  if (isPad(top) && isPad(bottom) && isPad(left) && isPad(right))
    return [
      [top, bottom],
      [left, right],
    ];
  const [rows, columns, ...rest] = (Array.isArray(value) ? value : [value, value]) as unknown[];
  const side = (pad: unknown): Pair | undefined => {
    if (isPad(pad)) return [pad, pad];
    const [before, after, ...more] = (Array.isArray(pad) ? pad : []) as unknown[];
    return isPad(before) && isPad(after) && more.length === 0 ? [before, after] : undefined;
  };
  const [h, w] = [side(rows), side(columns)];
  if (h && w && rest.length === 0) return [h, w];
  throw new Error(
    `${where}: padding: expected same, valid, a number for all sides or [[top,bottom],[left,right]], got ${brief(value)}`,
  );
}

function isPad(value: unknown): value is number {
  return Number.isSafeInteger(value) && Number(value) >= 0;
}

function isCount(value: unknown): value is number {
  return isPad(value) && value >= 1;
}

function parse(where: string, path: string): unknown {
  try {
    return JSON.parse(readFileSync(path, "utf8"));
  } catch (cause) {
    const why = systemReason(cause) ?? messageOf(cause);
    throw new Error(`${where}: cannot be read: ${why}`, { cause });
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function brief(value: unknown): string {
  const text = JSON.stringify(value) as string | undefined;
  return text === undefined ? "nothing" : text.length > 60 ? `${text.slice(0, 57)}...` : text;
}
