"""Weights kept as bfloat16, computed in float32."""

from pathlib import Path

import numpy as np

from models.spec import ModelSpec, Samples, TensorSpec, Tolerance


def build_torch():
    import torch

    torch.manual_seed(6)
    return torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.GELU(), torch.nn.Linear(16, 3))


def draw():
    return Samples(np.random.default_rng(9).normal(size=(50, 8)).astype(np.float32))


MODEL = ModelSpec(
    name="half",
    inputs=(TensorSpec("x", "float32", (None, 8)),),
    outputs=(TensorSpec("y", "float32", (None, 3)),),
    labels=(),
    tolerance=Tolerance(1e-4, 1e-4),
    checkpoint=Path(__file__).with_suffix(".safetensors"),
    build_torch=build_torch,
    test_samples=draw,
)
