"""The init stage: writes a short commented spec, with what can be read of a trained model filled in."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from models.recognised import SAVED_MODEL
from models.signature import STRING
from models.spec import model_names
from models.stored import EXPORTED, KERAS, TORCHSCRIPT
from pipelines.errors import RequestError
from pipelines.files.atomic import write_atomically
from pipelines.init.reading import Found, Tensor, read_here
from pipelines.tasks.tasks import Progress, run_tasks, task_of

LIMIT_S = 300.0
SHOWN_TENSORS = 12
DEFAULT = Found(
    "nothing",
    {},
    (Tensor("x", "float32", (None, 8), sure=False),),
    (Tensor("output", "float32", (None, 3), sure=False),),
)
FILL_IN = "# FILL IN"
DEFAULT_CHECKPOINT = "weights.safetensors"


@dataclass(frozen=True)
class Written:
    """The spec that was written, from what, and how many of its lines are to be filled in."""

    path: Path
    kind: str
    left: int


def init(path: Path, source: Path | None, progress: Progress, *, force: bool = False) -> Written:
    """Write a spec to `path`, with what can be read of `source` filled in.

    Raises:
        RequestError: `path` is no Python file, is there already (without `force`), or its name is taken.
        ModelError: `source` cannot be read.
    """
    name = re.sub(r"\W", "_", path.stem, flags=re.ASCII)
    if path.suffix != ".py":
        raise RequestError(f"{path} is no Python file; give a name that ends in .py, such as my_model.py")
    if name in model_names():
        raise RequestError(f"{name} is a model of this package; give the file another name")
    if path.exists() and not force:
        raise RequestError(f"{path} is there already; --force replaces it")
    if not path.absolute().parent.is_dir():
        raise RequestError(f"{path.parent} is no folder; make it first")
    facts = DEFAULT if source is None else _read(source, progress)
    texts = [tensor.name for tensor in (*facts.inputs, *facts.outputs) if tensor.dtype == STRING]
    if texts and facts.kind == SAVED_MODEL:
        raise RequestError(
            f"{source} has strings at {texts[0]!r}, and PyTorch, which a spec's source is made of, has none; "
            f"run `tandem import {name} --saved-model {source}`"
        )
    text = spec_text(name, facts, _relative(source, path))
    write_atomically(path, text)
    return Written(path, facts.kind, text.count(FILL_IN))


def _read(source: Path, progress: Progress) -> Found:
    (outcome,) = run_tasks([task_of("init", LIMIT_S, read_here, path=source.absolute())], progress)
    return outcome.result


def _relative(source: Path | None, path: Path) -> str:
    if source is None:
        return DEFAULT_CHECKPOINT
    return os.path.relpath(source.absolute(), path.absolute().parent)


def spec_text(name: str, facts: Found, checkpoint: str) -> str:
    """Return the text of a spec; what is not known is marked."""
    if facts.kind == KERAS:
        parts: tuple[str, ...] = (
            _head(name, KERAS),
            _samples(facts.inputs),
            _keras_model(name, facts, checkpoint),
        )
    else:
        is_saved_model = facts.kind == SAVED_MODEL
        stored = DEFAULT_CHECKPOINT if is_saved_model else checkpoint
        built = _build(facts, checkpoint) if not is_saved_model else _build_beside(checkpoint)
        parts = (_head(name), built, _samples(facts.inputs), _model(name, facts, stored))
    return "\n\n".join(parts)


def _head(name: str, kind: str = "") -> str:
    used = "Samples, TensorSpec, Tolerance" if kind == KERAS else "ModelSpec, Samples, TensorSpec, Tolerance"
    also = "from models.keras_source import keras_spec\n" if kind == KERAS else ""
    return f'''"""The model {name}: what goes in and out, where its weights are, and samples to prove it with.

`tandem check` tests every claim here; docs/your-own-model.md explains each field and has whole examples.
"""

from pathlib import Path

import numpy as np

{also}from models.spec import {used}

HERE = Path(__file__).parent
'''


def _build(facts: Found, checkpoint: str) -> str:
    if facts.kind in (TORCHSCRIPT, EXPORTED):
        load = (
            f"torch.jit.load(HERE / {checkpoint!r})"
            if facts.kind == TORCHSCRIPT
            else f"torch.export.load(HERE / {checkpoint!r}).module()"
        )
        return f'''def build_torch():
    """The program as it was saved; the class that it was made from goes down more roads."""
    import torch

    return {load}
'''
    return f'''def build_torch():
    """The architecture, untrained, as in your training code."""
{_listed(facts)}    {FILL_IN}: such as `from my_net import Net` (a file beside this one), then `return Net()`
    raise NotImplementedError("return your torch.nn.Module from build_torch")
'''


def _build_beside(saved_model: str) -> str:
    return f'''def build_torch():
    """The architecture, untrained, as in your training code.

    {saved_model} holds none: it is a SavedModel, whose tensors are below. To serve and compare it as it
    is, no such file is needed: `tandem import NAME --saved-model {saved_model}`.
    """
    {FILL_IN}: such as `from my_net import Net` (a file beside this one), then `return Net()`
    raise NotImplementedError("return your torch.nn.Module from build_torch")
'''


def _listed(facts: Found) -> str:
    """List the names and shapes that the architecture has to have."""
    if not facts.tensors:
        return ""
    listed = [f"{name} {tuple(shape)}" for name, shape in list(facts.tensors.items())[:SHOWN_TENSORS]]
    more = len(facts.tensors) - len(listed)
    lines = ["its state dict has to have", *listed, *([f"and {more} more"] if more > 0 else [])]
    return "".join(f"    # {line}\n" for line in lines)


def _samples(inputs: Sequence[Tensor]) -> str:
    arrays = "".join(f"        {tensor.name!r}: {_random(tensor)},\n" for tensor in inputs)
    return f'''def test_samples():
    """Held-out examples and, where they are known, their labels: Samples(inputs, labels)."""
    {FILL_IN}: real samples; random ones find an artifact that is wrong, and say nothing of accuracy
    draw = np.random.default_rng(0)
    inputs = {{
{arrays}    }}
    return Samples(inputs)
'''


def _random(tensor: Tensor) -> str:
    sizes = ", ".join(["100", *("8" if size is None else str(size) for size in tensor.shape[1:])])
    if tensor.dtype == STRING:
        return f'draw.choice(["some words", "other words", "of yours"], ({sizes}))'
    if tensor.dtype == "bool":
        return f"draw.integers(0, 2, ({sizes})) > 0"
    if tensor.dtype.startswith("float"):
        return f'draw.normal(size=({sizes})).astype("{tensor.dtype}")'
    return f'draw.integers(0, 10, ({sizes})).astype("{tensor.dtype}")'


def _model(name: str, facts: Found, checkpoint: str) -> str:
    return f'''MODEL = ModelSpec(
    name="{name}",
    # In the order in which forward takes them. The batch comes first and is None; another None is a size
    # that samples may differ in.
    inputs=({_specs(facts.inputs)}    ),
    # In the order of what forward returns: one tensor, a tuple or list, or a dict of these names.
    outputs=({_specs(facts.outputs)}    ),
    # labels=("cat", "dog"),  # names of the classes, one per column
    # task="classes",  # or "tokens", "regression", "none"; derived from the samples' labels if left out
    tolerance=Tolerance(absolute=1e-4, relative=1e-4),
    checkpoint=HERE / {checkpoint!r},
    build_torch=build_torch,
    test_samples=test_samples,
    # train_samples=…,  # a function like test_samples, to calibrate full-integer files with
)
'''


def _keras_model(name: str, facts: Found, model: str) -> str:
    return f'''MODEL = keras_spec(
    model=HERE / {model!r},
    name="{name}",
    # By the names that the Keras model has. The batch comes first and is None; another None is a size that
    # samples may differ in.
    inputs=({_specs(facts.inputs)}    ),
    # In the order of what the model returns: one tensor, a list, or a dict of these names.
    outputs=({_specs(facts.outputs)}    ),
    # labels=("cat", "dog"),  # names of the classes, one per column
    # task="classes",  # or "tokens", "regression", "none"; derived from the samples' labels if left out
    tolerance=Tolerance(absolute=1e-4, relative=1e-4),
    test_samples=test_samples,
    # train_samples=…,  # a function like test_samples, to calibrate full-integer files with
)
'''


def _specs(tensors: Sequence[Tensor]) -> str:
    lines = []
    for tensor in tensors:
        mark = "" if tensor.sure else f"  {FILL_IN}: a guess"
        lines.append(f'        TensorSpec("{tensor.name}", "{tensor.dtype}", {tensor.shape}),{mark}\n')
    return "\n" + "".join(lines)
