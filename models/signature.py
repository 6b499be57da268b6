"""The tensors a model takes and gives: their names, dtypes and shapes."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from models.errors import ModelError

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
STRING = "string"
DTYPES = (
    *("float16", "float32", "float64", "bool", "uint8"),
    *("int8", "int16", "int32", "int64"),
    STRING,
)
"""What an input or output may be; PyTorch has no strings."""


@dataclass(frozen=True)
class TensorSpec:
    """One named input or output.

    `shape` starts with the batch dimension, which is None (dynamic); others that are None may differ between
    samples, as the length of a text does. `dtype` is one of `DTYPES`.
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...]

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not NAME.fullmatch(self.name):
            raise ModelError(
                f"a tensor is called {self.name!r:.60}; letters, digits (not first) and _ are allowed"
            )
        if self.dtype not in DTYPES:
            raise ModelError(
                f"tensor {self.name!r} has dtype {self.dtype!r:.40}; allowed: {', '.join(DTYPES)}"
            )
        if not all(size is None or (type(size) is int and size > 0) for size in self.shape):
            raise ModelError(
                f"tensor {self.name!r} has shape {self.shape}; sizes from 1 and None are allowed"
            )
        if not self.shape or self.shape[0] is not None:
            raise ModelError(
                f"tensor {self.name!r} has shape {self.shape}; its first dimension, the batch, must be None"
            )

    @property
    def is_float(self) -> bool:
        """Whether it holds floating-point numbers."""
        return self.dtype.startswith("float")

    @property
    def is_text(self) -> bool:
        """Whether it holds strings."""
        return self.dtype == STRING

    def holds(self, dtype: Any) -> bool:
        """Return whether an array of that NumPy dtype is this tensor's; strings may be of any length."""
        return bool(dtype.kind == "S" if self.is_text else str(dtype) == self.dtype)


def tensors(model: str, what: str, declared: object) -> tuple[TensorSpec, ...]:
    """Return the inputs or outputs (`what`) of a model, each with a name of its own.

    Raises:
        ModelError: there is none, one is no `TensorSpec`, or two have the same name.
    """
    specs: Sequence[Any] = declared if isinstance(declared, list | tuple) else (declared,)
    for tensor in specs:
        if not isinstance(tensor, TensorSpec):
            raise ModelError(
                f"{what} of {model} hold {tensor!r:.60}; a TensorSpec is needed, such as "
                f"TensorSpec('image', 'float32', (None, 8, 8, 1))"
            )
    names = [tensor.name for tensor in specs]
    if not names or len(set(names)) < len(names):
        problem = "there are none" if not names else f"two are called {max(names, key=names.count)!r}"
        raise ModelError(f"{what} of {model}: {problem}; at least one is needed, each with a name of its own")
    return tuple(specs)
