"""Training from scratch: seeded, single-threaded so that it gives the same bits every time."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from models import tensors, training
from models.text_gru.data import SEED, test_samples, train_samples
from models.text_gru.torch_model import TextGru
from models.training import Plan

PLAN = Plan(epochs=20, learning_rate=8e-3)


def train(checkpoint: Path, progress: Callable[[str], None]) -> dict[str, Any]:
    """Train, write `checkpoint` (safetensors) atomically, and return the training record."""
    started = time.monotonic()
    samples, held_out = train_samples(), test_samples()
    lengths = np.array([len(line) for line in samples.inputs])
    labels = torch.from_numpy(samples.labels)

    def batches(plan: Plan) -> Sequence[list[int]]:
        """Return batches of lines of similar length."""
        order = np.argsort(
            lengths + np.random.default_rng(int(torch.randint(2**31, (1,)))).random(len(lengths))
        )
        parts = np.array_split(order, -(-len(order) // plan.batch_size))
        return [parts[place].tolist() for place in torch.randperm(len(parts)).tolist()]

    def loss_of(model: nn.Module, batch: list[int]) -> torch.Tensor:
        shortest = min(lengths[batch])
        lines = torch.from_numpy(np.stack([samples.inputs[place][:shortest] for place in batch]))
        return functional.cross_entropy(model(lines), labels[batch])

    with training.one_thread():
        model = training.fit(TextGru, batches, loss_of, PLAN, progress)
        given = {"characters": tensors.stacked(held_out.inputs)}
        with torch.inference_mode():
            logits = tensors.ask(
                lambda batch: {"logits": model(torch.from_numpy(batch["characters"])).numpy()}, given, 32
            )["logits"]
        training.write_checkpoint(model, checkpoint)
    return training.record(
        "text_gru",
        PLAN,
        started,
        data="lines of text inside scikit-learn: descriptions of data sets, Python, Cython",
        train_count=len(samples),
        test_count=len(held_out),
        split_seed=SEED,
        test_accuracy=float((logits.argmax(1) == held_out.labels).mean()),
    )
