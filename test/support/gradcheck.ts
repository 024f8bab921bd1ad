/** Rung one of the gradient checks, the library's own (src/testing/differences.ts). */
export { dot, expectGradient } from "../../src/testing/differences.ts";
