"""torch's own TransformerEncoder, whose fast path no exporter can follow."""

from pathlib import Path

import numpy as np
import torch

from models.spec import ModelSpec, Samples, TensorSpec, Tolerance


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(5)
        layer = torch.nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)
        self.encoder = torch.nn.TransformerEncoder(layer, 1)
        self.head = torch.nn.Linear(16, 5)

    def forward(self, patches):
        return self.head(self.encoder(patches).mean(dim=1))


def draw(seed):
    return Samples(np.random.default_rng(seed).normal(size=(60, 10, 16)).astype(np.float32))


MODEL = ModelSpec(
    name="patches",
    inputs=(TensorSpec("patches", "float32", (None, 10, 16)),),
    outputs=(TensorSpec("scores", "float32", (None, 5)),),
    labels=(),
    tolerance=Tolerance(1e-4, 1e-4),
    checkpoint=Path(__file__).with_suffix(".safetensors"),
    build_torch=Net,
    test_samples=lambda: draw(7),
    train_samples=lambda: draw(8),
)
