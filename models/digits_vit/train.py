"""Training from scratch: seeded, single-threaded so that it gives the same bits every time."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from models import training
from models.digits_cnn.data import SPLIT_SEED, test_samples, train_samples
from models.digits_vit.torch_model import DigitsVit
from models.training import Plan

PLAN = Plan(epochs=60, learning_rate=3e-3, weight_decay=1e-2)


def train(checkpoint: Path, progress: Callable[[str], None]) -> dict[str, Any]:
    """Train, write `checkpoint` (safetensors) atomically, and return the training record."""
    started = time.monotonic()
    samples, held_out = train_samples(), test_samples()
    images, labels = torch.from_numpy(samples.inputs), torch.from_numpy(samples.labels)

    def batches(plan: Plan) -> Sequence[torch.Tensor]:
        return training.shuffled(len(images), plan.batch_size)

    def loss_of(model: nn.Module, batch: torch.Tensor) -> torch.Tensor:
        # Writers do not centre their digits to the pixel.
        moves = torch.randint(-1, 2, (2,)).tolist()
        return functional.cross_entropy(model(images[batch].roll(moves, dims=(1, 2))), labels[batch])

    with training.one_thread():
        model = training.fit(DigitsVit, batches, loss_of, PLAN, progress)
        with torch.inference_mode():
            predicted = model(torch.from_numpy(held_out.inputs)).argmax(1).numpy()
        training.write_checkpoint(model, checkpoint)
    return training.record(
        "digits_vit",
        PLAN,
        started,
        data="scikit-learn load_digits (UCI handwritten digits)",
        train_count=len(samples),
        test_count=len(held_out),
        split_seed=SPLIT_SEED,
        test_accuracy=float((predicted == held_out.labels).mean()),
    )
