"""A physicist's model: float64 from end to end."""

from pathlib import Path

import numpy as np

from models.spec import ModelSpec, Samples, TensorSpec, Tolerance


def build_torch():
    import torch

    torch.manual_seed(7)
    return torch.nn.Sequential(torch.nn.Linear(5, 20), torch.nn.Tanh(), torch.nn.Linear(20, 2)).double()


def draw(seed):
    return Samples(np.random.default_rng(seed).normal(size=(50, 5)))


MODEL = ModelSpec(
    name="orbit",
    inputs=(TensorSpec("state", "float64", (None, 5)),),
    outputs=(TensorSpec("next", "float64", (None, 2)),),
    labels=(),
    tolerance=Tolerance(1e-6, 1e-6),
    checkpoint=Path(__file__).with_suffix(".safetensors"),
    build_torch=build_torch,
    test_samples=lambda: draw(10),
    train_samples=lambda: draw(11),
)
