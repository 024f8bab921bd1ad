import { expect } from "chai";
import {
  adapterChoice,
  adapterSummary,
  noAdapterMessage,
  openAdapter,
  parseOsRelease,
  type SystemFacts,
  uncheckedToggles,
} from "../../src/gpu/adapter.ts";
import { DeviceError } from "../../src/gpu/errors.ts";
import { skipWithoutAdapter } from "../support/skip.ts";

/** A system without an adapter. */
const DEBIAN_12: SystemFacts = {
  platform: "linux",
  arch: "x64",
  distribution: ["debian"],
  codename: "bookworm",
  vulkanLoader: false,
  swiftShader: false,
};

/** What an adapter may say of itself. */
function adapterThatSays(info: Partial<GPUAdapterInfo>): GPUAdapter {
  const nothing = { vendor: "", architecture: "", device: "", description: "" };
  return { info: { ...nothing, isFallbackAdapter: false, ...info } } as GPUAdapter;
}

describe("gpu/adapter", () => {
  describe("adapterSummary", () => {
    const cases: [string, Partial<GPUAdapterInfo>, string, boolean][] = [
      ["a graphics card", { vendor: "nvidia", architecture: "hopper" }, "hardware", false],
      ["a card with Mesa's driver", { vendor: "amd", architecture: "rdna-3" }, "hardware", false],
      [
        "Mesa's llvmpipe",
        { vendor: "mesa", architecture: "software", isFallbackAdapter: true },
        "mesa-software",
        true,
      ],
      [
        "SwiftShader",
        { vendor: "google", architecture: "swiftshader", isFallbackAdapter: true },
        "swiftshader",
        true,
      ],
      ["Windows' WARP", { vendor: "microsoft", isFallbackAdapter: true }, "other-software", true],
    ];
    for (const [name, info, kind, software] of cases) {
      it(`${name} is ${kind}`, () => {
        const summary = adapterSummary(adapterThatSays(info));
        expect(summary).to.include({ class: kind, software });
      });
    }
  });

  describe("the kind of a GPU, by its name", () => {
    const cases: [string, string, "discrete" | "integrated"][] = [
      ["nvidia", "nvidia-h200", "discrete"],
      ["nvidia", "nvidia-tegra-orin-nvgpu-", "integrated"],
      ["amd", "amd-radeon-rx-7900-xtx-radv-navi31-", "discrete"],
      ["amd", "amd-instinct-mi300x-radv-gfx942-", "discrete"],
      ["amd", "amd-radeon-780m-graphics-radv-phoenix-", "integrated"],
      ["amd", "amd-radeon-rx-vega-11-graphics-radv-raven-", "integrated"],
      ["intel", "intel-r-arc-tm-a770-graphics-dg2-", "discrete"],
      ["intel", "intel-r-arc-tm-graphics-mtl-", "integrated"],
      ["intel", "intel-r-uhd-graphics-630-cfl-gt2-", "integrated"],
      ["apple", "apple-m2", "integrated"],
      ["unheard-of", "x1", "discrete"],
    ];
    for (const [vendor, device, kind] of cases)
      it(`${device} is ${kind}`, () => {
        expect(adapterSummary(adapterThatSays({ vendor, device })).kind).to.equal(kind);
      });

    it("of a software adapter is software, unless it is to act as a GPU", async function () {
      const adapter = await openAdapter({ actAs: "integrated" }).catch((error: unknown) =>
        skipWithoutAdapter(this, error),
      );
      expect(adapter.summary).to.include({
        kind: "integrated",
        class: "hardware",
        software: false,
      });
      expect(
        adapterSummary(adapterThatSays({ vendor: "mesa", architecture: "software" })).kind,
      ).to.equal("software");
    });
  });

  describe("TUNINGFORK_ADAPTER", () => {
    it("unset and empty mean the best there is", () => {
      expect(adapterChoice(undefined)).to.equal(undefined);
      expect(adapterChoice("")).to.equal(undefined);
      expect(adapterChoice("mesa")).to.equal("mesa");
    });

    it("an unknown value is refused by name", () => {
      expect(() => adapterChoice("llvmpipe")).to.throw(
        DeviceError,
        'TUNINGFORK_ADAPTER: unknown adapter: expected hardware, mesa, swiftshader, got "llvmpipe"',
      );
    });
  });

  describe("TUNINGFORK_UNCHECKED", () => {
    it("names the checks that are left out", () => {
      expect(uncheckedToggles(undefined)).to.deep.equal([]);
      expect(uncheckedToggles("")).to.deep.equal([]);
      expect(uncheckedToggles("bounds,validation")).to.deep.equal([
        "disable_robustness",
        "skip_validation",
      ]);
    });

    it("an unknown check is refused by name", () => {
      expect(() => uncheckedToggles("bounds,races")).to.throw(
        DeviceError,
        'unchecked: expected some of bounds, validation, got "races"',
      );
    });
  });

  describe("without an adapter, the message names the next step", () => {
    const cases: [string, Partial<SystemFacts>, string[]][] = [
      [
        "Debian 12, no loader",
        {},
        [
          "no Vulkan loader (libvulkan.so.1)",
          "as root run: npm run setup",
          "apt-get install -t bookworm-backports mesa-vulkan-drivers libvulkan1",
          "run: TUNINGFORK_SETUP=npm npm run setup",
        ],
      ],
      [
        "Debian 12 with its own Mesa",
        { vulkanLoader: true },
        ["Mesa 22.3 is too old", "as root run: npm run setup"],
      ],
      [
        "Ubuntu",
        { distribution: ["ubuntu", "debian"], codename: "noble" },
        [
          "run: sudo apt-get install mesa-vulkan-drivers libvulkan1",
          "TUNINGFORK_SETUP=npm npm run setup",
        ],
      ],
      [
        "Fedora",
        { distribution: ["fedora"], codename: "" },
        ["sudo dnf install mesa-vulkan-drivers"],
      ],
      ["Arch", { distribution: ["arch"], codename: "" }, ["sudo pacman -S vulkan-swrast"]],
      ["another Linux", { distribution: ["void"], codename: "" }, ["by your package manager"]],
      ["macOS", { platform: "darwin", distribution: [], codename: "" }, ["Metal", "Mac"]],
      [
        "Windows",
        { platform: "win32", distribution: [], codename: "" },
        ["Direct3D 12", "driver of your graphics card"],
      ],
    ];
    for (const [name, facts, parts] of cases) {
      it(name, () => {
        const message = noAdapterMessage({ ...DEBIAN_12, ...facts });
        for (const part of ["no WebGPU adapter: ", ...parts]) expect(message).to.contain(part);
      });
    }

    it("offers no SwiftShader where its package has none (arm64)", () => {
      expect(noAdapterMessage({ ...DEBIAN_12, arch: "arm64" })).not.to.contain("SwiftShader");
    });

    it("says which adapter was asked for", () => {
      expect(noAdapterMessage(DEBIAN_12, "hardware")).to.match(
        /^TUNINGFORK_ADAPTER=hardware: no such adapter: .*; install the Vulkan driver of your graphics card/,
      );
      expect(noAdapterMessage(DEBIAN_12, "swiftshader")).to.match(
        /run: TUNINGFORK_SETUP=npm npm run setup$/,
      );
    });
  });

  it("reads os-release with and without quotes", () => {
    expect(
      parseOsRelease('ID=debian\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n'),
    ).to.deep.equal({
      ID: "debian",
      PRETTY_NAME: "Debian GNU/Linux 12 (bookworm)",
    });
  });

  it("opens this system's adapter, whose device keeps what is written", async function () {
    const opened = await openAdapter().catch((error: unknown) => skipWithoutAdapter(this, error));
    expect(opened.summary).to.deep.equal(adapterSummary(opened.adapter));
    expect(opened.summary.description).not.to.equal("");
    const device = await opened.adapter.requestDevice();
    const buffer = device.createBuffer({
      size: 4,
      usage: 0x1 | 0x8, // MAP_READ, COPY_DST: Node has no such globals
    });
    device.queue.writeBuffer(buffer, 0, new Uint32Array([20260]));
    await buffer.mapAsync(1);
    expect([...new Uint32Array(buffer.getMappedRange())]).to.deep.equal([20260]);
    device.destroy();
  });

  it("insists on the adapter that is asked for", async () => {
    // Whatever this system has, the answer is the kind that was asked for, or none.
    const kinds = await Promise.all(
      (["hardware", "mesa"] as const).map((choice) =>
        openAdapter({ choice }).then(
          ({ summary }) => [choice, summary.class],
          (error: unknown) => [choice, (error as DeviceError).kind],
        ),
      ),
    );
    for (const [choice, kind] of kinds) {
      expect(kind).to.be.oneOf([choice === "mesa" ? "mesa-software" : "hardware", "no-adapter"]);
    }
  });
});
