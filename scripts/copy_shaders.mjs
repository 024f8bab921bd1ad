// The build's second half: tsc emits JavaScript only, and the engine loads its shaders and networks from beside it.
import { cpSync } from "node:fs";

for (const folder of ["shaders", "networks"]) cpSync(folder, `dist/${folder}`, { recursive: true });
