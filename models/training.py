"""What the trainings of this package share: one thread, a fixed seed, a checkpoint that is whole."""

import platform
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn


@dataclass(frozen=True)
class Plan:
    """How long and how fast a model is trained."""

    epochs: int
    batch_size: int = 32
    learning_rate: float = 3e-3
    weight_decay: float = 1e-4
    seed: int = 7


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute with one thread, so that the same seed gives the same bits."""
    threads_count = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads_count)


def fit(
    build: Callable[[], nn.Module],
    batches: Callable[[Plan], Sequence[Any]],
    loss_of: Callable[[nn.Module, Any], torch.Tensor],
    plan: Plan,
    progress: Callable[[str], None],
) -> nn.Module:
    """Build a model and train it with AdamW and a one-cycle learning rate; returns it in evaluation mode.

    Args:
        build: makes the untrained model.
        batches: draws an epoch's batches anew, each anything that `loss_of` takes; always equally many.
        loss_of: the loss, a scalar, of a batch.
    """
    torch.manual_seed(plan.seed)
    model = build()
    optimizer = torch.optim.AdamW(model.parameters(), lr=plan.learning_rate, weight_decay=plan.weight_decay)
    steps = plan.epochs * len(batches(plan))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, plan.learning_rate, total_steps=steps)
    for epoch in range(plan.epochs):
        model.train()
        for batch in batches(plan):
            loss = loss_of(model, batch)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
        progress(f"epoch {epoch + 1}/{plan.epochs}, last loss {loss.item():.4f}")
    return model.eval()


def shuffled(count: int, size: int) -> list[torch.Tensor]:
    """Return the places of `count` samples in random order, in batches of `size`."""
    return list(torch.randperm(count).split(size))  # type: ignore[no-untyped-call]


def write_checkpoint(model: nn.Module, checkpoint: Path) -> None:
    """Write the state dict as safetensors, in the order of shapes; the file is whole or as it was."""
    from safetensors.torch import save_file

    state = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    with tempfile.TemporaryDirectory(dir=checkpoint.parent, prefix=".train-") as folder:
        temporary = Path(folder) / checkpoint.name
        save_file(state, temporary)
        temporary.chmod(0o644)
        temporary.replace(checkpoint)


def record(model: str, plan: Plan, started: float, **facts: Any) -> dict[str, Any]:
    """Make the record of a training that began at `started` (`time.monotonic`), with seconds and versions."""
    return {
        "model": model,
        **facts,
        "seed": plan.seed,
        "epochs": plan.epochs,
        "batch_size": plan.batch_size,
        "learning_rate": plan.learning_rate,
        "weight_decay": plan.weight_decay,
        "train_s": round(time.monotonic() - started, 2),
        "versions": {"python": platform.python_version(), "torch": str(torch.__version__)},
    }
