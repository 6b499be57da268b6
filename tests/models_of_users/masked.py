"""Tokens and a mask that share a dynamic length; a value per position and one per sentence."""

from pathlib import Path

import numpy as np
import torch

from models.spec import ModelSpec, Samples, TensorSpec, Tolerance


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(10)
        self.embed, self.tag = torch.nn.Embedding(30, 8), torch.nn.Linear(8, 2)

    def forward(self, tokens, mask):
        tags = self.tag(self.embed(tokens)) * mask.unsqueeze(-1)
        return tags, tags.sum(dim=1) / mask.sum(dim=1, keepdim=True).clamp(min=1)


def draw():
    random, lengths = np.random.default_rng(16), np.random.default_rng(17).integers(2, 9, 40)
    tokens = [random.integers(0, 30, length).astype(np.int32) for length in lengths]
    return Samples({"tokens": tokens, "mask": [random.random(length) < 0.8 for length in lengths]})


MODEL = ModelSpec(
    name="tags",
    inputs=(TensorSpec("tokens", "int32", (None, None)), TensorSpec("mask", "bool", (None, None))),
    outputs=(TensorSpec("tags", "float32", (None, None, 2)), TensorSpec("mean", "float32", (None, 2))),
    labels=(),
    tolerance=Tolerance(1e-4, 1e-4),
    checkpoint=Path(__file__).with_suffix(".safetensors"),
    build_torch=Net,
    test_samples=draw,
)
