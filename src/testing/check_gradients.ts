/** The front door: layers, functions and whole networks. */
import { openDevice, type Device } from "../gpu/device.ts";
import { Layer } from "../nn/layer.ts";
import { Sequential } from "../nn/model.ts";
import { checkLayer, type LayerCheckOptions } from "./check_layer.ts";
import { checkModel, type ModelCheckOptions } from "./check_model.ts";
import { FunctionLayer, type GradientFunction } from "./function_layer.ts";
import { GradientError, type GradientReport } from "./report.ts";

interface OnDevice {
  /** Default: that of a network that is built, else the best adapter there is, opened for the check; for many checks open one. */
  readonly device?: Device | undefined;
}

/** What `checkGradients` takes beside a layer or function. */
export type CheckOptions = LayerCheckOptions & OnDevice;
/** What `checkGradients` takes beside a network. */
export type NetworkCheckOptions = ModelCheckOptions & OnDevice;

/**
 * Checks the gradients of a layer, of a function made of kernels, or of a network; see docs/gradient_checks.md.
 * @throws Error only for options that make no sense; what is wrong with the gradients is in the report
 */
export function checkGradients<Name extends string>(
  subject: Layer | GradientFunction<Name>,
  options: CheckOptions,
): Promise<GradientReport>;
export function checkGradients(
  subject: Sequential,
  options?: NetworkCheckOptions,
): Promise<GradientReport>;
export function checkGradients(
  subject: Layer | GradientFunction | Sequential,
  options?: CheckOptions | NetworkCheckOptions,
): Promise<GradientReport> {
  return checkAny(subject, options);
}

/** `checkGradients` for callers who do not know what they have. */
export async function checkAny(
  subject: Layer | GradientFunction | Sequential,
  options: CheckOptions | NetworkCheckOptions = {},
): Promise<GradientReport> {
  if (!(subject instanceof Sequential) && !("inputShape" in options))
    throw new Error("checkGradients: inputShape: expected e.g. [2,7,7,3], got nothing");
  const built = subject instanceof Sequential && subject.isBuilt ? subject.device : undefined;
  if (built && options.device && options.device !== built)
    throw new Error(
      "checkGradients: device: the network is built for another one; give that, or none",
    );
  const given = options.device ?? built;
  const device = given ?? (await openDevice());
  try {
    if (subject instanceof Sequential) return await checkModel(device, subject, options);
    const { inputShape } = options as CheckOptions;
    const layer = subject instanceof Layer ? subject : new FunctionLayer(subject, inputShape);
    return await checkLayer(device, layer, options as CheckOptions);
  } finally {
    if (!given) device.destroy();
  }
}

/** `checkGradients` for runners without chai. @throws GradientError with the report when anything is wrong */
export async function expectCorrectGradients<Name extends string>(
  subject: Layer | GradientFunction<Name>,
  options: CheckOptions,
): Promise<void>;
export async function expectCorrectGradients(
  subject: Sequential,
  options?: NetworkCheckOptions,
): Promise<void>;
export async function expectCorrectGradients(
  subject: Layer | GradientFunction | Sequential,
  options?: CheckOptions | NetworkCheckOptions,
): Promise<void> {
  const report = await checkAny(subject, options);
  if (!report.ok) throw new GradientError(report);
}
