"""Ten small models as people write them, with random weights and no Keras twin: what the roads are tried on.

`python benchmarks/road_models.py FOLDER` writes each one's model file and checkpoint into `FOLDER`; a model
file is a few lines that call `spec_of` with its name.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_model
from torch import Tensor, nn

from models.spec import ModelSpec, Samples, TensorSpec, Tolerance
from models.tensors import Array, stacked

SAMPLES = 64
WORDS, CLASSES = 50, 4


class Cnn(nn.Module):
    """Convolution, batch normalisation, pooling, a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
        )  # fmt: skip
        self.head = nn.Linear(16, CLASSES)

    def forward(self, image: Tensor) -> Tensor:
        """Turn an image (n, 3, 16, 16) into logits."""
        logits: Tensor = self.head(self.features(image).flatten(1))
        return logits


class Depthwise(nn.Module):
    """MobileNet's block: expand, depthwise with stride, project, residual."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.expand = nn.Conv2d(8, 24, 1)
        self.depthwise = nn.Conv2d(24, 24, 3, padding=1, groups=24)
        self.project = nn.Conv2d(24, 8, 1)
        self.head = nn.Linear(8, CLASSES)

    def forward(self, image: Tensor) -> Tensor:
        """Turn an image (n, 3, 16, 16) into logits."""
        stem = nn.functional.hardswish(self.stem(image))
        inner = nn.functional.relu6(self.depthwise(nn.functional.relu6(self.expand(stem))))
        logits: Tensor = self.head((stem + self.project(inner)).mean((2, 3)))
        return logits


class Mlp(nn.Module):
    """Three linear layers with GELU, layer norm and dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(12, 32), nn.GELU(), nn.LayerNorm(32), nn.Dropout(0.2), nn.Linear(32, 32), nn.SiLU(),
            nn.Linear(32, CLASSES), nn.Softmax(-1),
        )  # fmt: skip

    def forward(self, row: Tensor) -> Tensor:
        """Turn a row (n, 12) into probabilities."""
        found: Tensor = self.layers(row)
        return found


class Lstm(nn.Module):
    """Two layers, both directions, the last state."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(6, 16, num_layers=2, batch_first=True, bidirectional=True)
        self.head = nn.Linear(32, CLASSES)

    def forward(self, series: Tensor) -> Tensor:
        """Turn a series (n, 20, 6) into logits."""
        outputs, _ = self.lstm(series)
        logits: Tensor = self.head(outputs[:, -1])
        return logits


class Gru(nn.Module):
    """One layer over a series."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(6, 16, batch_first=True)
        self.head = nn.Linear(16, CLASSES)

    def forward(self, series: Tensor) -> Tensor:
        """Turn a series (n, 20, 6) into logits."""
        _, state = self.gru(series)
        logits: Tensor = self.head(state[-1])
        return logits


class Transformer(nn.Module):
    """`nn.TransformerEncoder` as it comes, with learned positions."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(6, 16)
        self.positions = nn.Parameter(torch.randn(1, 20, 16) * 0.1)
        layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2)
        self.head = nn.Linear(16, CLASSES)

    def forward(self, series: Tensor) -> Tensor:
        """Turn a series (n, 20, 6) into logits."""
        logits: Tensor = self.head(self.encoder(self.embed(series) + self.positions).mean(1))
        return logits


class Autoencoder(nn.Module):
    """Strided convolutions down, transposed ones up."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Sequential(
            nn.Conv2d(1, 8, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(8, 4, 3, stride=2, padding=1)
        )
        self.up = nn.Sequential(
            nn.ConvTranspose2d(4, 8, 3, stride=2, padding=1, output_padding=1), nn.ReLU(),
            nn.ConvTranspose2d(8, 1, 4, stride=2, padding=1), nn.Sigmoid(),
        )  # fmt: skip

    def forward(self, image: Tensor) -> Tensor:
        """Turn an image (n, 1, 16, 16) into an image."""
        again: Tensor = self.up(self.down(image))
        return again


class TwoInputs(nn.Module):
    """An image and a table row, to scores and a quantity."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1)
        self.row = nn.Linear(5, 8)
        self.scores = nn.Linear(12, CLASSES)
        self.amount = nn.Linear(12, 1)

    def forward(self, image: Tensor, row: Tensor) -> dict[str, Tensor]:
        """Turn an image (n, 1, 8, 8) and a row (n, 5) into scores and an amount."""
        seen = torch.relu(self.conv(image)).amax((2, 3))
        both = torch.cat([seen, torch.tanh(self.row(row))], 1)
        return {"scores": self.scores(both), "amount": self.amount(both)}


class Regression(nn.Module):
    """A quantity from twelve others."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(12, 32), nn.Tanh(), nn.Linear(32, 1))

    def forward(self, row: Tensor) -> Tensor:
        """Turn a row (n, 12) into an amount (n, 1)."""
        amount: Tensor = self.layers(row) * 10
        return amount


class Text(nn.Module):
    """Tokens of any number: embedding, convolution over time, the largest of each feature."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(WORDS, 16)
        self.conv = nn.Conv1d(16, 16, 3, padding=1)
        self.head = nn.Linear(16, CLASSES)

    def forward(self, tokens: Tensor) -> Tensor:
        """Turn tokens (n, any) int64 into logits."""
        features = torch.relu(self.conv(self.embed(tokens).transpose(1, 2)))
        logits: Tensor = self.head(features.amax(-1))
        return logits


@dataclass(frozen=True)
class Kind:
    """One of the ten: its module, its inputs and its outputs (shapes without the batch)."""

    build: Callable[[], nn.Module]
    inputs: dict[str, tuple[int | None, ...]]
    outputs: dict[str, tuple[int | None, ...]]


LOGITS: dict[str, tuple[int | None, ...]] = {"logits": (CLASSES,)}
KINDS = {
    "cnn": Kind(Cnn, {"image": (3, 16, 16)}, LOGITS),
    "depthwise": Kind(Depthwise, {"image": (3, 16, 16)}, LOGITS),
    "mlp": Kind(Mlp, {"row": (12,)}, LOGITS),
    "lstm": Kind(Lstm, {"series": (20, 6)}, LOGITS),
    "gru": Kind(Gru, {"series": (20, 6)}, LOGITS),
    "transformer": Kind(Transformer, {"series": (20, 6)}, LOGITS),
    "autoencoder": Kind(Autoencoder, {"image": (1, 16, 16)}, {"again": (1, 16, 16)}),
    "image_and_row": Kind(
        TwoInputs, {"image": (1, 8, 8), "row": (5,)}, {"scores": (CLASSES,), "amount": (1,)}
    ),
    "regression": Kind(Regression, {"row": (12,)}, {"amount": (1,)}),
    "text": Kind(Text, {"tokens": (None,)}, LOGITS),
}


def spec_of(name: str, folder: Path) -> ModelSpec:
    """Return the spec of one of the ten with its checkpoint in `folder`."""
    kind = KINDS[name]
    dtype = "int64" if name == "text" else "float32"
    return ModelSpec(
        name=name,
        inputs=tuple(TensorSpec(key, dtype, (None, *shape)) for key, shape in kind.inputs.items()),
        outputs=tuple(TensorSpec(key, "float32", (None, *shape)) for key, shape in kind.outputs.items()),
        labels=(),
        tolerance=Tolerance(absolute=1e-4, relative=1e-4),
        checkpoint=folder / f"{name}.safetensors",
        build_torch=kind.build,
        test_samples=lambda: _samples(kind, 0),
        train_samples=lambda: _samples(kind, 1),
    )


def _samples(kind: Kind, seed: int) -> Samples:
    draw = np.random.default_rng(seed)
    named = {key: _drawn(draw, shape) for key, shape in kind.inputs.items()}
    return Samples(named if len(named) > 1 else next(iter(named.values())))


def _drawn(draw: np.random.Generator, shape: tuple[int | None, ...]) -> Array:
    if None in shape:
        return stacked([draw.integers(0, WORDS, int(size)) for size in draw.integers(5, 12, SAMPLES)])
    return draw.normal(size=(SAMPLES, *(size or 1 for size in shape))).astype(np.float32)


def write(name: str, folder: Path) -> Path:
    """Write one of the ten as a model file with its checkpoint; returns the file."""
    torch.manual_seed(0)
    module = KINDS[name].build().eval()
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.running_mean, -0.5, 0.5)  # type: ignore[arg-type]
            nn.init.uniform_(layer.running_var, 0.5, 2.0)  # type: ignore[arg-type]
    save_model(module, str(folder / f"{name}.safetensors"))
    # A model file finds what lies beside it.
    (folder / "road_models.py").write_text(Path(__file__).read_text())
    file = folder / f"{name}.py"
    file.write_text(
        "from pathlib import Path\n\nfrom road_models import spec_of\n\n"
        f'MODEL = spec_of("{name}", Path(__file__).parent)\n'
    )
    return file


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    for kind_name in KINDS:
        print(write(kind_name, target))
