"""An autoencoder of series: (n, 16, 4) in and out."""

from pathlib import Path

import numpy as np
import torch

from models.spec import ModelSpec, Samples, TensorSpec, Tolerance


class Autoencoder(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.down = torch.nn.Conv1d(4, 8, 4, stride=2, padding=1)
        self.up = torch.nn.ConvTranspose1d(8, 4, 4, stride=2, padding=1)

    def forward(self, series):
        return self.up(self.down(series.transpose(1, 2)).tanh()).transpose(1, 2)


def draw(seed):
    return Samples(np.random.default_rng(seed).normal(size=(80, 16, 4)).astype(np.float32))


MODEL = ModelSpec(
    name="series",
    inputs=(TensorSpec("series", "float32", (None, 16, 4)),),
    outputs=(TensorSpec("again", "float32", (None, 16, 4)),),
    labels=(),
    tolerance=Tolerance(1e-4, 1e-4),
    checkpoint=Path(__file__).with_suffix(".safetensors"),
    build_torch=Autoencoder,
    test_samples=lambda: draw(5),
    train_samples=lambda: draw(6),
)
