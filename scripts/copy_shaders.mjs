// The build's second half: tsc emits JavaScript only, and the engine loads its shaders and networks from beside it.
import { cpSync, writeFileSync } from "node:fs";

for (const folder of ["shaders", "networks"]) cpSync(folder, `dist/${folder}`, { recursive: true });

// setup.mjs builds again when a source is newer than this.
writeFileSync("dist/.built", "");
