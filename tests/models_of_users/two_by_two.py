"""An image and a table in, a class and a price out, as a nested tuple."""

from pathlib import Path

import numpy as np
import torch

from models.spec import ModelSpec, Samples, TensorSpec, Tolerance


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(8)
        self.conv, self.table = torch.nn.Conv2d(1, 6, 3), torch.nn.Linear(4, 6)
        self.kind, self.price = torch.nn.Linear(12, 3), torch.nn.Linear(12, 1)

    def forward(self, image, table):
        seen = self.conv(image.permute(0, 3, 1, 2)).relu().amax(dim=(2, 3))
        both = torch.cat([seen, self.table(table).tanh()], dim=1)
        return self.kind(both), (self.price(both),)


def draw(seed):
    random = np.random.default_rng(seed)
    shapes = {"image": (60, 8, 8, 1), "table": (60, 4)}
    return Samples({name: random.normal(size=s).astype(np.float32) for name, s in shapes.items()})


MODEL = ModelSpec(
    name="house",
    inputs=(TensorSpec("image", "float32", (None, 8, 8, 1)), TensorSpec("table", "float32", (None, 4))),
    outputs=(TensorSpec("kind", "float32", (None, 3)), TensorSpec("price", "float32", (None, 1))),
    labels={"kind": ("flat", "house", "castle")},
    tolerance=Tolerance(1e-4, 1e-4),
    checkpoint=Path(__file__).with_suffix(".safetensors"),
    build_torch=Net,
    test_samples=lambda: draw(12),
    train_samples=lambda: draw(13),
)
