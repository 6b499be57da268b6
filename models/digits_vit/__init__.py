"""A small vision transformer on scikit-learn's handwritten digits: attention and layer normalisation."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.digits_cnn.data import test_samples, train_samples
from models.spec import ModelSpec, TensorSpec, Tolerance

if TYPE_CHECKING:
    import torch

HERE = Path(__file__).parent


def build_torch() -> "torch.nn.Module":
    """Build the architecture in PyTorch, untrained."""
    from models.digits_vit.torch_model import DigitsVit

    return DigitsVit()


def train(checkpoint: Path, progress: Callable[[str], None]) -> dict[str, Any]:
    """Train from scratch; returns the training record."""
    from models.digits_vit.train import train as run

    return run(checkpoint, progress)


MODEL = ModelSpec(
    name="digits_vit",
    inputs=(TensorSpec("image", "float32", (None, 8, 8, 1)),),
    outputs=(TensorSpec("logits", "float32", (None, 10)),),
    labels=tuple("0123456789"),
    tolerance=Tolerance(absolute=1e-4, relative=1e-4),
    checkpoint=HERE / "checkpoint.safetensors",
    build_torch=build_torch,
    test_samples=test_samples,
    train_samples=train_samples,
    train=train,
    sources=(HERE / "torch_model.py",),
    task="classes",
)
