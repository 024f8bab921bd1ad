import { expect } from "chai";
import type { Recording } from "../../src/gpu/profiler.ts";
import { traceOf } from "../../src/profile/trace.ts";
import { RECORDING } from "./fixture.ts";
import { expectValidTrace, ofPhase } from "./valid_trace.ts";

describe("traceOf", () => {
  const events = () => expectValidTrace(JSON.stringify(traceOf(RECORDING)));

  it("keeps to the rules of the Trace Event Format", () => {
    events();
  });

  it("has a slice for each span of host and GPU, in microseconds", () => {
    const dense = ofPhase(events(), "X").find((e) => e.cat === "dispatch")!;
    expect(dense).to.include({ name: "dense head.weight", ts: 12_000, dur: 5_000 });
    expect(dense.args).to.include({ scope: "head forward", shader: "matmul_tiled.wgsl" });
    expect(ofPhase(events(), "X")).to.have.length(RECORDING.host.length + 2 * RECORDING.gpu.length);
  });

  it("draws an arrow from each encoding to its run, and counts memory", () => {
    expect(ofPhase(events(), "s")).to.have.length(RECORDING.gpu.length);
    const counts = (name: string) =>
      ofPhase(events(), "C").flatMap((event) => (event.name === name ? [event.args] : []));
    expect(counts("GPU memory")).to.deep.equal([
      { "live bytes": 0, "pooled bytes": 0 },
      { "live bytes": 100, "pooled bytes": 100 },
    ]);
    const step = [16, 32, 0].map((bytes) => ({ bytes }));
    expect(counts("scratch memory in use")).to.deep.equal([...step, ...step]);
  });

  it("shows shaders that are compiled at the same time as one slice, which names them", () => {
    const compile = { kind: "compile", startMs: 1 } as const;
    const compiling: Recording = {
      ...RECORDING,
      host: [
        { ...compile, label: "a", endMs: 4 },
        { ...compile, label: "b", endMs: 3 },
        { ...compile, label: "c", startMs: 4, endMs: 5 },
      ],
    };
    const found = ofPhase(expectValidTrace(JSON.stringify(traceOf(compiling))), "X");
    const slices = found.filter(({ cat }) => cat === "compile");
    expect(slices.map(({ name, args }) => [name, args])).to.deep.equal([
      ["compile 2 shaders", { shaders: ["a: 3.0 ms", "b: 2.0 ms"] }],
      ["compile 1 shaders", { shaders: ["c: 1.0 ms"] }],
    ]);
  });

  it("puts what overlaps on threads of its own", () => {
    const [first, second, ...rest] = RECORDING.gpu;
    const read = { kind: "read", label: "loss", startMs: 20, endMs: 35 } as const;
    const overlapping: Recording = {
      ...RECORDING,
      host: [...RECORDING.host, read],
      gpu: [first!, { ...second!, startMs: 15 }, ...rest],
    };
    const found = expectValidTrace(JSON.stringify(traceOf(overlapping)));
    const gpu = ofPhase(found, "X").filter(({ pid }) => pid === 2);
    expect(new Set(gpu.map(({ tid }) => tid)).size).to.equal(2);
  });
});
