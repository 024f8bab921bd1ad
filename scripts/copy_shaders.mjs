// The build's second half: tsc emits JavaScript only, and the engine loads its shaders and networks, and benchmarks
// PyTorch, from beside it.
import { cpSync, writeFileSync } from "node:fs";

for (const path of ["shaders", "networks", "bench/peers/torch_peer.py"])
  cpSync(path, `dist/${path}`, { recursive: true });

// setup.mjs builds again when a source is newer than this.
writeFileSync("dist/.built", "");
