"""Training from scratch: seeded, single-threaded so that it gives the same bits every time, seconds long."""

import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from models.digits_cnn.data import SPLIT_SEED, test_samples, train_samples
from models.digits_cnn.torch_model import DigitsCnn
from models.spec import Samples
from models.training import one_thread, write_checkpoint

SEED = 7
EPOCHS = 30
BATCH_SIZE = 32
LEARNING_RATE = 3e-3
WEIGHT_DECAY = 1e-4


def train(checkpoint: Path, progress: Callable[[str], None]) -> dict[str, Any]:
    """Train, write `checkpoint` (safetensors) atomically, and return the training record.

    The record has seed, split, settings, test accuracy, seconds and versions.
    """
    with one_thread():
        started = time.monotonic()
        model = _fit(train_samples(), progress)
        accuracy = _accuracy(model, test_samples())
        write_checkpoint(model, checkpoint)
    return {
        "model": "digits_cnn",
        "data": "scikit-learn load_digits (UCI handwritten digits)",
        "train_count": len(train_samples()),
        "test_count": len(test_samples()),
        "split_seed": SPLIT_SEED,
        "seed": SEED,
        "epochs": EPOCHS,
        "batch_size": BATCH_SIZE,
        "learning_rate": LEARNING_RATE,
        "weight_decay": WEIGHT_DECAY,
        "test_accuracy": accuracy,
        "train_s": round(time.monotonic() - started, 2),
        "versions": {"python": platform.python_version(), "torch": str(torch.__version__)},
    }


def _fit(samples: Samples, progress: Callable[[str], None]) -> DigitsCnn:
    torch.manual_seed(SEED)
    model = DigitsCnn()
    images, labels = torch.from_numpy(samples.inputs), torch.from_numpy(samples.labels)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    batches_count = -(-len(images) // BATCH_SIZE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, LEARNING_RATE, total_steps=EPOCHS * batches_count
    )
    for epoch in range(EPOCHS):
        model.train()
        for batch in torch.randperm(len(images)).split(BATCH_SIZE):  # type: ignore[no-untyped-call]
            loss = functional.cross_entropy(model(images[batch]), labels[batch])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
        progress(f"epoch {epoch + 1}/{EPOCHS}, last loss {loss.item():.4f}")
    return model.eval()


def _accuracy(model: DigitsCnn, samples: Samples) -> float:
    with torch.inference_mode():
        predicted = model(torch.from_numpy(samples.inputs)).argmax(1).numpy()
    return float((predicted == samples.labels).mean())
