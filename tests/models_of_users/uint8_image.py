"""Pixels as a camera gives them: uint8, scaled inside the model; classes without training samples."""

from pathlib import Path

import numpy as np
import torch

from models.spec import ModelSpec, Samples, TensorSpec, Tolerance


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(2)
        self.conv = torch.nn.Conv2d(3, 8, 3)
        self.head = torch.nn.Linear(8, 4)

    def forward(self, image):
        x = (image.float() / 127.5 - 1).permute(0, 3, 1, 2)
        return self.head(self.conv(x).relu().mean(dim=(2, 3)))


def draw():
    flat = np.random.default_rng(3).integers(0, 256, (64, 1, 1, 3), np.uint8)
    noise = np.random.default_rng(4).integers(0, 40, (64, 12, 12, 3), np.uint8)
    return Samples(np.maximum(flat, noise), None)


MODEL = ModelSpec(
    name="camera",
    inputs=TensorSpec("image", "uint8", (None, 12, 12, 3)),
    outputs=TensorSpec("scores", "float32", (None, 4)),
    labels=("cat", "dog", "hen", "fox"),
    tolerance=Tolerance(1e-4, 1e-4),
    checkpoint=Path(__file__).with_suffix(".safetensors"),
    build_torch=Net,
    test_samples=draw,
)
