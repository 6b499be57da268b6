"""Watches what a PyTorch module does with its input: what reads values of it into Python, what overwrites it.

The input goes in as a tensor of a class of its own, and torch gives that class to all that it computes from
it. Values of parameters and sizes of tensors may be read: they are the same for every input.
"""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import numpy as np

from models.errors import Place
from models.tensors import Array

if TYPE_CHECKING:
    import torch

# Methods and functions that turn values of a tensor into something that Python or NumPy computes with.
READINGS = {
    "__bool__": "branches on its data",
    "is_nonzero": "branches on its data",
    "equal": "branches on its data",
    "allclose": "branches on its data",
    "__contains__": "branches on its data",
    **dict.fromkeys(
        ("__float__", "__int__", "__index__", "__complex__", "item", "tolist"), "reads a value of its data"
    ),
    **dict.fromkeys(("numpy", "__array__", "__dlpack__"), "leaves PyTorch for NumPy"),
}
OURS = Path(__file__).parent.parent


def first_reading(module: "torch.nn.Module", inputs: Sequence[Array]) -> tuple[str, Place | None] | None:
    """Describe what the module read of its `inputs`, each (n, …), and in which line; None if nothing."""
    import torch

    read: list[tuple[str, Place | None]] = []

    def note(function: Callable[..., Any]) -> None:
        what = READINGS.get(getattr(function, "__name__", ""))
        if what:
            read.append((what, _place(_frames(sys._getframe(2)))))

    _watch(module, note, [torch.tensor(array) for array in inputs], lambda _: None)
    return read[0] if read else None


def first_overwriting(module: "torch.nn.Module", inputs: Sequence[Array]) -> Place | None:
    """Return where the module first wrote to one of its `inputs`, each (n, …); None if that is not seen."""
    import torch

    places: list[Place | None] = []
    before = [np.array(array) for array in inputs]
    tensors = [torch.tensor(array) for array in inputs]

    def look(function: Callable[..., Any]) -> None:  # noqa: ARG001 - whatever it was that came before
        if not places and not all(map(np.array_equal, [tensor.numpy() for tensor in tensors], before)):
            places.append(_place(_frames(sys._getframe(2))))

    _watch(module, lambda _: None, tensors, look)
    return places[0] if places else None


def _watch(
    module: "torch.nn.Module",
    note: Callable[[Callable[..., Any]], None],
    tensors: "Sequence[torch.Tensor]",
    after: Callable[[Callable[..., Any]], None],
) -> None:
    """Run the module on `tensors`; `note` hears of each torch function before it runs, `after` after it."""
    import torch

    class Watched(torch.Tensor):
        @classmethod
        def __torch_function__(
            cls,
            func: Callable[..., Any],
            types: Sequence[type],
            args: Sequence[Any] = (),
            kwargs: Mapping[str, Any] | None = None,
        ) -> Any:
            note(func)
            if getattr(func, "__name__", "") == "__format__":
                return format(args[0].as_subclass(torch.Tensor), *args[1:])
            result = super().__torch_function__(func, types, args, kwargs or {})  # type: ignore[no-untyped-call]
            after(func)
            return result

    # What fails only under observation is no failure of the model; the plain run shows.
    with torch.no_grad(), _as_if_tracing(), suppress(Exception, SystemExit):
        module(*(tensor.as_subclass(Watched) for tensor in tensors))


@contextmanager
def _as_if_tracing() -> Iterator[None]:
    """Make libraries skip their checks of data, as they do while a model is traced."""
    import torch

    with patch.object(torch.jit, "is_tracing", lambda: True):
        yield


def place_of(traceback: TracebackType | None) -> Place | None:
    """Return the innermost line of the model's or a library's file in a traceback; None if there is none."""
    lines = []
    while traceback is not None:
        lines.append((traceback.tb_frame.f_code.co_filename, traceback.tb_lineno))
        traceback = traceback.tb_next
    return _place(reversed(lines))


def _frames(frame: FrameType | None) -> Iterator[tuple[str, int]]:
    while frame is not None:
        yield frame.f_code.co_filename, frame.f_lineno
        frame = frame.f_back


def _place(lines: "Iterator[tuple[str, int]]") -> Place | None:
    """Return the first of the lines, innermost first, that is neither torch's nor ours."""
    import torch

    folders = (Path(torch.__file__).parent, OURS)
    for name, line in lines:
        path = Path(name)
        if not name.startswith("<") and not any(folder in path.parents for folder in folders):
            return Place(name, line)
    return None
