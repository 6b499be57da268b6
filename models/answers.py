"""What forward returned, as the tensors that the signature names."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from models.errors import ModelError


def named_answer(model: str, answer: Any, outputs: Sequence[str]) -> dict[str, Any]:
    """The tensors in what forward returned, by output name and in the order of `outputs`.

    `answer` is one tensor, a tuple or list (also nested, read from left to right), or a dict with these names
    among its keys; other keys are left out, as `past_key_values` beside `logits`.

    Raises:
        ModelError: it holds more or fewer tensors than there are outputs, or lacks one's name.
    """
    if isinstance(answer, Mapping):
        missing = [name for name in outputs if name not in answer]
        if missing:
            keys = ", ".join(map(repr, answer)) or "none"
            raise ModelError(
                f"source model {model} returns a dict without {missing[0]!r} (its keys: {keys}); "
                f"its outputs are {', '.join(outputs)}"
            )
        return {name: answer[name] for name in outputs}
    found = list(_flat(answer))
    if len(found) != len(outputs):
        raise ModelError(
            f"source model {model} returns {len(found)} tensors, its spec has {len(outputs)} outputs: "
            f"{', '.join(outputs)}"
        )
    return dict(zip(outputs, found, strict=True))


def _flat(answer: Any) -> Iterator[Any]:
    if isinstance(answer, tuple | list):
        for one in answer:
            yield from _flat(one)
    elif isinstance(answer, Mapping):
        yield from _flat(list(answer.values()))
    else:
        yield answer
