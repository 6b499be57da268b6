"""Named tensors of several samples: what a model takes and gives, whatever it is called and however many.

Every array has the samples first, `(n, …)`. Where samples differ in shape, as sentences do in length, the
array has dtype object and each of its `n` elements is one sample's own array, without a batch dimension.

Strings are bytes, NumPy's `S`, as TensorFlow has them; NumPy drops zero bytes at their ends.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Tensors = Mapping[str, Array]
"""By name, in the order of the signature; all with the same number of samples."""

Sample = Mapping[str, Array]
"""One sample's tensors by name, without the batch dimension."""

WHOLE = ".all"  # in a file: the array of all samples, where they have one shape


def stacked(arrays: Sequence[Array]) -> Array:
    """Stack samples' arrays: (n, …) if all have one shape and dtype, else an array of arrays."""
    # Strings have as many dtypes as lengths.
    if len(arrays) and len({(a.shape, "S" if is_text(a) else a.dtype) for a in arrays}) == 1:
        return np.stack(arrays)
    ragged = np.empty(len(arrays), object)
    for place, array in enumerate(arrays):
        ragged[place] = array
    return ragged


def is_ragged(array: Array) -> bool:
    """Return whether its samples have arrays of their own."""
    return array.dtype == object


def is_text(array: Array) -> bool:
    """Return whether an array holds strings; of samples with arrays of their own, whether the first does."""
    first = np.asarray(array[0]) if is_ragged(array) and len(array) else array
    return first.dtype.kind == "S"


def as_text(values: Any) -> Array:
    """Convert text, bytes, or nested lists or arrays of either to an array of strings; text as UTF-8.

    Raises:
        ValueError: something is neither, or a string ends in a zero byte, which NumPy would drop.
    """
    # NumPy's own strings have lost the zero bytes already.
    array = values if isinstance(values, np.ndarray) else np.asarray(values, object)
    if array.dtype.kind == "S":
        return array
    if array.dtype.kind not in "UO":
        raise ValueError(f"{array.dtype} is not text")
    flat = [value.encode() if isinstance(value, str) else value for value in array.ravel().tolist()]
    for string in flat:
        if not isinstance(string, bytes):
            raise ValueError(f"{string!r:.40} is a {type(string).__name__}, not text")
        if string.endswith(b"\0"):
            raise ValueError("a string ends in a zero byte, which NumPy's strings cannot keep")
    return np.array(flat, np.bytes_).reshape(array.shape)


def count(tensors: Tensors) -> int:
    """Count the samples."""
    return len(next(iter(tensors.values()))) if tensors else 0


def take(tensors: Tensors, chosen: slice | Sequence[int] | npt.NDArray[np.int64]) -> dict[str, Array]:
    """Return the tensors of the chosen samples."""
    return {name: array[chosen] for name, array in tensors.items()}


def sample(tensors: Tensors, place: int) -> dict[str, Array]:
    """Return one sample's tensors, without the batch dimension."""
    return {name: np.asarray(array[place]) for name, array in tensors.items()}


def samples(tensors: Tensors) -> Iterator[dict[str, Array]]:
    """Iterate over every sample's tensors."""
    return (sample(tensors, place) for place in range(count(tensors)))


def joined(of_samples: Sequence[Sample]) -> dict[str, Array]:
    """Join the tensors of several samples, each without a batch dimension, to one set."""
    names = of_samples[0] if of_samples else {}
    return {name: stacked([np.asarray(one_sample[name]) for one_sample in of_samples]) for name in names}


def shapes(tensors: Sample) -> tuple[tuple[int, ...], ...]:
    """Return the shape of each tensor of a sample: what samples of one batch have in common."""
    return tuple(np.asarray(array).shape for array in tensors.values())


def fits(shape: Sequence[int], declared: Sequence[int | None]) -> bool:
    """Return whether a shape is the declared one, with None for any size."""
    return len(shape) == len(declared) and all(
        wanted in (None, size) for wanted, size in zip(declared, shape, strict=True)
    )


def batches(tensors: Tensors, size: int) -> Iterator[tuple[list[int], dict[str, Array]]]:
    """Yield batches of at most `size` samples of one shape, each with the places of its samples.

    Where all samples have one shape these are neighbours in their order.
    """
    if not any(map(is_ragged, tensors.values())):
        for start in range(0, count(tensors), size):
            stop = min(start + size, count(tensors))
            yield list(range(start, stop)), take(tensors, slice(start, stop))
        return
    alike: dict[tuple[tuple[int, ...], ...], list[int]] = {}
    for place, one_sample in enumerate(samples(tensors)):
        alike.setdefault(shapes(one_sample), []).append(place)
    for places in alike.values():
        for start in range(0, len(places), size):
            chosen = places[start : start + size]
            yield chosen, joined([sample(tensors, place) for place in chosen])


def ask(call: Callable[[dict[str, Array]], Tensors], tensors: Tensors, size: int) -> dict[str, Array]:
    """Return what `call` gives for all samples, asked in batches of at most `size`, in the samples' order.

    `call` takes and gives arrays (rows, …) of one shape each. Its answer has to have as many rows as were
    asked; a caller that cannot be sure of that checks it inside `call`.
    """
    answers: list[dict[str, Array] | None] = [None] * count(tensors)
    for places, batch in batches(tensors, size):
        outputs = call(batch)
        for row, place in enumerate(places):
            answers[place] = {name: array[row] for name, array in outputs.items()}
    return joined([answer for answer in answers if answer is not None])


def save(path: Path, tensors: Tensors) -> None:
    """Write tensors to a `.npz` file that `load` reads: one array each, or one per sample if these differ."""
    parts: dict[str, Array] = {}
    for name, array in tensors.items():
        if not is_ragged(array):
            parts[f"{name}{WHOLE}"] = array
            continue
        parts |= {f"{name}.{place}": np.asarray(row) for place, row in enumerate(array)}
    np.savez(path, **parts)  # type: ignore[arg-type]


def load(path: Path) -> dict[str, Array]:
    """Load the tensors that `save` wrote, in the same order."""
    whole: dict[str, Array] = {}
    ragged: dict[str, list[Array]] = {}
    with np.load(path, allow_pickle=False) as parts:
        for key in parts.files:
            name = key.rpartition(".")[0]
            if key.endswith(WHOLE):
                whole[name] = parts[key]
            else:
                whole.setdefault(name, np.empty(0))
                ragged.setdefault(name, []).append(parts[key])
    return whole | {name: stacked(arrays) for name, arrays in ragged.items()}
