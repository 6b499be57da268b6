"""A price from six numbers: one output column of quantities."""

from pathlib import Path

import numpy as np

from models.spec import ModelSpec, Samples, TensorSpec, Tolerance


def build_torch():
    import torch

    torch.manual_seed(1)
    layers = [torch.nn.Linear(6, 32), torch.nn.ReLU(), torch.nn.Linear(32, 1)]
    return torch.nn.Sequential(*layers)


def draw(seed, count):
    features = np.random.default_rng(seed).normal(size=(count, 6)).astype(np.float32)
    prices = features @ np.array([[3], [-2], [1], [0.5], [0], [4]], np.float32)
    return Samples(features, prices)


MODEL = ModelSpec(
    name="price",
    inputs=(TensorSpec("features", "float32", (None, 6)),),
    outputs=(TensorSpec("price", "float32", (None, 1)),),
    labels=(),
    tolerance=Tolerance(1e-4, 1e-4),
    checkpoint=Path(__file__).with_suffix(".safetensors"),
    build_torch=build_torch,
    test_samples=lambda: draw(1, 100),
    train_samples=lambda: draw(2, 100),
)
