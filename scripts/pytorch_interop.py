#!/usr/bin/env python3
"""Makes test/fixtures/pytorch_model.safetensors, a state dict as PyTorch has it, and pytorch_outputs.safetensors: images, what
the model makes of them, and the same network in our words. Needs PyTorch and numpy (Debian: python3-torch):
    python3 scripts/pytorch_interop.py
With arguments, runs a model that `tuningfork export --pytorch M.safetensors` wrote on the tensor "x" [n, c, h, w] of a file, and
prints its outputs as JSON:
    python3 scripts/pytorch_interop.py M.safetensors X.safetensors
"""
import json
import os
import runpy
import struct
import sys

import numpy as np
import torch
from torch import nn

INPUT = [9, 8, 3]
IMAGES = 6

# What the network below is in our words. Padding 1 on all sides of an even kernel is not "same".
NETWORK = {
    "input": INPUT,
    "layers": [
        {"type": "Conv2D", "name": "conv1", "filters": 4, "kernelSize": [4, 3], "strides": [2, 1],
         "padding": [[1, 1], [1, 1]]},
        {"type": "LeakyReLU", "name": "relu1", "slope": 0.2},
        {"type": "Conv2D", "name": "conv2", "filters": 4, "kernelSize": [3, 3], "padding": "same"},
        {"type": "LeakyReLU", "name": "relu2", "slope": 0},
        {"type": "Conv2D", "name": "conv3", "filters": 4, "kernelSize": [3, 3], "padding": "same", "useBias": False},
        {"type": "Conv2D", "name": "conv4", "filters": 4, "kernelSize": [3, 3], "padding": "same"},
        {"type": "MaxPool2D", "name": "pool1", "size": [2, 2]},
        {"type": "Flatten", "name": "flatten"},
        {"type": "Dropout", "name": "drop1", "rate": 0.5},
        {"type": "Dense", "name": "dense1", "units": 8},
        {"type": "LeakyReLU", "name": "relu3", "slope": 0},
        {"type": "Dense", "name": "dense2", "units": 3},
        {"type": "Softmax", "name": "softmax"},
    ],
}


class Net(nn.Module):
    """Names as users give them. features.2 and features.10 have one shape; sorted as text, their order would turn."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 4, (4, 3), stride=(2, 1), padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(4, 4, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(4, 4, 3, padding="same", bias=False),
            *[nn.Identity() for _ in range(5)],
            nn.Conv2d(4, 4, 3, padding="same"),
            nn.MaxPool2d(2),
        )
        self.classifier = nn.Sequential(
            nn.Flatten(), nn.Dropout(0.5), nn.Linear(4 * 2 * 4, 8), nn.ReLU(), nn.Linear(8, 3)
        )

    def forward(self, x):
        return torch.softmax(self.classifier(self.features(x)), dim=1)


def read_safetensors(path):
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
        data = file.read()
    tensors = {}
    for name, entry in header.items():
        if name != "__metadata__":
            assert entry["dtype"] == "F32", entry
            start, end = entry["data_offsets"]
            array = np.frombuffer(data[start:end], np.float32).reshape(entry["shape"])
            tensors[name] = torch.from_numpy(array.copy())
    return tensors


def run(weights, inputs):
    python = weights[: -len(".safetensors")] + ".py"
    model = runpy.run_path(python)["model"]
    model.load_state_dict(read_safetensors(weights))
    model.eval()
    with torch.no_grad():
        print(json.dumps(model(read_safetensors(inputs)["x"]).tolist()))


def main():
    from pytorch_reference import FIXTURES, write_safetensors

    torch.manual_seed(1)
    model = Net().eval()
    random = np.random.RandomState(2)
    images = random.randint(0, 256, (IMAGES, *INPUT)).astype(np.uint8)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2)  # so that images differ in what they give
        outputs = model(torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255)
    print(outputs.tolist())
    made_by = f"scripts/pytorch_interop.py, PyTorch {torch.__version__}"
    state = {name: value.detach().numpy() for name, value in model.state_dict().items()}
    write_safetensors(os.path.join(FIXTURES, "pytorch_model.safetensors"), state, {"format": "pt"})
    write_safetensors(
        os.path.join(FIXTURES, "pytorch_outputs.safetensors"),
        {"images": images, "probabilities": outputs.numpy()},
        {"network": json.dumps(NETWORK), "made_by": made_by},
    )


if __name__ == "__main__":
    run(*sys.argv[1:]) if len(sys.argv) > 1 else main()
