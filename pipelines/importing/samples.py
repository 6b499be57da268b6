"""Samples for imported files: read from .npz or .npy, or random numbers where there are none."""

import zipfile
from collections.abc import Collection, Mapping, Sequence
from math import prod
from pathlib import Path

import numpy as np

from models.given import LABELS
from models.signature import STRING
from models.tensors import WHOLE, Array, as_text, is_ragged, stacked
from pipelines.errors import GateError, RequestError, first_line
from pipelines.imported.saved_model import Tensor
from pipelines.targets.torchserve.archive import require_plain

RANDOM = 100
LENGTHS = (8, 5)
"""Of a dynamic dimension, in turn: a file that knows one length only is seen."""
LARGEST = {"uint8": 256, "bool": 2}
WHOLE_NUMBERS = 10
LABELS_KEY = "labels"
WORDS = ("the", "a", "not", "good", "bad", "movie", "was", "very", "red", "one", "two", "Über")


def read_samples(path: Path, names: Sequence[Mapping[str, str]]) -> dict[str, Array]:
    """Read samples by the model's names, and their labels, if any, by `LABELS`.

    A .npy, or the one array of a .npz, is the only input; of several each by the model's name of it or any
    file's own. An array called `labels` that is no input is the labels. An array of arrays, saved as NAME.0,
    NAME.1 and so on, holds samples that differ in shape.

    Args:
        names: of each file its own names of the inputs, by the model's.

    Raises:
        RequestError: it is none of these, names another input, or lacks one.
        GateError: it is damaged, or made to fill the disk.
    """
    if not path.is_file():
        raise RequestError(f"--samples {path} does not exist")
    inputs = list(names[0])
    renamed = {own: name for each in names for name, own in each.items()} | {name: name for name in inputs}
    arrays = _arrays(path, renamed)
    labels = arrays.pop(LABELS_KEY, None) if LABELS_KEY not in renamed else None
    if len(inputs) == 1 and len(arrays) == 1:
        by_input = {inputs[0]: next(iter(arrays.values()))}
    else:
        unknown = [name for name in arrays if name not in renamed]
        if unknown:
            raise RequestError(
                f"--samples {path} has an array {unknown[0]!r:.80}; the inputs are {', '.join(inputs)}"
            )
        by_input = {renamed[name]: array for name, array in arrays.items()}
    missing = [name for name in inputs if name not in by_input]
    if missing:
        raise RequestError(f"--samples {path} has nothing for the input {missing[0]!r}")
    sizes = {len(array) if array.ndim else 0 for array in by_input.values()}
    if len(sizes) > 1 or not min(sizes):
        shapes = ", ".join(f"{name} {array.shape}" for name, array in by_input.items())
        raise RequestError(f"--samples {path} has {shapes}; the same number of samples is needed, above 0")
    ordered = {name: by_input[name] for name in inputs}
    return ordered if labels is None else {**ordered, LABELS: labels}


def _arrays(path: Path, known: Collection[str]) -> dict[str, Array]:
    try:
        if not zipfile.is_zipfile(path):
            return {"": np.load(path, allow_pickle=False)}
        require_plain(path)
        with np.load(path, allow_pickle=False) as parts:
            return _gathered({name: _array(parts[name], name) for name in parts.files}, known)
    except GateError as error:
        raise GateError(f"--samples {path}: {error}") from error
    except Exception as error:  # a damaged file fails in as many ways as there are to damage one
        raise RequestError(
            f"--samples {path} is no .npz or .npy of numbers without pickles: {first_line(error):.160}"
        ) from error


def _array(part: object, name: str) -> Array:
    """Raise ValueError for what is no .npy in a .npz, which comes as its bytes."""
    if not isinstance(part, np.ndarray):
        raise ValueError(f"its {name!r:.80} is no array")
    return part


def _gathered(parts: dict[str, Array], known: Collection[str]) -> dict[str, Array]:
    """Gather NAME.0, NAME.1 and so on into one array NAME whose samples differ in shape.

    What is one of the `known` names of inputs, such as input.1, is no sample of another one.
    """
    whole: dict[str, Array] = {}
    each: dict[str, dict[int, Array]] = {}
    for key, array in parts.items():
        name, dot, place = key.rpartition(".")
        if dot and place.isdecimal() and key not in known:
            each.setdefault(name, {})[int(place)] = array
        else:
            whole[key.removesuffix(WHOLE)] = array
    return whole | {name: stacked([of[n] for n in sorted(of)]) for name, of in each.items()}


def fitted(samples: Mapping[str, Array], tensors: Sequence[Tensor]) -> dict[str, Array]:
    """Return samples in the dtypes of the inputs; leave others to later checks."""
    return {
        tensor.name: _as(samples[tensor.name], tensor.dtype) for tensor in tensors if tensor.name in samples
    } | {name: array for name, array in samples.items() if name == LABELS}


def _as(array: Array, dtype: str | None) -> Array:
    if dtype == STRING:
        return as_text(array) if array.dtype.kind == "U" else array
    if is_ragged(array):
        return stacked([_as(np.asarray(sample), dtype) for sample in array])
    wanted = np.dtype(dtype or ("float32" if array.dtype == np.float64 else array.dtype))
    return array.astype(wanted) if np.can_cast(array.dtype, wanted, "same_kind") else array


def shaped(tensors: Sequence[Tensor], samples: Mapping[str, Array]) -> tuple[Tensor, ...]:
    """Take shapes and dtypes of the inputs that no file states from the samples."""
    return tuple(
        Tensor(
            tensor.name,
            tensor.dtype or str(np.asarray(samples[tensor.name][0]).dtype),
            tensor.shape or _shape(samples[tensor.name]),
        )
        for tensor in tensors
    )


def _shape(array: Array) -> tuple[int | None, ...]:
    if not is_ragged(array):
        return (None, *array.shape[1:])
    shapes = [np.asarray(sample).shape for sample in array]
    axes = zip(*shapes, strict=True) if len({len(shape) for shape in shapes}) == 1 else [()]
    return (None, *(sizes[0] if len(set(sizes)) == 1 else None for sizes in axes))


def random_samples(tensors: Sequence[Tensor]) -> dict[str, Array]:
    """Draw random values for every input: normal floats, integers below 10, pixels, truth values, words."""
    draw = np.random.default_rng(20)
    dynamic = any(None in (tensor.shape or ())[1:] for tensor in tensors)
    lengths = [LENGTHS[number % len(LENGTHS)] if dynamic else LENGTHS[0] for number in range(RANDOM)]
    return {tensor.name: stacked([_draw(draw, tensor, length) for length in lengths]) for tensor in tensors}


def _draw(draw: np.random.Generator, tensor: Tensor, length: int) -> Array:
    sizes = tuple(length if size is None else size for size in (tensor.shape or ())[1:])
    dtype = tensor.dtype or "float32"
    if dtype == STRING:
        texts = [" ".join(draw.choice(WORDS, 1 + draw.integers(8))) for _ in range(prod(sizes))]
        return as_text(texts).reshape(sizes)
    if dtype.startswith("float"):
        return np.asarray(draw.normal(size=sizes), dtype)
    return np.asarray(draw.integers(0, LARGEST.get(dtype, WHOLE_NUMBERS), sizes), dtype)
