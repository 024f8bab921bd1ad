import { expect } from "chai";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Device } from "../../src/gpu/device.ts";
import { alignClocks, type Bracket } from "../../src/gpu/profiler.ts";
import { Timestamps } from "../../src/gpu/timestamps.ts";
import { leakyRelu } from "../../src/kernels/leaky_relu.ts";
import { Sequential } from "../../src/nn/model.ts";
import { analyseProfile } from "../../src/profile/analyse.ts";
import { ProfiledNetwork, STEPS_PHASE } from "../../src/profile/run.ts";
import { traceOf } from "../../src/profile/trace.ts";
import { writeProfile } from "../../src/profile/write.ts";
import { fit } from "../../src/train/fit.ts";
import { useDevice } from "../support/device.ts";
import { errorOf } from "../support/errors.ts";
import { stripes, TINY } from "../support/tiny.ts";
import { expectValidTrace } from "./valid_trace.ts";

describe("alignClocks", () => {
  const ns = (...ms: number[]) => BigUint64Array.from(ms, (t) => BigInt(Math.round(t * 1e6)));
  /** A pass from `start` to `end` on the GPU's clock, seen by the host `slackMs` earlier and later. */
  const bracket = (pair: number, hostStart: number, hostEnd: number, slackMs: number): Bracket => ({
    interval: [2 * pair, 2 * pair + 1],
    beforeMs: hostStart - slackMs,
    afterMs: hostEnd + slackMs,
  });

  it("finds the offset between the brackets, and how uncertain it is", () => {
    // The host's clock is 1000 ms ahead.
    const times = ns(5, 5.1, 90, 90.1);
    const brackets = [bracket(0, 1005, 1005.1, 0.2), bracket(1, 1090, 1090.1, 0.1)];
    const { toHostMs, clock } = alignClocks(times, brackets);
    expect(toHostMs(times[2]!)).to.be.closeTo(1090, 1e-9);
    expect(clock.method).to.equal("bracketed");
    expect(clock.uncertaintyMs).to.be.closeTo(0.1, 1e-9);
    expect(clock.driftPpm).to.equal(0);
  });

  it("lets nothing begin before it was submitted", () => {
    const times = ns(5, 5, 50, 60, 90, 90);
    const brackets = [bracket(0, 1005, 1005, 0.2), bracket(2, 1090, 1090, 0.2)];
    const cause: Bracket = { interval: [2, 3], beforeMs: 1050.1, afterMs: Infinity };
    const { toHostMs } = alignClocks(times, brackets, [cause]);
    expect(toHostMs(times[2]!)).to.be.within(1050.1, 1050.2);
  });

  it("follows clocks that drift apart", () => {
    // The GPU's clock runs 1000 ppm fast: 10 ms in 10 s.
    const times = ns(0, 0, 5005, 5005, 10010, 10010);
    const brackets = [bracket(0, 100, 100, 0.05), bracket(2, 10100, 10100, 0.05)];
    const { toHostMs, clock } = alignClocks(times, brackets);
    expect(toHostMs(times[2]!)).to.be.closeTo(5100, 0.01);
    expect(clock.driftPpm).to.be.closeTo(1000, 2);
  });

  it("takes the host's own clock for what it is", () => {
    const before = performance.now();
    const hostNs = process.hrtime.bigint();
    const after = performance.now();
    const times = BigUint64Array.of(hostNs, hostNs);
    const bracket: Bracket = { interval: [0, 1], beforeMs: before - 1, afterMs: after + 1 };
    const { toHostMs, clock } = alignClocks(times, [bracket, bracket]);
    expect(clock).to.deep.equal({ method: "shared", uncertaintyMs: 0, driftPpm: 0 });
    expect(toHostMs(hostNs)).to.be.within(before - 0.01, after + 0.01);
  });
});

describe("Timestamps", () => {
  it("are refused on an adapter that has none", () => {
    const device = { handle: { features: new Set() } } as unknown as Device;
    expect(() => new Timestamps(device, "profile")).to.throw(
      "profile: this adapter has no timestamp-query; time whole programs instead",
    );
  });
});

describe("Device.profile", () => {
  const device = useDevice();

  it("puts dispatches on the host's clock, between submission and completion", async () => {
    const x = device().upload(new Float32Array(1 << 16), [1 << 16], "x");
    const y = device().tensor([1 << 16], "float32", "y");
    const program = await device().record("p", (ctx) => {
      ctx.scope = "first";
      leakyRelu(ctx, { x }, { slope: 0.5 }, y);
      ctx.scope = "second";
      ctx.copy(y, x);
      leakyRelu(ctx, { x }, { slope: 0.5 }, y);
    });
    const recording = await device().profile(async () => {
      for (let i = 0; i < 3; i++) device().submit(program);
      await device().read(y);
    });
    const { gpu, submissions, dispatches, host, wallMs } = recording;
    expect(submissions.map(({ label }) => label)).to.deep.equal(["p", "p", "p", "read y"]);
    expect(gpu.map(({ kind }) => kind[0]).join("")).to.equal("dcd".repeat(3) + "c");
    expect(dispatches.map(({ scope, shader }) => [scope, shader])).to.deep.equal([
      ["first", "leaky_relu"],
      ["second", "leaky_relu"],
    ]);
    for (const span of gpu) {
      expect(span.endMs, span.label).to.be.at.least(span.startMs);
      expect(span.startMs, span.label).to.be.at.least(span.encodeEndMs);
      expect(span.startMs).to.be.at.least(submissions[span.submission]!.startMs);
      expect(span.endMs, span.label).to.be.at.most(wallMs + recording.clock.uncertaintyMs);
    }
    const read = host.find(({ kind }) => kind === "read")!;
    expect(read).to.include({ label: "y", bytes: 1 << 18 });
    expect(gpu.at(-1)!.endMs).to.be.within(read.startMs, read.endMs);
    program.destroy();
    device().release(x, y);
  });

  it("times more dispatches than one query set holds, whose last query is no pair", async () => {
    const x = device().upload(new Float32Array(4), [4], "x");
    const y = device().tensor([4], "float32", "y");
    const of = (count: number) =>
      device().record(`${count}`, (ctx) => {
        for (let i = 0; i < count; i++) leakyRelu(ctx, { x }, { slope: 0.5 }, y);
      });
    const programs = [await of(1), await of(150)] as const;
    const { gpu } = await device().profile(async () => {
      // 16 queries for the clock, 2 and 27 times 151: one is left of 4096, and a submission begins with two.
      device().submit(programs[0]);
      for (let i = 0; i < 30; i++) device().submit(programs[1]);
      await device().finish();
    });
    expect(gpu).to.have.length(1 + 30 * 150);
    gpu.forEach((span, i) => {
      expect(span.endMs, `dispatch ${i}`).to.be.above(span.startMs);
      const next = gpu[i + 1];
      if (!next) return;
      // One begins where the one before ended, within a submission; between two, the GPU may idle.
      if (next.submission === span.submission) expect(next.startMs).to.equal(span.endMs);
      else expect(next.startMs).to.be.at.least(span.endMs);
    });
    for (const program of programs) program.destroy();
    device().release(x, y);
  });

  it("changes no result: training gives the same losses, bit for bit", async () => {
    const losses = async (around: (work: () => Promise<unknown>) => Promise<unknown>) => {
      const model = await new Sequential(TINY).build(device(), { seed: 3 });
      let loss: number | undefined;
      await around(async () => {
        const { history } = await fit(model, stripes(40, 1), { epochs: 2, seed: 3, batchSize: 16 });
        loss = history.at(-1)?.loss;
      });
      model.destroy();
      return loss;
    };
    const plain = await losses((work) => work());
    expect(await losses((work) => device().profile(work))).to.equal(plain);
  });

  it("takes one profile at a time, and the next after one whose work failed", async () => {
    const nested = () => device().profile(() => device().profile(() => Promise.resolve()));
    expect((await errorOf(nested)).message).to.equal(
      "profile: one is being taken already; end it before the next",
    );
    const failing = () => device().profile(() => Promise.reject(new Error("work failed")));
    expect((await errorOf(failing)).message).to.equal("work failed");
    expect((await device().profile(() => Promise.resolve())).gpu).to.deep.equal([]);
  });

  it("notes uploads, memory, phases and shaders that are compiled", async () => {
    const { host, memory } = await device().profile(async () => {
      await device().span("phase", "all of it", async () => {
        const x = device().upload(new Float32Array(1000), [1000], "uploaded");
        await device().pipeline("leaky_relu", { Value: "f32", Stored: "f32", WG_SIZE: 32 });
        device().release(x);
      });
    });
    expect(host.find(({ kind }) => kind === "upload")).to.include({
      label: "uploaded",
      bytes: 4000,
    });
    expect(host.find(({ kind }) => kind === "compile")?.label).to.match(/^leaky_relu .*WG_SIZE=32/);
    const phase = host.find(({ kind }) => kind === "phase")!;
    for (const span of host.filter(({ kind }) => kind === "upload" || kind === "compile"))
      expect(span.startMs).to.be.within(phase.startMs, phase.endMs);
    const live = memory.map(({ liveBytes }) => liveBytes - memory[0]!.liveBytes);
    expect(Math.max(...live)).to.equal(4000);
    expect(live.at(-1)).to.equal(0);
  });
});

describe("a profiled network", () => {
  const device = useDevice();
  const out = mkdtempSync(join(tmpdir(), "profile-"));
  after(() => {
    rmSync(out, { recursive: true });
  });

  for (const mode of ["train", "infer"] as const)
    it(`${mode}: its parts add up to wall time, its trace and its report hold`, async () => {
      const run = { batchSize: 16, steps: 4, mode, seed: 1 };
      const started = performance.now();
      const recording = await new ProfiledNetwork(device(), TINY, run).record();
      const outerMs = performance.now() - started;
      expect(recording.wallMs).to.be.at.most(outerMs);
      const profile = analyseProfile(recording, { phase: STEPS_PHASE });
      expect(profile.steps).to.equal(4);
      // Measured apart: the sum of the GPU's own times, and the host's clock less the gaps.
      const parts = profile.gpuMs + profile.idleMs;
      expect(parts).to.be.within(0.95 * profile.wallMs, 1.05 * profile.wallMs);
      for (const rows of [profile.layers, profile.kernels]) {
        const sum = rows.reduce((total, { ms }) => total + ms * profile.steps, 0);
        expect(sum).to.be.closeTo(profile.gpuMs, 1e-6 * profile.gpuMs);
      }
      const names = profile.layers.map(({ name }) => name);
      expect(names).to.include.members(["batch", "conv1 forward", "dense2 forward"]);
      if (mode === "train")
        expect(names).to.include.members(["conv2 backward", "loss", "optimizer"]);
      expect(names).not.to.include("(no layer)");
      expectValidTrace(JSON.stringify(traceOf(recording)));
      const ceilings = { gflops: 50, gbps: 10 };
      await writeProfile(out, recording, { title: `<${mode}>`, phase: STEPS_PHASE, ceilings });
      expect(readdirSync(out)).to.have.members(["profile.json", "report.html", "trace.json"]);
      const page = readFileSync(join(out, "report.html"), "utf8");
      expect(page).to.include(`<h1>&lt;${mode}&gt;</h1>`);
      expect(page, "needs no network").not.to.match(/(src|href)="(?!data:)/);
      expect(page.match(/<svg/g), "step, all steps, roofline, memory twice").to.have.length(5);
    });
});
