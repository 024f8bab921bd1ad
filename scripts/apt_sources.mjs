/**
 * Reads the sources of apt in both of its formats (sources.list(5)) and writes the entry for a release's backports,
 * at the very address from which this machine gets the release itself.
 */

/**
 * One address of one entry.
 * @typedef {object} AptSource
 * @property {string} uri
 * @property {string[]} suites
 * @property {string[]} components
 * @property {Record<string, string>} fields What else the entry says, under deb822 names: Signed-By, Architectures, ...
 */

/** Options of the one-line format whose deb822 name is not just the capitalised word. */
const OPTION_FIELDS = new Map([
  ["arch", "Architectures"],
  ["lang", "Languages"],
  ["signed-by", "Signed-By"],
  ["by-hash", "By-Hash"],
  ["check-valid-until", "Check-Valid-Until"],
]);

/**
 * The binary sources of a one-line file, such as `/etc/apt/sources.list`.
 * @param {string} text
 * @returns {AptSource[]}
 */
export function parseListSources(text) {
  const sources = [];
  for (const line of text.split("\n")) {
    const match = /^\s*deb\s+(?:\[([^\]]*)\]\s*)?(\S+)\s+(\S+)\s*([^#]*)/.exec(line);
    if (!match) continue;
    const [, options = "", uri = "", suite = "", components = ""] = match;
    sources.push({
      uri,
      suites: [suite],
      components: words(components),
      fields: Object.fromEntries(words(options).map(listOption)),
    });
  }
  return sources;
}

/**
 * @param {string} option e.g. `arch=amd64,i386`
 * @returns {[string, string]}
 */
function listOption(option) {
  const [name = "", value = ""] = option.split(/=(.*)/s);
  const field = OPTION_FIELDS.get(name) ?? name.charAt(0).toUpperCase() + name.slice(1);
  return [field, value.replaceAll(",", " ")];
}

/**
 * The binary sources of a deb822 file, such as `/etc/apt/sources.list.d/debian.sources`.
 * @param {string} text
 * @returns {AptSource[]}
 */
export function parseDeb822Sources(text) {
  const stanzas = text
    .split("\n")
    .filter((line) => !line.startsWith("#"))
    .join("\n")
    .split(/\n\s*\n/);
  return stanzas.flatMap((stanza) => {
    /** @type {Record<string, string>} */
    const fields = {};
    // A line that starts with a blank continues the field above it (a whole key may stand in Signed-By).
    for (const match of stanza.matchAll(/^([\w-]+):[ \t]*(.*(?:\n[ \t].*)*)/gm)) {
      fields[match[1] ?? ""] = (match[2] ?? "").trimEnd();
    }
    const {
      Types = "",
      URIs = "",
      Suites = "",
      Components = "",
      Enabled = "yes",
      ...others
    } = fields;
    if (!words(Types).includes("deb") || /^(no|false|off|0)$/i.test(Enabled.trim())) return [];
    return words(URIs).map((uri) => ({
      uri,
      suites: words(Suites),
      components: words(Components),
      fields: others,
    }));
  });
}

/**
 * The deb822 entry of a release's backports beside the release's own entry. `undefined` when no entry names the
 * release, `""` when the backports are among the sources already.
 * @param {AptSource[]} sources
 * @param {string} codename e.g. `bookworm`
 * @returns {string | undefined}
 */
export function backportsEntry(sources, codename) {
  const suite = `${codename}-backports`;
  if (sources.some((source) => source.suites.includes(suite))) return "";
  const own = sources.find(
    ({ suites, components }) => suites.includes(codename) && components.includes("main"),
  );
  if (!own) return undefined;
  const lines = ["Types: deb", `URIs: ${own.uri}`, `Suites: ${suite}`, "Components: main"];
  for (const [name, value] of Object.entries(own.fields)) {
    lines.push(value.startsWith("\n") ? `${name}:${value}` : `${name}: ${value}`);
  }
  return `${lines.join("\n")}\n`;
}

/**
 * @param {string} text
 * @returns {string[]}
 */
function words(text) {
  return text.split(/\s+/).filter(Boolean);
}
