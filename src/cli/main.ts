#!/usr/bin/env node
/** The command line: parses flags and calls one function a command. */
import { Command, InvalidArgumentError, Option } from "commander";
import { ENGINE_VERSION } from "../version.ts";
import type { BenchCommandOptions } from "./bench.ts";
import type { EvaluateOptions } from "./evaluate.ts";
import type { GradcheckOptions } from "./gradcheck.ts";
import type { ExportOptions } from "./export.ts";
import type { ImportOptions } from "./import.ts";
import type { InspectOptions } from "./inspect.ts";
import type { PredictCommandOptions } from "./predict.ts";
import type { ProfileOptions } from "./profile.ts";
import type { StudyCommandOptions } from "./study.ts";
import type { TrainOptions } from "./train.ts";
import type { TuneOptions } from "./tune.ts";

const number = (text: string): number => {
  const value = Number(text);
  if (text.trim() === "" || !Number.isFinite(value))
    throw new InvalidArgumentError("expected a number");
  return value;
};

const integer = (text: string): number => {
  const value = number(text);
  if (!Number.isSafeInteger(value) || value < 0)
    throw new InvalidArgumentError("expected an integer, 0 or more");
  return value;
};

const positive = (text: string): number => {
  const value = integer(text);
  if (value === 0) throw new InvalidArgumentError("expected an integer above 0");
  return value;
};

const fraction = (text: string): number => {
  const value = number(text);
  if (!(value > 0 && value <= 1))
    throw new InvalidArgumentError("expected a number above 0, at most 1");
  return value;
};

const share = (text: string): number => {
  const value = number(text);
  if (!(value >= 0 && value < 1))
    throw new InvalidArgumentError("expected a number from 0 to below 1");
  return value;
};

const seconds = (text: string): number => {
  const value = number(text);
  if (!(value > 0)) throw new InvalidArgumentError("expected a number above 0");
  return value;
};

const aboveOne = (text: string): number => {
  const value = number(text);
  if (!(value > 1)) throw new InvalidArgumentError("expected a ratio above 1, e.g. 1.25");
  return value;
};

const list = (text: string): string[] => text.split(",").map((item) => item.trim());

const classWeights = (text: string): "balanced" | number[] =>
  text === "balanced" ? text : list(text).map(number);

const program = new Command("tuningfork")
  .description(
    "A from-scratch CNN engine on WebGPU for Node, and a study of galaxy morphology built on it.",
  )
  .version(ENGINE_VERSION)
  .showHelpAfterError("(--help shows the options and an example)")
  .configureHelp({ sortSubcommands: false });

/** Runs a command; its number is the exit code. Nothing is forced to end: what hangs is a defect to be seen. */
const action =
  <Args extends unknown[]>(run: (...args: Args) => Promise<number>) =>
  async (...args: Args): Promise<void> => {
    process.exitCode = await run(...args);
  };

const example = (text: string): string => `\nExample:\n  $ ${text}`;
const dataOption = () =>
  new Option(
    "--data <folder>",
    "folder of data sets, or of this one (default: TUNINGFORK_DATA, data/, ...)",
  );
const cropOption = () =>
  new Option("--crop <fraction>", "central fraction of each image to keep").argParser(fraction);
const batchOption = () =>
  new Option("--batch-size <n>", "images at a time").argParser(positive).default(32);
const precisionOption = () =>
  new Option(
    "--precision <name>",
    "mixed: activations in float16, sums in float32 (default: TUNINGFORK_PRECISION, else float32)",
  ).choices(["float32", "mixed"] as const);

program
  .command("train")
  .description("train a network, or fine-tune a model on other data")
  .option("--network <file>", "network as JSON, e.g. networks/paper.json (default: that of --init)")
  .requiredOption(
    "--data-set <name>",
    "fashion-mnist, gz1, gz2, efigi, na10, or a folder with a sub-folder for each class",
  )
  .addOption(dataOption())
  .option("--init <file>", "weights to start from; the optimizer starts fresh")
  .option("--new-head <classes>", "replace the last dense layer by an untrained one", positive)
  .option("--freeze <layers>", "layers that do not learn, e.g. conv1,conv2", list)
  .option("--epochs <n>", "passes over the training images", positive, 15)
  .addOption(batchOption())
  .option(
    "--accumulate-steps <n>",
    "batches whose gradients make one step, where they do not fit into memory as one",
    positive,
    1,
  )
  .addOption(precisionOption())
  .option("--learning-rate <rate>", "Adamax' learning rate", number, 0.002)
  .option("--seed <n>", "seed of weights, order, augmentation and dropout", integer, 1)
  .option("--validation <fraction>", "share of the images held out", share, 0)
  .option("--no-augment", "do not rotate, flip, crop and scale the images")
  .option("--class-weights <weights>", '"balanced", or a number for each class', classWeights)
  .option("--early-stopping <epochs>", "end after so many epochs without a better loss", positive)
  .option(
    "--reduce-on-plateau <epochs>",
    "halve the learning rate after so many epochs without a better loss",
    positive,
  )
  .option("--best", "end with the weights of the best epoch", false)
  .addOption(cropOption())
  .option("--limit <n>", "use only so many images, drawn by class and seed", positive)
  .option("--resume", "continue the run whose checkpoint is in --out", false)
  .requiredOption("--out <folder>", "where model, history and checkpoint go")
  .addHelpText(
    "after",
    example(
      "tuningfork train --network networks/quick.json --data-set gz2 --epochs 10 --out out/gz2",
    ),
  )
  .action(
    action(async (options: TrainOptions) => {
      const { train } = await import("./train.ts");
      return train(options);
    }),
  );

program
  .command("evaluate")
  .description(
    "accuracy, loss, confusion matrix, precision, recall and AUC of a model on labelled images",
  )
  .requiredOption("--model <file>", "a model that train wrote")
  .requiredOption("--data-set <name>", "as in train")
  .addOption(dataOption())
  .addOption(cropOption())
  .addOption(
    new Option("--part <part>", "of fashion-mnist").choices(["train", "test"]).default("test"),
  )
  .addOption(batchOption())
  .option("--json", "one object", false)
  .addHelpText(
    "after",
    example("tuningfork evaluate --model out/gz2/model.safetensors --data-set gz2"),
  )
  .action(
    action(async (options: EvaluateOptions) => {
      const { evaluate } = await import("./evaluate.ts");
      return evaluate(options);
    }),
  );

program
  .command("predict")
  .description("classify images of any size")
  .requiredOption("--model <file>", "a model that train wrote")
  .argument("<image...>", "JPEG, PNG or FITS files")
  .addOption(cropOption())
  .addOption(batchOption())
  .option("--json", "one line an image: {path, class, probabilities}", false)
  .addHelpText(
    "after",
    example("tuningfork predict --model out/gz2/model.safetensors galaxy.jpg --json"),
  )
  .action(
    action(async (images: string[], options: Omit<PredictCommandOptions, "images">) => {
      const { predictImages } = await import("./predict.ts");
      return predictImages({ ...options, images });
    }),
  );

program
  .command("inspect")
  .description("feature maps of single layers for one image, as PNG grids")
  .requiredOption("--model <file>", "a model that train wrote")
  .requiredOption("--image <file>", "JPEG, PNG or FITS")
  .requiredOption("--layers <names>", "e.g. conv2,pool1", list)
  .addOption(cropOption())
  .requiredOption("--out <folder>", "where the PNG files go")
  .addHelpText(
    "after",
    example(
      "tuningfork inspect --model out/gz2/model.safetensors --image galaxy.jpg --layers conv2,pool1 --out out/maps",
    ),
  )
  .action(
    action(async (options: InspectOptions) => {
      const { inspect } = await import("./inspect.ts");
      return inspect(options);
    }),
  );

program
  .command("study")
  .description("the seven tests of the paper and their report")
  .addOption(
    new Option("--preset <name>", "sizes of network, images and training")
      .choices(["quick", "paper"])
      .default("quick"),
  )
  .addOption(
    new Option("--data-set <name>", "default: real when the images are there").choices([
      "real",
      "simulated",
      "paper",
    ]),
  )
  .addOption(dataOption())
  .option("--tests <letters>", "which of a,b,c,d,e,f,g", list)
  .option("--seed <n>", "seed of everything that is drawn", integer, 1)
  .option("--seeds <k>", "repeat with so many seeds", positive, 1)
  .addOption(precisionOption())
  .option("--out <folder>", "where results, models, figures and report go", "out/study")
  .option("--resume", "continue a study that was interrupted", false)
  .addHelpText("after", example("tuningfork study --preset quick --tests a,c,g --out out/study"))
  .action(
    action(async (options: StudyCommandOptions) => {
      const { study } = await import("./study.ts");
      return study(options);
    }),
  );

program
  .command("op")
  .description("run one kernel on tensors from a file")
  .argument(
    "<name>",
    "conv2d, conv2d_input_grad, conv2d_weight_grad, conv2d_bias_grad, leaky_relu, leaky_relu_grad, " +
      "max_pool2d, max_pool2d_grad, dense, dense_input_grad, dense_weight_grad, dense_bias_grad, softmax, " +
      "softmax_cross_entropy, dropout, dropout_grad, adamax or affine_warp",
  )
  .requiredOption("--in <file>", "safetensors with x, w, b, dy, ...")
  .requiredOption("--out <file>", "safetensors to write")
  .option("--attrs <json>", 'attributes, e.g. \'{"strides":2,"padding":"same"}\'', "{}")
  .addHelpText(
    "after",
    example(
      'tuningfork op conv2d --in in.safetensors --out out.safetensors --attrs \'{"padding":"same"}\'',
    ),
  )
  .action(
    action(async (name: string, options: { in: string; out: string; attrs: string }) => {
      const { runOp } = await import("./op.ts");
      return runOp({ name, ...options });
    }),
  );

program
  .command("bench")
  .description("every kernel and layer, verified, then timed, against what this adapter can do")
  .option(
    "--suite <names>",
    "paper, resnet50, vgg16, deepbench, elementwise, scaling or a JSON file (default: paper)",
    list,
  )
  .option("--shape <sizes>", "one case, e.g. n=32,inH=56,inW=56,inC=64,kH=3,kW=3,outC=64")
  .option("--op <names>", "only these operations; the operation of --shape", list)
  .option("--name <text>", "only cases whose name contains this, e.g. conv2")
  .option("--pass <names>", "only these of forward, inputGrad, weightGrad, step", list)
  .option("--algorithm <name>", "auto, all, or one by its name", "auto")
  .addOption(precisionOption())
  .option("--seconds <s>", "time for each row's samples", seconds, 2)
  .option("--list", "print the rows to come and run nothing", false)
  .option("--json <file>", "write {context, benchmarks}")
  .option("--csv <file>", "write a line a row")
  .option("--compare <old.json>", "compare with an older run; exit code 1 where it is slower")
  .option("--against <new.json>", "compare two files; nothing is run")
  .option("--threshold <ratio>", "new time over old that counts as slower", aboveOne, 1.25)
  .option("--unchecked <checks>", "also time ourselves without Dawn's checks: bounds, validation")
  .option("--peers <names>", "also time tfjs, jax, ort, torch, after npm run peers", list)
  .addOption(new Option("--reference <name>", "also time the float64 reference").choices(["cpu"]))
  .option("--out <folder>", "where report.html and its plots go")
  .addHelpText("after", example("tuningfork bench --suite paper --pass forward --out out/bench"))
  .action(
    action(async (options: BenchCommandOptions) => {
      const { bench } = await import("./bench.ts");
      return bench(options);
    }),
  );

program
  .command("tune")
  .description(
    "measure the algorithms of a network's layers on this adapter, and remember the fastest",
  )
  .requiredOption("--network <file>", "network as JSON, e.g. networks/paper.json")
  .option("--batch <n>", "images in one step", positive, 32)
  .addOption(precisionOption())
  .option("--json", "print a JSON line an operation", false)
  .addHelpText("after", example("tuningfork tune --network networks/quick.json --batch 32"))
  .action(
    action(async (options: TuneOptions) => {
      const { tune } = await import("./tune.ts");
      return tune(options);
    }),
  );

program
  .command("profile")
  .description(
    "where the time goes: by layer, kernel and dispatch; what changed between two profiles",
  )
  .option("--network <file>", "network as JSON; it runs on random images")
  .option("--batch <n>", "images in one step", positive, 32)
  .option("--steps <n>", "steps to profile, after as many to warm up", positive, 10)
  .option("--train", "profile training, the default", false)
  .option("--infer", "profile inference", false)
  .addOption(precisionOption())
  .option("--seed <n>", "seed of weights and images", integer, 1)
  .option("--no-ceilings", "do not measure what the adapter can do at most")
  .option(
    "--overhead <rounds>",
    "also run so many rounds with and without the profiler, in turn",
    positive,
  )
  .option("--out <folder>", "where report.html, trace.json and profile.json go")
  .option("--diff <folders...>", "compare two such folders: the earlier, then the later")
  .addHelpText(
    "after",
    example("tuningfork profile --network networks/quick.json --batch 32 --out out/profile"),
  )
  .action(
    action(async (options: ProfileOptions) => {
      const { profile } = await import("./profile.ts");
      return profile(options);
    }),
  );

program
  .command("gradcheck")
  .description("check the gradients of every layer of a network, and of the network as a whole")
  .requiredOption("--network <file>", "network as JSON, e.g. networks/quick.json")
  .option("--batch <n>", "images in the batch", positive, 2)
  .option("--seed <n>", "seed of inputs, weights and directions", integer, 1)
  .option("--json", "one object", false)
  .addHelpText("after", example("tuningfork gradcheck --network networks/quick.json"))
  .action(
    action(async (options: GradcheckOptions) => {
      const { gradcheck } = await import("./gradcheck.ts");
      return gradcheck(options);
    }),
  );

program
  .command("export")
  .description("a model for other frameworks: ONNX, Keras, TensorFlow.js, PyTorch")
  .requiredOption("--model <file>", "a model that train or import wrote")
  .option("--onnx <file>", "ONNX: images in, probabilities out")
  .addOption(
    new Option("--layout <layout>", "of ONNX' images")
      .choices(["nhwc", "nchw"] as const)
      .default("nhwc"),
  )
  .option("--keras <file>", "a whole Keras model, .keras or .h5")
  .option("--tfjs <folder>", "model.json and weights.bin of TensorFlow.js")
  .option("--pytorch <file>", "a state dict, .safetensors, and the module for it, .py")
  .addHelpText(
    "after",
    example("tuningfork export --model out/gz2/model.safetensors --onnx galaxies.onnx"),
  )
  .action(
    action(async (options: ExportOptions) => {
      const { exportModel } = await import("./export.ts");
      return exportModel(options);
    }),
  );

program
  .command("import")
  .description("a model of Keras, TensorFlow.js or PyTorch as one of ours")
  .requiredOption("--from <file>", ".h5, .keras, model.json, or PyTorch's .safetensors")
  .option("--network <file>", "network as JSON; needed where the file holds weights alone")
  .option("--map <file>", "PyTorch: our layers to their modules, as JSON")
  .option("--classes <names>", "e.g. elliptical,spiral,other (default: 0,1,...)", list)
  .addOption(cropOption())
  .requiredOption("--out <file>", "the model to write, .safetensors")
  .addHelpText(
    "after",
    example(
      "tuningfork import --from model.keras --classes elliptical,spiral --out model.safetensors",
    ),
  )
  .action(
    action(async (options: ImportOptions) => {
      const { importModel } = await import("./import.ts");
      return importModel(options);
    }),
  );

const data = program
  .command("data")
  .description("what data sets are here, and how to get those that are not");
data
  .command("list")
  .description("what is there, how many images a class, what is missing and where it can be had")
  .addOption(dataOption())
  .option("--json", "one object", false)
  .addHelpText("after", example("tuningfork data list"))
  .action(
    action(async (options: { data?: string; json: boolean }) => {
      const { dataList } = await import("./data.ts");
      return dataList(options);
    }),
  );
data
  .command("verify")
  .description("check the sums of what is there")
  .argument("[name...]", "data sets; default all that are there")
  .addOption(dataOption())
  .option("--json", "one object", false)
  .addHelpText("after", example("tuningfork data verify gz2"))
  .action(
    action(async (names: string[], options: { data?: string; json: boolean }) => {
      const { dataVerify } = await import("./data.ts");
      return dataVerify({ ...options, ...(names.length > 0 && { names }) });
    }),
  );
data
  .command("fetch")
  .description("get a data set from its public home")
  .argument("<name>", "fashion-mnist, gz1, gz2 or efigi")
  .addOption(dataOption())
  .addHelpText("after", example("tuningfork data fetch gz2"))
  .action(
    action(async (name: string, options: object) => {
      const { dataFetch } = await import("./data.ts");
      return dataFetch(name, options);
    }),
  );

program
  .command("doctor")
  .description("the adapter, its features and limits; without one, the next step for this system")
  .option("--json", "one object", false)
  .addHelpText("after", example("tuningfork doctor"))
  .action(
    action(async (options: { json: boolean }) => {
      const { doctor } = await import("./doctor.ts");
      return doctor(options);
    }),
  );

/** A user's mistake is one sentence; a defect of the program keeps its stack. */
function report(error: unknown): void {
  if (error instanceof RangeError && /typed array length|buffer allocation/i.test(error.message)) {
    console.error(
      `error: out of memory: ${error.message}; take fewer or smaller images, a smaller batch or network`,
    );
    process.exitCode = 1;
    return;
  }
  const defect =
    !(error instanceof Error) || error instanceof TypeError || error instanceof ReferenceError;
  console.error(
    defect || Number(process.env["TUNINGFORK_DEBUG"]) > 0 ? error : `error: ${error.message}`,
  );
  process.exitCode = 1;
}

await program.parseAsync().catch(report);
