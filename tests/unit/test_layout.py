"""No table cuts a number, however narrow the terminal."""

import io
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from report_fixture import make_run
from report_mobile_fixture import make_mobile_run
from report_slo_fixture import make_slo_run
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipelines.console.layout import TOKEN, fitted, wrapped
from pipelines.report import mobile_tables, slo, terminal, verdicts

RUN = make_run()
widths = st.integers(40, 200)
floats = st.floats(allow_nan=False, allow_infinity=False)
numbers = st.one_of(
    floats.map(lambda value: f"{value:.3g}"),
    floats.map(lambda value: f"{value:.2e}"),
    st.floats(0, 1e7).map(lambda value: f"{value:,.2f}".replace(",", "\u202f")),
    st.integers(0, 10**12).map(lambda value: f"{value:,}".replace(",", " ")),
    st.integers(0, 10**9).map(lambda value: f"±{value}\u202fms"),
    st.floats(0, 100).map(lambda value: f"{value:.1f}%"),
    st.tuples(floats, floats).map(lambda pair: f"{pair[0]:.3g} to {pair[1]:.3g}"),
)
words = st.text(st.sampled_from("abcdefghij-_/."), min_size=1, max_size=30)
cells = st.one_of(numbers, words, st.lists(st.one_of(words, numbers), max_size=6).map(" ".join), st.just(""))


def drawn(table, rows, width):
    console = Console(width=width, file=io.StringIO(), force_terminal=False)
    console.print(fitted(table, rows, width))
    return console.file.getvalue()


def tokens(text):
    return [token for token in TOKEN.findall(text) if any(character.isdigit() for character in token)]


def is_number(token):
    return not any(character in "abcdfghij_" for character in token)


@st.composite
def tables(draw):
    """Columns of all kinds with their cells."""
    count = draw(st.integers(1, 9))
    boxed = draw(st.booleans())
    table = Table(show_edge=False, pad_edge=False) if boxed else Table(box=None, pad_edge=False)
    for _ in range(count):
        right = draw(st.booleans())
        heading = draw(st.one_of(words, st.just("")))
        table.add_column(heading, justify="right" if right else "left", no_wrap=right or draw(st.booleans()))
    return table, draw(st.lists(st.lists(cells, min_size=count, max_size=count), min_size=1, max_size=4))


@pytest.mark.slow
@given(tables(), widths)
@settings(max_examples=300, deadline=None)
def test_no_table_cuts_a_number(made, width):
    table, rows = made
    found = drawn(table, [[Text(cell) for cell in row] for row in rows], width)
    # What heads a group of rows stands there once.
    wanted = {token for row in rows for cell in row for token in tokens(cell) if is_number(token)}
    assert not wanted - set(tokens(found)), found
    assert "…" not in found
    assert all(len(line.rstrip()) <= width for line in found.split("\n"))


@given(st.lists(st.one_of(words, numbers), max_size=20).map(" ".join), st.integers(1, 60))
@settings(deadline=None)
def test_wrapping_loses_nothing_and_keeps_to_the_width(text, width):
    found = wrapped(Text(text), width).plain
    assert "".join(found.split()) == "".join(text.split())
    assert all(len(line) <= width for line in found.split("\n"))
    if width >= 30:
        assert not Counter(filter(is_number, tokens(text))) - Counter(tokens(found))


def small():
    table = Table(box=None, pad_edge=False)
    table.add_column("artifact", no_wrap=True)
    table.add_column("what it is")
    table.add_column("largest error", justify="right", no_wrap=True)
    rows = [
        ["tfserving/digits_cnn/1/saved_model.pb", "scores of ten classes", "6.7e-06"],
        ["torchserve/digits_cnn.mar", "", "12 345.5"],
    ]
    return table, [[Text(cell) for cell in row] for row in rows]


def test_a_table_with_room_stays_a_table():
    lines = drawn(*small(), 100).splitlines()
    assert [line.rstrip() for line in lines] == [
        "artifact                               what it is             largest error",
        "tfserving/digits_cnn/1/saved_model.pb  scores of ten classes        6.7e-06",
        "torchserve/digits_cnn.mar                                          12 345.5",
    ]


def test_words_wrap_before_numbers_lose_their_column():
    lines = drawn(*small(), 70).splitlines()
    assert lines[0].split() == ["artifact", "what", "it", "is", "largest", "error"]
    assert "6.7e-06" in lines[1]
    assert all(len(line) <= 70 for line in lines)


def test_rows_are_listed_where_there_is_no_room_for_columns():
    table = Table(box=None, pad_edge=False)
    rows = [[f"{place + 10 * row}.123e-06" for place in range(6)] for row in range(2)]
    for place in range(6):
        table.add_column(f"figure {place}", justify="right", no_wrap=True)
    lines = drawn(table, [[Text(cell) for cell in row] for row in rows], 40).splitlines()
    assert [line.rstrip() for line in lines[:2]] == ["figure 0  0.123e-06", "figure 1  1.123e-06"]
    assert not lines[6].strip()
    assert lines[7].rstrip() == "figure 0  10.123e-06"


def report_tables():
    """Every table that the terminal prints of a comparison, of a search and of artifacts for devices."""
    mobile, search = make_mobile_run(), make_slo_run()
    found = [*terminal._tables(RUN), verdicts.verdict_table(RUN), *mobile_tables.tables(mobile)]
    return [*found, slo.rate_table(search), slo.search_table(search), *terminal._tables(search)]


@pytest.mark.parametrize("width", range(40, 201, 8))
def test_every_table_of_a_report_keeps_its_numbers(width):
    for table in report_tables():
        console = Console(width=width, file=io.StringIO())
        terminal.print_table(table, console)
        shown = table if width >= terminal.ROOMY_WIDTH else table.without_minor()
        cells = [terminal._text(shown, cell).plain for row in shown.rows for cell in row]
        wanted = {token for cell in cells for token in tokens(cell) if len(token) <= 16}
        found = console.file.getvalue()
        assert not wanted - set(tokens(found)), found


def verdict_rows(pairs):
    metrics = ("throughput (primary)", "p50", "p95", "p99")
    return [
        [
            Text(cell)
            for cell in (
                "closed:32",
                *pair,
                metric,
                "inconclusive, +118 rounds",
                f"{place}.25",
                "1.14-1.45",
                "6",
            )
        ]
        for place, pair in enumerate(pairs)
        for metric in metrics
    ]


def verdict_table():
    table = Table(box=None, pad_edge=False)
    names = ("load", "candidate", "baseline", "metric", "verdict", "ratio", "interval", "pairs")
    for name in names:
        right = name in ("ratio", "interval", "pairs")
        table.add_column(name, justify="right" if right else "left", no_wrap=right)
    return table


def test_rows_that_begin_alike_share_a_heading_where_there_is_little_room():
    rows = verdict_rows([("torchserve:tuned", "TorchServe"), ("torchserve:tuned", "tfserving:tuned")])
    found = drawn(verdict_table(), rows, 80).splitlines()
    heads = [line for line in found if line.startswith("load closed:32")]
    assert heads == [
        "load closed:32  ·  candidate torchserve:tuned  ·  baseline TorchServe",
        "load closed:32  ·  candidate torchserve:tuned  ·  baseline tfserving:tuned",
    ]
    assert len(found) == 2 * (1 + 1 + 4) + 1
    assert [line.split()[-3:] for line in found if line.startswith("p50")] == [
        ["0.25", "1.14-1.45", "6"],
        ["1.25", "1.14-1.45", "6"],
    ]
    assert "load closed:32" not in drawn(verdict_table(), rows, 160)


def test_groups_of_one_row_are_no_shorter_and_stay_lists():
    rows = verdict_rows([("torchserve:tuned", "TorchServe"), ("torchserve:tuned", "tfserving:tuned")])[::4]
    found = drawn(verdict_table(), rows, 50).splitlines()
    assert [line.split() for line in found if line.startswith("load")] == [["load", "closed:32"]] * 2
