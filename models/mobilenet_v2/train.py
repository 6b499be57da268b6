"""Training from scratch in minutes: seeded and single-threaded, so that it gives the same bits every time."""

import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from models.digits_cnn.data import SPLIT_SEED
from models.digits_cnn.data import train_samples as train_digits
from models.mobilenet_v2.data import test_samples, upscale
from models.mobilenet_v2.torch_model import MobileNetV2
from models.spec import Samples
from models.training import one_thread, write_checkpoint

SEED = 7
BATCH_SIZE = 32
LEARNING_RATE = 2e-3
WEIGHT_DECAY = 0.05
LABEL_SMOOTHING = 0.05
SHIFT_FRACTION = 12  # images move by up to a twelfth of their side: two thirds of a pixel of the original


@dataclass(frozen=True)
class Stage:
    """So many epochs on images of this side, in pixels."""

    side: int
    epochs: int


# Small images first, as an epoch costs what its pixels cost; the last epochs see the size that is served.
STAGES = (Stage(48, 18), Stage(96, 8))


def train(checkpoint: Path, progress: Callable[[str], None]) -> dict[str, Any]:
    """Train, write `checkpoint` (safetensors) atomically, and return the training record.

    The record has seed, split, settings, test accuracy, versions, and seconds: by the clock and of processor
    time, which is what a machine of its own would take.
    """
    started, cpu_started = time.monotonic(), time.process_time()
    digits, held_out = train_digits(), test_samples()
    model = fit(digits, STAGES, progress)
    accuracy = _accuracy(model, held_out)
    write_checkpoint(model, checkpoint)
    return {
        "model": "mobilenet_v2",
        "data": "scikit-learn load_digits (UCI handwritten digits), upscaled to 96x96x3",
        "train_count": len(digits),
        "test_count": len(held_out),
        "split_seed": SPLIT_SEED,
        "seed": SEED,
        "stages": [asdict(stage) for stage in STAGES],
        "batch_size": BATCH_SIZE,
        "learning_rate": LEARNING_RATE,
        "weight_decay": WEIGHT_DECAY,
        "label_smoothing": LABEL_SMOOTHING,
        "test_accuracy": accuracy,
        "train_s": round(time.monotonic() - started, 2),
        "train_cpu_s": round(time.process_time() - cpu_started, 2),
        "versions": {"python": platform.python_version(), "torch": str(torch.__version__)},
    }


@one_thread()
def fit(digits: Samples, stages: Sequence[Stage], progress: Callable[[str], None]) -> MobileNetV2:
    """Train a network on `digits` ((n, 8, 8, 1), as `digits_cnn` has them); return it in evaluation mode."""
    torch.manual_seed(SEED)
    model = MobileNetV2()
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    labels = torch.from_numpy(digits.labels)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        LEARNING_RATE,
        total_steps=sum(stage.epochs for stage in stages) * -(-len(digits) // BATCH_SIZE),
    )
    clock = _Clock(stages)
    for stage in stages:
        images = torch.from_numpy(upscale(digits.inputs, stage.side))
        for _ in range(stage.epochs):
            model.train()
            for batch in torch.randperm(len(images)).split(BATCH_SIZE):  # type: ignore[no-untyped-call]
                logits = model(_shifted(images[batch]))
                loss = functional.cross_entropy(logits, labels[batch], label_smoothing=LABEL_SMOOTHING)
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                schedule.step()
            progress(f"{clock.epoch_done(stage)}, last loss {loss.item():.4f}")
    progress("settling the normalisation statistics")
    _settle_statistics(model, images)
    model.eval()
    return model


def _shifted(images: torch.Tensor) -> torch.Tensor:
    """Move each image (n, side, side, 3) by a random whole number of pixels; what comes in is background."""
    side = images.shape[1]
    most = side // SHIFT_FRACTION
    padded = functional.pad(images, (0, 0, most, most, most, most))
    corners = torch.randint(0, 2 * most + 1, (len(images), 2)).tolist()
    return torch.stack([p[y : y + side, x : x + side] for p, (y, x) in zip(padded, corners, strict=True)])


def _settle_statistics(model: nn.Module, images: torch.Tensor) -> None:
    """Take means and variances anew, over all of `images` and the final weights, each batch counting alike.

    The running averages of training lag behind the weights and remember moved images. Integer arithmetic,
    which has no room for a badly scaled channel, feels that first.
    """
    norms = [layer for layer in model.modules() if isinstance(layer, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
    model.train()
    with torch.no_grad():
        for batch in torch.randperm(len(images)).split(BATCH_SIZE * 4):  # type: ignore[no-untyped-call]
            model(images[batch])


class _Clock:
    """Says which epoch is done and, from the pixels done and to do, how long the rest will take."""

    def __init__(self, stages: Sequence[Stage]) -> None:
        self._epochs = sum(stage.epochs for stage in stages)
        self._pixels = sum(stage.epochs * stage.side**2 for stage in stages)
        self._started = time.monotonic()
        self._epochs_done = self._pixels_done = 0

    def epoch_done(self, stage: Stage) -> str:
        """Count one epoch of `stage`."""
        self._epochs_done += 1
        self._pixels_done += stage.side**2
        rest = self._pixels - self._pixels_done
        left_s = (time.monotonic() - self._started) * rest / self._pixels_done
        size = f"{stage.side}x{stage.side}"
        return f"epoch {self._epochs_done}/{self._epochs} at {size}, about {left_s:.0f} s left"


def _accuracy(model: MobileNetV2, samples: Samples) -> float:
    with torch.inference_mode():
        batches = torch.from_numpy(samples.inputs).split(BATCH_SIZE)  # type: ignore[no-untyped-call]
        predicted = torch.cat([model(batch).argmax(1) for batch in batches]).numpy()
    return float((predicted == samples.labels).mean())
