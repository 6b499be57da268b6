"""A recurrent network that says what a line of text is: English prose, Python or Cython; any length."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.spec import FloatArray, ModelSpec, TensorSpec, Tolerance
from models.text_gru.data import KINDS, test_samples, train_samples
from models.text_gru.recipe import RECIPE

if TYPE_CHECKING:
    import torch

HERE = Path(__file__).parent


def build_torch() -> "torch.nn.Module":
    """Build the architecture in PyTorch, untrained."""
    from models.text_gru.torch_model import TextGru

    return TextGru()


def build_keras(state: Mapping[str, FloatArray]) -> Any:
    """Build the Keras twin with the checkpoint's weights."""
    from models.text_gru.keras_model import build

    return build(state)


def train(checkpoint: Path, progress: Callable[[str], None]) -> dict[str, Any]:
    """Train from scratch; returns the training record."""
    from models.text_gru.train import train as run

    return run(checkpoint, progress)


MODEL = ModelSpec(
    name="text_gru",
    inputs=(TensorSpec("characters", "int64", (None, None)),),
    outputs=(TensorSpec("logits", "float32", (None, len(KINDS))),),
    labels=KINDS,
    tolerance=Tolerance(absolute=1e-4, relative=1e-4),
    checkpoint=HERE / "checkpoint.safetensors",
    build_torch=build_torch,
    test_samples=test_samples,
    train_samples=train_samples,
    build_keras=build_keras,
    train=train,
    recipe=RECIPE,
    sources=(HERE / "torch_model.py",),
    task="classes",
)
