#!/usr/bin/env python3
"""Makes test/fixtures/ten_steps.safetensors and paper_step.safetensors: what PyTorch, in float64, makes of our training.

Needs PyTorch and numpy (Debian: python3-torch); the tests that read the fixtures need no Python.
    python3 scripts/pytorch_reference.py
Layouts are ours throughout: images NHWC, filters HWIO, dense weights [in, out], flattened in NHWC order. The
optimizer is Keras' Adamax, written out, since torch.optim.Adamax adds epsilon elsewhere.
"""
import json
import math
import os
import struct

import numpy as np
import torch
import torch.nn.functional as F

HERE = os.path.dirname(os.path.abspath(__file__))
FIXTURES = os.path.join(HERE, "..", "test", "fixtures")
NETWORKS = os.path.join(HERE, "..", "networks")

LEARNING_RATE, BETA1, BETA2, EPSILON = 0.005, 0.9, 0.999, 1e-7
BATCH = 8

# Every layer type; even kernels, so that "same" pads unevenly, also in a pool; a stride; an odd input; a missing bias.
TEN_STEPS = {
    "input": [9, 8, 3],
    "layers": [
        {"type": "Conv2D", "name": "conv1", "filters": 4, "kernelSize": [6, 6], "padding": "same"},
        {"type": "LeakyReLU", "name": "relu1", "slope": 0.3},
        {"type": "Conv2D", "name": "conv2", "filters": 5, "kernelSize": [5, 5], "padding": "same"},
        {"type": "LeakyReLU", "name": "relu2", "slope": 0.3},
        {"type": "MaxPool2D", "name": "pool1", "size": [2, 2]},
        {"type": "Dropout", "name": "drop1", "rate": 0},
        {"type": "Conv2D", "name": "conv3", "filters": 6, "kernelSize": [2, 2], "padding": "same"},
        {"type": "LeakyReLU", "name": "relu3", "slope": 0.3},
        {"type": "MaxPool2D", "name": "pool2", "size": [3, 3], "strides": [2, 2], "padding": "same"},
        {"type": "Conv2D", "name": "conv4", "filters": 9, "kernelSize": [3, 3], "strides": [2, 1],
         "padding": "same", "useBias": False},
        {"type": "LeakyReLU", "name": "relu4", "slope": 0.3},
        {"type": "Flatten", "name": "flatten"},
        {"type": "Dense", "name": "dense1", "units": 16},
        {"type": "LeakyReLU", "name": "relu5", "slope": 0.3},
        {"type": "Dense", "name": "dense2", "units": 3},
        {"type": "Softmax", "name": "softmax"},
    ],
}


def pair(layer, key, default):
    value = layer.get(key, default)
    return [value, value] if isinstance(value, int) else value


def pad(x, layer, kernel, strides, value):
    """Keras' rule: ceil(in / stride) outputs; the odd one of the padding goes below and to the right."""
    if layer.get("padding", "valid") == "valid":
        return x
    sides = []
    for size, k, s in zip(x.shape[2:], kernel, strides):
        total = max((math.ceil(size / s) - 1) * s + k - size, 0)
        sides.append((total // 2, total - total // 2))
    (top, bottom), (left, right) = sides
    return F.pad(x, (left, right, top, bottom), value=value)


def logits(network, parameters, images, margins=None):
    """images: uint8 [n, h, w, c]. Parameters: name -> leaf tensor in our layout.

    Appends to `margins` how near the nearest activation comes to a kink: to 0 before a LeakyReLU, and in the window of
    a pool to the maximum.
    """
    x = (images.to(torch.float64) / 255).permute(0, 3, 1, 2)
    for layer in network["layers"]:
        kind, name = layer["type"], layer["name"]
        if kind == "Conv2D":
            strides = pair(layer, "strides", 1)
            w = parameters[name + ".weight"].permute(3, 2, 0, 1)
            x = pad(x, layer, layer["kernelSize"], strides, 0.0)
            x = F.conv2d(x, w, parameters.get(name + ".bias"), stride=strides)
        elif kind == "LeakyReLU":
            if margins is not None:
                margins.append(x.abs().min().item())
            x = F.leaky_relu(x, layer["slope"])
        elif kind == "MaxPool2D":
            strides = pair(layer, "strides", layer["size"])
            x = pad(x, layer, layer["size"], strides, -math.inf)
            if margins is not None:
                (h, w), (down, right) = layer["size"], strides
                first, second = x.unfold(2, h, down).unfold(3, w, right).flatten(4).topk(2).values.unbind(-1)
                margins.append((first - second).min().item())
            x = F.max_pool2d(x, layer["size"], strides)
        elif kind == "Flatten":
            x = x.permute(0, 2, 3, 1).reshape(x.shape[0], -1)
        elif kind == "Dense":
            x = x @ parameters[name + ".weight"] + parameters[name + ".bias"]
        else:  # a dropout that drops nothing; a softmax that is part of the loss
            assert kind == "Softmax" or (kind == "Dropout" and layer["rate"] == 0), layer
    return x


def parameter_shapes(network):
    """name -> shape, in the network's order."""
    h, w, c = network["input"]
    shapes = {}
    for layer in network["layers"]:
        kind, name = layer["type"], layer["name"]
        if kind in ("Conv2D", "MaxPool2D"):
            kernel = layer["kernelSize"] if kind == "Conv2D" else layer["size"]
            strides = pair(layer, "strides", 1 if kind == "Conv2D" else layer["size"])
            if kind == "Conv2D":
                shapes[name + ".weight"] = [*kernel, c, layer["filters"]]
                if layer.get("useBias", True):
                    shapes[name + ".bias"] = [layer["filters"]]
                c = layer["filters"]
            if layer.get("padding", "valid") == "same":
                h, w = (math.ceil(size / s) for size, s in zip((h, w), strides))
            else:
                h, w = ((size - k) // s + 1 for size, k, s in zip((h, w), kernel, strides))
        elif kind == "Flatten":
            c = h * w * c
        elif kind == "Dense":
            shapes[name + ".weight"] = [c, layer["units"]]
            shapes[name + ".bias"] = [layer["units"]]
            c = layer["units"]
    return shapes


def glorot_limit(shape):
    return math.sqrt(6 / (math.prod(shape[:-2]) * (shape[-2] + shape[-1])))


def write_safetensors(path, tensors, metadata):
    """tensors: name -> float32, int32 or uint8 array. Our reader's order: wide elements first, then by name."""
    names = sorted(tensors, key=lambda name: (-tensors[name].itemsize, name))
    header, end = {"__metadata__": metadata}, 0
    for name in names:
        array = tensors[name]
        dtype = {"float32": "F32", "int32": "I32", "uint8": "U8"}[str(array.dtype)]
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [end, end + array.nbytes]}
        end += array.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name in names:
            file.write(np.ascontiguousarray(tensors[name]).tobytes())
    print(f"{os.path.relpath(path)}: {os.path.getsize(path)} bytes")


def ten_steps(seed):
    """Ten steps of one epoch, 77 images in batches of 8, the last of 5: tensors, losses, the smallest margin."""
    random = np.random.RandomState(seed)
    count = 77
    height, width, channels = TEN_STEPS["input"]
    labels = random.randint(0, 3, count).astype(np.int32)
    rows, columns = np.mgrid[0:height, 0:width]
    bright = np.stack([rows < height / 2, columns < width / 2, (rows + columns) % 4 < 2])
    images = bright[labels][..., None] * 90 + random.randint(0, 120, (count, height, width, channels))
    images = images.astype(np.uint8)
    start = {}
    for name, shape in parameter_shapes(TEN_STEPS).items():
        limit = glorot_limit(shape) if name.endswith("weight") else 0.1
        start[name] = random.uniform(-limit, limit, shape).astype(np.float32)
    w = {name: torch.tensor(value, dtype=torch.float64, requires_grad=True) for name, value in start.items()}
    m = {name: torch.zeros_like(value) for name, value in w.items()}
    u = {name: torch.zeros_like(value) for name, value in w.items()}
    losses, margins = [], []
    for t in range(1, 11):
        rows = slice((t - 1) * BATCH, t * BATCH)
        y = logits(TEN_STEPS, w, torch.from_numpy(images[rows]), margins)
        loss = F.cross_entropy(y, torch.from_numpy(labels[rows]).long())
        losses.append(loss.item())
        for name, grad in zip(w, torch.autograd.grad(loss, list(w.values()))):
            with torch.no_grad():
                m[name] = BETA1 * m[name] + (1 - BETA1) * grad
                u[name] = torch.maximum(BETA2 * u[name], grad.abs())
                w[name] -= LEARNING_RATE / (1 - BETA1**t) * m[name] / (u[name] + EPSILON)
    final = {"final." + name: value.detach().numpy().astype(np.float32) for name, value in w.items()}
    first = {"start." + name: value for name, value in start.items()}
    return {"images": images, "labels": labels, **first, **final}, losses, min(margins)


def write_ten_steps():
    """Takes, of many seeds, that which keeps farthest from kinks, where rounding in float32 would be amplified."""
    _, seed = max((ten_steps(seed)[2], seed) for seed in range(300))
    tensors, losses, margin = ten_steps(seed)
    print(f"seed {seed}, margin {margin:.1e}, losses", " ".join(f"{loss:.4f}" for loss in losses))
    optimizer = {"learningRate": LEARNING_RATE, "beta1": BETA1, "beta2": BETA2, "epsilon": EPSILON}
    write_safetensors(
        os.path.join(FIXTURES, "ten_steps.safetensors"),
        tensors,
        {
            "network": json.dumps(TEN_STEPS),
            "optimizer": json.dumps(optimizer),
            "batch_size": str(BATCH),
            "losses": json.dumps(losses),
            "made_by": f"scripts/pytorch_reference.py, PyTorch {torch.__version__}, float64",
        },
    )


def hash32(values):
    """The 32-bit mixer "lowbias32" (https://github.com/skeeto/hash-prospector), as test/train/paper_step.test.ts has it."""
    x = values.astype(np.uint32)
    x ^= x >> np.uint32(16)
    x *= np.uint32(0x7FEB352D)
    x ^= x >> np.uint32(15)
    x *= np.uint32(0x846CA68B)
    x ^= x >> np.uint32(16)
    return x


def hashed_floats(count, stream, limit):
    """limit * (hash / 2^31 - 1), rounded to float32 once. Streams are 2^28 apart."""
    words = hash32(np.arange(count, dtype=np.uint32) + np.uint32(stream << 28))
    return (limit * (words / 2.0**31 - 1)).astype(np.float32)


def paper_step():
    """Loss and gradients of one batch through networks/paper.json, all inputs from a hash; no dropout."""
    with open(os.path.join(NETWORKS, "paper.json")) as file:
        network = json.load(file)
    for layer in network["layers"]:
        if layer["type"] == "Dropout":
            layer["rate"] = 0
    batch, samples = 3, 256
    shape = [batch, *network["input"]]
    images = (hash32(np.arange(math.prod(shape), dtype=np.uint32)) >> np.uint32(24)).astype(np.uint8)
    labels = np.arange(batch, dtype=np.int32) % 3
    w = {}
    for stream, (name, size) in enumerate(parameter_shapes(network).items()):
        limit = glorot_limit(size) if name.endswith("weight") else 0.1
        values = hashed_floats(math.prod(size), stream + 1, limit).reshape(size)
        w[name] = torch.tensor(values, dtype=torch.float64, requires_grad=True)
    y = logits(network, w, torch.from_numpy(images.reshape(shape)))
    loss = F.cross_entropy(y, torch.from_numpy(labels).long())
    print("loss", loss.item(), "logits", y.tolist())
    tensors, norms = {}, {}
    for name, grad in zip(w, torch.autograd.grad(loss, list(w.values()))):
        flat = grad.reshape(-1).numpy()
        norms[name] = float(np.sqrt((flat * flat).sum()))
        places = hash32(np.arange(min(samples, flat.size), dtype=np.uint32)) % np.uint32(flat.size)
        tensors[name] = flat[places].astype(np.float32)
        print(name, norms[name], f"{np.count_nonzero(tensors[name])} of {places.size} samples not 0")
    write_safetensors(
        os.path.join(FIXTURES, "paper_step.safetensors"),
        tensors,
        {
            "network": json.dumps(network),
            "batch_size": str(batch),
            "loss": json.dumps(loss.item()),
            "norms": json.dumps(norms),
            "made_by": f"scripts/pytorch_reference.py, PyTorch {torch.__version__}, float64",
        },
    )


if __name__ == "__main__":
    os.makedirs(FIXTURES, exist_ok=True)
    write_ten_steps()
    paper_step()
