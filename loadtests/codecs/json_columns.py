"""TensorFlow Serving's column format: `{"inputs": ...}`, answered by `{"outputs": ...}`.

Several inputs or outputs are an object of tensors, an only one stands bare.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from numpy.typing import NDArray

from loadtests.codecs import UNNAMED, Sample, of_values, stacked
from loadtests.codecs.json_rows import json_text, listed

CONTENT_TYPE: Final = "application/json"


def encode(samples: Sequence[Sample], model: str = "") -> bytes:  # noqa: ARG001 - the URL names the model
    """Encode samples as one request body, in the words of the row format.

    Raises:
        PayloadError: a value that JSON cannot carry, or samples of different shapes.
    """
    texts = {name: json_text(array) for name, array in stacked(samples).items()}
    if len(texts) == 1:
        return b'{"inputs":' + next(iter(texts.values())).encode() + b"}"
    columns = ",".join(f"{json.dumps(name)}:{text}" for name, text in texts.items())
    return b'{"inputs":{' + columns.encode() + b"}}"


def decode(body: bytes) -> dict[str, NDArray[Any]] | None:
    """Return the outputs, each of shape (rows, ...); None where they are no numbers, bool or text."""
    try:
        outputs = json.loads(body)["outputs"]
        return of_values(outputs if isinstance(outputs, dict) else {UNNAMED: outputs})
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def rows_count(body: bytes) -> int | None:
    """Return how many rows a request body asks about; None where it is not in column format."""
    try:
        inputs = json.loads(body)["inputs"]
        return len(next(iter(inputs.values())) if isinstance(inputs, dict) else inputs)
    except (ValueError, TypeError, KeyError, StopIteration):
        return None


def answer(outputs: Mapping[str, NDArray[Any]]) -> bytes:
    """Write outputs, each of shape (rows, ...), as the server does."""
    columns = {name: listed(array) for name, array in outputs.items()}
    content = next(iter(columns.values())) if len(columns) == 1 else columns
    return json.dumps({"outputs": content}).encode()
