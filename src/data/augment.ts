/**
 * Augmentation as geometry: one 2x3 matrix for each image says where each output pixel is looked up in the input image.
 * The affineWarp kernel does the looking up, so that crop, resize, rotation and flip cost one interpolation.
 */
import { mat2d } from "gl-matrix";
import type { Random } from "../random.ts";

/** In pixels. */
export interface ImageSize {
  readonly height: number;
  readonly width: number;
}

/** What may happen to an image, drawn anew each time it is seen. Left out: as in DEFAULT_AUGMENTATION. */
export interface AugmentOptions {
  /** Largest rotation either way in degrees; 180 is any angle. */
  readonly rotate?: number;
  /** Mirrored left to right, half of the time. */
  readonly flipHorizontal?: boolean;
  /** Mirrored top to bottom, half of the time. */
  readonly flipVertical?: boolean;
  /** Smallest and largest magnification. */
  readonly scale?: readonly [number, number];
  /** Largest shift either way along each axis, as a fraction of the image's side. */
  readonly shift?: number;
  /** The central fraction of each side that is looked at, before all else; evaluation needs the same. */
  readonly crop?: number;
}

/**
 * Rotation, flips, crop and scale, as in Figure 7 of the study that this project reproduces; it gives no numbers. A
 * magnification above 1 and a shift crop; a fixed crop would make training and evaluation differ in scale.
 */
export const DEFAULT_AUGMENTATION: Required<AugmentOptions> = {
  rotate: 180,
  flipHorizontal: true,
  flipVertical: true,
  scale: [0.9, 1.15],
  shift: 0.04,
  crop: 1,
};

/** How an image is laid onto the output, all about its centre. */
export interface Placement {
  /** Turns the picture counterclockwise, in degrees. */
  readonly rotation?: number;
  readonly flipHorizontal?: boolean;
  readonly flipVertical?: boolean;
  /** Magnification; 1 fits the image to the output. */
  readonly scale?: number;
  /** Moves what is looked at right and down, as fractions of the input's width and height. */
  readonly shift?: readonly [number, number];
  /** The central fraction of each side that fills the output. */
  readonly crop?: number;
}

/**
 * The six numbers of a row-major 2x3 matrix from output to input pixels, centres of pixels at .5:
 * x_in = m00 * x + m01 * y + m02, y_in = m10 * x + m11 * y + m12.
 */
export function placementMatrix(
  placement: Placement,
  inSize: ImageSize,
  outSize: ImageSize,
): Float32Array {
  const { rotation = 0, flipHorizontal, flipVertical, scale = 1, shift = [0, 0] } = placement;
  const { crop = 1 } = placement;
  // Read from the last line up: from output pixels about the output's centre to input pixels. A plain array, since
  // gl-matrix would make a Float32Array, in which cos 90 degrees and the centre lose digits at every step.
  const matrix: [number, number, number, number, number, number] = [1, 0, 0, 1, 0, 0];
  mat2d.translate(matrix, matrix, [
    inSize.width * (0.5 + shift[0]),
    inSize.height * (0.5 + shift[1]),
  ]);
  mat2d.rotate(matrix, matrix, (rotation * Math.PI) / 180);
  mat2d.scale(matrix, matrix, [flipHorizontal ? -1 : 1, flipVertical ? -1 : 1]);
  mat2d.scale(matrix, matrix, [
    (crop * inSize.width) / (outSize.width * scale),
    (crop * inSize.height) / (outSize.height * scale),
  ]);
  mat2d.translate(matrix, matrix, [-outSize.width / 2, -outSize.height / 2]);
  const [a, b, c, d, x, y] = matrix; // columns
  return Float32Array.of(a, c, x, b, d, y);
}

/** The matrix for evaluation: the central `crop` of each side fills the output. The identity when sizes agree. */
export function resizeMatrix(inSize: ImageSize, outSize: ImageSize, crop = 1): Float32Array {
  if (!(crop > 0 && crop <= 1))
    throw new RangeError(`resize: crop: expected 0 < crop <= 1, got ${crop}`);
  return placementMatrix({ crop }, inSize, outSize);
}

/** A matrix drawn from `random`, which is asked for the same count of numbers whatever the options. */
export function augmentationMatrix(
  random: Random,
  options: AugmentOptions,
  inSize: ImageSize,
  outSize: ImageSize,
): Float32Array {
  const { rotate, flipHorizontal, flipVertical, scale, shift, crop } = checkAugmentOptions(options);
  const placement: Placement = {
    rotation: random.between(-rotate, rotate),
    flipHorizontal: random.uniform() < 0.5 && flipHorizontal,
    flipVertical: random.uniform() < 0.5 && flipVertical,
    scale: random.between(scale[0], scale[1]),
    shift: [random.between(-shift, shift), random.between(-shift, shift)],
    crop,
  };
  return placementMatrix(placement, inSize, outSize);
}

/**
 * The options with their defaults filled in.
 * @throws RangeError that names the option, what it must be and what came; options may come from JSON
 */
export function checkAugmentOptions(options: AugmentOptions): Required<AugmentOptions> {
  const unknown = Object.keys(options).find((key) => !(key in DEFAULT_AUGMENTATION));
  if (unknown !== undefined)
    throw new RangeError(
      `augment: unknown option "${unknown}"; expected one of ${Object.keys(DEFAULT_AUGMENTATION).join(", ")}`,
    );
  const complete = { ...DEFAULT_AUGMENTATION, ...options };
  const { rotate, flipHorizontal, flipVertical, shift, crop } = complete;
  const scale: readonly unknown[] = Array.isArray(complete.scale) ? complete.scale : [];
  const [smallest, largest] = scale;
  const expect = (name: keyof AugmentOptions, holds: boolean, rule: string) => {
    if (!holds)
      throw new RangeError(
        `augment: ${name}: expected ${rule}, got ${JSON.stringify(complete[name])}`,
      );
  };
  const isFlag = (value: unknown) => typeof value === "boolean";
  expect("rotate", rotate >= 0 && rotate <= 180, "degrees from 0 to 180");
  expect("flipHorizontal", isFlag(flipHorizontal), "true or false");
  expect("flipVertical", isFlag(flipVertical), "true or false");
  expect(
    "scale",
    scale.length === 2 && Number(smallest) > 0 && Number(largest) >= Number(smallest),
    "[smallest, largest] above 0",
  );
  expect("shift", shift >= 0 && shift < 1, "a fraction from 0 to below 1");
  expect("crop", crop > 0 && crop <= 1, "a fraction above 0 and up to 1");
  return complete;
}
