/**
 * What a layer is: shapes and parameters known at build, then kernels recorded for forward and backward.
 */
import type { Context } from "../gpu/context.ts";
import type { Random } from "../random.ts";
import type { Shape, Tensor } from "../tensor.ts";

/** A layer as the network file writes it: `{"type":"Conv2D","name":"conv1","filters":32,...}`. */
export type LayerConfig = Readonly<Record<string, unknown>> & {
  readonly type: string;
  readonly name?: string;
  readonly trainable?: boolean;
};

/** A parameter that a layer asks for, before there is a device. */
export interface ParameterSpec {
  /** `weight` or `bias`; the parameter is called `<layer>.<name>`. */
  readonly name: string;
  readonly shape: Shape;
  readonly init: Initializer;
}

/** Fills `values`, which has the given shape, from one stream of random numbers. */
export type Initializer = (values: Float32Array, shape: Shape, random: Random) => void;

/** A parameter on the device. `grad` exists while a training step is recorded for it. */
export interface Parameter {
  readonly name: string;
  readonly shape: Shape;
  readonly layer: Layer;
  readonly value: Tensor;
  grad?: Tensor;
}

/** What the recording of one pass over the network knows. */
export interface Pass {
  /** Dropout drops and activations are kept for backward. */
  readonly training: boolean;
  readonly seed: number;
  /** The step state (kernels/step_state.ts); present when training. */
  readonly step?: Tensor;
  /** Sees every output, loss gradient and parameter gradient as it is recorded: diagnosis and feature maps use it. */
  readonly observe?: (ctx: Context, event: PassEvent) => void;
}

export interface PassEvent {
  readonly layer: Layer;
  readonly kind: "output" | "input gradient" | "parameter gradient";
  readonly name: string;
  readonly tensor: Tensor;
}

/** What the network tells a layer about one pass. */
export interface LayerPass extends Pass {
  /** Where the layer stands in its network: it keys dropout's random numbers. */
  readonly index: number;
  /** Forward leaves here what its backward wants beside x and y, as a scratch tensor; the network frees it. */
  readonly kept?: Map<Layer, Tensor>;
  /** Forward of a layer that `fusesActivation`: the slope of the leaky ReLU that it is to apply to its output. */
  readonly leakySlope?: number;
  /** Backward: the bias has its gradient already. */
  readonly hasBiasGrad?: boolean;
  /** The layer's weight rounded to float16, where x is float16; see `Layer.weight`. */
  readonly weight?: Tensor;
}

/** What of a forward pass a layer reads in backward; the rest need not be kept. */
export interface BackwardReads {
  readonly x: boolean;
  readonly y: boolean;
}

/** One layer: its output shape, its parameters, and what it records forward and backward. */
export abstract class Layer {
  abstract readonly type: string;
  readonly name: string;
  /** False freezes the layer: its parameters keep their bytes and no gradient of theirs is computed. */
  trainable = true;
  /** Filled by `Sequential.build()`, in the order of `parameterSpecs`. */
  parameters: Parameter[] = [];

  constructor(name: string) {
    this.name = name;
  }

  /** Whether `forward` obeys `leakySlope`, and `backward` `hasBiasGrad`, so that a leaky ReLU behind it costs nothing. */
  readonly fusesActivation: boolean = false;

  /**
   * Whether `forward` and `backward` take x and dy as float16 or float32, and give y and dx in the same; parameters and
   * their gradients are float32 always. For a layer that does not, the network casts before and after.
   */
  readonly storesFloat16: boolean = false;

  /** The shape of one output (no batch axis) for one input. @throws ShapeError when the input does not fit */
  abstract outputShape(input: Shape): Shape;

  /** What the layer learns; nothing by default. */
  parameterSpecs(_input: Shape): ParameterSpec[] {
    return [];
  }

  /** Operations of one forward pass over one input, two for a multiply-add. */
  flops(_input: Shape): number {
    return 0;
  }

  /** What `backward` reads of the forward pass: by default x and y. Asked after `forward`. */
  backwardReads(_pass: LayerPass): BackwardReads {
    return { x: true, y: true };
  }

  /** Records y = f(x) and returns y, which may be x itself where nothing is to be done. x: [n, ...input]. */
  abstract forward(ctx: Context, x: Tensor, pass: LayerPass): Tensor;

  /**
   * Records the gradients, given dy and what `backwardReads` asked for of x and y of the forward pass (the shape of the
   * other is right, its contents are not): those of the parameters into their `grad` where it exists, and dx, which is
   * returned, when `needsDx`.
   */
  abstract backward(
    ctx: Context,
    tensors: { readonly x: Tensor; readonly y: Tensor; readonly dy: Tensor },
    needsDx: boolean,
    pass: LayerPass,
  ): Tensor | undefined;

  /** The layer's own keys of the network file, without `type`, `name` and `trainable`. */
  abstract config(): Record<string, unknown>;

  protected parameter(name: string): Parameter {
    const full = `${this.name}.${name}`;
    const found = this.parameters.find((parameter) => parameter.name === full);
    if (!found)
      throw new Error(`layer "${this.name}": parameter ${name} does not exist before build()`);
    return found;
  }

  /** What kernels read as the parameter `weight`: under mixed precision a float16 copy, else the parameter itself. */
  protected weight({ weight }: LayerPass): Tensor {
    return weight ?? this.parameter("weight").value;
  }
}
