"""The source module as exporters trace it, the inputs to trace it with, and the proof that it survived.

Everything here computes on examples that the model gives itself. Only functions import torch.
"""

import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from inspect import Parameter, signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from models.errors import ModelError
from models.forward import flattened
from models.signature import TensorSpec
from models.spec import ModelSpec
from models.tensors import Array, Tensors, count, is_ragged, joined, sample, shapes
from models.weights import load_source
from pipelines.errors import first_line
from pipelines.parity.watching import place_of
from pipelines.targets.asking import named
from pipelines.tasks.warned import note

if TYPE_CHECKING:
    import torch

TRACE_BATCH = 2  # a batch of one would let tracing take the batch size for a constant
PROVEN_BATCHES = (1, TRACE_BATCH + 1)
SHORTEST_TRACED = 2  # a dimension of one would be taken for a constant as well
LONGEST_REASON = 300
# Parts of torch whose fast path in evaluation mode is one operator that no exporter knows.
FAST_PATH = ("TransformerEncoder", "TransformerEncoderLayer", "MultiheadAttention")
OPERATOR = re.compile(r"\b(?:aten|prim|prims|torchvision|onnx)(?:::|\.)\w+(?:\.\w+)?")
CURES = (
    (
        r"data-dependent|GuardOnDataDependent|unbacked",
        "what it does depends on values; express it in tensors (torch.where) and keep sizes fixed",
    ),
    (
        r"Constraints violated|specialized|not dynamic|static",
        "forward fixes a dimension that the spec calls dynamic; take sizes from tensors, not from numbers, "
        "or give the dimension a size in the TensorSpec",
    ),
    (
        r"dtype torch\.float32, but got",
        "only float32 can be quantised; take float32 inputs, or leave this precision out",
    ),
    (
        r"aten(::|\.)(lstm|gru|rnn)|while_loop|\bscan\b",
        "its loop has to be unrolled: give the input a fixed length and pad to it",
    ),
)
OTHERWISE = "replace it by other operators, or leave this target out with --targets"


@dataclass(frozen=True)
class Traceable:
    """A module to trace.

    Attributes:
        source: the model's own module, with its weights, in evaluation mode.
        module: the same, as a function from the inputs by position to one tensor or a flat tuple of them, in
            the order of the outputs.
        inputs: `TRACE_BATCH` rows of each input.
        proofs: other inputs: batches of one and three, of the shortest and of the longest example.
    """

    spec: ModelSpec
    source: "torch.nn.Module"
    module: "torch.nn.Module"
    inputs: "tuple[torch.Tensor, ...]"
    proofs: "list[tuple[torch.Tensor, ...]]"


def traceable(spec: ModelSpec) -> Traceable:
    """Return the model, ready to be traced, and report if torch's fast path of attention was left out.

    Raises:
        ModelError: the checkpoint does not fit, or forward gives something else than the outputs.
    """
    source = load_source(spec)
    _leave_fast_path(source)
    examples = spec.examples().named
    by_shape = _shapes(examples)
    inputs = _batch(examples, _to_trace(by_shape), TRACE_BATCH)
    ordered = sorted(by_shape, key=lambda shape: sum(map(_elements, shape)))
    proofs = [
        _batch(examples, by_shape[shape], rows)
        for shape in dict.fromkeys((ordered[0], ordered[-1]))
        for rows in PROVEN_BATCHES
    ]
    _warn_of_one_length(spec, len(by_shape))
    return Traceable(spec, source, flat(spec, source, inputs), inputs, proofs)


def _leave_fast_path(source: "torch.nn.Module") -> None:
    import torch

    parts = sorted({type(part).__name__ for part in source.modules()} & set(FAST_PATH))
    torch.backends.mha.set_fastpath_enabled(False)
    if parts:
        note(
            f"exported with torch.backends.mha.set_fastpath_enabled(False): no format has the fused operator "
            f"that {parts[-1]} would use; the same function, computed step by step"
        )


def _warn_of_one_length(spec: ModelSpec, lengths: int) -> None:
    dynamic = [tensor.name for tensor in spec.inputs if None in tensor.shape[1:]]
    if dynamic and lengths == 1:
        note(
            f"all examples of {dynamic[0]} have one shape, so nothing proves that its dynamic dimensions may "
            "differ; give samples that do"
        )


Shapes = tuple[tuple[int, ...], ...]


def _shapes(examples: Tensors) -> dict[Shapes, list[int]]:
    """Return the shapes that examples have, and the places of those that have them."""
    if not any(map(is_ragged, examples.values())):
        return {shapes(sample(examples, 0)): list(range(count(examples)))}
    by_shape: dict[Shapes, list[int]] = {}
    for place in range(count(examples)):
        by_shape.setdefault(shapes(sample(examples, place)), []).append(place)
    return by_shape


def _elements(shape: tuple[int, ...]) -> int:
    return int(np.prod(shape, dtype=np.int64))


def _to_trace(by_shape: dict[Shapes, list[int]]) -> list[int]:
    """Return places of examples without dimensions so short that they would be taken for constants."""
    for each, places in by_shape.items():
        if all(min(shape, default=SHORTEST_TRACED) >= SHORTEST_TRACED for shape in each):
            return places
    return next(iter(by_shape.values()))


def _batch(examples: Tensors, places: Sequence[int], rows: int) -> "tuple[torch.Tensor, ...]":
    """Return that many of the examples at `places`, which have one shape; too few are repeated."""
    import torch

    chosen = [places[row % len(places)] for row in range(rows)]
    batch = joined([sample(examples, place) for place in chosen])
    return tuple(torch.tensor(array) for array in batch.values())


def flat(spec: ModelSpec, source: "torch.nn.Module", inputs: "tuple[torch.Tensor, ...]") -> "torch.nn.Module":
    """Return `source` if it gives one tensor or a flat tuple itself, else a module around it that does.

    Raises:
        ModelError: it gives something else than the outputs.
    """
    import torch

    names = [output.name for output in spec.outputs]
    with torch.no_grad():
        answer = source(*(tensor.clone() for tensor in inputs))
    outputs = flattened(spec.name, answer, names)
    plain = isinstance(answer, torch.Tensor) if len(outputs) == 1 else type(answer) is tuple
    if plain and (
        len(outputs) == 1 or all(tensor is other for tensor, other in zip(outputs, answer, strict=False))
    ):
        return source

    class Flat(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.source = source

        def forward(self, *given: torch.Tensor) -> Any:
            tensors = flattened(spec.name, self.source(*given), names)
            return tensors[0] if len(tensors) == 1 else tuple(tensors)

    return Flat().eval()


def dynamic_axes(tensor: TensorSpec) -> dict[int, str]:
    """Name a tensor's dynamic dimensions, by their place; the batch has one name everywhere."""
    return {
        place: f"{tensor.name}_{place}" if place else "batch"
        for place, size in enumerate(tensor.shape)
        if size is None
    }


@contextmanager
def hushed() -> Iterator[None]:
    """Silence what torch warns of about its own code while it is traced; whether it holds is proven later."""
    from torch.jit._trace import TracerWarning

    with warnings.catch_warnings():
        own = r"(torch|keras)\b"
        warnings.filterwarnings("ignore", category=TracerWarning, module=own)
        warnings.filterwarnings("ignore", category=UserWarning, module=rf"{own}.*\bonnx\b")
        warnings.filterwarnings("ignore", message=".*were assigned during export")
        yield


def in_one_tuple(module: "torch.nn.Module", each: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return what torch.export is to know of `each` input, taken by forward one by one or as `*given`."""
    kinds = {parameter.kind for parameter in signature(module.forward).parameters.values()}
    return (each,) if Parameter.VAR_POSITIONAL in kinds else each


def prove(model: Traceable, file: str, call: Callable[[dict[str, Array]], Tensors]) -> None:
    """Ask what was written, through `call`, the batches and lengths that it was not traced with.

    Raises:
        ModelError: it fails or does not give what the module gives; says at which output and on what.
    """
    import torch

    spec = model.spec
    for inputs in model.proofs:
        with torch.no_grad():
            answer = model.module(*(tensor.clone() for tensor in inputs))
        expected = flattened(spec.name, answer, [output.name for output in spec.outputs])
        arrays = {tensor.name: value.numpy() for tensor, value in zip(spec.inputs, inputs, strict=True)}
        on = f"on a batch of {len(inputs[0])}" + (_lengths(arrays) if _is_dynamic(spec) else "")
        try:
            got = call(arrays)
        except Exception as error:
            raise ModelError(
                f"source model {spec.name} does not survive tracing: {file} fails {on} "
                f"({last_line(error)}); {_advice(spec)}"
            ) from error
        for output, wanted in zip(spec.outputs, expected, strict=True):
            off = _off(spec, output.name, got[output.name], wanted.numpy())
            if off:
                raise ModelError(
                    f"source model {spec.name} does not survive tracing: {file} {off} at output "
                    f"{output.name!r} {on}; {_advice(spec)}"
                )


def prove_module(model: Traceable, path: Path, module: Callable[..., Any]) -> None:
    """Prove a file of PyTorch's that was loaded as `module`; see `prove`."""
    import torch

    names = [output.name for output in model.spec.outputs]

    def call(arrays: dict[str, Array]) -> dict[str, Array]:
        with torch.inference_mode():
            answer = module(*map(torch.from_numpy, arrays.values()))
        return {name: tensor.numpy() for name, tensor in named(path, answer, names).items()}

    prove(model, path.name, call)


def last_line(error: BaseException) -> str:
    """Return the reason of an error of TorchScript, which follows the traceback of the traced code."""
    return next(reversed(str(error).strip().splitlines()), "") or type(error).__name__


def _is_dynamic(spec: ModelSpec) -> bool:
    return any(None in tensor.shape[1:] for tensor in spec.inputs)


def _lengths(arrays: Tensors) -> str:
    return " with " + ", ".join(f"{name} {array.shape[1:]}" for name, array in arrays.items())


def _advice(spec: ModelSpec) -> str:
    what = "the batch or a dynamic dimension" if _is_dynamic(spec) else "the batch"
    return f"avoid Python loops and branches over {what} in forward"


def _off(spec: ModelSpec, output: str, got: Array, expected: Array) -> str | None:
    if got.shape != expected.shape:
        return f"gives shape {got.shape}, not {expected.shape},"
    if got.dtype != expected.dtype:
        return f"gives {got.dtype}, not {expected.dtype},"
    allowed = spec.tolerance_of(output)
    actual, wanted = got.astype(np.float64), expected.astype(np.float64)
    if np.allclose(actual, wanted, rtol=allowed.relative, atol=allowed.absolute):
        return None
    return f"is off by {np.abs(actual - wanted).max():.3g}"


def refusal(spec: ModelSpec, what: str, error: BaseException) -> ModelError:
    """Explain in one line why the model cannot be written as `what`: where, which operator, known cure."""
    return ModelError(f"{spec.name} cannot be written as {what}{place_of(error.__traceback__)}: {why(error)}")


def why(error: BaseException) -> str:
    """Return the operator that an exporter could not take, its own reason, and what can be done about it."""
    text = str(error)
    operator = OPERATOR.search(text)
    reason = first_line(error)
    if operator and operator[0] not in reason:
        reason = f"{operator[0]}: {reason}"
    if len(reason) > LONGEST_REASON:
        reason = f"{reason[: LONGEST_REASON - 1]}…"
    cure = next((cure for pattern, cure in CURES if re.search(pattern, text)), OTHERWISE)
    return f"{type(error).__name__}: {reason.rstrip('.')}; {cure}"
