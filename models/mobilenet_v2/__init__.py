"""MobileNetV2 at width 1.0 on upscaled handwritten digits: the size phones run, trained in minutes."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.mobilenet_v2.layout import CLASSES, SIDE
from models.spec import FloatArray, ModelSpec, TensorSpec, Tolerance

if TYPE_CHECKING:
    import torch

from models.mobilenet_v2.data import CHANNELS, test_samples, train_samples
from models.mobilenet_v2.recipe import RECIPE

HERE = Path(__file__).parent


def build_torch() -> "torch.nn.Module":
    """Build the architecture in PyTorch, untrained."""
    from models.mobilenet_v2.torch_model import MobileNetV2

    return MobileNetV2()


def build_keras(state: Mapping[str, FloatArray]) -> Any:
    """Build the Keras twin with the checkpoint's weights."""
    from models.mobilenet_v2.keras_model import build

    return build(state)


def train(checkpoint: Path, progress: Callable[[str], None]) -> dict[str, Any]:
    """Train from scratch; returns the training record."""
    from models.mobilenet_v2.train import train as run

    return run(checkpoint, progress)


MODEL = ModelSpec(
    name="mobilenet_v2",
    inputs=(TensorSpec("image", "float32", (None, SIDE, SIDE, CHANNELS)),),
    outputs=(TensorSpec("logits", "float32", (None, CLASSES)),),
    labels=tuple("0123456789"),
    # Logits span -4 to 7. Both frameworks compute in float32 and sum in different orders through 53 layers:
    # on the held-out samples the twin was at most 6e-6 from the source model, frozen and in TFLite 1.1e-5.
    tolerance=Tolerance(absolute=1e-4, relative=1e-4),
    checkpoint=HERE / "checkpoint.safetensors",
    build_torch=build_torch,
    test_samples=test_samples,
    train_samples=train_samples,
    build_keras=build_keras,
    train=train,
    recipe=RECIPE,
    sources=(HERE / "torch_model.py", HERE / "layout.py"),
)
