"""Names, logs and answers from elsewhere, on a terminal, in Markdown, XML and HTML."""

import io
import re
import sys
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.table import Table
from rich.text import Text

from pipelines.console import printing as console
from pipelines.console.printing import ProgressDisplay
from pipelines.console.text import code, code_cell, escaped, fenced, one_line, visible
from pipelines.smoke import outputs
from pipelines.smoke.checklist import Outcome

# Anything at all, and often what something would act upon.
ODD = st.sampled_from(
    [*"|`\\\n\r\t\x1b\x00\x07\x08\x9b\x7f<>&[]*_~#", "\ud800", "\ufffe", "\uffff", "\u202e", "\u2028"]
)
texts = st.lists(ODD | st.characters(), max_size=30).map("".join)
# What XML 1.0 allows.
XML = re.compile("[\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]*")
HOSTILE = "a\x1b[2Jb\x9b31mc\rd\x08e\x07f\u202eg\ufffeh\ud800i\x00"


def test_what_would_be_acted_upon_is_shown():
    assert visible("a\x1b[31mb") == "a\\x1b[31mb"
    assert visible("\r\x85\u2028\ud800\ufffe") == "\\r\\x85\\u2028\\ud800\\ufffe"
    assert (
        visible("gr\u00f6\u00dfe \u65e5\u672c \u202f%\u00a0\n\t")
        == "gr\u00f6\u00dfe \u65e5\u672c \u202f%\u00a0\n\t"
    )
    assert one_line("a\nb\tc") == "a b c"


@given(texts)
def test_visible_text_sends_nothing_to_a_terminal_and_fits_into_any_file(text):
    shown = visible(text)
    shown.encode()
    assert all(c in "\n\t" or (ord(c) >= 32 and not 0x7F <= ord(c) < 0xA0) for c in shown)
    assert XML.fullmatch(shown)
    assert visible(shown) == shown


def cells(row):
    """The cells of a table's row, as GitHub splits them: a backslash keeps what follows, also a bar."""
    return re.findall(r"((?:\\[!-/:-@\[-`{-~]|[^|])*)\|", row.removeprefix("|"))


@pytest.mark.slow
@given(texts, texts)
def test_a_markdown_row_keeps_its_columns(text, other):
    row = f"| {escaped(text)} | {code_cell(other)} | end |"
    assert "\n" not in row
    assert "\r" not in row
    assert len(cells(row)) == 3


@given(texts)
def test_code_is_fenced_by_more_backticks_than_it_holds(text):
    for made in (code(text), fenced(one_line(text))):
        ticks = re.match("`+", made)
        assert ticks
        longest = max(map(len, re.findall("`+", made[len(ticks[0]) : len(made) - len(ticks[0])])), default=0)
        assert made.endswith(ticks[0])
        assert longest < len(ticks[0])


@pytest.mark.slow
@given(texts, texts, texts)
def test_junit_stays_well_formed_and_says_what_was_found(name, sentence, detail):
    outcomes = [
        Outcome(f"{name}.x", sentence, state, detail, 1.0) for state in ("passed", "failed", "skipped")
    ]
    xml = outputs.junit(outcomes, name, "2026-01-01T00:00:00Z")
    assert XML.fullmatch(xml)
    root = ET.fromstring(xml.encode())  # noqa: S314 - ours
    (failure,) = root.iter("failure")
    # A parser makes one space of a newline or a tab in an attribute, unless they are written as numbers.
    assert failure.get("message") == visible(f"{name}.x: {detail}")


@given(texts, texts)
def test_the_summary_of_a_smoke_test_keeps_its_columns(name, detail):
    outcomes = [Outcome(name, "it works", "failed", detail, 1.0)]
    lines = outputs.markdown(outcomes, name).splitlines()
    assert lines[-1].startswith("| ✗ |")
    assert len(cells(lines[-1])) == 5
    assert "\n".join(lines).encode()


class Terminal(io.StringIO):
    def isatty(self):
        return True


CONTROLS = re.compile("[\x00-\x08\x0b-\x1a\x1c-\x1f\x7f-\x9f\u202e]")


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_tables_and_lines_show_escape_bytes_instead_of_sending_them(monkeypatch, stream):
    found = stream()
    monkeypatch.setattr(sys, "stdout", found)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "dumb")
    table = Table("name")
    console.print_table(table, [(HOSTILE,), ("[red]no markup[/]",), (Text("ok", style="green"),)])
    console.say(HOSTILE)
    assert not CONTROLS.search(found.getvalue())
    assert "\x1b[2J" not in found.getvalue()
    assert "\\x1b[2J" in found.getvalue()
    assert "[red]no markup[/]" in found.getvalue()


def test_progress_and_complaints_show_escape_bytes_instead_of_sending_them(monkeypatch):
    found = io.StringIO()
    monkeypatch.setattr(sys, "stderr", found)
    console.complain(HOSTILE)
    with ProgressDisplay() as progress:
        progress(HOSTILE, HOSTILE)
        (cell, _, text) = (column._cells[0] for column in progress._table().columns)
    assert "\x1b" not in found.getvalue() + cell.plain + text.plain
    assert found.getvalue().count("\n") == 2
