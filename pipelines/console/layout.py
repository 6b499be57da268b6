"""Tables at any width: columns wrap between words, and where they cannot, a row becomes a list of its cells.

Left to itself, rich cuts what has no room, and "6.7e-06" cut to "6.7e-0" is another number.
"""

import re
from collections.abc import Sequence
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


def fitted(table: "Table", rows: Sequence[Sequence["Text"]], width: int) -> "RenderableType":
    """Fit `rows` into `table`, which has columns and no rows yet, in `width` columns of a terminal.

    Its columns that may not wrap do so only where there is no other way. What needs more room than there is
    gets it, to be broken by the terminal, which cuts nothing.
    """
    from rich.text import Text

    headings = [
        column.header
        if isinstance(column.header, Text)
        else Text(str(column.header), table.header_style or "")
        for column in table.columns
    ]
    cells = [[heading, *(row[place] for row in rows)] for place, heading in enumerate(headings)]
    most = [max(map(_width, column)) for column in cells]
    room = width - _overhead(table)
    for keep in (True, False):
        stiff = [column.no_wrap and (keep or column.justify == "right") for column in table.columns]
        least = [
            whole if fixed else max(map(_least, column))
            for fixed, whole, column in zip(stiff, most, cells, strict=True)
        ]
        if sum(least) <= room:
            return _drawn(table, headings, rows, _shared(least, most, room))
    return _listed(headings, rows, width)


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
