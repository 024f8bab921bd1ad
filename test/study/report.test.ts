import { mkdtemp, readFile, readdir, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { expect } from "chai";
import { parse as parseHtml } from "parse5";
import type { DefaultTreeAdapterMap, ParserError } from "parse5";
import { writeReport } from "../../src/study/report.ts";
import type { StudyEvidence, StudyResults } from "../../src/study/results.ts";
import { fakeStudy } from "../support/fake_study.ts";

type Element = DefaultTreeAdapterMap["element"];

const NASTY_ID = `<b>&"NGC 1'`;
const ALWAYS = ["report.html", "results.json", "table3.csv", "table3.md"];

describe("writeReport", () => {
  let dir: string;
  let study: { results: StudyResults; evidence: StudyEvidence };
  let written: string[];
  let html: string;
  let errors: ParserError[];
  let elements: Element[];

  before(async () => {
    dir = await mkdtemp(join(tmpdir(), "report-"));
    const { results, evidence } = fakeStudy({ seeds: 3, imageSize: 32, mapSize: 16, nTest: 120 });
    study = {
      results,
      evidence: {
        ...evidence,
        notes: [...evidence.notes, `A note with <script>alert("1")</script> & more`],
        testImages: { ...evidence.testImages, ids: evidence.testImages.ids.map(() => NASTY_ID) },
      },
    };
    written = (await writeReport(study.results, study.evidence, dir)).map((path) =>
      relative(dir, path),
    );
    html = await readFile(join(dir, "report.html"), "utf8");
    ({ errors, elements } = parsePage(html));
  });
  after(() => rm(dir, { recursive: true }));

  it("writes all files it names, whole, and nothing else", async () => {
    const files = (await readdir(dir, { recursive: true })).filter((file) => file !== "figures");
    expect(files.sort()).to.deep.equal([...written].sort());
    expect(written).to.include.members(ALWAYS);
    const stems = ["accuracy", "training_curves", "pretraining_curves", "roc_small_against_large"];
    for (const id of "abcdefg") stems.push(`roc_${id}`, `confusion_${id}`);
    stems.push("augmented", "surveys", "single_images", "gallery_right", "gallery_wrong");
    for (const layer of ["image", "pool1", "conv2", "conv3", "conv4"])
      stems.push(`feature_maps_${layer}`);
    stems.push("applied_fractions", "applied_gallery", "mass_redshift", "sigma_mass");
    const expected = stems.flatMap((stem) => [`figures/${stem}.png`, `figures/${stem}.svg`]);
    expect(written.filter((file) => file.startsWith("figures/")).sort()).to.deep.equal(
      expected.sort(),
    );
  });

  it("writes PNGs at twice the size of the SVGs", async () => {
    const svg = await readFile(join(dir, "figures/roc_a.svg"), "utf8");
    const png = await readFile(join(dir, "figures/roc_a.png"));
    const width = Number(/ width="([\d.]+)"/.exec(svg)?.[1]);
    expect(png.subarray(1, 4).toString()).to.equal("PNG");
    expect(png.readUInt32BE(16)).to.be.closeTo(2 * width, 2);
  });

  it("writes results.json that reads back as the results", async () => {
    const text = await readFile(join(dir, "results.json"), "utf8");
    expect(JSON.parse(text)).to.deep.equal(JSON.parse(JSON.stringify(study.results)));
    expect(text).to.match(/^\{\n {2}"preset": "quick",\n/);
  });

  it("is well-formed HTML", () => {
    expect(errors.map(({ code, startLine }) => `${code} in line ${startLine}`)).to.deep.equal([]);
  });

  it("lets no text of the data become markup", () => {
    expect(elements.filter(({ tagName }) => tagName === "b" || tagName === "script")).to.be.empty;
    expect(textOf(elements[0]!)).to.include(`A note with <script>alert("1")</script> & more`);
  });

  it("loads nothing from outside: each src is data, each href an anchor or data", () => {
    const addresses = elements.flatMap(({ attrs }) =>
      attrs.filter(({ name }) => ["src", "href", "srcset", "data", "poster"].includes(name)),
    );
    expect(addresses.length).to.be.greaterThan(20);
    for (const { value } of addresses) expect(value.slice(0, 40)).to.match(/^(data:|#)/);
    expect(/url\(|@import/.test(html.replace(/src="[^"]*"/g, ""))).to.equal(false);
  });

  it("links from the contents to sections that exist, ids being unique", () => {
    const ids = elements.flatMap(({ attrs }) => attrs.filter(({ name }) => name === "id"));
    const names = ids.map(({ value }) => value);
    expect(new Set(names).size).to.equal(names.length);
    const anchors = elements
      .filter(({ tagName }) => tagName === "a")
      .map((a) => attribute(a, "href"));
    expect(anchors.length).to.be.greaterThan(10);
    for (const anchor of anchors) expect(names).to.include(anchor.slice(1));
  });

  it("gives every picture a text, every table a caption and headers with a scope", () => {
    const pictures = elements.filter(({ tagName }) => tagName === "img");
    expect(pictures.length).to.equal(written.filter((file) => file.endsWith(".svg")).length);
    for (const picture of pictures) expect(attribute(picture, "alt")).to.not.equal("");
    const tables = elements.filter(({ tagName }) => tagName === "table");
    for (const table of tables) {
      const inside = descendants(table);
      expect(inside.some(({ tagName }) => tagName === "caption")).to.equal(true);
      for (const th of inside.filter(({ tagName }) => tagName === "th"))
        expect(attribute(th, "scope")).to.match(/^(col|row|colgroup)$/);
    }
  });

  it("embeds the figures unharmed: the picture's address decodes to the SVG file", async () => {
    const svg = await readFile(join(dir, "figures/gallery_right.svg"), "utf8");
    const sources = elements
      .filter(({ tagName }) => tagName === "img")
      .map((picture) => attribute(picture, "src"))
      .map((src) => decodeURIComponent(src.slice(src.indexOf(",") + 1)));
    expect(sources).to.include(svg);
  });

  it("marks the collapsed test and no other", () => {
    const marked = elements.filter(
      (element) =>
        element.tagName === "tr" &&
        descendants(element).some((inside) => attribute(inside, "class") === "collapsed"),
    );
    expect(marked.map((row) => textOf(descendants(row)[0]!))).to.deep.equal(["c", "c"]);
    expect(html).to.include("Test c <strong>collapsed to one class</strong>");
  });

  it("shows the notes, the mean over the seeds and the paper's numbers", () => {
    const page = textOf(elements[0]!);
    for (const note of study.evidence.notes) expect(page).to.include(note);
    const { mean, std } = study.results.seeds!.g!.accuracy;
    expect(page).to.include(`${mean.toFixed(3)}\u00a0±\u00a0${std.toFixed(3)}`);
    expect(page).to.include("0.936");
  });

  it("stays below 8 MB", async () => {
    expect((await stat(join(dir, "report.html"))).size).to.be.lessThan(8e6);
  });

  it("leaves out what a run did not make, and says so", async () => {
    const small = fakeStudy({ tests: ["a", "g"], optionalParts: false, imageSize: 32, nTest: 60 });
    const out = join(dir, "small");
    const files = (await writeReport(small.results, small.evidence, out)).map((path) =>
      relative(out, path),
    );
    expect(files).to.include.members([...ALWAYS, "figures/roc_g.svg"]);
    expect(files.filter((file) => /roc_b|feature|applied|mass/.test(file))).to.be.empty;
    const page = await readFile(join(out, "report.html"), "utf8");
    expect(page).to.include("5 of the paper&#39;s seven tests were not run");
    expect(page).to.match(/Not made by this run, so not shown: [^<]*feature maps/);
    expect(page).to.not.include('id="applied"');
    expect(page).to.not.include('id="seeds"');
    expect(parsePage(page).errors).to.be.empty;
  });

  it("says what is wrong when it cannot write", async () => {
    const file = join(dir, "a_file");
    await writeFile(file, "");
    let message = "";
    try {
      await writeReport(study.results, study.evidence, file);
    } catch (error) {
      message = String(error);
    }
    expect(message).to.match(/report: cannot write .*a_file.*choose another folder with --out/);
  });

  it("refuses test images that do not match the predictions", async () => {
    const { results, evidence } = fakeStudy({ tests: ["a"], optionalParts: false, nTest: 60 });
    const other = fakeStudy({ tests: ["a"], optionalParts: false, nTest: 61 });
    let message = "";
    try {
      await writeReport(
        results,
        { ...evidence, testImages: other.evidence.testImages },
        join(dir, "mismatch"),
      );
    } catch (error) {
      message = String(error);
    }
    expect(message).to.include("61 images vs 60 predictions of test a");
  });
});

function parsePage(html: string): { errors: ParserError[]; elements: Element[] } {
  const errors: ParserError[] = [];
  const document = parseHtml(html, {
    sourceCodeLocationInfo: true,
    onParseError: (error) => errors.push(error),
  });
  return { errors, elements: descendants(document) };
}

function descendants(node: DefaultTreeAdapterMap["parentNode"]): Element[] {
  return node.childNodes.flatMap((child) =>
    "tagName" in child ? [child, ...descendants(child)] : [],
  );
}

function textOf(node: DefaultTreeAdapterMap["parentNode"]): string {
  return node.childNodes
    .map((child) =>
      child.nodeName === "#text"
        ? (child as DefaultTreeAdapterMap["textNode"]).value
        : "childNodes" in child
          ? textOf(child)
          : "",
    )
    .join("");
}

function attribute(element: Element, name: string): string {
  return element.attrs.find((attr) => attr.name === name)?.value ?? "";
}
