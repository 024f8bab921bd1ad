#!/usr/bin/env python3
"""Makes test/fixtures/keras.{h5,keras,weights.h5} and keras_functional.keras, and what Keras makes of images with them.

Needs Keras 3 and a backend, e.g. `pip install keras jax h5py`; the tests that read the fixtures need no Python.
    KERAS_BACKEND=jax python3 scripts/keras_reference.py
With paths, loads models that were exported (`tuningfork export --keras M.keras`) instead, and prints what each makes of
images, a list [n][h][w][c] in JSON:
    KERAS_BACKEND=jax python3 scripts/keras_reference.py images.json M.keras M.h5
"""
import json
import os
import sys

import keras
import numpy as np
from keras import layers

FIXTURES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "test", "fixtures")
INPUT = (9, 8, 3)
IMAGES = 6


def sequential():
    """Names of one's own and Keras' own; activations inside and as layers; even kernels, whose "same" pads unevenly."""
    return keras.Sequential(
        [
            keras.Input(INPUT),
            layers.Rescaling(1 / 255),
            layers.Conv2D(4, (6, 6), padding="same", name="first"),
            layers.LeakyReLU(negative_slope=0.3),
            layers.Dropout(0.5),
            layers.Conv2D(5, 4, strides=(1, 2), padding="same", activation="relu"),
            layers.ZeroPadding2D(((0, 1), (2, 0))),
            layers.Conv2D(6, 3, use_bias=False),
            layers.ReLU(negative_slope=0.1),
            layers.MaxPooling2D((3, 2), strides=2, padding="same"),
            layers.Flatten(),
            layers.Dense(7, activation="relu"),
            layers.Dense(3, activation="softmax", name="head"),
        ]
    )


def functional():
    x = inputs = keras.Input(INPUT, name="pixels")
    x = layers.Conv2D(4, (4, 3), padding="same", dilation_rate=(2, 1), name="conv")(x)
    x = layers.Activation("leaky_relu", name="relu")(x)
    x = layers.Flatten(name="flat")(x)
    x = layers.Dense(3, name="logits")(x)
    return keras.Model(inputs, layers.Softmax(name="softmax")(x))


def randomize(model, random):
    """Biases start at zero, which would hide that they were lost."""
    model.set_weights([random.uniform(-0.35, 0.35, w.shape).astype(np.float32) for w in model.get_weights()])


def main():
    random = np.random.RandomState(1)
    images = random.randint(0, 256, (IMAGES, *INPUT)).astype(np.uint8)
    model, other = sequential(), functional()
    randomize(model, random)
    randomize(other, random)
    for name in ("keras.h5", "keras.keras"):
        model.save(os.path.join(FIXTURES, name))
    model.save_weights(os.path.join(FIXTURES, "keras.weights.h5"))
    other.save(os.path.join(FIXTURES, "keras_functional.keras"))
    pixels = images.astype(np.float32)
    outputs = {
        "made_by": f"scripts/keras_reference.py, Keras {keras.__version__} on {keras.backend.backend()}",
        "images": images.reshape(-1).tolist(),
        "sequential": np.asarray(model(pixels, training=False)).tolist(),
        "functional": np.asarray(other(pixels / 255, training=False)).tolist(),
    }
    print(outputs["sequential"], outputs["functional"])
    with open(os.path.join(FIXTURES, "keras_outputs.json"), "w") as file:
        json.dump(outputs, file)


def run(images, *paths):
    with open(images) as file:
        x = np.array(json.load(file), np.float32)
    models = [keras.models.load_model(path) for path in paths]
    print(json.dumps([np.asarray(model(x, training=False)).tolist() for model in models]))


if __name__ == "__main__":
    run(*sys.argv[1:]) if len(sys.argv) > 1 else main()
