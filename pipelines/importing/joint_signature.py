"""One signature from what several files say: which tensor of a file is which of the model, and its shape.

Names are matched where files agree on them, then by dtype and shape where only one fits, then by order; what
was matched wrongly does not pass parity.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from models.given import Kind
from models.signature import NAME, STRING, TensorSpec
from pipelines.errors import GateError
from pipelines.imported.saved_model import Read, Shape, Tensor
from pipelines.importing.file_facts import is_known

WIRE: Kind = "saved_model"
"""A SavedModel's names are in the requests to its server, so they are the model's."""
PREFIX, PLACE = "serving_default_", re.compile(r":\d+$")
PLANE_AXES = 3


@dataclass(frozen=True)
class Joined:
    """The model's tensors in the program's order, and by kind of file its own name of each."""

    tensors: tuple[Tensor, ...]
    own: dict[Kind, dict[str, str]]


def join(what: str, by_kind: Mapping[Kind, Sequence[Tensor]], base: Kind) -> Joined:
    """Join the inputs or outputs (`what`) of all files as the model's, in the order of the file `base`.

    Raises:
        GateError: files have different numbers of them, or other shapes or dtypes, or one that holds strings.
    """
    for kind, tensors in by_kind.items():
        _require_known(what, kind, tensors)
    placed = {kind: _matched(what, base, by_kind[base], kind, tensors) for kind, tensors in by_kind.items()}
    named = placed.get(WIRE, placed[base])
    names = _names(what, [tensor.name for tensor in named], wire=WIRE in placed)
    joined = [
        Tensor(
            name,
            _dtype(what, name, {kind: row[at].dtype for kind, row in placed.items()}),
            _shape(what, name, {kind: row[at].shape for kind, row in placed.items()}),
        )
        for at, name in enumerate(names)
    ]
    own = {
        kind: {name: tensor.name for name, tensor in zip(names, row, strict=True)}
        for kind, row in placed.items()
    }
    return Joined(tuple(joined), own)


def inputs_of(reads: Mapping[Kind, Read]) -> dict[Kind, tuple[Tensor, ...]]:
    """Return what files say of inputs."""
    return {kind: read.inputs for kind, read in reads.items()}


def _require_known(what: str, kind: Kind, tensors: Sequence[Tensor]) -> None:
    if not tensors:
        raise GateError(f"the {kind} has no {what}s")
    for tensor in tensors:
        if not is_known(tensor.dtype) or (tensor.dtype == STRING and kind != WIRE):
            raise GateError(
                f"the {kind} has {tensor.dtype} at its {what} {tensor.name!r}; numbers and truth values are "
                f"allowed, and strings in a {WIRE}: save the model without the part that reads or writes it"
            )
        if tensor.shape is not None and not tensor.shape:
            raise GateError(
                f"the {kind} has a single number at its {what} {tensor.name!r}; a batch is needed"
            )
        size = tensor.shape[0] if tensor.shape else None
        if size is not None and (size != 1 or kind == WIRE):
            raise GateError(
                f"the {kind} is made for a batch of {size} at its {what} {tensor.name!r}; save it with a "
                "batch of any size"
            )


def _matched(
    what: str, base: Kind, wanted: Sequence[Tensor], kind: Kind, tensors: Sequence[Tensor]
) -> list[Tensor]:
    """Sort the tensors of a file in the order of those of `base`."""
    if len(tensors) != len(wanted):
        raise GateError(
            f"the {base} has {_listed(what, wanted)}, the {kind} has {_listed(what, tensors)}: these are not "
            "files of one model"
        )
    by_name = {tensor.name: tensor for tensor in tensors}
    if {tensor.name for tensor in wanted} == set(by_name):
        return [by_name[tensor.name] for tensor in wanted]
    fitting = [[other for other in tensors if _may_be(tensor, other)] for tensor in wanted]
    only = [row[0] for row in fitting if len(row) == 1]
    if len(only) == len(wanted) == len({tensor.name for tensor in only}):
        return only
    return list(tensors)


def _listed(what: str, tensors: Sequence[Tensor]) -> str:
    several = "" if len(tensors) == 1 else "s"
    return f"{len(tensors)} {what}{several} ({', '.join(tensor.name for tensor in tensors)})"


def _may_be(tensor: Tensor, other: Tensor) -> bool:
    if tensor.dtype and other.dtype and tensor.dtype != other.dtype:
        return False
    if tensor.shape is None or other.shape is None:
        return True
    return len(tensor.shape) == len(other.shape) and all(
        a is None or b is None or a == b for a, b in zip(tensor.shape[1:], other.shape[1:], strict=True)
    )


def _names(what: str, own: Sequence[str], *, wire: bool) -> list[str]:
    """Return names as a spec may have them."""
    if wire:
        bad = [name for name in own if not NAME.fullmatch(name)]
        if bad:
            raise GateError(
                f"the {WIRE} calls an {what} {bad[0]!r:.80}; letters, digits and _ are allowed: save it with "
                "other names"
            )
        return list(own)
    plain = [re.sub(r"\W", "_", PLACE.sub("", name).removeprefix(PREFIX), flags=re.ASCII) for name in own]
    usable = all(NAME.fullmatch(name) for name in plain) and len(set(plain)) == len(plain)
    if usable and "StatefulPartitionedCall" not in plain:
        return plain
    return [what] if len(own) == 1 else [f"{what}_{place}" for place in range(len(own))]


def _dtype(what: str, name: str, dtypes: Mapping[Kind, str | None]) -> str | None:
    stated = {kind: dtype for kind, dtype in dtypes.items() if dtype is not None}
    if len(set(stated.values())) > 1:
        listing = ", ".join(f"the {kind} {dtype}" for kind, dtype in stated.items())
        raise GateError(
            f"the {what} {name!r} has different dtypes: {listing}; these are not files of one model"
        )
    return next(iter(stated.values()), None)


def _shape(what: str, name: str, shapes: Mapping[Kind, Shape | None]) -> Shape | None:
    """Return the sizes that all files take; None where all take any."""
    stated = {kind: shape for kind, shape in shapes.items() if shape is not None}
    if not stated:
        return None
    listing = ", ".join(f"the {kind} {shape[1:]}" for kind, shape in stated.items())
    if len({len(shape) for shape in stated.values()}) > 1:
        raise GateError(
            f"the {what} {name!r} has different shapes: {listing}; these are not files of one model"
        )
    sizes: list[int | None] = [None]
    for axis in range(1, len(next(iter(stated.values())))):
        fixed = {shape[axis] for shape in stated.values()} - {None}
        if len(fixed) > 1:
            raise GateError(f"the {what} {name!r} has different shapes: {listing}; {_cure(stated)}")
        sizes.append(next(iter(fixed), None))
    return tuple(sizes)


def _cure(shapes: Mapping[Kind, Shape]) -> str:
    rows = [shape[1:] for shape in shapes.values()]
    turned = len(rows[0]) == PLANE_AXES and len({tuple(sorted(map(str, row))) for row in rows}) == 1
    if turned:
        return "one has its channels first and another last: save them with one layout"
    return "these are not files of one model"


def spec_of(tensor: Tensor) -> TensorSpec:
    """Convert the tensor to the form of a spec.

    Raises:
        GateError: its shape is not known.
    """
    if tensor.shape is None or tensor.dtype is None:
        raise GateError(f"nothing says the shape of {tensor.name!r}; give --samples")
    return TensorSpec(tensor.name, tensor.dtype, (None, *tensor.shape[1:]))
