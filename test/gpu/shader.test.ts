import { readdirSync, readFileSync } from "node:fs";
import { expect } from "chai";
import { ShaderError } from "../../src/gpu/errors.ts";
import {
  loadShader,
  registerShader,
  packParams,
  prepareShader,
  type Constants,
} from "../../src/gpu/shader.ts";

const SHADERS = new URL("../../shaders/", import.meta.url);
const KERNELS = new URL("../../src/kernels/", import.meta.url);
const GPU = new URL("../../src/gpu/", import.meta.url);
const BENCH = new URL("../../bench/", import.meta.url);

const prepare = (source: string, constants: Constants = {}) =>
  prepareShader("test", source, constants, (name) => `// the text of ${name}\nfn ${name}() {}`);

/** The code without what follows the file itself. */
const fileLines = (source: string, constants: Constants) =>
  prepare(source, constants).code.split("\n").slice(0, source.split("\n").length);

describe("gpu/shader: #unroll", () => {
  const source = [
    "// header",
    "fn main() {",
    "  #unroll i ROWS",
    "  let a_$i = x[$i + 1]; // the i-th",
    "  // a comment of its own line",
    "  acc += a_$i;",
    "  #end",
    "  after();",
    "}",
  ].join("\n");

  it("repeats its lines on the line of the directive; those after it stay where they are", () => {
    expect(fileLines(source, { ROWS: 2 })).to.deep.equal([
      "// header",
      "fn main() {",
      "let a_0 = x[0 + 1]; acc += a_0; let a_1 = x[1 + 1]; acc += a_1;",
      "",
      "",
      "",
      "",
      "  after();",
      "}",
    ]);
  });

  it("zero times leaves nothing, and a boolean counts no rows", () => {
    expect(fileLines(source, { ROWS: 0 }).slice(2, 8)).to.deep.equal([
      "",
      "",
      "",
      "",
      "",
      "  after();",
    ]);
    expect(() => prepare(source, { ROWS: true })).to.throw(ShaderError, "no constant ROWS");
  });

  it("nests, with numbers and divisors", () => {
    const nested = [
      "#unroll i 2",
      "#unroll j ROWS / 4",
      "f($i, $j, $ij);",
      "#end",
      "g($i);",
      "#end",
      "h();",
    ];
    expect(fileLines(nested.join("\n"), { ROWS: 8 })).to.deep.equal([
      "f(0, 0, $ij); f(0, 1, $ij); g(0); f(1, 0, $ij); f(1, 1, $ij); g(1);",
      ...["", "", "", "", ""],
      "h();",
    ]);
  });

  it("takes the divisor from a constant too, and blocks one after the other", () => {
    const blocks = ["#unroll i ROWS / LANES", "a$i", "#end", "#unroll i 3", "b$i", "#end"].join(
      "\n",
    );
    expect(fileLines(blocks, { ROWS: 6, LANES: 3 }).filter(Boolean)).to.deep.equal([
      "a0 a1",
      "b0 b1 b2",
    ]);
  });

  it("is for libraries too, and errors there name the library", () => {
    const load = (constants: Constants) =>
      prepareShader(
        "test",
        "// lib: sum",
        constants,
        () => "fn sum() {\n#unroll i ROWS\nadd($i);\n#end\n}",
      );
    expect(load({ ROWS: 2 }).code.split("\n").slice(1, 6)).to.deep.equal([
      "fn sum() {",
      "add(0); add(1);",
      ...["", "", "}"],
    ]);
    expect(() => load({})).to.throw(ShaderError, "lib/sum.wgsl:2 #unroll: no constant ROWS");
  });

  const refusals: [string, string, Constants, string][] = [
    ["a count that was not given", source, {}, "test.wgsl:3 #unroll: no constant ROWS was given"],
    ["a missing #end", "a\n#unroll i 2\nb", {}, "test.wgsl:2 #unroll without #end"],
    ["an #end too many", "a\n#unroll i 2\n#end\n#end", {}, "test.wgsl:4 #end without #unroll"],
    [
      "a count that does not divide",
      "#unroll i 6 / 4\n#end",
      {},
      "test.wgsl:1 #unroll: 6 / 4 = 1.5 is no count",
    ],
    ["a division by zero", "#unroll i 6 / 0\n#end", {}, "6 / 0 = Infinity is no count"],
    ["a negative count", "#unroll i ROWS\n#end", { ROWS: -1 }, "ROWS / 1 = -1 is no count"],
    ["a fraction", "#unroll i ROWS\n#end", { ROWS: 1.5 }, "ROWS / 1 = 1.5 is no count"],
    [
      "a type for a count",
      "#unroll i ROWS\n#end",
      { ROWS: "f32" },
      "no constant ROWS was given, or it is no number",
    ],
  ];
  for (const [name, text, constants, message] of refusals)
    it(`refuses ${name}`, () => {
      expect(() => prepare(text, constants)).to.throw(ShaderError, message);
    });
});

describe("gpu/shader: constants and snippets", () => {
  const source = [
    "// lib: philox, index",
    "// UNUSED is only spoken of.",
    "override WG_SIZE: u32 = 64;",
    "override HAS_BIAS: bool = false;",
    "const ROWS = 4 * LANES;",
    "var<private> acc: array<Value, ROWS>;",
  ].join("\n");

  it("sets overrides at the pipeline, appends the rest after the file and its snippets", () => {
    const shader = prepare(source, { WG_SIZE: 8, HAS_BIAS: true, LANES: 2, Value: "vec4f" });
    expect(shader.overrides).to.deep.equal({ WG_SIZE: 8, HAS_BIAS: 1 });
    expect(shader.code.split("\n")).to.deep.equal([
      ...source.split("\n"),
      "// the text of philox",
      "fn philox() {}",
      "// the text of index",
      "fn index() {}",
      "const LANES = 2;",
      "alias Value = vec4f;",
    ]);
    expect(shader.files).to.deep.equal([
      { file: "test.wgsl", firstLine: 1 },
      { file: "lib/philox.wgsl", firstLine: 7 },
      { file: "lib/index.wgsl", firstLine: 9 },
    ]);
  });

  it("takes another library where a constant says so, and enables first what it enables", () => {
    const lib = { index: "subgroup_matrix_emulated", Value: "f16" } as const;
    const read = (name: string) => `// ${name}\nenable subgroups;\nfn f() {}`;
    const shader = prepareShader("test", "// lib: index\nvar<private> x: Value;", lib, read);
    expect(shader.code.split("\n")).to.deep.equal([
      "enable f16; enable subgroups; // lib: index",
      "var<private> x: Value;",
      "// subgroup_matrix_emulated",
      "",
      "fn f() {}",
      "alias Value = f16;",
    ]);
    expect(shader.files[1]?.file).to.equal("lib/subgroup_matrix_emulated.wgsl");
  });

  it("leaves overrides that are not given to their defaults", () => {
    expect(prepare(source, {}).overrides).to.deep.equal({});
  });

  const refusals: [string, Constants, string][] = [
    [
      "a constant that the file does not know",
      { TYPO: 1 },
      "test.wgsl: constant TYPO was given, but the file does not use it",
    ],
    [
      "one that only a comment names",
      { UNUSED: 1 },
      "constant UNUSED was given, but the file does not use it",
    ],
    ["one that is only part of a word", { LANE: 1 }, "constant LANE was given"],
    ["a type for an override", { WG_SIZE: "f32" }, "override WG_SIZE is no type, got f32"],
    ["a number for a library", { index: 3 }, "test.wgsl: lib index is no constant, got 3"],
  ];
  for (const [name, constants, message] of refusals)
    it(`refuses ${name}`, () => {
      expect(() => prepare(source, constants)).to.throw(ShaderError, message);
    });

  it("names the file that is missing and where it was sought", () => {
    expect(() => loadShader("no_such", {})).to.throw(
      ShaderError,
      /^shader no_such\.wgsl: cannot be read from .*shaders/,
    );
  });
});

describe("gpu/shader: bindings", () => {
  const binding = (index: number, access: string) =>
    `@group(0) @binding(${index}) var<storage, ${access}> t${index}: array<f32>;`;

  it("tells their access in order, whatever comments say", () => {
    const source = [
      `// ${binding(0, "read_write")}`,
      binding(0, "read"),
      `${binding(1, "read_write")} // ${binding(2, "read")}`,
    ].join("\n");
    expect(prepare(source).bindings).to.deep.equal(["read", "read_write"]);
  });

  it("wants the parameters behind the tensors, in the same group", () => {
    const params = (group: number, at: number) =>
      `@group(${group}) @binding(${at}) var<uniform> params: Params;`;
    const source = (line: string) =>
      [binding(0, "read"), binding(1, "read_write"), line].join("\n");
    expect(prepare(source(params(0, 2))).bindings).to.have.length(2);
    for (const [group, at] of [
      [1, 0],
      [0, 3],
    ] as const)
      expect(() => prepare(source(params(group, at)))).to.throw(
        `test.wgsl: params must be @group(0) @binding(2), behind the tensors; found @group(${group}) @binding(${at})`,
      );
  });

  it("refuses numbers out of order, and gaps", () => {
    expect(() => prepare([binding(1, "read"), binding(0, "read")].join("\n"))).to.throw(
      ShaderError,
      "test.wgsl: bindings of group 0 must be numbered in order; found 1 at 0",
    );
    expect(() => prepare([binding(0, "read"), binding(2, "read")].join("\n"))).to.throw(
      "found 2 at 1",
    );
  });
});

describe("gpu/shader: struct Params", () => {
  const params = (...fields: string[]) => prepare(`struct Params {\n${fields.join("\n")}\n}`);
  const shader = params("n: u32, // rows: u32", "  shift: i32,", "slope: f32,");

  it("is read field by field", () => {
    expect(shader.params).to.deep.equal([
      { name: "n", type: "u32" },
      { name: "shift", type: "i32" },
      { name: "slope", type: "f32" },
    ]);
    expect(prepare("fn main() {}").params).to.deep.equal([]);
  });

  it("is refused with a field of more than 4 bytes, whose place would be another", () => {
    expect(() => params("size: vec2u,", "n: u32,")).to.throw(
      ShaderError,
      "test.wgsl: params.size is a vec2u; fields are u32, i32 or f32",
    );
  });

  it("is packed by name, 4 bytes a field, little-endian, to a multiple of 16", () => {
    const block = packParams(shader, { slope: 0.3, n: 2 ** 32 - 1, shift: -2 });
    expect([...new Uint8Array(block)]).to.deep.equal([
      ...[255, 255, 255, 255],
      ...[254, 255, 255, 255],
      ...new Uint8Array(Float32Array.of(0.3).buffer),
      ...[0, 0, 0, 0],
    ]);
    expect(
      packParams(params("a: u32,", "b: u32,", "c: u32,", "d: u32,", "e: u32,"), {
        a: 1,
        b: 2,
        c: 3,
        d: 4,
        e: 5,
      }).byteLength,
    ).to.equal(32);
  });

  const good = { n: 1, shift: 0, slope: 0 };
  const refusals: [string, Record<string, number>, string][] = [
    ["a field left out", { n: 1, slope: 0 }, "test.wgsl: params.shift was not given"],
    [
      "a field it does not have",
      { ...good, rate: 1 },
      "params has no field rate; it has n, shift, slope",
    ],
    ["a negative u32", { ...good, n: -1 }, "params.n is a u32, got -1"],
    ["a u32 of 2^32", { ...good, n: 2 ** 32 }, "params.n is a u32, got 4294967296"],
    ["a fraction for a u32", { ...good, n: 1.5 }, "params.n is a u32, got 1.5"],
    ["NaN for a u32", { ...good, n: NaN }, "params.n is a u32, got NaN"],
    ["an i32 of 2^31", { ...good, shift: 2 ** 31 }, "params.shift is a i32, got 2147483648"],
    ["an i32 below -2^31", { ...good, shift: -(2 ** 31) - 1 }, "params.shift is a i32"],
    ["NaN for a float", { ...good, slope: NaN }, "params.slope is a f32, got NaN"],
    ["a float that overflows", { ...good, slope: 1e39 }, "params.slope is a f32, got 1e+39"],
  ];
  it("takes the control case, and the ends of the ranges", () => {
    for (const values of [
      good,
      { n: 2 ** 32 - 1, shift: -(2 ** 31), slope: -3.4e38 },
      { n: 0, shift: 2 ** 31 - 1, slope: 1e-45 },
    ]) {
      const view = new DataView(packParams(shader, values));
      expect(view.getUint32(0, true)).to.equal(values.n);
      expect(view.getInt32(4, true)).to.equal(values.shift);
      expect(view.getFloat32(8, true)).to.equal(Math.fround(values.slope));
    }
  });
  for (const [name, values, message] of refusals)
    it(`refuses ${name}`, () => {
      expect(() => packParams(shader, values)).to.throw(ShaderError, message);
    });
});

describe("shaders/", () => {
  const read = (folder: URL, file: string) => readFileSync(new URL(file, folder), "utf8");
  const names = readdirSync(SHADERS)
    .filter((file) => file.endsWith(".wgsl"))
    .map((file) => file.replace(/\.wgsl$/, ""));
  const wrappers = [
    ...readdirSync(KERNELS).map((file) => read(KERNELS, file)),
    read(BENCH, "ceilings.ts"),
    read(GPU, "subgroup_matrix.ts"),
  ].join("\n");
  const named = new Set(
    [...wrappers.matchAll(/(?:shader: |loadShader\()"(\w+)"/g)].map((match) => match[1]),
  );

  it("holds exactly the shaders that src/kernels, the ceilings of bench/ and a check of src/gpu dispatch", () => {
    expect([...named].sort()).to.deep.equal([...names].sort());
  });

  for (const name of names)
    it(`${name}.wgsl is laid out as the others`, () => {
      const source = read(SHADERS, `${name}.wgsl`);
      const header = /^(\/\/ .*\n|\/\/\n)+/.exec(source)?.[0] ?? "";
      expect(header.split("\n").length, "lines of its header").to.be.at.least(3);
      expect(header, "header").to.match(/\b(Writes|Updates) /i);
      const libs = [...source.matchAll(/^\/\/ lib: (.+)$/gm)].flatMap(([, list = ""]) =>
        list.split(", "),
      );
      const texts = [source, ...libs.map((lib) => read(SHADERS, `lib/${lib}.wgsl`))].join("\n");
      // Whatever count it needs; which counts make sense is for the kernels' tests.
      const counts = [...texts.matchAll(/#unroll \w+ ([A-Z]\w*)(?: \/ ([A-Z]\w*))?/g)]
        .flatMap(([, count, divisor]) => [count, divisor])
        .filter((count) => count !== undefined);
      const shader = loadShader(name, Object.fromEntries(counts.map((count) => [count, 8])));
      expect(shader.bindings, "bindings").to.include("read_write");
      expect(shader.bindings.length).to.equal(source.match(/^@group\(0\).*<storage/gm)?.length);
      expect(shader.params.length > 0, "struct Params is bound").to.equal(
        /^@group\(0\) @binding\(\d+\) var<uniform> params: Params;/m.test(source),
      );
      expect(source).to.match(/^fn main\(/m);
    });
});

describe("gpu/shader: shaders of other packages", () => {
  const file = (name: string) => new URL(`../testing/${name}.wgsl`, import.meta.url);

  it("are found under the name that they were registered with", () => {
    registerShader("other_package_faulty", file("faulty"));
    registerShader("other_package_faulty", file("faulty")); // once more is no harm
    const shader = loadShader("other_package_faulty", { FACTOR: 2 });
    expect(shader.name).to.equal("other_package_faulty");
    expect(shader.bindings).to.deep.equal(["read", "read_write"]);
  });

  it("may not take a name of this project's, nor one that is taken", () => {
    expect(() => {
      registerShader("leaky_relu", file("faulty"));
    }).to.throw(ShaderError, /^shader leaky_relu: the name is taken by .*leaky_relu\.wgsl; choose/);
    registerShader("other_package_taken", file("faulty"));
    expect(() => {
      registerShader("other_package_taken", file("another"));
    }).to.throw(ShaderError, /^shader other_package_taken: the name is taken by .*faulty\.wgsl;/);
  });

  it("are named by their path when they cannot be read", () => {
    registerShader("other_package_gone", file("gone"));
    expect(() => loadShader("other_package_gone", {})).to.throw(
      ShaderError,
      /^shader .*testing.gone\.wgsl: cannot be read; was it copied/,
    );
  });
});
