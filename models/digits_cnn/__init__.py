"""A small convolutional network on scikit-learn's handwritten digits: real data, trained in seconds."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.spec import FloatArray, ModelSpec, TensorSpec, Tolerance

if TYPE_CHECKING:
    import torch

from models.digits_cnn.data import test_samples, train_samples
from models.digits_cnn.recipe import RECIPE

HERE = Path(__file__).parent


def build_torch() -> "torch.nn.Module":
    """Build the architecture in PyTorch, untrained."""
    from models.digits_cnn.torch_model import DigitsCnn

    return DigitsCnn()


def build_keras(state: Mapping[str, FloatArray]) -> Any:
    """Build the Keras twin with the checkpoint's weights."""
    from models.digits_cnn.keras_model import build

    return build(state)


def train(checkpoint: Path, progress: Callable[[str], None]) -> dict[str, Any]:
    """Train from scratch; returns the training record."""
    from models.digits_cnn.train import train as run

    return run(checkpoint, progress)


MODEL = ModelSpec(
    name="digits_cnn",
    inputs=(TensorSpec("image", "float32", (None, 8, 8, 1)),),
    outputs=(TensorSpec("logits", "float32", (None, 10)),),
    labels=tuple("0123456789"),
    # Logits span about ±30; both frameworks compute in float32 and differ in summation order only.
    tolerance=Tolerance(absolute=1e-4, relative=1e-4),
    checkpoint=HERE / "checkpoint.safetensors",
    build_torch=build_torch,
    test_samples=test_samples,
    train_samples=train_samples,
    build_keras=build_keras,
    train=train,
    recipe=RECIPE,
    sources=(HERE / "torch_model.py",),
)
