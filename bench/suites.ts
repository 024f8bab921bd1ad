/** The suites that come with the engine: layers of real networks, by name. */
import { fileURLToPath } from "node:url";
import { readNetwork } from "../src/nn/network.ts";
import type { Conv2dWork, Pads, Work } from "./engine.ts";
import { layerCases, type SuiteCase } from "./work.ts";

export const SUITES = [
  "paper",
  "resnet50",
  "vgg16",
  "deepbench",
  "elementwise",
  "scaling",
] as const;
export type SuiteName = (typeof SUITES)[number];

/** Images in a batch, where a suite does not say otherwise. */
const BATCH = 32;

/** The cases of a suite that comes with the engine. */
export function suiteCases(suite: SuiteName): SuiteCase[] {
  switch (suite) {
    case "paper":
      return paperCases();
    case "resnet50":
      return resnet50Cases();
    case "vgg16":
      return vgg16Cases();
    case "deepbench":
      return deepbenchCases();
    case "elementwise":
      return elementwiseCases();
    case "scaling":
      return scalingCases();
  }
}

/** Each layer of the paper's network at 96x96, a training step and inference. */
function paperCases(): SuiteCase[] {
  // networks/ lies beside bench/, in the repository as in dist/.
  const network = readNetwork(fileURLToPath(new URL("../networks/paper.json", import.meta.url)));
  return [
    ...layerCases("paper", network, BATCH),
    { suite: "paper", name: "step", work: { op: "training_step", n: BATCH, network } },
    { suite: "paper", name: "network", work: { op: "inference", n: BATCH, network } },
  ];
}

interface ConvSizes {
  readonly n?: number;
  readonly inH: number;
  readonly inW?: number;
  readonly inC: number;
  readonly k: number | readonly [number, number];
  readonly outC: number;
  readonly stride?: number;
  /** On every side, rows and columns. Default: what keeps the size at stride 1. */
  readonly pad?: number;
}

function conv(sizes: ConvSizes): Conv2dWork {
  const { n = BATCH, inH, inW = inH, inC, k, outC, stride = 1 } = sizes;
  const [kH, kW] = typeof k === "number" ? [k, k] : k;
  const { pad = Math.floor(kH / 2) } = sizes;
  const padding: Pads = [
    [pad, pad],
    [pad, pad],
  ];
  return {
    ...{ op: "conv2d", n, inH, inW, inC, kH, kW, outC },
    ...{ stride: [stride, stride], dilation: [1, 1], padding },
  };
}

/** The distinct layers of ResNet-50 v1.5 (He et al. 2015; the stride of a stage lies in its 3x3), 224x224, and its head. */
function resnet50Cases(): SuiteCase[] {
  const suite = "resnet50";
  const cases: SuiteCase[] = [
    { suite, name: "conv1", work: conv({ inH: 224, inC: 3, k: 7, outC: 64, stride: 2 }) },
  ];
  // Width of the 1x1 and 3x3 layers, channels and size that come in.
  const stages = [
    { name: "conv2", mid: 64, inC: 64, inH: 56, stride: 1 },
    { name: "conv3", mid: 128, inC: 256, inH: 56, stride: 2 },
    { name: "conv4", mid: 256, inC: 512, inH: 28, stride: 2 },
    { name: "conv5", mid: 512, inC: 1024, inH: 14, stride: 2 },
  ];
  for (const { name, mid, inC, inH, stride } of stages) {
    const outC = 4 * mid;
    const out = inH / stride;
    const add = (part: string, sizes: ConvSizes) =>
      cases.push({ suite, name: `${name}.${part}`, work: conv(sizes) });
    add("1.reduce", { inH, inC, k: 1, outC: mid });
    add("1.3x3", { inH, inC: mid, k: 3, outC: mid, stride });
    add("expand", { inH: out, inC: mid, k: 1, outC });
    // The first stage's shortcut has the sizes of its expansion.
    if (stride > 1) add("1.shortcut", { inH, inC, k: 1, outC, stride });
    add("reduce", { inH: out, inC: outC, k: 1, outC: mid });
    if (stride > 1) add("3x3", { inH: out, inC: mid, k: 3, outC: mid });
  }
  cases.push({ suite, name: "head", work: { op: "dense", n: BATCH, inC: 2048, outC: 1000 } });
  return cases;
}

/** The distinct layers of VGG-16 (Simonyan and Zisserman 2014), 224x224. */
function vgg16Cases(): SuiteCase[] {
  const layers = [
    { name: "conv1_1", inH: 224, inC: 3, outC: 64 },
    { name: "conv1_2", inH: 224, inC: 64, outC: 64 },
    { name: "conv2_1", inH: 112, inC: 64, outC: 128 },
    { name: "conv2_2", inH: 112, inC: 128, outC: 128 },
    { name: "conv3_1", inH: 56, inC: 128, outC: 256 },
    { name: "conv3_2", inH: 56, inC: 256, outC: 256 },
    { name: "conv4_1", inH: 28, inC: 256, outC: 512 },
    { name: "conv4_2", inH: 28, inC: 512, outC: 512 },
    { name: "conv5_1", inH: 14, inC: 512, outC: 512 },
  ];
  const dense = [
    { name: "fc6", inC: 25088, outC: 4096 },
    { name: "fc7", inC: 4096, outC: 4096 },
    { name: "fc8", inC: 4096, outC: 1000 },
  ];
  return [
    ...layers.map(({ name, ...sizes }) => ({
      suite: "vgg16",
      name,
      work: conv({ ...sizes, k: 3 }),
    })),
    ...dense.map(({ name, ...sizes }) => ({
      suite: "vgg16",
      name,
      work: { op: "dense", n: BATCH, ...sizes } as const,
    })),
  ];
}

/** One shape of DeepBench at several batch sizes. */
interface DeepBenchRow extends Omit<ConvSizes, "n"> {
  readonly batches: readonly number[];
}

/** Batches of most rows: DeepBench repeats its vision layers for two. */
const BOTH = [8, 16];

/**
 * The convolutions of training in Baidu's DeepBench (https://github.com/baidu-research/DeepBench, list `training_set`),
 * each shape once: DeepSpeech, OCR, face recognition, VGG, GoogLeNet, ResNet, speaker identification.
 */
const DEEPBENCH: Readonly<Record<string, readonly DeepBenchRow[]>> = {
  speech: [
    {
      inH: 161,
      inW: 700,
      inC: 1,
      k: [5, 20],
      outC: 32,
      stride: 2,
      pad: 0,
      batches: [4, 8, 16, 32],
    },
    {
      inH: 79,
      inW: 341,
      inC: 32,
      k: [5, 10],
      outC: 32,
      stride: 2,
      pad: 0,
      batches: [4, 8, 16, 32],
    },
  ],
  ocr: [
    { inH: 48, inW: 480, inC: 1, k: 3, outC: 16, batches: [16] },
    { inH: 24, inW: 240, inC: 16, k: 3, outC: 32, batches: [16] },
    { inH: 12, inW: 120, inC: 32, k: 3, outC: 64, batches: [16] },
    { inH: 6, inW: 60, inC: 64, k: 3, outC: 128, batches: [16] },
  ],
  face: [
    { inH: 108, inC: 3, k: 3, outC: 64, stride: 2, batches: [8] },
    { inH: 54, inC: 64, k: 3, outC: 64, batches: [8] },
    { inH: 27, inC: 128, k: 3, outC: 128, batches: [8] },
    { inH: 14, inC: 128, k: 3, outC: 256, batches: [8] },
    { inH: 7, inC: 256, k: 3, outC: 512, batches: [8] },
  ],
  vision: [
    { inH: 224, inC: 3, k: 3, outC: 64, batches: BOTH },
    { inH: 112, inC: 64, k: 3, outC: 128, batches: BOTH },
    { inH: 56, inC: 128, k: 3, outC: 256, batches: BOTH },
    { inH: 28, inC: 256, k: 3, outC: 512, batches: BOTH },
    { inH: 14, inC: 512, k: 3, outC: 512, batches: BOTH },
    { inH: 7, inC: 512, k: 3, outC: 512, batches: BOTH },
  ],
  inception: [
    { inH: 224, inC: 3, k: 7, outC: 64, stride: 2, batches: [16] },
    { inH: 28, inC: 192, k: 5, outC: 32, batches: [16] },
    { inH: 28, inC: 192, k: 1, outC: 64, batches: [16] },
    { inH: 14, inC: 512, k: 5, outC: 48, batches: [16] },
    { inH: 14, inC: 512, k: 1, outC: 192, batches: [16] },
    { inH: 7, inC: 832, k: 1, outC: 256, batches: [16] },
    { inH: 7, inC: 832, k: 5, outC: 128, batches: [16] },
  ],
  residual: [
    { inH: 56, inC: 64, k: 3, outC: 64, batches: BOTH },
    { inH: 56, inC: 64, k: 1, outC: 256, stride: 2, batches: BOTH },
    { inH: 28, inC: 128, k: 3, outC: 128, batches: BOTH },
    { inH: 28, inC: 128, k: 1, outC: 512, stride: 2, batches: BOTH },
    { inH: 14, inC: 256, k: 1, outC: 256, batches: BOTH },
    { inH: 14, inC: 256, k: 3, outC: 256, batches: BOTH },
    { inH: 14, inC: 256, k: 1, outC: 1024, stride: 2, batches: BOTH },
    { inH: 7, inC: 512, k: 1, outC: 512, batches: BOTH },
    { inH: 7, inC: 2048, k: 1, outC: 512, stride: 2, pad: 3, batches: BOTH },
    { inH: 112, inC: 64, k: 1, outC: 64, batches: BOTH },
    { inH: 56, inC: 64, k: 1, outC: 256, batches: BOTH },
    { inH: 56, inC: 256, k: 1, outC: 64, batches: BOTH },
    { inH: 56, inC: 256, k: 1, outC: 128, stride: 2, batches: BOTH },
    { inH: 28, inC: 128, k: 1, outC: 512, batches: BOTH },
    { inH: 28, inC: 512, k: 1, outC: 128, batches: BOTH },
    { inH: 28, inC: 512, k: 1, outC: 256, stride: 2, batches: BOTH },
    { inH: 14, inC: 256, k: 1, outC: 1024, batches: BOTH },
    { inH: 28, inC: 512, k: 1, outC: 1024, stride: 2, batches: BOTH },
    { inH: 14, inC: 1024, k: 1, outC: 256, batches: BOTH },
    { inH: 14, inC: 1024, k: 1, outC: 512, stride: 2, batches: BOTH },
    { inH: 7, inC: 512, k: 1, outC: 2048, batches: BOTH },
    { inH: 14, inC: 1024, k: 1, outC: 2048, stride: 2, batches: BOTH },
    { inH: 7, inC: 2048, k: 1, outC: 512, batches: BOTH },
  ],
  speaker: [
    { inH: 161, inW: 700, inC: 1, k: 5, outC: 64, stride: 2, pad: 1, batches: [16] },
    { inH: 80, inW: 350, inC: 64, k: 3, outC: 64, batches: [16] },
    { inH: 80, inW: 350, inC: 64, k: 5, outC: 128, stride: 2, pad: 1, batches: [16] },
    { inH: 40, inW: 175, inC: 128, k: 3, outC: 128, batches: [16] },
    { inH: 40, inW: 175, inC: 128, k: 5, outC: 256, stride: 2, pad: 1, batches: [16] },
    { inH: 20, inW: 84, inC: 256, k: 3, outC: 256, batches: [16] },
    { inH: 20, inW: 84, inC: 256, k: 5, outC: 512, stride: 2, pad: 1, batches: [16] },
    { inH: 10, inW: 42, inC: 512, k: 3, outC: 512, batches: [16] },
  ],
};

function deepbenchCases(): SuiteCase[] {
  return Object.entries(DEEPBENCH).flatMap(([group, rows]) =>
    rows.flatMap(({ batches, ...sizes }, row) =>
      batches.map((n) => ({
        suite: "deepbench",
        name: `${group}${row + 1}.n${n}`,
        work: conv({ ...sizes, n }),
      })),
    ),
  );
}

/** What moves memory rather than computes, small (a cache holds it) and large. */
function elementwiseCases(): SuiteCase[] {
  const cases: [string, Work][] = [
    ["leaky_relu.64k", { op: "leaky_relu", count: 2 ** 16 }],
    ["leaky_relu.16M", { op: "leaky_relu", count: 2 ** 24 }],
    ["leaky_relu.odd", { op: "leaky_relu", count: 2 ** 20 + 1 }],
    ["dropout.64k", { op: "dropout", count: 2 ** 16 }],
    ["dropout.16M", { op: "dropout", count: 2 ** 24 }],
    ["adamax.64k", { op: "adamax", count: 2 ** 16 }],
    ["adamax.16M", { op: "adamax", count: 2 ** 24 }],
    ["max_pool2d.112", pool(112, 64, 3, 2)],
    ["max_pool2d.56", pool(56, 256, 2, 2)],
    ["softmax.10", { op: "softmax", n: 4096, classes: 10 }],
    ["softmax.1000", { op: "softmax", n: 1024, classes: 1000 }],
    ["loss.3", { op: "softmax_cross_entropy", n: 32, classes: 3 }],
    ["loss.1000", { op: "softmax_cross_entropy", n: 1024, classes: 1000 }],
  ];
  return cases.map(([name, work]) => ({ suite: "elementwise", name, work }));
}

function pool(size: number, c: number, k: number, stride: number): Work {
  const pad = Math.floor((k - 1) / 2);
  return {
    ...{ op: "max_pool2d", n: BATCH, inH: size, inW: size, c, kH: k, kW: k },
    stride: [stride, stride],
    padding: [
      [pad, pad],
      [pad, pad],
    ],
  };
}

/** One 3x3 convolution from which one size at a time departs: its cost should follow the work, without cliffs. */
const SCALING_BASE = { n: 8, inH: 48, inC: 64, k: 3, outC: 64 } as const;
export const SCALING = {
  batch: [1, 2, 4, 8, 16, 32, 64, 128, 256],
  image: [32, 48, 64, 80, 96, 112, 128, 160, 192],
  channels: [16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512],
} as const;

function scalingCases(): SuiteCase[] {
  const sizesOf = {
    batch: (n: number): ConvSizes => ({ ...SCALING_BASE, n }),
    image: (inH: number): ConvSizes => ({ ...SCALING_BASE, inH }),
    channels: (c: number): ConvSizes => ({ ...SCALING_BASE, inC: c, outC: c }),
  };
  return (["batch", "image", "channels"] as const).flatMap((sweep) =>
    SCALING[sweep].map((value) => ({
      suite: "scaling",
      name: `${sweep}.${value}`,
      work: conv(sizesOf[sweep](value)),
    })),
  );
}
