"""What a model's forward gives, in PyTorch or Keras, read as the outputs that its spec names."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from models.errors import ModelError


def flattened(model: str, answer: Any, names: Sequence[str], what: str = "source model") -> list[Any]:
    """Return the tensors of an answer in the order of `names`.

    `answer` is one tensor, a tuple or list (also nested, read from left to right), or a dict with these
    names, also in dicts inside it.

    `what` names, for the message, the part of the model that gave it.

    Raises:
        ModelError: there are more or fewer tensors, other keys, or something that is no tensor.
    """
    wanted = ", ".join(map(repr, names))
    if isinstance(answer, Mapping):
        answer = _lifted(model, answer, what)
        missing = [name for name in names if name not in answer]
        unknown = [name for name in answer if name not in names]
        if missing or unknown:
            raise ModelError(
                f"{what} {model} returns a dict with the keys {', '.join(map(repr, answer))}; its "
                f"outputs are {wanted}"
            )
        answer = [answer[name] for name in names]
    leaves = list(_leaves(answer))
    wrong = [type(leaf).__name__ for leaf in leaves if not hasattr(leaf, "shape")]
    if wrong:
        raise ModelError(
            f"{what} {model} returns a {wrong[0]}; tensors are allowed: {wanted}, one by one, in a "
            "tuple or list, or by name in a dict"
        )
    if len(leaves) != len(names):
        raise ModelError(
            f"{what} {model} returns {len(leaves)} tensors; its spec has {len(names)} outputs: {wanted}"
        )
    return leaves


def _lifted(model: str, answer: Mapping[Any, Any], what: str) -> dict[Any, Any]:
    """Bring the entries of dicts inside a dict up; raise ModelError if two have one name."""
    lifted: dict[Any, Any] = {}
    for name, value in answer.items():
        inner = _lifted(model, value, what) if isinstance(value, Mapping) else {name: value}
        twice = sorted(map(str, inner.keys() & lifted.keys()))
        if twice:
            raise ModelError(
                f"{what} {model} returns two tensors called {twice[0]!r} in dicts inside its dict"
            )
        lifted |= inner
    return lifted


def _leaves(answer: Any) -> Iterator[Any]:
    if isinstance(answer, Mapping):
        answer = tuple(answer.values())
    if not isinstance(answer, list | tuple):
        yield answer
        return
    for part in answer:
        yield from _leaves(part)
