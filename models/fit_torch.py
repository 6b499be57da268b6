"""Training by a recipe in PyTorch: the loop of its own tutorials, eager, on a number of threads."""

import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

from models.recipe import EPSILON, Fitted, Predict, Progress, Session
from models.spec import FloatArray, ModelSpec


def initial_state(spec: ModelSpec, seed: int) -> dict[str, FloatArray]:
    """Return the weights that an untrained model of that seed has, by name."""
    torch.manual_seed(seed)
    return {name: tensor.numpy().copy() for name, tensor in spec.build_torch().state_dict().items()}


def fit(
    spec: ModelSpec,
    state: Mapping[str, FloatArray],
    session: Session,
    threads_count: int,
    progress: Progress,
    ready: Callable[[], None],
) -> tuple[Fitted, Predict, nn.Module]:
    """Train from `state`; returns what it took, the trained model as a function, and the model.

    `ready` is called when everything is in memory and before the first step. Dropout is off: the Keras
    twin has none, and the two frameworks' random numbers differ.
    """
    torch.set_num_threads(threads_count)
    model = spec.build_torch()
    model.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in state.items()})
    for layer in model.modules():
        if isinstance(layer, nn.Dropout):
            layer.p = 0.0
    recipe, rates = session.recipe, session.learning_rates()
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=rates[0], weight_decay=recipe.weight_decay, eps=EPSILON
    )
    epochs_s, losses, first, step = [], [], 0.0, 0
    ready()
    model.train()
    for epoch in range(session.epochs):
        started, total, samples_count = time.perf_counter(), torch.zeros(()), 0
        for inputs, labels in session.batches(epoch):
            _set_step(optimizer, rates[step], step)
            loss = functional.cross_entropy(model(torch.from_numpy(inputs)), torch.from_numpy(labels))
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            total += loss.detach() * len(labels)
            first = first if step else loss.item()
            samples_count, step = samples_count + len(labels), step + 1
        losses.append(total.item() / samples_count)
        epochs_s.append(time.perf_counter() - started)
        progress(f"epoch {epoch + 1}/{session.epochs}, loss {losses[-1]:.4f}")
    model.eval()
    settings = {"compiled": "no", "threads": str(torch.get_num_threads())}
    return Fitted(tuple(epochs_s), tuple(losses), first, settings), _predict(model), model


def _set_step(optimizer: torch.optim.Optimizer, rate: float, step: int) -> None:
    """Set the learning rate of a step, and an epsilon that does in PyTorch what Keras' does.

    PyTorch adds it to a root that is corrected for its bias, Keras to one that is not: 30 times as much at
    first, which parameters with small gradients feel.
    """
    group = optimizer.param_groups[0]
    group["lr"], group["eps"] = rate, EPSILON / math.sqrt(1 - group["betas"][1] ** (step + 1))


def _predict(model: nn.Module) -> Predict:
    def predict(inputs: npt.NDArray[Any]) -> npt.NDArray[Any]:
        with torch.inference_mode():
            answers: npt.NDArray[Any] = model(torch.from_numpy(inputs)).numpy()
        return answers

    return predict


def write(model: nn.Module, path: Path) -> None:
    """Write the weights as safetensors."""
    from models.training import write_checkpoint

    write_checkpoint(model, path)
