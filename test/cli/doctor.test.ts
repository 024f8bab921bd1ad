import { expect } from "chai";
import { type Diagnosis, diagnose, doctor, formatDiagnosis } from "../../src/cli/doctor.ts";
import { skipWithoutAdapter } from "../support/skip.ts";

const HARDWARE: Diagnosis = {
  adapter: {
    vendor: "nvidia",
    architecture: "ampere",
    device: "0x20b0",
    description: "NVIDIA: 550.54",
    software: false,
    class: "hardware",
    kind: "discrete",
    driver: "NVIDIA: 550.54",
    backend: "vulkan",
    subgroupMinSize: 32,
    subgroupMaxSize: 32,
  },
  features: { "timestamp-query": true, subgroups: true, "shader-f16": false },
  limits: { maxBufferSize: 2 ** 32 - 1, maxComputeWorkgroupsPerDimension: 65535 },
  node: "v20.19.0",
  webgpu: "0.6.2",
  os: "Debian GNU/Linux 12 (bookworm)",
  platform: "linux-x64",
  cpus: 8,
};

/** Runs the command and returns its exit code with what it wrote to stdout. */
async function printed(options: { json: boolean }): Promise<{ code: number; text: string }> {
  const lines: string[] = [];
  const log = console.log;
  console.log = (line: string) => lines.push(line);
  try {
    return { code: await doctor(options), text: lines.join("\n") };
  } finally {
    console.log = log;
  }
}

describe("cli/doctor", () => {
  const before = process.env["TUNINGFORK_ADAPTER"];
  afterEach(() => {
    if (before === undefined) delete process.env["TUNINGFORK_ADAPTER"];
    else process.env["TUNINGFORK_ADAPTER"] = before;
  });

  it("--json on this system: adapter, features, limits, versions", async function () {
    const { code, text } = await printed({ json: true });
    const diagnosis = JSON.parse(text) as Diagnosis;
    expect(diagnosis.node).to.equal(process.version);
    expect(diagnosis.webgpu).to.match(/^\d+\.\d+\.\d+/);
    expect(code).to.equal(diagnosis.adapter ? 0 : 1);
    if (!diagnosis.adapter) skipWithoutAdapter(this, new Error(diagnosis.error));
    expect(diagnosis.features).to.have.all.keys(
      "timestamp-query",
      "subgroups",
      "shader-f16",
      "chromium-experimental-subgroup-matrix",
    );
    expect(diagnosis.limits["maxStorageBufferBindingSize"]).to.be.at.least(128 * 1024 ** 2);
    expect(diagnosis.limits["minStorageBufferOffsetAlignment"]).to.be.at.most(256);
    expect(diagnosis.adapter.software).to.equal(diagnosis.adapter.class !== "hardware");
  });

  it("without the adapter that is asked for: exit code 1 and the next step", async () => {
    process.env["TUNINGFORK_ADAPTER"] = "no-such-adapter";
    const { code, text } = await printed({ json: false });
    expect(code).to.equal(1);
    expect(text).to.match(/^adapter +none$/m);
    expect(text).to.contain(
      'TUNINGFORK_ADAPTER: unknown adapter: expected hardware, mesa, swiftshader, got "no-such-adapter"',
    );
    expect((await diagnose()).adapter).to.equal(null);
  });

  it("prints aligned lines, sizes in binary units", () => {
    expect(formatDiagnosis(HARDWARE)).to.equal(`\
adapter                           nvidia ampere 0x20b0
driver                            NVIDIA: 550.54 (vulkan)
kind                              hardware
timestamp-query                   yes (not rounded: Dawn's quantization is off)
subgroups                         yes (32 lanes)
shader-f16                        no
maxBufferSize                     4 GiB
maxComputeWorkgroupsPerDimension  65,535
node                              v20.19.0
webgpu                            0.6.2
system                            Debian GNU/Linux 12 (bookworm), linux-x64, 8 CPUs`);
  });
});
