"""An order form: a handwritten quantity beside a price and a discount; two inputs, two outputs."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.spec import ModelSpec, TensorSpec, Tolerance
from models.two_inputs.data import test_samples, train_samples

if TYPE_CHECKING:
    import torch

HERE = Path(__file__).parent


def build_torch() -> "torch.nn.Module":
    """Build the architecture in PyTorch, untrained."""
    from models.two_inputs.torch_model import OrderForm

    return OrderForm()


def train(checkpoint: Path, progress: Callable[[str], None]) -> dict[str, Any]:
    """Train from scratch; returns the training record."""
    from models.two_inputs.train import train as run

    return run(checkpoint, progress)


MODEL = ModelSpec(
    name="two_inputs",
    inputs=(
        TensorSpec("image", "float32", (None, 8, 8, 1)),
        TensorSpec("terms", "float32", (None, 2)),
    ),
    outputs=(TensorSpec("logits", "float32", (None, 10)), TensorSpec("amount", "float32", (None, 1))),
    labels={"logits": tuple("0123456789"), "amount": ("amount",)},
    tolerance={
        "logits": Tolerance(absolute=1e-4, relative=1e-4),
        # Amounts reach 90: a hundredth of a cent.
        "amount": Tolerance(absolute=1e-3, relative=1e-4),
    },
    checkpoint=HERE / "checkpoint.safetensors",
    build_torch=build_torch,
    test_samples=test_samples,
    train_samples=train_samples,
    train=train,
    sources=(HERE / "torch_model.py",),
    task={"logits": "classes", "amount": "regression"},
)
