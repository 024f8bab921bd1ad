/** Tensors between guard words, the library's own (src/testing/guarded.ts). */
export { guarded, unwritten, type Guarded } from "../../src/testing/guarded.ts";
