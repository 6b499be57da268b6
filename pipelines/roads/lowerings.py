"""Operators that torchax does not know, in JAX, and that litert-torch does not, in others of torch's."""

from collections.abc import Callable, Sequence
from typing import Any


def nothing(*_: Any, **__: Any) -> None:
    """Leave out what only stops a program whose values are wrong: no server could raise it."""


def adaptive_max_pool(x: Any, sizes: Sequence[int]) -> tuple[Any, None]:
    """Take the largest value of each of `sizes` cells, which overlap where they do not divide the size.

    Nothing looks at the places of the largest values, the operator's second result.
    """
    import jax.numpy as jnp

    for axis, cells in zip(range(x.ndim - len(sizes), x.ndim), sizes, strict=True):
        parts = [
            jnp.max(jnp.take(x, jnp.arange(start, end), axis=axis), axis=axis, keepdims=True)
            for start, end in _cells(x.shape[axis], cells)
        ]
        x = jnp.concatenate(parts, axis=axis)
    return x, None


def adaptive_max_pool_of_torch(x: Any, sizes: Sequence[int]) -> tuple[Any, Any]:
    """Do what `adaptive_max_pool` does, with torch; the places are zeros."""
    import torch

    for axis, cells in zip(range(x.ndim - len(sizes), x.ndim), sizes, strict=True):
        parts = [
            x.narrow(axis, start, end - start).amax(dim=axis, keepdim=True)
            for start, end in _cells(x.shape[axis], cells)
        ]
        x = torch.cat(parts, dim=axis)
    return x, torch.zeros_like(x, dtype=torch.int64)


def _cells(size: int, cells: int) -> list[tuple[int, int]]:
    return [(cell * size // cells, -(-(cell + 1) * size // cells)) for cell in range(cells)]


LOWERINGS: dict[str, Callable[..., Any]] = {
    "_assert_async.msg": nothing,
    "_assert_scalar.default": nothing,
    "adaptive_max_pool2d.default": adaptive_max_pool,
    "adaptive_max_pool3d.default": adaptive_max_pool,
}

FORMS: dict[str, Callable[..., Any]] = {
    "_assert_async.msg": nothing,
    "adaptive_max_pool2d.default": adaptive_max_pool_of_torch,
}


def operator_named(name: str) -> Any:
    """Return torch's operator "name.overload"."""
    import torch

    packet, overload = name.split(".")
    return getattr(getattr(torch.ops.aten, packet), overload)
