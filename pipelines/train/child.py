"""The work of one training process: pinned, one framework in memory, and what it cost."""

import importlib
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from models.checkpoint import read_tensors
from models.recipe import Fitted, Predict, Session
from models.spec import ModelSpec, load_model
from models.tensors import ask
from pipelines.errors import MachineError

OTHER = {"torch": ("tensorflow", "keras"), "keras": ("torch",)}
ASKED_AT_ONCE = 32


@dataclass(frozen=True)
class Trained:
    """One training: what it took, and what came of it.

    `loaded_memory_bytes` is what the process held with the framework and the data, before the first step,
    `peak_memory_bytes` the most it ever held.
    """

    fitted: Fitted
    accuracy: float
    loaded_memory_bytes: int
    peak_memory_bytes: int


def initial_here(progress: Callable[[str], None], model: str, seeds: Sequence[int], folder: str) -> None:
    """Write the untrained weights of every seed as `folder`/SEED.safetensors."""
    from safetensors.numpy import save_file

    from models.fit_torch import initial_state

    for seed in seeds:
        progress(f"the untrained weights of seed {seed}")
        save_file(initial_state(load_model(model), seed), Path(folder) / f"{seed}.safetensors")


def fit_here(
    progress: Callable[[str], None],
    model: str,
    framework: str,
    seed: int,
    epochs: int,
    batch_size: int,
    cores: Sequence[int],
    weights: str,
    keep: str | None,
) -> Trained:
    """Train once and say what it took; writes the trained model to `keep`, if that is given.

    Raises:
        MachineError: both frameworks were loaded, so that the memory is of neither.
    """
    # Before the framework is imported, which counts the cores that it may use.
    os.sched_setaffinity(0, cores)
    spec = load_model(model)
    assert spec.recipe is not None  # noqa: S101 - the settings were made of it
    session = Session(spec.recipe, seed, epochs, batch_size)
    state = read_tensors(Path(weights).read_bytes())
    loop = importlib.import_module(f"models.fit_{framework}")
    session.samples_count  # noqa: B018 - the data are there before the clock starts
    loaded_bytes: list[int] = []
    fitted, predict, trained = loop.fit(
        spec, state, session, len(cores), progress, lambda: loaded_bytes.append(memory_bytes("VmRSS"))
    )
    peak_bytes = memory_bytes("VmHWM")
    beside = [name for name in OTHER[framework] if name in sys.modules]
    if beside:
        raise MachineError(f"{beside[0]} was loaded in the process that trains in {framework}")
    if keep is not None:
        progress("writing the model")
        loop.write(trained, Path(keep))
    return Trained(fitted, _accuracy(spec, predict), loaded_bytes[0], peak_bytes)


def memory_bytes(field: str) -> int:
    """Read this process's memory in bytes: VmRSS is what it holds, VmHWM the most it ever held.

    Not from getrusage, whose maximum goes on from the process that started this one.

    Raises:
        MachineError: the kernel does not say.
    """
    for line in Path("/proc/self/status").read_text().splitlines():
        name, _, rest = line.partition(":")
        if name == field:
            return int(rest.split()[0]) * 1024
    raise MachineError(f"/proc/self/status has no {field}; trainings are measured on Linux")


def _accuracy(spec: ModelSpec, predict: Predict) -> float:
    """Return the share of held-out samples whose largest logit is the right class's."""
    samples = spec.samples()
    (name,) = samples.named

    def answer(batch: Any) -> dict[str, npt.NDArray[Any]]:
        return {"logits": predict(batch[name])}

    logits = ask(answer, samples.named, ASKED_AT_ONCE)["logits"]
    return float((np.asarray(logits).argmax(1) == np.asarray(samples.labels)).mean())
