"""PyTorch as it comes: eager, channels_last, TF32 off; on CUDA where there is a device, else on the processor.

Speaks the protocol of bench/engine.ts. Waits by torch.cuda.synchronize(); on a processor every call waits itself.
"""

import json
import math
import os
import signal
import sys
import time

import torch
from torch.nn import functional as F

SAMPLE_MS = 20
MOST_RUNS = 64
LEAST_SAMPLES = 3
SEEDS = {"x": 0, "w": 100, "dy": 200}
ADAMAX = {"lr": 3e-7, "betas": (0.9, 0.999), "eps": 1e-7}

CUDA = torch.cuda.is_available()
DEVICE = torch.device("cuda" if CUDA else "cpu")
NHWC = torch.channels_last


def set_up():
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = True  # the fastest of cuDNN's algorithms for each shape
    torch.set_num_threads(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count())


def wait():
    if CUDA:
        torch.cuda.synchronize()


# The inputs, as bench/engine.ts has them.


def random_values(shape, seed):
    count = math.prod(shape)
    period = 65521
    state = seed + 1
    values = []
    for _ in range(min(count, period)):
        state = (state * 1664525 + 1013904223) % 2**32
        values.append(state / 2**32 - 0.5)
    block = torch.tensor(values, dtype=torch.float32)
    return block.repeat(math.ceil(count / len(values)))[:count].reshape(shape)


def images_on_device(x):
    """[n,h,w,c] of the host to [n,c,h,w] on the device, in the memory order that it has."""
    return x.to(DEVICE).permute(0, 3, 1, 2).contiguous(memory_format=NHWC)


def filters_on_device(w):
    """HWIO to OIHW."""
    return w.to(DEVICE).permute(3, 2, 0, 1).contiguous(memory_format=NHWC)


def is_symmetric(padding):
    return all(before == after for before, after in padding)


def pad_and_convolve(x, w, bias, stride, dilation, padding):
    """PyTorch's own padding is symmetric; any other takes a padded copy, as its padding="same" does too."""
    if is_symmetric(padding):
        return F.conv2d(x, w, bias, stride, [before for before, _ in padding], dilation)
    (top, bottom), (left, right) = padding
    return F.conv2d(F.pad(x, (left, right, top, bottom)), w, bias, stride, 0, dilation)


# Jobs: values(at) to verify, run() to be timed.


class Operation:
    """One pass: `run` returns its tensor, `order` takes that to the axes of ours."""

    def __init__(self, run, order=None):
        self.run = run
        self.order = order

    def values(self, at):
        y = self.run().detach()
        if self.order:
            y = y.permute(self.order)
        return y.reshape(-1)[torch.tensor(at, dtype=torch.int64, device=DEVICE)].tolist()


def conv2d(work, which):
    sizes = [work[key] for key in ("n", "inH", "inW", "inC")]
    x = images_on_device(random_values(sizes, SEEDS["x"]))
    w = filters_on_device(random_values([work[key] for key in ("kH", "kW", "inC", "outC")], SEEDS["w"]))
    attributes = (None, work["stride"], work["dilation"], work["padding"])
    to_nhwc, to_hwio = (0, 2, 3, 1), (2, 3, 1, 0)
    if which == "forward":

        def forward():
            with torch.no_grad():
                return pad_and_convolve(x, w, *attributes)

        return Operation(forward, to_nhwc)
    wanted = (x if which == "inputGrad" else w).requires_grad_()
    y = pad_and_convolve(x, w, *attributes)
    n, c, h, width = y.shape
    dy = images_on_device(random_values([n, h, width, c], SEEDS["dy"]))
    gradient = lambda: torch.autograd.grad(y, wanted, dy, retain_graph=True)[0]
    return Operation(gradient, to_nhwc if which == "inputGrad" else to_hwio)


def dense(work, which):
    n, in_c, out_c = (work[key] for key in ("n", "inC", "outC"))
    x = random_values([n, in_c], SEEDS["x"]).to(DEVICE)
    w = random_values([in_c, out_c], SEEDS["w"]).to(DEVICE)
    dy = random_values([n, out_c], SEEDS["dy"]).to(DEVICE)
    return Operation({"forward": lambda: x @ w, "inputGrad": lambda: dy @ w.T, "weightGrad": lambda: x.T @ dy}[which])


class Conv(torch.nn.Module):
    def __init__(self, layer, weight):
        super().__init__()
        self.weight = torch.nn.Parameter(filters_on_device(weight))
        self.bias = torch.nn.Parameter(torch.zeros(layer["filters"], device=DEVICE))
        self.attributes = (layer["strides"], layer["dilations"], layer["padding"])

    def forward(self, x):
        return pad_and_convolve(x, self.weight, self.bias, *self.attributes)


class Pool(torch.nn.Module):
    def __init__(self, layer):
        super().__init__()
        (self.top, self.bottom), (self.left, self.right) = layer["padding"]
        self.size, self.strides = layer["size"], layer["strides"]

    def forward(self, x):
        if self.top or self.bottom or self.left or self.right:
            x = F.pad(x, (self.left, self.right, self.top, self.bottom), value=-math.inf)
        return F.max_pool2d(x, self.size, self.strides)


class Flatten(torch.nn.Module):
    """Channels last, as the weights behind expect it: no copy in this memory order."""

    def forward(self, x):
        return x.permute(0, 2, 3, 1).reshape(x.shape[0], -1)


def out_size(size, kernel, stride, dilation, padding):
    return (size + sum(padding) - (kernel - 1) * dilation - 1) // stride + 1


def model_of(network):
    """The modules up to the logits."""
    shape, seed, modules = list(network["input"]), SEEDS["w"], []

    def weight(sizes, fan_in):
        nonlocal seed
        seed += 1
        return random_values(sizes, seed - 1) * math.sqrt(24 / fan_in)

    for layer in network["layers"]:
        kind = layer["type"]
        if kind == "Conv2D":
            (k_h, k_w), in_c = layer["kernelSize"], shape[2]
            modules.append(Conv(layer, weight([k_h, k_w, in_c, layer["filters"]], k_h * k_w * in_c)))
            window = zip(shape, layer["kernelSize"], layer["strides"], layer["dilations"], layer["padding"])
            shape = [out_size(*axis) for axis in window] + [layer["filters"]]
        elif kind == "MaxPool2D":
            modules.append(Pool(layer))
            window = zip(shape, layer["size"], layer["strides"], (1, 1), layer["padding"])
            shape = [out_size(*axis) for axis in window] + [shape[2]]
        elif kind == "LeakyReLU":
            modules.append(torch.nn.LeakyReLU(layer["slope"]))
        elif kind == "Dropout":
            modules.append(torch.nn.Dropout(layer["rate"]))
        elif kind == "Flatten":
            modules.append(Flatten())
            shape = [math.prod(shape)]
        elif kind == "Dense":
            linear = torch.nn.Linear(shape[0], layer["units"], device=DEVICE)
            with torch.no_grad():
                linear.weight.copy_(weight([shape[0], layer["units"]], shape[0]).T)
                linear.bias.zero_()
            modules.append(linear)
            shape = [layer["units"]]
        elif kind != "Softmax":
            raise ValueError(f"no {kind} in the comparison")
    return torch.nn.Sequential(*modules), shape[0]


class Network:
    def __init__(self, work):
        self.model, classes = model_of(work["network"])
        n, sizes = work["n"], work["network"]["input"]
        self.x = images_on_device(torch.floor((random_values([n, *sizes], SEEDS["x"]) + 0.5) * 256) / 255)
        self.labels = (torch.arange(n) % classes).to(DEVICE)
        self.training = work["op"] == "training_step"
        if self.training:
            # Its own Adamax: u = max(beta2 * u, |dw| + eps).
            self.optimizer = torch.optim.Adamax(self.model.parameters(), **ADAMAX)

    def step(self, dropout):
        self.model.train(dropout)
        self.optimizer.zero_grad(set_to_none=True)
        loss = F.cross_entropy(self.model(self.x), self.labels)
        loss.backward()
        self.optimizer.step()
        return loss

    def infer(self):
        self.model.eval()
        with torch.no_grad():
            return F.softmax(self.model(self.x), dim=1)

    def run(self):
        return self.step(dropout=True) if self.training else self.infer()

    def values(self, at):
        if self.training:
            return [self.step(dropout=False).item() for _ in range(2)]
        return self.infer().reshape(-1)[torch.tensor(at, device=DEVICE)].tolist()


def prepare(task):
    work, which = task["work"], task["pass"]
    if task["precision"] == "float32":
        if work["op"] in ("conv2d", "dense") and which != "step":
            return (conv2d if work["op"] == "conv2d" else dense)(work, which)
        if work["op"] in ("training_step", "inference"):
            return Network(work)
    raise ValueError(f"no {work['op']} {which} in {task['precision']} in the comparison")


def sample(run, effort):
    """Milliseconds of one run, for each sample. The runs of a sample double until it is long enough, which warms up."""

    def take(runs):
        started = time.perf_counter()
        for _ in range(runs):
            run()
        wait()
        return 1000 * (time.perf_counter() - started)

    runs, elapsed = 1, take(1)
    if elapsed > 1000 * effort["seconds"]:
        return [elapsed]
    elapsed = take(1)
    while elapsed < SAMPLE_MS and runs < MOST_RUNS:
        runs *= 2
        elapsed = take(runs)
    times, started = [], time.perf_counter()
    late = lambda: time.perf_counter() - started > effort["seconds"]
    while len(times) < LEAST_SAMPLES or (len(times) < effort["samples"] and not late()):
        times.append(take(runs) / runs)
    return times


def answer(request):
    if request["kind"] == "hello":
        place = torch.cuda.get_device_name() if CUDA else f"CPU, {torch.get_num_threads()} threads"
        name = "torch-cuda" if CUDA else "torch-cpu"
        return {"kind": "hello", "engine": name, "version": torch.__version__, "adapter": place}
    job = prepare(request["task"])
    values = job.values(request["at"])
    times = sample(job.run, request["effort"])
    return {"kind": "time", "id": request["id"], "samplesMs": times, "values": values}


def main():
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends its peers
    set_up()
    for line in sys.stdin:
        request = json.loads(line)
        try:
            reply = answer(request)
        except Exception as error:  # whatever it is, the parent shows it and goes on
            reply = {"kind": "error", "id": request.get("id", -1), "error": str(error)[:500]}
        print(json.dumps(reply), flush=True)
        if CUDA:
            torch.cuda.empty_cache()


main()
