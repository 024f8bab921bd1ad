// For the declarations, which name WebGPU's types: without it, packages that import this one would have to.
/// <reference types="@webgpu/types" preserve="true" />
/**
 * tuningfork as a library: open a device, build a network, train it, predict. Kernels are here too, for those who build
 * layers of their own.
 */
export type { MemoryUse } from "./gpu/buffer_pool.ts";
export { openDevice, type Device } from "./gpu/device.ts";
export type { DeviceOptions } from "./gpu/device_core.ts";
export {
  ceilDiv,
  grid1d,
  storedType,
  type Capabilities,
  type Context,
  type Dispatch,
} from "./gpu/context.ts";
export type { DispatchTime, Program } from "./gpu/program.ts";
export { registerShader } from "./gpu/shader.ts";
export { DeviceError, ShaderError } from "./gpu/errors.ts";
export {
  elementCount,
  expectShape,
  reshape,
  ShapeError,
  slice,
  type DType,
  type Shape,
  type Tensor,
  type TypedArray,
} from "./tensor.ts";
export type { Conv2dGeometry, Padding, Pool2dSizes, Size2d } from "./geometry.ts";
export { CheckpointError } from "./safetensors.ts";
export { Random } from "./random.ts";

export { adamax, type AdamaxInputs, type AdamaxState } from "./kernels/adamax.ts";
export {
  affineWarp,
  affineWarpSet,
  type AffineWarpInputs,
  type AffineWarpOptions,
  type AffineWarpSetInputs,
} from "./kernels/affine_warp.ts";
export { cast } from "./kernels/cast.ts";
export {
  chooseConv2dAlgorithm,
  conv2d,
  CONV2D_ALGORITHMS,
  conv2dBiasGrad,
  conv2dInputGrad,
  conv2dUnsupported,
  conv2dWeightGrad,
  type Conv2dAlgorithm,
  type Conv2dOptions,
} from "./kernels/conv2d.ts";
export type { Conv2dInputs, Conv2dPass } from "./kernels/conv2d_algorithm.ts";
export {
  chooseDenseAlgorithm,
  dense,
  DENSE_ALGORITHMS,
  denseBiasGrad,
  denseInputGrad,
  denseUnsupported,
  denseWeightGrad,
  type DenseAlgorithm,
  type DenseInputs,
  type DenseOptions,
} from "./kernels/dense.ts";
export { dropout, dropoutGrad, type DropoutOptions } from "./kernels/dropout.ts";
export {
  leakyRelu,
  leakyReluBiasGrad,
  leakyReluGrad,
  type LeakyReluOptions,
} from "./kernels/leaky_relu.ts";
export {
  maxPool2d,
  maxPool2dArgmax,
  maxPool2dArgmaxGrad,
  maxPool2dGrad,
  maxPool2dKeepsArgmax,
} from "./kernels/max_pool2d.ts";
export { softmax } from "./kernels/softmax.ts";
export {
  softmaxCrossEntropy,
  type SoftmaxCrossEntropyInputs,
  type SoftmaxCrossEntropyOutputs,
} from "./kernels/softmax_cross_entropy.ts";

export {
  Layer,
  type BackwardReads,
  type Initializer,
  type LayerConfig,
  type LayerPass,
  type Parameter,
  type ParameterSpec,
  type Pass,
  type PassEvent,
} from "./nn/layer.ts";
export { glorotUniform, zeros } from "./nn/init.ts";
export { Conv2D } from "./nn/conv2d.ts";
export { Dense } from "./nn/dense.ts";
export { Dropout } from "./nn/dropout.ts";
export { Flatten } from "./nn/flatten.ts";
export { LeakyReLU } from "./nn/leaky_relu.ts";
export { MaxPool2D } from "./nn/max_pool2d.ts";
export { Softmax } from "./nn/softmax.ts";
export { Sequential, type BuildOptions } from "./nn/model.ts";
export {
  NetworkError,
  readNetwork,
  registerLayer,
  type Keys,
  type LayerFactory,
  type NetworkConfig,
} from "./nn/network.ts";
export type { Precision } from "./nn/precision.ts";
export { loadModel, saveModel, type ModelInfo } from "./nn/weights.ts";

export { fit, type FitResult } from "./train/fit.ts";
export { NonFiniteError } from "./train/diagnose.ts";
export { historyCsv, type EpochRecord } from "./train/history.ts";
export type { AdamaxOptions, FitOptions, FitProgress } from "./train/options.ts";
export { predict, type PredictOptions } from "./train/predict.ts";
export { activationsOf, type LayerActivations } from "./train/activations.ts";

export type { GpuSpan, HostSpan, ProfiledDispatch, Recording } from "./gpu/profiler.ts";
export { analyseProfile, type AnalyseOptions, type Profile } from "./profile/analyse.ts";
export { compareProfiles, formatDiff, type ProfileDiff } from "./profile/diff.ts";
export { formatProfile } from "./profile/format.ts";
export { traceOf, type Trace } from "./profile/trace.ts";
export { writeProfile } from "./profile/write.ts";

export { InteropError } from "./interop/files.ts";
export { importKeras, type Imported, type ImportOptions } from "./interop/keras.ts";
export { exportKeras } from "./interop/keras_h5.ts";
export { exportOnnx, type OnnxOptions, type OnnxSummary } from "./interop/onnx.ts";
export { exportPytorch, importPytorch, type NameMap } from "./interop/pytorch.ts";
export { exportTfjs } from "./interop/tfjs.ts";

export { countPerClass, subset, type ImageSet } from "./data/dataset.ts";
export { DEFAULT_AUGMENTATION, type AugmentOptions } from "./data/augment.ts";
export { decodeImage } from "./data/galaxy_images.ts";
export { loadDataSet, type LoadOptions } from "./data/load.ts";
export { stratifiedSplit, validationSplit, type Split } from "./data/split.ts";

export { accuracy, argmax, majorityBaseline, meanCrossEntropy } from "./metrics/accuracy.ts";
export {
  collapsed,
  columnSums,
  confusionMatrix,
  precisionRecall,
  type ClassScores,
} from "./metrics/confusion.ts";
export { auc, aucPerClass, classScores, macroAuc, rocCurve, type RocCurve } from "./metrics/roc.ts";
