/** A network as the source text of a PyTorch module. */
import { basename } from "node:path";
import type { Conv2dGeometry, Pool2dGeometry } from "../geometry.ts";
import type { Sequential } from "../nn/model.ts";
import type { ModelInfo } from "../nn/weights.ts";
import { InteropError } from "./files.ts";
import { stepsOf, type Step } from "./steps.ts";

/** Python that defines `model`, a `torch.nn.Sequential` with our names. @throws InteropError */
export function pytorchModule(model: Sequential, info: ModelInfo, weightsPath: string): string {
  const [height, width, channels] = model.input;
  const steps = stepsOf(model, "PyTorch");
  const orphan = steps.find(({ type, input }) => type === "Flatten" && input.length === 3);
  if (orphan && !steps.some((step) => step.type === "Dense" && step.image))
    throw new InteropError(
      `export: Flatten "${orphan.name}": expected a Dense after it, since PyTorch flattens in another order, got none; add one`,
    );
  const file = basename(weightsPath);
  const named = steps.flatMap(modules);
  const twice = named.find(([name], index) => named.findIndex(([n]) => n === name) !== index);
  if (twice)
    throw new InteropError(
      `export: expected one module called "${twice[0]}", got two, of which one pads; rename the layer`,
    );
  const lines = named.map(([name, module]) => `            (${str(name)}, ${module}),`);
  return `"""The network of ${file}, for PyTorch; written by tuningfork.

Images: float32 [n, ${channels}, ${height}, ${width}], RGB, pixels / 255; of the original image the central ${info.crop}.

    from safetensors.torch import load_file
    model.load_state_dict(load_file(${str(file)}))
    model.eval()
"""
from collections import OrderedDict

from torch import nn

CLASSES = ${JSON.stringify(info.classes)}

model = nn.Sequential(
    OrderedDict(
        [
${lines.join("\n")}
        ]
    )
)
`;
}

/** Names and constructors. A padding that nn.Conv2d cannot have is a module of its own. */
function modules(step: Step): [string, string][] {
  const { name } = step;
  switch (step.type) {
    case "Conv2D": {
      const g = step.geometry;
      const options = [
        ...(g.strideH > 1 || g.strideW > 1 ? [`stride=(${g.strideH}, ${g.strideW})`] : []),
        ...(g.dilationH > 1 || g.dilationW > 1
          ? [`dilation=(${g.dilationH}, ${g.dilationW})`]
          : []),
        ...(isEven(g) && isPadded(g) ? [`padding=(${g.padTop}, ${g.padLeft})`] : []),
        ...(step.useBias ? [] : ["bias=False"]),
      ];
      const sizes = [g.inC, g.outC, `(${g.kH}, ${g.kW})`];
      const conv = `nn.Conv2d(${[...sizes, ...options].join(", ")})`;
      return isEven(g)
        ? [[name, conv]]
        : [
            [`${name}_pad`, `nn.ZeroPad2d(${sides(g)})`],
            [name, conv],
          ];
    }
    case "MaxPool2D": {
      const g = step.geometry;
      const pool = `nn.MaxPool2d((${g.kH}, ${g.kW}), (${g.strideH}, ${g.strideW}))`;
      return isPadded(g)
        ? [
            [`${name}_pad`, `nn.ConstantPad2d(${sides(g)}, float("-inf"))`],
            [name, pool],
          ]
        : [[name, pool]];
    }
    case "LeakyReLU":
      return [[name, step.slope === 0 ? "nn.ReLU()" : `nn.LeakyReLU(${step.slope})`]];
    case "Dropout":
      return [[name, `nn.Dropout(${step.rate})`]];
    case "Flatten":
      return [[name, "nn.Flatten()"]];
    case "Dense": {
      const bias = step.useBias ? "" : ", bias=False";
      return [[name, `nn.Linear(${step.input[0] ?? 0}, ${step.units}${bias})`]];
    }
    case "Softmax":
      return [[name, "nn.Softmax(dim=1)"]];
  }
}

type Pads = Conv2dGeometry | Pool2dGeometry;

const isEven = (g: Pads): boolean => g.padTop === g.padBottom && g.padLeft === g.padRight;

const isPadded = (g: Pads): boolean => g.padTop + g.padBottom + g.padLeft + g.padRight > 0;

/** PyTorch counts from the last axis: left, right, top, bottom. */
const sides = (g: Pads): string => `(${g.padLeft}, ${g.padRight}, ${g.padTop}, ${g.padBottom})`;

/** A string as Python has it. */
const str = (text: string): string => JSON.stringify(text);
