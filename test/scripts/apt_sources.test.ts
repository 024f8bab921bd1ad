import { expect } from "chai";
import {
  backportsEntry,
  parseDeb822Sources,
  parseListSources,
} from "../../scripts/apt_sources.mjs";

const DEB822 = `# Debian's own
Types: deb deb-src
# a comment within the stanza
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main
`;

describe("scripts/apt_sources", () => {
  describe("deb822 (.sources)", () => {
    it("reads every stanza, skipping comments", () => {
      expect(parseDeb822Sources(DEB822)).to.deep.equal([
        {
          uri: "http://mirror.example/debian",
          suites: ["bookworm", "bookworm-updates"],
          components: ["main", "contrib"],
          fields: { "Signed-By": "/usr/share/keyrings/debian-archive-keyring.gpg" },
        },
        {
          uri: "http://mirror.example/debian-security",
          suites: ["bookworm-security"],
          components: ["main"],
          fields: {},
        },
      ]);
    });

    it("skips stanzas that are disabled or have only source packages", () => {
      const stanza = "URIs: http://m.example/debian\nSuites: bookworm\nComponents: main\n";
      expect(parseDeb822Sources(`Enabled: no\nTypes: deb\n${stanza}`)).to.deep.equal([]);
      expect(parseDeb822Sources(`Types: deb-src\n${stanza}`)).to.deep.equal([]);
      expect(parseDeb822Sources(`Enabled: yes\nTypes: deb\n${stanza}`)).to.have.length(1);
    });

    it("keeps a key that is written into the stanza", () => {
      const key =
        "\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n mQINBF\n -----END PGP PUBLIC KEY BLOCK-----";
      const text = `Types: deb\nURIs: http://m.example/debian\nSuites: bookworm\nComponents: main\nSigned-By:${key}\n`;
      expect(parseDeb822Sources(text)[0]?.fields).to.deep.equal({ "Signed-By": key });
      expect(backportsEntry(parseDeb822Sources(text), "bookworm")).to.contain(`Signed-By:${key}\n`);
    });
  });

  describe("one line each (.list)", () => {
    it("reads address, suite, components and options, skipping comments and deb-src", () => {
      const text = `# deb http://old.example/debian bookworm main
deb-src http://mirror.example/debian bookworm main
deb [arch=amd64,i386 signed-by=/keys/debian.gpg] http://mirror.example/debian bookworm main contrib # ours
deb http://mirror.example/debian bookworm-updates main
`;
      expect(parseListSources(text)).to.deep.equal([
        {
          uri: "http://mirror.example/debian",
          suites: ["bookworm"],
          components: ["main", "contrib"],
          fields: { Architectures: "amd64 i386", "Signed-By": "/keys/debian.gpg" },
        },
        {
          uri: "http://mirror.example/debian",
          suites: ["bookworm-updates"],
          components: ["main"],
          fields: {},
        },
      ]);
    });
  });

  describe("backportsEntry", () => {
    it("has the address and the key of the release's own entry", () => {
      expect(backportsEntry(parseDeb822Sources(DEB822), "bookworm")).to.equal(
        `Types: deb
URIs: http://mirror.example/debian
Suites: bookworm-backports
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
`,
      );
    });

    it("carries the options of a one-line entry over", () => {
      const sources = parseListSources(
        "deb [trusted=yes arch=amd64] http://mirror.example/debian/ bookworm main",
      );
      expect(backportsEntry(sources, "bookworm")).to.equal(
        "Types: deb\nURIs: http://mirror.example/debian/\nSuites: bookworm-backports\nComponents: main\n" +
          "Trusted: yes\nArchitectures: amd64\n",
      );
    });

    it("is empty when the backports are there already", () => {
      const sources = parseListSources(
        "deb http://a.example/debian bookworm main\ndeb http://a.example/debian bookworm-backports main\n",
      );
      expect(backportsEntry(sources, "bookworm")).to.equal("");
    });

    it("is undefined when no entry names the release's main component", () => {
      const others =
        "deb http://a.example/debian-security bookworm-security main\ndeb http://b.example/tools bookworm tools\n";
      expect(backportsEntry(parseListSources(others), "bookworm")).to.equal(undefined);
    });
  });
});
