"""A perceptron on thirty measurements of a biopsy: tiny payloads, one output column."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.spec import ModelSpec, TensorSpec, Tolerance
from models.tabular_mlp.data import FEATURES, test_samples, train_samples

if TYPE_CHECKING:
    import torch

HERE = Path(__file__).parent


def build_torch() -> "torch.nn.Module":
    """Build the architecture in PyTorch, untrained."""
    from models.tabular_mlp.torch_model import TabularMlp

    return TabularMlp()


def train(checkpoint: Path, progress: Callable[[str], None]) -> dict[str, Any]:
    """Train from scratch; returns the training record."""
    from models.tabular_mlp.train import train as run

    return run(checkpoint, progress)


MODEL = ModelSpec(
    name="tabular_mlp",
    inputs=(TensorSpec("measurements", "float32", (None, FEATURES)),),
    outputs=(TensorSpec("benign", "float32", (None, 1)),),
    labels=("malignant", "benign"),
    # A probability: an error of 1e-5 is one hundred-thousandth of the scale.
    tolerance=Tolerance(absolute=1e-5, relative=1e-4),
    checkpoint=HERE / "checkpoint.safetensors",
    build_torch=build_torch,
    test_samples=test_samples,
    train_samples=train_samples,
    train=train,
    sources=(HERE / "torch_model.py",),
    task="classes",
)
