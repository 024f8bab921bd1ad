/** Inputs, and running one kernel between guard words: the library's own (src/testing/). */
export { awayFromZero, distinctFloats, randomFloats, toFloat64 } from "../../src/testing/inputs.ts";
export { expectLinearAndRepeatable, runKernel } from "../../src/testing/kernel.ts";
