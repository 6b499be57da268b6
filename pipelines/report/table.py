"""Tables as values, built once from the record and drawn three ways, so that all three say the same."""

import html
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate, takewhile
from typing import Literal, TypeVar

from pipelines.console.format import MISSING, one_line

Figure = TypeVar("Figure", int, float)
Tone = Literal["good", "bad"]
MARKUP_BYTES = 100
"""Around the text of a cell on the HTML page, at most."""


@dataclass(frozen=True)
class Cell:
    """One cell.

    `exact` is the figure with all its digits, shown on hover; `why` is the reason a figure is missing, shown
    as a note below the table; `target` asks for that target's mark beside the text; `beside` stands, smaller,
    with the text, such as the interval of a figure.
    """

    text: str
    exact: str | None = None
    why: str | None = None
    target: str | None = None
    tone: Tone | None = None
    code: bool = False
    beside: str | None = None


@dataclass(frozen=True)
class Column:
    """A heading. `minor` columns are left out where there is little room."""

    name: str
    unit: str | None = None
    numeric: bool = True
    minor: bool = False


@dataclass(frozen=True)
class Table:
    """A captioned table; the first cell of each row names the row."""

    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    remark: str | None = None

    @cached_property
    def _numbers(self) -> dict[str, int]:
        reasons = dict.fromkeys(cell.why for row in self.rows for cell in row if cell.why)
        return {why: number for number, why in enumerate(reasons, start=1)}

    @property
    def notes(self) -> tuple[str, ...]:
        """The reasons in the table, each once, in order of appearance."""
        return tuple(self._numbers)

    def note_number(self, cell: Cell) -> int | None:
        """Return the number of the note that explains `cell`, from 1."""
        return self._numbers[cell.why] if cell.why else None

    def without_minor(self) -> "Table":
        """Return the same table with its minor columns left out."""
        keep = [index for index, column in enumerate(self.columns) if not column.minor]
        rows = tuple(tuple(row[index] for index in keep) for row in self.rows)
        return Table(self.caption, tuple(self.columns[index] for index in keep), rows, self.remark)


def first_rows(table: Table, most: int) -> Table:
    """Keep no more than `most` rows, with a remark that says where the others are."""
    if len(table.rows) <= most:
        return table
    left_out = f"The first {most} of {len(table.rows)} rows; run.json has all of them."
    remark = f"{table.remark} {left_out}" if table.remark else left_out
    return replace(table, rows=table.rows[:most], remark=remark)


def within_bytes(table: Table, most: int) -> Table:
    """Keep as many rows as are written in about `most` bytes, with a remark that says where the others are.

    The first row always stays.
    """
    return first_rows(table, _fitting(table, table.rows, most))


def last_within_bytes(table: Table, most: int) -> Table:
    """Keep as many of the last rows as `within_bytes` keeps of the first, with a remark that says so."""
    kept = _fitting(table, table.rows[::-1], most)
    if kept >= len(table.rows):
        return table
    left_out = f"The newest {kept} of {len(table.rows)} rows."
    remark = f"{table.remark} {left_out}" if table.remark else left_out
    return replace(table, rows=table.rows[-kept:], remark=remark)


def _fitting(table: Table, rows: Iterable[tuple[Cell, ...]], most: int) -> int:
    """Return how many of the rows are written in about `most` bytes with the headings; at least one."""
    room = most - sum(_written(Cell(f"{column.name}{column.unit or ''}")) for column in table.columns)
    written = accumulate(sum(map(_written, row)) for row in rows)
    return max(1, sum(1 for _ in takewhile(lambda so_far: so_far <= room, written)))


def _written(cell: Cell) -> int:
    """Return about how many bytes a cell takes on the page; every character may have to be escaped."""
    texts = (cell.text, cell.exact, cell.why, cell.beside)
    return MARKUP_BYTES + sum(len(html.escape(text).encode()) for text in texts if text)


def word(text: str, *, exact: str | None = None, tone: Tone | None = None) -> Cell:
    """Make a cell of plain words."""
    return Cell(one_line(text), exact=exact, tone=tone)


def code(text: str, *, exact: str | None = None) -> Cell:
    """Make a cell that is to be read letter by letter: a path, a digest."""
    return Cell(one_line(text), exact=exact, code=True)


def target_cell(name: str, label: str | None = None) -> Cell:
    """Make a cell with the name of a target, or what it is called here, with its mark."""
    return Cell(one_line(label or name), target=name)


def missing(why: str) -> Cell:
    """Make a dash with the reason."""
    return Cell(MISSING, why=one_line(why))


def number(value: Figure | None, show: Callable[[Figure], str], *, unit: str, why: str) -> Cell:
    """Format a figure by `show` with all its digits as `exact`; without a value, a dash and `why`."""
    return missing(why) if value is None else Cell(show(value), exact=f"{value} {unit}".strip())
