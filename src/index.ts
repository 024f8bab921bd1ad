/**
 * tuningfork as a library: open a device, build a network, train it, predict. Kernels are here too, for those who build
 * layers of their own.
 */
export type { MemoryUse } from "./gpu/buffer_pool.ts";
export { openDevice, type Device } from "./gpu/device.ts";
export type { DeviceOptions } from "./gpu/device_core.ts";
export { ceilDiv, grid1d, storedType, type Context, type Dispatch } from "./gpu/context.ts";
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
} from "./tensor.ts";
export { CheckpointError } from "./safetensors.ts";
export { Random } from "./random.ts";

export * from "./kernels/adamax.ts";
export * from "./kernels/affine_warp.ts";
export * from "./kernels/cast.ts";
export * from "./kernels/conv2d.ts";
export * from "./kernels/dense.ts";
export * from "./kernels/dropout.ts";
export * from "./kernels/leaky_relu.ts";
export * from "./kernels/max_pool2d.ts";
export * from "./kernels/softmax.ts";
export * from "./kernels/softmax_cross_entropy.ts";

export {
  Layer,
  type LayerConfig,
  type LayerPass,
  type Parameter,
  type ParameterSpec,
  type Pass,
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

export * from "./metrics/accuracy.ts";
export * from "./metrics/confusion.ts";
export * from "./metrics/roc.ts";
