"""The JSON body of a predict request to named tensors: row format (`instances`) and columnar (`inputs`)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .base64_text import is_base64
from .dtypes import Array, TensorSpec
from .json_tensor import Hints, Item, TensorBuilder, hints_of, quick_array
from .json_text import Members, parse_object, value_text
from .status import ServingError, invalid

Specs = Mapping[str, TensorSpec]


@dataclass(slots=True)
class PredictBody:
    """What a predict body asked for: the signature ('' is the default), its inputs, the answer's format."""

    signature_name: str
    inputs: dict[str, Array]
    by_row: bool


def parse_predict(body: bytes, specs_of: Callable[[str], Specs]) -> PredictBody:
    """Parse a body; `specs_of` looks the inputs of a signature up and may raise.

    Raises ServingError (mostly 400).
    """
    document = parse_object(body)
    name = signature_name(document)
    specs = specs_of(name)
    if not specs:
        raise invalid(f"Failed to get input map for signature: {name or 'DEFAULT'}")
    hints = hints_of(body, lambda: _quoted(document))
    if not document.has("instances"):
        if not document.has("inputs"):
            raise invalid("Missing 'inputs' or 'instances' key")
        return PredictBody(name, _columns(document.first("inputs"), specs, hints), by_row=False)
    return PredictBody(name, _rows(_instances(document), specs, hints), by_row=True)


def _quoted(document: Members) -> int:
    """Count the quoted texts of a body without string values: its keys, its tensors' keys, its signature."""
    rows = document.first("instances")
    holders = rows if type(rows) is list else [document.first("inputs")]
    inner = sum(len(holder) for holder in holders if type(holder) is Members)
    return len(document) + document.has("signature_name") + inner


def signature_name(document: Members) -> str:
    """Return the `signature_name` of a body, '' if absent. Raises ServingError if it is not a string."""
    name = document.first("signature_name", "")
    if type(name) is not str:
        raise invalid(
            f"JSON Value: {value_text(document)} not formatted correctly. "
            "'signature_name' key must be a string value."
        )
    return name


def _instances(document: Members) -> list[Any]:
    instances = document.first("instances")
    problem = ""
    if document.has("inputs"):
        problem = "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist "
    elif type(instances) is not list:
        problem = "Expecting 'instances' to be an list/array"
    elif not instances:
        problem = "No values in 'instances' array"
    if problem:
        raise invalid(f"JSON Value: {value_text(document)} {problem}")
    rows: list[Any] = instances
    return rows


def _columns(value: Any, specs: Specs, hints: Hints) -> dict[str, Array]:
    if type(value) is not Members or is_base64(value):
        if len(specs) > 1:
            raise invalid(
                "inputs is a plain value/list, but expecting an object as multiple input tensors "
                "required as per tensorinfo_map"
            )
        name, spec = next(iter(specs.items()))
        return {name: _column(value, spec.dtype, hints)}
    missing = next((name for name in specs if not value.has(name)), None)
    if missing is not None:
        raise invalid(f"Missing named input: {missing} in 'inputs' object.")
    return {name: _column(value.first(name), spec.dtype, hints) for name, spec in specs.items()}


def _column(value: Any, dtype: int, hints: Hints) -> Array:
    array = quick_array(value, dtype, hints)
    if array is not None:
        return array
    builder = TensorBuilder(dtype)
    return builder.build(builder.add(value).shape)


def _is_named(row: Any) -> bool:
    return type(row) is Members and not is_base64(row)


def _rows(rows: list[Any], specs: Specs, hints: Hints) -> dict[str, Array]:
    if type(rows[0]) is not Members and len(specs) > 1:
        raise invalid(
            "instances is a plain list, but expecting list of objects as multiple input tensors "
            "required as per tensorinfo_map"
        )
    if _is_named(rows[0]):
        return _quick_named_rows(rows, specs, hints) or _named_rows(rows, specs)
    name = next(iter(specs))
    array = quick_array(rows, specs[name].dtype, hints)
    return {name: array} if array is not None else {name: _plain_rows(rows, specs[name])}


def _plain_rows(rows: Sequence[Any], spec: TensorSpec) -> Array:
    column = _Column(spec.dtype)
    for index, row in enumerate(rows):
        if _is_named(row):
            raise invalid(f"Expecting value/list but got object at item {index} of input list")
        try:
            column.add(row)
        except ServingError as error:
            raise invalid(
                f"Failed to process element: {index} of 'instances' list. Error: {error.text}"
            ) from None
    return column.build(len(rows))


def _quick_named_rows(rows: list[Any], specs: Specs, hints: Hints) -> dict[str, Array] | None:
    """Parse named rows that all list the same keys in the same order; return None for others."""
    if "b64" in specs or any(type(row) is not Members for row in rows):
        return None
    try:
        columns = list(zip(*rows, strict=True))
    except ValueError:
        return None
    arrays: dict[str, Array] = {}
    for column in columns:
        name = column[0][0]
        if name not in specs or any(key != name for key, _ in column):
            return None
        tensor = quick_array([value for _, value in column], specs[name].dtype, hints)
        if tensor is None:
            return None
        arrays[name] = tensor
    return arrays if len(arrays) == len(columns) == len(specs) else None


def _named_rows(rows: list[Any], specs: Specs) -> dict[str, Array]:
    columns = {name: _Column(spec.dtype) for name, spec in specs.items()}
    for index, row in enumerate(rows):
        if not _is_named(row):
            raise invalid(f"Expecting object but got list at item {index} of input list")
        _add_named_row(row, index, columns)
    return {name: column.build(len(rows)) for name, column in columns.items()}


def _add_named_row(row: Members, index: int, columns: Mapping[str, "_Column"]) -> None:
    names = set()
    for name, value in row:
        # The first of two equal keys wins, as everywhere else.
        if name in names:
            continue
        names.add(name)
        try:
            if name not in columns:
                raise invalid(f"JSON object: does not have named input: {name}")
            columns[name].add(value)
        except ServingError as error:
            raise invalid(
                f"Failed to process element: {index} key: {name} of 'instances' list. Error: {error.text}"
            ) from None
    if names != columns.keys():
        raise invalid(
            f"Failed to process element: {index} of 'instances' list. JSON object: {value_text(row)} "
            f"keys must be equal to: {','.join(columns)}"
        )


class _Column:
    """One input gathered over rows that must all have the size and shape of the first."""

    def __init__(self, dtype: int) -> None:
        self._builder = TensorBuilder(dtype)
        self._first: Item | None = None

    def add(self, value: Any) -> None:
        item = self._builder.add(value)
        if self._first is None:
            self._first = item
        elif item.size != self._first.size:
            raise invalid(f"Expecting tensor size: {self._first.size} but got: {item.size}")
        elif item.shape != self._first.shape:
            raise invalid(
                f"Expecting shape {_shape_text(self._first.shape)} but got: {_shape_text(item.shape)}"
            )

    def build(self, rows: int) -> Array:
        """Return the batch of all rows, with the number of rows as its first dimension."""
        return self._builder.build((rows, *(self._first.shape if self._first else ())))


def _shape_text(shape: tuple[int, ...]) -> str:
    return f"[{','.join(map(str, shape))}]"
