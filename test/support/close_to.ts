/** GPU against float64 reference: the bound is the library's own (src/testing/close.ts). */
export { expectClose, type Tolerance } from "../../src/testing/close.ts";
