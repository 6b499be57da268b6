import io
import sys

import pytest
from rich.console import Console

from pipelines.console.printing import ProgressDisplay


def rendered(display):
    out = io.StringIO()
    Console(file=out, width=200).print(display._table())
    return out.getvalue()


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_without_a_terminal_every_change_is_a_line_on_stderr(capsys):
    with ProgressDisplay() as progress:
        progress("torch", "tracing")
        progress("tensorflow", "freezing")
        progress("torch", "done")
    out, err = capsys.readouterr()
    assert err == "torch: tracing\ntensorflow: freezing\ntorch: done\n"
    assert out == ""


def test_quiet_means_quiet(capsys):
    with ProgressDisplay(quiet=True) as progress:
        progress("torch", "tracing")
    assert capsys.readouterr() == ("", "")


def test_quiet_means_quiet_on_a_terminal_too(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with ProgressDisplay(quiet=True) as progress:
        progress("torch", "tracing")
    assert terminal.getvalue() == ""


def test_on_a_terminal_the_lines_are_renewed_and_gone_at_the_end(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm-256color")
    with ProgressDisplay() as progress:
        progress("torch", "tracing")
        progress._live.refresh()
    assert "tracing" in terminal.getvalue()
    assert "torch: tracing" not in terminal.getvalue()
    assert "\x1b[2K" in terminal.getvalue()


def test_a_failure_inside_gives_the_terminal_back(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with pytest.raises(ValueError, match="it"), ProgressDisplay() as progress:
        progress("torch", "tracing")
        raise ValueError("it")
    assert terminal.getvalue().rstrip().endswith("\x1b[?25h") or "\x1b[?25h" in terminal.getvalue()


def test_each_title_keeps_one_line_with_its_own_clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("pipelines.console.printing.time.monotonic", lambda: now[0])
    display = ProgressDisplay(quiet=True)
    display("torch", "tracing")
    now[0] += 5
    display("tensorflow", "freezing")
    display("torch", "packing")
    now[0] += 2
    assert [line.split() for line in rendered(display).splitlines()] == [
        ["torch", "7", "s", "packing"],
        ["tensorflow", "2", "s", "freezing"],
    ]


@pytest.mark.parametrize("text", ["waiting for another export in runs[old]/a", "reading [/b]"])
def test_square_brackets_are_shown_as_they_are(text):
    display = ProgressDisplay(quiet=True)
    display("export", text)
    assert text in rendered(display)
