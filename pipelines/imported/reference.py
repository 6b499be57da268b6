"""What the imported file answers that all others are held against, where there is no source model."""

from pathlib import Path
from pkgutil import resolve_name

from models.errors import ModelError
from models.given import GivenFile
from models.spec import ModelSpec
from models.tensors import Array, Tensors, count, fits, take
from pipelines.errors import GateError
from pipelines.parity import source
from pipelines.parity.agreement import allowed_error
from pipelines.parity.quality import absolute_error, flat, shapes_of
from pipelines.targets.registry import TARGETS
from pipelines.targets.target import Target

ASKED_AGAIN = 32


def outputs_of(spec: ModelSpec, inputs: Tensors) -> dict[str, Array]:
    """Return the source model's outputs (n, …) by name, or those of the imported file used as reference.

    Raises:
        ModelError: it does not answer, or its answer is no function of one sample alone.
    """
    given = spec.given
    if given is None or given.refers_to_program:
        return source.outputs_of(spec, inputs)
    file, path = given.referred, given.path_of(given.referred)
    outputs = _ask(spec, file, path, inputs)
    # One sample on its own answers as it does among others, and as before.
    again = min(ASKED_AGAIN, count(inputs))
    alone = [_ask(spec, file, path, take(inputs, slice(n, n + 1))) for n in range(1, 3) if n < again]
    _require_same(spec, file, take(outputs, slice(1, 1 + len(alone))), alone)
    _require_same(
        spec,
        file,
        take(outputs, slice(again)),
        [_ask(spec, file, path, take(inputs, slice(again)))],
    )
    return outputs


def _ask(spec: ModelSpec, file: GivenFile, path: Path, inputs: Tensors) -> dict[str, Array]:
    try:
        arrays = answers(file.kind, path, _own_names(file, inputs), list(file.outputs.values()))
    except GateError as error:
        raise ModelError(f"the imported {file.kind} of {spec.name} does not answer: {error}") from error
    outputs = {name: arrays[own] for name, own in file.outputs.items()}
    for output in spec.outputs:
        _require_declared(spec, file, outputs[output.name], output.name)
    return outputs


def _own_names(file: GivenFile, inputs: Tensors) -> dict[str, Array]:
    return {file.inputs[name]: array for name, array in inputs.items()}


def answers(kind: str, path: Path, inputs: Tensors, outputs: list[str]) -> dict[str, Array]:
    """Return what a file answers, inputs and outputs by the file's own names.

    Raises:
        GateError: it cannot be loaded, or has other inputs or outputs.
    """
    target, its_format = reader_of(kind)
    arrays: dict[str, Array] = resolve_name(target.runtime)(path, its_format, inputs, outputs)
    return arrays


def reader_of(kind: str) -> tuple[Target, str]:
    """Return the first target that is made of such files, and how its runtime calls their format."""
    return next(
        (target, its_format)
        for target in TARGETS.values()
        for its_kind, its_format in target.imports
        if its_kind == kind
    )


def _require_declared(spec: ModelSpec, file: GivenFile, array: Array, name: str) -> None:
    output = spec.find_output(name)
    if not all(fits(shape, output.shape[1:]) for shape in set(shapes_of(array))):
        raise ModelError(
            f"the imported {file.kind} of {spec.name} gives shape {max(shapes_of(array))} at {name!r}, its "
            f"signature says {output.shape[1:]}; import it again with --samples of every shape"
        )
    values = flat(array)
    if values.dtype.kind == "f" and not bool((abs(values) < float("inf")).all()):
        raise ModelError(
            f"the imported {file.kind} of {spec.name} gives numbers that are not finite at {name!r}; nothing "
            "can be compared with them, give --samples of real inputs"
        )


def _require_same(spec: ModelSpec, file: GivenFile, once: Tensors, again: list[dict[str, Array]]) -> None:
    for name, wanted in once.items():
        place = 0
        for part in again:
            rows = len(part[name])
            expected = wanted[place : place + rows]
            place += rows
            off = absolute_error(part[name], expected) - allowed_error(
                flat(expected), spec.tolerance_of(name)
            )
            if (off > 0).any():
                raise ModelError(
                    f"the imported {file.kind} of {spec.name} answers {name!r} differently when it is asked "
                    "again, or with other samples beside it; every sample has to be computed by itself"
                )
