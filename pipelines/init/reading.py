"""What can be read from a trained model's file: its tensors, and of a program its inputs and outputs.

Run in a process of its own: programs are loaded with PyTorch, and a TorchScript one is asked a few zeros to
learn the shapes that its file does not hold.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.checkpoint import CheckpointError
from models.errors import ModelError
from models.forward import flattened
from models.keras_source import keras_on, lambda_layers
from models.recognised import ONNX_MODEL, SAVED_MODEL, TFLITE_MODEL, kind_of_path, what_to_type
from models.signature import DTYPES, NAME
from models.stored import ARCHIVE, EXPORTED, KERAS, TORCHSCRIPT, load_torchscript, read_stored
from pipelines.errors import GateError
from pipelines.imported.saved_model import read_saved_model

if TYPE_CHECKING:
    import torch

SHAPE_OF_IMAGES = 4
SHAPE_OF_TABLES = 2
# Sizes of pictures that networks are trained on, for the two dimensions that no weight tells.
PICTURES = (224, 32, 28, 64, 8, 299)
LENGTH = 8


@dataclass(frozen=True)
class Tensor:
    """An input or output as far as it is known; `sure` if it was read or tried and not guessed."""

    name: str
    dtype: str
    shape: tuple[int | None, ...]
    sure: bool


@dataclass(frozen=True)
class Found:
    """What a file says: its `kind`, its tensors' names with shapes, and a program's inputs and outputs."""

    kind: str
    tensors: dict[str, tuple[int, ...]] = field(default_factory=dict)
    inputs: tuple[Tensor, ...] = ()
    outputs: tuple[Tensor, ...] = ()


def read_here(progress: Callable[[str], None], path: Path) -> Found:
    """Run `read` as a task."""
    progress("reading")
    return read(path)


def read(path: Path) -> Found:
    """Read what a file or folder says of the model in it.

    Raises:
        ModelError: it is missing or holds no weights of PyTorch that can be read.
    """
    kind = _kind(path)
    if kind == KERAS:
        return Found(kind, {}, *_of_keras(path))
    if kind == SAVED_MODEL:
        return Found(kind, {}, *_of_saved_model(path))
    try:
        state, _ = read_stored(path)
    except CheckpointError as error:
        raise ModelError(f"{path} holds no weights that can be read: {error}") from error
    tensors = {name: array.shape for name, array in state.items()}
    if kind == EXPORTED:
        return Found(kind, tensors, *_of_exported(path))
    guesses = list(guessed_inputs(tensors))
    if kind == TORCHSCRIPT:
        return Found(kind, tensors, *_of_torchscript(path, guesses))
    return Found(kind, tensors, tuple(guesses[:1]), tuple(_guessed_outputs(tensors)))


def _kind(path: Path) -> str:
    if not path.exists():
        raise ModelError(f"{path} does not exist")
    if path.is_dir():
        return SAVED_MODEL if (path / "saved_model.pb").is_file() else "a folder"
    found = kind_of_path(path)
    if found in (TFLITE_MODEL, ONNX_MODEL, ARCHIVE):
        raise ModelError(f"{path} holds no weights that a spec could use: {what_to_type(path)}")
    return found if found in (KERAS, TORCHSCRIPT, EXPORTED) else "weights"


def _of_keras(path: Path) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Read the inputs and outputs of a Keras model, loaded without running code from its file.

    Raises:
        ModelError: it has Lambda layers, or Keras does not load it.
    """
    try:
        layers = lambda_layers(path)
    except CheckpointError as error:
        raise ModelError(f"{path}: {error}") from error
    if layers:
        raise ModelError(
            f"{path} holds the Lambda layer {', '.join(layers)}, code of whoever wrote the file; replace it "
            "by operations, or write keras_spec(model=…, trusted=True) by hand if you trust it"
        )
    keras = keras_on("tensorflow")
    try:
        model = keras.saving.load_model(path, compile=False, safe_mode=True)
        inputs, outputs = list(model.inputs), list(model.outputs)
        dtypes = _given_dtypes(keras, model)
    except Exception as error:
        reason = (str(error).strip().splitlines() or [""])[0]
        raise ModelError(f"Keras does not load {path}: {type(error).__name__}: {reason:.160}") from error
    return (
        tuple(_of_keras_tensor(_named(one.name), one, str(one.dtype)) for one in inputs),
        tuple(
            _of_keras_tensor(_named(name), one, dtype)
            for name, one, dtype in zip(_output_names(model), outputs, dtypes, strict=True)
        ),
    )


def _output_names(model: Any) -> list[str]:
    """Name the outputs in the order of `model.outputs`: of a dict, that of the alphabet."""
    answer, outputs = model.output, list(model.outputs)
    if isinstance(answer, dict) and len(answer) == len(outputs):
        return sorted(answer)
    return [one.name for one in outputs] if len(outputs) > 1 else ["output"]


def _given_dtypes(keras: Any, model: Any) -> list[str]:
    """Return the dtypes of what a model gives: Keras does not know that of a lookup from numbers to words."""
    declared = [str(one.dtype) for one in model.outputs]
    if not any(getattr(layer, "invert", False) for layer in model.layers):
        return declared
    import tensorflow as tf

    given = keras.tree.map_structure(lambda one: tf.TensorSpec(one.shape, one.dtype), model.input)
    answer = tf.function(model).get_concrete_function(given).structured_outputs
    return [one.dtype.name for one in keras.tree.flatten(answer)]


def _of_keras_tensor(name: str, one: Any, dtype: str) -> Tensor:
    return Tensor(name, dtype if dtype in DTYPES else "float32", (None, *one.shape[1:]), sure=dtype in DTYPES)


def _of_saved_model(path: Path) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Read the inputs and outputs of the serving signature, from the graph's file alone.

    Raises:
        ModelError: there is none.
    """
    try:
        read = read_saved_model(path)
    except GateError as error:
        raise ModelError(f"{path}: {error}") from error

    def tensor(name: str, dtype: str | None, shape: tuple[int | None, ...] | None) -> Tensor:
        known = dtype in DTYPES and shape is not None
        sizes = (None, LENGTH) if shape is None else (None, *shape[1:])
        return Tensor(_named(name), dtype if dtype in DTYPES and dtype else "float32", sizes, sure=known)

    return (
        tuple(tensor(one.name, one.dtype, one.shape) for one in read.inputs),
        tuple(tensor(one.name, one.dtype, one.shape) for one in read.outputs or ()),
    )


def _of_exported(path: Path) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Read the inputs and outputs of an exported program, which holds names, dtypes and shapes."""
    import torch

    program = torch.export.load(str(path))
    values = {node.name: node.meta.get("val") for node in program.graph.nodes}
    inputs = [_tensor(name, values[name]) for name in program.graph_signature.user_inputs]
    given = [values[name] for name in program.graph_signature.user_outputs]
    named = program.call_spec.out_spec
    keys = list(named.context) if named is not None and named.type is dict else []
    names = keys if len(keys) == len(given) else _numbered(len(given))
    return tuple(inputs), tuple(_tensor(name, value) for name, value in zip(names, given, strict=True))


def _tensor(name: str, value: Any) -> Tensor:
    sizes = tuple(size if isinstance(size, int) else None for size in value.shape)
    return Tensor(_named(name), _dtype(value), (None, *sizes[1:]), sure=True)


def _dtype(value: Any) -> str:
    dtype = str(value.dtype).removeprefix("torch.")
    return dtype if dtype in DTYPES else "float32"


def _numbered(count: int) -> list[str]:
    return ["output"] if count == 1 else [f"output_{n}" for n in range(count)]


def _named(name: Any) -> str:
    return name if isinstance(name, str) and NAME.fullmatch(name) else "x"


def _of_torchscript(path: Path, guesses: Sequence[Tensor]) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Read input names from the program; take shapes and outputs from the first guess that it accepts."""
    program = load_torchscript(str(path)).eval()
    names = [_named(one.name) for one in program.forward.schema.arguments[1:]]
    for tried in itertools.product(guesses, repeat=len(names)) if len(names) <= 2 else ():  # noqa: PLR2004
        outputs = tried_with(program, tried)
        if outputs is not None:
            inputs = [Tensor(n, t.dtype, t.shape, sure=True) for n, t in zip(names, tried, strict=True)]
            return tuple(inputs), tuple(outputs)
    inputs = [Tensor(name, "float32", (None, LENGTH), sure=False) for name in names]
    return tuple(inputs), (Tensor("output", "float32", (None, LENGTH), sure=False),)


def tried_with(program: Any, inputs: Sequence[Tensor]) -> list[Tensor] | None:
    """Return its outputs for zeros of these shapes, in two batches; None if it does not take them."""
    import torch

    def ask(batch: int) -> "dict[str, torch.Tensor]":
        given = [
            torch.zeros(batch, *(n or LENGTH for n in one.shape[1:]), dtype=getattr(torch, one.dtype))
            for one in inputs
        ]
        answer = program(*given)
        if isinstance(answer, Mapping):
            return {_named(name): value for name, value in answer.items()}
        found = list(answer) if isinstance(answer, tuple | list) else [answer]
        names = _numbered(len(found))
        return dict(zip(names, flattened("program", found, names), strict=True))

    try:
        with torch.inference_mode():
            two, three = ask(2), ask(3)
    except Exception:  # noqa: BLE001 - a program fails in as many ways as there are programs
        return None
    grows = all(v.dim() and v.shape[0] == 2 and three[n].shape[0] == 3 for n, v in two.items())  # noqa: PLR2004
    if not grows:
        return None
    return [Tensor(name, _dtype(v), (None, *v.shape[1:]), sure=True) for name, v in two.items()]


def guessed_inputs(tensors: Mapping[str, tuple[int, ...]]) -> Iterator[Tensor]:
    """Yield shapes that the first weight takes, the likeliest first."""
    first = next(((n, s) for n, s in tensors.items() if len(s) in (SHAPE_OF_TABLES, SHAPE_OF_IMAGES)), None)
    if first is None:
        yield Tensor("x", "float32", (None, LENGTH), sure=False)
    elif "emb" in first[0].lower():
        yield Tensor("tokens", "int64", (None, None), sure=False)
    elif len(first[1]) == SHAPE_OF_IMAGES:
        channels = first[1][1]
        yield from (Tensor("image", "float32", (None, channels, n, n), sure=False) for n in PICTURES)
    else:
        yield Tensor("x", "float32", (None, first[1][1]), sure=False)


def _guessed_outputs(tensors: Mapping[str, tuple[int, ...]]) -> Iterator[Tensor]:
    last = next((s for s in reversed(list(tensors.values())) if len(s) == SHAPE_OF_TABLES), None)
    yield Tensor("output", "float32", (None, last[0] if last else LENGTH), sure=False)
