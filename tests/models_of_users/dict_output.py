"""Scores, and the class as an int64: a dict in another order than the spec's."""

from pathlib import Path

import numpy as np
import torch

from models.spec import ModelSpec, Samples, TensorSpec, Tolerance


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(9)
        self.layer = torch.nn.Linear(6, 4)

    def forward(self, x):
        scores = self.layer(x)
        return {"best": scores.argmax(dim=1), "scores": scores}


def draw(seed):
    return Samples(np.random.default_rng(seed).normal(size=(50, 6)).astype(np.float32))


MODEL = ModelSpec(
    name="chooser",
    inputs=(TensorSpec("x", "float32", (None, 6)),),
    outputs=(TensorSpec("scores", "float32", (None, 4)), TensorSpec("best", "int64", (None,))),
    labels=(),
    tolerance=Tolerance(1e-4, 1e-4),
    checkpoint=Path(__file__).with_suffix(".safetensors"),
    build_torch=Net,
    test_samples=lambda: draw(14),
    train_samples=lambda: draw(15),
)
