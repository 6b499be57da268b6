"""Sentences of different lengths as int64 tokens, through an LSTM."""

from pathlib import Path

import numpy as np
import torch

from models.spec import ModelSpec, Samples, TensorSpec, Tolerance


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(4)
        self.embed = torch.nn.Embedding(50, 16)
        self.lstm = torch.nn.LSTM(16, 24, batch_first=True)
        self.head = torch.nn.Linear(24, 3)

    def forward(self, tokens):
        states, _ = self.lstm(self.embed(tokens))
        return self.head(states.mean(dim=1) * 4)


def draw():
    random = np.random.default_rng(5)
    return Samples([random.integers(0, 50, length, np.int64) for length in random.integers(3, 12, 40)])


MODEL = ModelSpec(
    name="mood",
    inputs=TensorSpec("tokens", "int64", (None, None)),
    outputs=TensorSpec("scores", "float32", (None, 3)),
    labels=("bad", "fair", "good"),
    tolerance=Tolerance(1e-4, 1e-4),
    checkpoint=Path(__file__).with_suffix(".safetensors"),
    build_torch=Net,
    test_samples=draw,
)
