import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import path from "node:path";
import { expect } from "chai";
import * as tar from "tar";
import { type DataSetInfo, dataSetInfo } from "../../src/data/catalogue.ts";
import { download } from "../../src/data/download.ts";
import { fetchDataSet } from "../../src/data/fetch.ts";
import { Random } from "../../src/random.ts";
import { verifyDataSet } from "../../src/data/verify.ts";
import { rejection } from "../support/errors.ts";
import { temporaryFolder, write } from "../support/files.ts";

/** Random bytes: a seam in the wrong place shows, and an archive of them is no smaller than they are. */
const random = new Random(1, "fetch test");
const CONTENT = Buffer.from(Uint8Array.from({ length: 300_000 }, () => random.uint32()));

interface Served {
  readonly method: string;
  readonly range: string | undefined;
  readonly ifRange: string | undefined;
}

/** A server on this machine whose manners each test chooses. */
function localServer(): {
  readonly url: () => string;
  readonly requests: Served[];
  answer: (request: IncomingMessage, response: ServerResponse) => void;
} {
  let server: Server;
  const state = {
    url: () => `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests: [] as Served[],
    answer: (_: IncomingMessage, response: ServerResponse) => void response.end(),
  };
  beforeEach((done) => {
    state.requests.length = 0;
    server = createServer((request, response) => {
      state.requests.push({
        method: request.method ?? "",
        range: request.headers.range,
        ifRange: request.headers["if-range"] as string | undefined,
      });
      state.answer(request, response);
    });
    server.listen(0, "127.0.0.1", done);
  });
  afterEach((done) => {
    server.close(done);
    server.closeAllConnections();
  });
  return state;
}

interface Manners {
  readonly ranges?: boolean;
  readonly etag?: string;
  /** Close the connection after so many bytes of the file. */
  readonly breakAt?: number;
  readonly content?: Buffer;
}

function serve(
  request: IncomingMessage,
  response: ServerResponse,
  { ranges = true, etag = '"one"', breakAt, content = CONTENT }: Manners,
): void {
  const asked = /^bytes=(\d+)-$/.exec(request.headers.range ?? "");
  const same = request.headers["if-range"] === etag;
  const start = ranges && asked && same ? Number(asked[1]) : 0;
  const headers: Record<string, string | number> = { etag };
  if (start > 0 && start >= content.length) {
    response.writeHead(416, { ...headers, "content-range": `bytes */${content.length}` }).end();
    return;
  }
  headers["content-length"] = content.length - start;
  if (start > 0)
    headers["content-range"] = `bytes ${start}-${content.length - 1}/${content.length}`;
  response.writeHead(start > 0 ? 206 : 200, headers);
  if (breakAt === undefined || breakAt <= start) response.end(content.subarray(start));
  else
    // An end in the middle, not a reset, which would take along what is still under way.
    response.write(content.subarray(start, breakAt), () =>
      setTimeout(() => response.socket?.end(), 50),
    );
}

describe("download", () => {
  const folder = temporaryFolder();
  const server = localServer();
  const file = (): string => path.join(folder(), "file");
  const fast = { backoffMs: 1 };

  it("gets a file, and tells how far it is", async () => {
    server.answer = (request, response) => {
      serve(request, response, {});
    };
    const seen: [number, number][] = [];
    await download(`${server.url()}/a`, file(), {
      onBytes: (done, total) => void seen.push([done, total]),
    });
    expect(readFileSync(file()).equals(CONTENT)).to.equal(true);
    expect(seen.at(-1)).to.deep.equal([CONTENT.length, CONTENT.length]);
    expect(readdirSync(folder())).to.deep.equal(["file"]);
  });

  it("goes on with Range where the server broke off", async () => {
    server.answer = (request, response) => {
      serve(request, response, server.requests.length === 1 ? { breakAt: 150_000 } : {});
    };
    await download(`${server.url()}/a`, file(), fast);
    expect(readFileSync(file()).equals(CONTENT)).to.equal(true);
    expect(server.requests).to.have.length(2);
    const offset = Number(/^bytes=(\d+)-$/.exec(server.requests[1]?.range ?? "")?.[1]);
    expect(offset).to.be.within(1, 150_000);
    expect(server.requests[1]?.ifRange).to.equal('"one"');
  });

  it("keeps what it has when it gives up, and goes on from there when called again", async () => {
    server.answer = (request, response) => {
      if (server.requests.length === 1) serve(request, response, { breakAt: 200_000 });
      else response.destroy();
    };
    const message = await rejection(
      download(`${server.url()}/a`, file(), { ...fast, attempts: 2 }),
    );
    expect(message).to.match(/broke off after \d+ bytes: .*; run the same command again/);
    expect(existsSync(file())).to.equal(false);
    server.requests.length = 0;
    server.answer = (request, response) => {
      serve(request, response, {});
    };
    await download(`${server.url()}/a`, file(), fast);
    expect(server.requests).to.have.length(1);
    expect(server.requests[0]?.range).to.match(/^bytes=[1-9]\d+-$/);
    expect(readFileSync(file()).equals(CONTENT)).to.equal(true);
  });

  it("begins anew on a server that has no ranges", async () => {
    server.answer = (request, response) => {
      serve(request, response, {
        ranges: false,
        ...(server.requests.length === 1 && { breakAt: 150_000 }),
      });
    };
    await download(`${server.url()}/a`, file(), fast);
    expect(readFileSync(file()).equals(CONTENT)).to.equal(true);
  });

  it("begins anew when the file has changed in between", async () => {
    const changed = Buffer.from(CONTENT).reverse();
    server.answer = (request, response) => {
      serve(
        request,
        response,
        server.requests.length === 1 ? { breakAt: 150_000 } : { etag: '"two"', content: changed },
      );
    };
    await download(`${server.url()}/a`, file(), fast);
    expect(readFileSync(file()).equals(changed)).to.equal(true);
  });

  it("does not stitch parts together when the server does not identify the file", async () => {
    server.answer = (request, response) => {
      serve(request, response, {
        etag: 'W/"weak"',
        ...(server.requests.length === 1 && { breakAt: 150_000 }),
      });
    };
    await download(`${server.url()}/a`, file(), fast);
    expect(server.requests[1]?.range).to.equal(undefined);
    expect(readFileSync(file()).equals(CONTENT)).to.equal(true);
  });

  it("takes a part that was whole already", async () => {
    writeFileSync(`${file()}.part`, CONTENT);
    writeFileSync(
      `${file()}.part.json`,
      JSON.stringify({ url: `${server.url()}/a`, validator: '"one"' }),
    );
    server.answer = (request, response) => {
      serve(request, response, {});
    };
    await download(`${server.url()}/a`, file(), fast);
    expect(server.requests).to.have.length(1);
    expect(readFileSync(file()).equals(CONTENT)).to.equal(true);
  });

  it("begins anew with a part that is longer than the file", async () => {
    writeFileSync(`${file()}.part`, Buffer.concat([CONTENT, CONTENT]));
    writeFileSync(
      `${file()}.part.json`,
      JSON.stringify({ url: `${server.url()}/a`, validator: '"one"' }),
    );
    server.answer = (request, response) => {
      serve(request, response, {});
    };
    await download(`${server.url()}/a`, file(), fast);
    expect(readFileSync(file()).equals(CONTENT)).to.equal(true);
  });

  it("tries again after 503, and not after 404", async () => {
    server.answer = (request, response) => {
      if (server.requests.length <= 2) response.writeHead(503).end();
      else serve(request, response, {});
    };
    await download(`${server.url()}/a`, file(), fast);
    expect(server.requests).to.have.length(3);

    server.requests.length = 0;
    server.answer = (_, response) => void response.writeHead(404).end("no such thing");
    expect(await rejection(download(`${server.url()}/b`, path.join(folder(), "b"), fast))).to.match(
      /\/b: HTTP 404 Not Found; the file is not where it was/,
    );
    expect(server.requests).to.have.length(1);
    expect(readdirSync(folder())).to.deep.equal(["file"]);
  });

  it("says why nobody answers", async () => {
    const url = server.url();
    const closed = url.replace(/\d+$/, "1"); // tcpmux: nobody listens there
    expect(await rejection(download(`${closed}/a`, file(), { ...fast, attempts: 1 }))).to.match(
      /broke off after 0 bytes: .*(ECONNREFUSED|bad port)/,
    );
  });
});

describe("fetch", () => {
  const folder = temporaryFolder();
  const server = localServer();
  const at = (...names: string[]): string => path.join(folder(), ...names);
  const options = (info?: DataSetInfo) => ({
    into: at("data"),
    mirror: server.url(),
    backoffMs: 1,
    attempts: 3,
    ...(info && { info }),
  });
  const files = new Map<string, Buffer>();
  beforeEach(() => {
    files.clear();
    server.answer = (request, response) => {
      const content = files.get(request.url ?? "");
      if (content) serve(request, response, { content });
      else response.writeHead(404).end();
    };
  });

  const sha256 = (content: Buffer): string => createHash("sha256").update(content).digest("hex");

  /** The catalogue's entry with the sums of small files in place of the real ones. */
  function withSums(name: "fashion-mnist" | "gz1" | "gz2" | "efigi", sums: Record<string, string>) {
    const info = dataSetInfo(name);
    return {
      ...info,
      files: info.files
        .filter((file) => sums[file.path] !== undefined || file.optional)
        .map((file) => ({ ...file, sha256: [sums[file.path] ?? ""] })),
      fetch: info.fetch!.map((source) => {
        const sum = source.saveAs && sums[source.saveAs];
        return sum ? { ...source, sha256: sum } : source;
      }),
    };
  }

  /** A tar.gz as GitHub makes them: everything in one folder named after the repository and commit. */
  function archive(content: Record<string, string | Buffer>, top = "Repository-commit"): Buffer {
    for (const [name, bytes] of Object.entries(content)) write(at("archive", top, name), bytes);
    tar.create({ file: at("a.tgz"), gzip: true, cwd: at("archive"), sync: true }, [top]);
    rmSync(at("archive"), { recursive: true });
    return readFileSync(at("a.tgz"));
  }

  const pathOf = (name: "gz1" | "gz2" | "efigi" | "fashion-mnist", source = 0): string =>
    new URL(dataSetInfo(name).fetch![source]!.url).pathname;

  const GZ1_TABLE = "OBJID,CLASS\r\n11,0\r\n12,1\r\n";
  const GZ1 = {
    "smallGZ1/Imagenes/11.jpeg": "eleven",
    "smallGZ1/Imagenes/12.jpeg": "twelve",
    "smallGZ1/Imagenes/evil.sh": "not wanted",
    "smallGZ1/smallCSV_class.csv": GZ1_TABLE,
    "smallGZ1/README.txt": "read me",
    "main.py": "not wanted",
  };
  const gz1Info = (): DataSetInfo => ({
    ...withSums("gz1", { "smallCSV_class.csv": sha256(Buffer.from(GZ1_TABLE)) }),
    files: [
      { path: "smallCSV_class.csv", sha256: [sha256(Buffer.from(GZ1_TABLE))] },
      dataSetInfo("gz1").files.find((file) => file.path === "duplicates.csv")!,
    ],
  });

  it("names each file's pinned commit or public archive", () => {
    for (const name of ["fashion-mnist", "gz1", "gz2"] as const)
      for (const { url } of dataSetInfo(name).fetch!) expect(url).to.match(/[0-9a-f]{40}/);
    expect(dataSetInfo("efigi").fetch!.at(-1)?.url).to.equal(
      "https://www.astromatic.net/download/efigi/efigi_png_gri-1.6.tgz",
    );
  });

  it("unpacks gz1 under our names, with the derived table, and nothing else", async () => {
    files.set(pathOf("gz1"), archive(GZ1));
    const result = await fetchDataSet("gz1", options(gz1Info()));
    expect(result.folder).to.equal(at("data/gz1"));
    expect(readdirSync(at("data/gz1")).sort()).to.deep.equal([
      "FETCHED.json",
      "README.txt",
      "duplicates.csv",
      "images",
      "smallCSV_class.csv",
    ]);
    expect(readFileSync(at("data/gz1/images/12.jpeg"), "utf8")).to.equal("twelve");
    expect(readdirSync(at("data/gz1/images"))).to.deep.equal(["11.jpeg", "12.jpeg"]);
    expect(readdirSync(at("data"))).to.deep.equal(["gz1"]);
    expect(result.warnings).to.deep.equal(["gz1/images: 6664 images were expected, 2 were there"]);
    // What was fetched can be verified later, and damage seen.
    const images = async () =>
      (await verifyDataSet("gz1", at("data/gz1"))).find((item) => item.path === "gz1/images");
    expect((await images())?.status).to.equal("ok");
    write(at("data/gz1/images/12.jpeg"), "tvelwe");
    expect((await images())?.status).to.equal("mismatch");
  });

  it("does nothing when the data set is there, and says what it lacks", async () => {
    files.set(pathOf("gz1"), archive(GZ1));
    await fetchDataSet("gz1", options(gz1Info()));
    server.requests.length = 0;
    const again = await fetchDataSet("gz1", options(gz1Info()));
    expect(again.fetched).to.equal(false);
    expect(again.warnings.join()).to.match(/2 of the 6664 public images/);
    expect(server.requests).to.have.length(0);
  });

  it("resumes an archive after a break, and puts nothing in place before it is whole", async () => {
    const whole = archive({ ...GZ1, "padding.bin": CONTENT });
    server.answer = (request, response) => {
      if (server.requests.length === 1)
        serve(request, response, { content: whole, breakAt: Math.floor(whole.length / 2) });
      else response.destroy();
    };
    expect(await rejection(fetchDataSet("gz1", options(gz1Info())))).to.match(
      /^data fetch gz1: .*broke off after \d+ bytes/,
    );
    expect(readdirSync(at("data"))).to.deep.equal([".fetch-gz1"]);
    server.requests.length = 0;
    server.answer = (request, response) => {
      serve(request, response, { content: whole });
    };
    await fetchDataSet("gz1", options(gz1Info()));
    expect(server.requests[0]?.range).to.match(/^bytes=[1-9]\d*-$/);
    expect(readdirSync(at("data"))).to.deep.equal(["gz1"]);
  });

  it("unpacks gz2's four folders, and EFIGI's images and table", async () => {
    const gz2 = Object.fromEntries(
      ["elliptical/1", "spiral/2", "barred_spiral/3", "edge_view_spiral/4", "other/5"].map(
        (name) => [`app/static/${name}.jpg`, name],
      ),
    );
    files.set(pathOf("gz2"), archive(gz2));
    await fetchDataSet("gz2", options());
    expect(readdirSync(at("data/gz2/images")).sort()).to.deep.equal(
      ["barred_spiral", "edge_view_spiral", "elliptical", "spiral"].sort(),
    );
    expect(readFileSync(at("data/gz2/images/spiral/2.jpg"), "utf8")).to.equal("spiral/2");

    const table = Buffer.from("PGCname T\nPGC0000001 3\n");
    files.set(pathOf("efigi", 0), table);
    files.set(pathOf("efigi", 1), archive({ "png/PGC0000001.png": "one", "a.txt": "no" }, "efigi"));
    const sums = { "EFIGI_attributes.txt": sha256(table) };
    await fetchDataSet("efigi", options(withSums("efigi", sums)));
    expect(readdirSync(at("data/efigi")).sort()).to.deep.equal([
      "EFIGI_attributes.txt",
      "FETCHED.json",
      "png",
    ]);
    expect(readdirSync(at("data/efigi/png"))).to.deep.equal(["PGC0000001.png"]);
  });

  it("gets Fashion-MNIST's files one by one", async () => {
    const info = dataSetInfo("fashion-mnist");
    const sums: Record<string, string> = {};
    for (const source of info.fetch!) {
      const content = Buffer.from(`content of ${source.saveAs}`);
      files.set(new URL(source.url).pathname, content);
      if (source.sha256) sums[source.saveAs!] = sha256(content);
    }
    const { folder: place } = await fetchDataSet(
      "fashion-mnist",
      options(withSums("fashion-mnist", sums)),
    );
    expect(readdirSync(place).sort()).to.deep.equal([
      "FETCHED.json",
      "LICENSE",
      "t10k-images-idx3-ubyte.gz",
      "t10k-labels-idx1-ubyte.gz",
      "train-images-idx3-ubyte.gz",
      "train-labels-idx1-ubyte.gz",
    ]);
  });

  it("refuses a wrong sum, puts nothing in place, and gets the file anew the next time", async () => {
    files.set(pathOf("fashion-mnist"), Buffer.from("not what it should be"));
    for (const requests of [1, 2]) {
      expect(await rejection(fetchDataSet("fashion-mnist", options()))).to.match(
        /train-images-idx3-ubyte\.gz has the wrong sum: SHA-256 expected 3aede38d\w+, got \w{64}; nothing was put in place/,
      );
      expect(existsSync(at("data/fashion-mnist"))).to.equal(false);
      expect(server.requests).to.have.length(requests);
    }
  });

  it("refuses a wrong sum of a file inside an archive", async () => {
    files.set(pathOf("gz1"), archive(GZ1));
    expect(await rejection(fetchDataSet("gz1", options()))).to.match(
      /smallCSV_class\.csv has the wrong sum: SHA-256 expected 16bf199b/,
    );
    expect(existsSync(at("data/gz1"))).to.equal(false);
  });

  it("refuses an archive that is cut off or is none, or holds no image", async () => {
    const whole = archive({ ...GZ1, "padding.bin": CONTENT });
    for (const content of [
      whole.subarray(0, whole.length - 40),
      Buffer.from("<html>sorry</html>"),
    ]) {
      files.set(pathOf("gz1"), content);
      expect(await rejection(fetchDataSet("gz1", options(gz1Info())))).to.match(
        /is no whole tar\.gz: .*nothing was put in place/,
      );
    }
    files.set(pathOf("gz2"), archive({ "README.md": "moved" }));
    expect(await rejection(fetchDataSet("gz2", options()))).to.match(
      /no image for images\/ was in/,
    );
    expect(existsSync(at("data/gz1")) || existsSync(at("data/gz2"))).to.equal(false);
  });

  it("says that a file is gone", async () => {
    expect(await rejection(fetchDataSet("gz2", options()))).to.match(
      /^data fetch gz2: .*HTTP 404 Not Found/,
    );
  });

  it("does not touch a folder that is something else, nor take one it cannot write", async () => {
    write(at("data/gz2/my-notes.txt"), "keep me");
    expect(await rejection(fetchDataSet("gz2", options()))).to.match(
      /exists, but is not this data set \(no images in it\); move it away/,
    );
    write(at("file"), "");
    expect(await rejection(fetchDataSet("gz1", { ...options(), into: at("file") }))).to.match(
      /cannot write to/,
    );
  });

  it("says how to get what cannot be fetched", async () => {
    mkdirSync(at("data"));
    expect(await rejection(fetchDataSet("na10", options()))).to.match(
      /na10: this data set cannot be fetched; .*VizieR.* Those that can: fashion-mnist, gz1, gz2, efigi/,
    );
  });
});
