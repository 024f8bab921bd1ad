// For the declarations, which name WebGPU's types: without it, packages that import this one would have to.
/// <reference types="@webgpu/types" preserve="true" />
/**
 * `tuningfork/testing`: gradient checks for layers of one's own, for kernels and for whole networks. Plain functions for any
 * runner, and a chai plugin. See docs/gradient_checks.md.
 */
export {
  checkGradients,
  expectCorrectGradients,
  type CheckOptions,
  type NetworkCheckOptions,
} from "./check_gradients.ts";
export type { GradientFunction } from "./function_layer.ts";
export type { LayerReference, Values } from "./references.ts";
export {
  GradientError,
  type Against,
  type CheckedTensor,
  type GradientProblem,
  type GradientReport,
  type ProblemKind,
} from "./report.ts";
export { tuningforkChai } from "./chai.ts";
export {
  compare,
  expectClose,
  expectedFrom,
  type Comparison,
  type ElementDifference,
  type Expected,
  type Tolerance,
} from "./close.ts";
export { dot, expectGradient } from "./differences.ts";
export { awayFromZero, distinctFloats, randomFloats } from "./inputs.ts";
export { guarded, unwritten, type Guarded } from "./guarded.ts";
export { expectLinearAndRepeatable, runKernel } from "./kernel.ts";
export { elementwise, type Reference } from "../reference/reference.ts";
