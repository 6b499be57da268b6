"""Training from scratch: seeded, single-threaded so that it gives the same bits every time."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from models import training
from models.digits_cnn.data import SPLIT_SEED
from models.training import Plan
from models.two_inputs.data import TERMS_SEED, test_samples, train_samples
from models.two_inputs.torch_model import AMOUNT_MAX, OrderForm

PLAN = Plan(epochs=60, learning_rate=4e-3)


def train(checkpoint: Path, progress: Callable[[str], None]) -> dict[str, Any]:
    """Train, write `checkpoint` (safetensors) atomically, and return the training record."""
    started = time.monotonic()
    samples, held_out = train_samples(), test_samples()
    image, terms = (torch.from_numpy(samples.inputs[name]) for name in ("image", "terms"))
    digits = torch.from_numpy(samples.labels["logits"])
    amounts = torch.from_numpy(samples.labels["amount"])

    def batches(plan: Plan) -> Sequence[torch.Tensor]:
        return training.shuffled(len(image), plan.batch_size)

    def loss_of(model: nn.Module, batch: torch.Tensor) -> torch.Tensor:
        logits, amount = model(image[batch], terms[batch])
        off = functional.smooth_l1_loss(amount / AMOUNT_MAX, amounts[batch] / AMOUNT_MAX, beta=0.02)
        return functional.cross_entropy(logits, digits[batch]) + 5 * off

    with training.one_thread():
        model = training.fit(OrderForm, batches, loss_of, PLAN, progress)
        with torch.inference_mode():
            logits, amount = model(*(torch.from_numpy(held_out.inputs[name]) for name in ("image", "terms")))
        training.write_checkpoint(model, checkpoint)
    off = amount.numpy() - held_out.labels["amount"]
    return training.record(
        "two_inputs",
        PLAN,
        started,
        data="scikit-learn load_digits (UCI handwritten digits), with prices and discounts drawn at random",
        train_count=len(samples),
        test_count=len(held_out),
        split_seed=SPLIT_SEED,
        terms_seed=TERMS_SEED,
        test_accuracy=float((logits.argmax(1).numpy() == held_out.labels["logits"]).mean()),
        test_amount_rmse=float((off**2).mean() ** 0.5),
    )
