"""Tables at any width: columns wrap between words, or head groups of rows, or a row becomes a list of cells.

Left to itself, rich cuts what has no room, and "6.7e-06" cut to "6.7e-0" is another number.
"""

import copy
import re
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table
    from rich.text import Text

# What stays on one line: a word, a number whose thousands are set apart by a space, a note's mark after them.
TOKEN = re.compile(r"(?:(?<![\d.,])(?<![eE][+-])\d{1,3}(?:[ \u00a0\u202f]\d{3})+(?!\d)|\S| (?=\[\d+\]))+")
# A number, with what stands at it: signs, brackets, a unit. Longer words, such as paths, may be folded.
NUMBER = re.compile(r"[^\w]*\d[\d.,:/ \u00a0\u202f]*(?:[eE][-+]?\d+)?\D{0,8}", re.ASCII)
LONGEST_WORD = 16
GAP = 2
LEAST_GROUP = 2
"""Rows of a group, on average: with fewer, headings above groups save no lines."""
BETWEEN = "  ·  "


def fitted(table: "Table", rows: Sequence[Sequence["Text"]], width: int) -> "RenderableType":
    """Fit `rows` into `table`, which has columns and no rows yet, in `width` columns of a terminal.

    Its columns that may not wrap do so only where there is no other way. What needs more room than there is
    gets it, to be broken by the terminal, which cuts nothing.
    """
    headings = _headings(table)
    widths = _widths(table, headings, rows, width)
    if widths is not None:
        return _drawn(table, headings, rows, widths)
    return _grouped(table, headings, rows, width) or _listed(headings, rows, width)


def _headings(table: "Table") -> list["Text"]:
    from rich.text import Text

    return [
        column.header
        if isinstance(column.header, Text)
        else Text(str(column.header), table.header_style or "")
        for column in table.columns
    ]


def _columns(headings: Sequence["Text"], rows: Sequence[Sequence["Text"]]) -> list[list["Text"]]:
    return [[heading, *(row[place] for row in rows)] for place, heading in enumerate(headings)]


def _widths(
    table: "Table", headings: Sequence["Text"], rows: Sequence[Sequence["Text"]], width: int
) -> list[int] | None:
    """Return widths that fold no number and no word of usual length; None if there are none."""
    cells = _columns(headings, rows)
    most = [max(map(_width, column)) for column in cells]
    room = width - _overhead(table)
    for keep in (True, False):
        stiff = [column.no_wrap and (keep or column.justify == "right") for column in table.columns]
        least = [
            whole if fixed else max(map(_least, column))
            for fixed, whole, column in zip(stiff, most, cells, strict=True)
        ]
        if sum(least) <= room:
            return _shared(least, most, room)
    return None


def wrapped(text: "Text", width: int) -> "Text":
    """Break the text so that no line is longer than `width`; fold only words that are longer themselves."""
    from rich.text import Text

    lines: list[Text] = []
    for line in text.split("\n", allow_blank=True):
        pieces = line.divide(_breaks(line.plain, width))
        for piece in pieces:
            piece.rstrip()
        lines += pieces
    return Text("\n").join(lines)


def _breaks(plain: str, width: int) -> list[int]:
    """Return where to break one line."""
    from rich.cells import cell_len, chop_cells

    breaks: list[int] = []
    start = 0
    for token in TOKEN.finditer(plain):
        if token.start() > start and cell_len(plain[start : token.end()]) > width:
            start = token.start()
            breaks.append(start)
        if start != token.start() or cell_len(token[0]) <= width:
            continue
        for part in chop_cells(token[0], width)[:-1]:
            start += len(part)
            breaks.append(start)
    return breaks


def _width(text: "Text") -> int:
    from rich.cells import cell_len

    return max(map(cell_len, text.plain.split("\n")), default=0)


def _least(text: "Text") -> int:
    """Return the least width of a cell: no number is folded, and no word of usual length."""
    from rich.cells import cell_len

    return max(
        (
            cell_len(token) if NUMBER.fullmatch(token) else min(cell_len(token), LONGEST_WORD)
            for token in TOKEN.findall(text.plain)
        ),
        default=0,
    )


def _overhead(table: "Table") -> int:
    """Count the columns of the terminal that hold no text: padding and lines."""
    count, (_, right, _, left) = len(table.columns), table.padding
    lines = count - 1 + GAP * table.show_edge if table.box else 0
    return count * (left + right) + lines


def _shared(least: Sequence[int], most: Sequence[int], room: int) -> list[int]:
    """Choose widths between the least and the most of each column: who lacks little gets all of it."""
    widths, spare = list(least), room - sum(least)
    lacking = sorted((high - low, place) for place, (low, high) in enumerate(zip(least, most, strict=True)))
    for served, (lack, place) in enumerate(lacking):
        extra = min(lack, spare // (len(lacking) - served))
        widths[place] += extra
        spare -= extra
    return widths


def _drawn(
    table: "Table", headings: Sequence["Text"], rows: Sequence[Sequence["Text"]], widths: Sequence[int]
) -> "Table":
    for column, heading, width in zip(table.columns, headings, widths, strict=True):
        column.header, column.width, column.no_wrap = wrapped(heading, max(1, width)), width, True
    for row in rows:
        table.add_row(*(wrapped(cell, max(1, width)) for cell, width in zip(row, widths, strict=True)))
    return table


def _grouped(
    table: "Table", headings: Sequence["Text"], rows: Sequence[Sequence["Text"]], width: int
) -> "RenderableType | None":
    """Head groups of rows by the first columns, as few as make the rest fit, unwrapped where that can be.

    None where no number of columns does, or groups would have hardly more than a row.
    """
    from rich.console import Group
    from rich.text import Text

    chosen = _heading_columns(table, headings, rows, width)
    if chosen is None:
        return None
    count, widths = chosen
    parts: list[RenderableType] = []
    for place, group in enumerate(_alike(rows, count)):
        shared = [
            Text.assemble((" ".join(name.plain.split()), "dim"), " ", cell)
            for name, cell in zip(headings, group[0][:count], strict=False)
            if cell.plain
        ]
        own = _drawn(_without(table, count), headings[count:], _cut(group, count), widths)
        parts += [*([Text()] if place else []), wrapped(Text(BETWEEN).join(shared), width), own]
    return Group(*parts)


def _heading_columns(
    table: "Table", headings: Sequence["Text"], rows: Sequence[Sequence["Text"]], width: int
) -> tuple[int, list[int]] | None:
    """Return how many first columns head groups of rows, and the widths of the others; None if none may."""
    chosen: tuple[int, list[int]] | None = None
    for count in range(1, len(headings) - 1):
        if len(rows) < LEAST_GROUP * len(list(_alike(rows, count))):
            break
        rest = _cut(rows, count)
        widths = _widths(_without(table, count), headings[count:], rest, width)
        if widths is None:
            continue
        if not _wraps(headings[count:], rest, widths):
            return count, widths
        chosen = chosen or (count, widths)
    return chosen


def _cut(rows: Sequence[Sequence["Text"]], count: int) -> list[Sequence["Text"]]:
    return [row[count:] for row in rows]


def _wraps(headings: Sequence["Text"], rows: Sequence[Sequence["Text"]], widths: Sequence[int]) -> bool:
    """Return whether a cell has not all of its width."""
    columns = _columns(headings, rows)
    return any(max(map(_width, column)) > width for column, width in zip(columns, widths, strict=True))


def _alike(rows: Sequence[Sequence["Text"]], count: int) -> Iterator[list[Sequence["Text"]]]:
    """Yield the runs of rows whose first `count` cells are the same."""
    for _, group in groupby(rows, lambda row: [cell.plain for cell in row[:count]]):
        yield list(group)


def _without(table: "Table", count: int) -> "Table":
    """Return an empty table like `table` without its first `count` columns."""
    rest = copy.copy(table)
    rest.columns, rest.rows = [], []
    for column in table.columns[count:]:
        rest.add_column(
            column.header,
            header_style=column.header_style,
            style=column.style,
            justify=column.justify,
            no_wrap=column.no_wrap,
        )
    return rest


def _listed(headings: Sequence["Text"], rows: Sequence[Sequence["Text"]], width: int) -> "RenderableType":
    """Render each row as lines of heading and value, a blank line between rows."""
    from rich.table import Table
    from rich.text import Text

    names = [Text(" ".join(heading.plain.split()), "dim") for heading in headings]
    left = max(1, *(min(_width(name), max(_least(name), width // 3)) for name in names))
    widest = max(_least(cell) for row in rows for cell in row)
    # A long number has its room before a long name has.
    left = max(1, min(left, width - GAP - widest))
    right = max(1, width - left - GAP, widest)
    grid = Table.grid(padding=(0, GAP, 0, 0))
    grid.add_column(width=left, no_wrap=True)
    grid.add_column(width=right, no_wrap=True)
    for place, row in enumerate(rows):
        if place:
            grid.add_row("", "")
        for name, cell in zip(names, row, strict=True):
            if cell.plain:
                grid.add_row(wrapped(name, left), wrapped(cell, right))
    return grid
