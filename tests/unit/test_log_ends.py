"""A kept log is the whole of a short one, and the first and last lines of a long one."""

import re
from pathlib import Path

import pytest

from pipelines.files.log_ends import KEPT_BYTES, LONGEST_LINE_BYTES, NewLines, copy_ends, read_end


def kept(folder, content, kept_bytes):
    source, target = folder / "server.log", folder / "kept.log"
    source.write_bytes(content)
    copy_ends(source, target, kept_bytes)
    return target.read_bytes()


def parts(text):
    """What is before and after the line between, and how many bytes that says are left out, of how many."""
    first, left_out, size, last = re.fullmatch(
        rb"(.*?)\n?\[tandem: (\d+) bytes are left out here, of (\d+)\]\n(.*)", text, re.DOTALL
    ).groups()
    return first, last, int(left_out), int(size)


def lines(count):
    return b"".join(b"line %d\n" % number for number in range(count))


@pytest.mark.parametrize("size", [0, 1, 199, 200])
def test_a_log_of_two_parts_at_most_is_kept_whole(tmp_path, size):
    content = lines(100)[:size]
    assert kept(tmp_path, content, 100) == content


@pytest.mark.parametrize("kept_bytes", range(90, 110))
def test_a_long_log_keeps_whole_lines_of_both_ends(tmp_path, kept_bytes):
    content = lines(1000)
    first, last, left_out, size = parts(kept(tmp_path, content, kept_bytes))
    first += b"\n"
    assert content.startswith(first)
    assert content.endswith(b"\n" + last)
    assert size == len(content) == len(first) + left_out + len(last)
    # Not a line more is left out than has to be.
    longest = len(b"line 999\n")
    assert kept_bytes - longest < len(first) <= kept_bytes
    assert kept_bytes - longest < len(last) <= kept_bytes


def test_a_part_that_begins_with_a_line_keeps_it(tmp_path):
    content = b"a\n" * 50 + b"middle\n" * 50 + b"z\n" * 50
    assert parts(kept(tmp_path, content, 100)) == (b"a\n" * 49 + b"a", b"z\n" * 50, 350, 550)


def test_one_endless_line_is_cut_where_it_must_be(tmp_path):
    assert parts(kept(tmp_path, b"a" * 500 + b"b" * 500, 100)) == (b"a" * 100, b"b" * 100, 800, 1000)


def test_a_log_of_hundreds_of_megabytes_is_kept_by_its_ends(tmp_path):
    source, target = tmp_path / "server.log", tmp_path / "kept.log"
    with source.open("wb") as file:
        file.write(b"started\n")
        file.truncate(300_000_000)
        file.seek(0, 2)
        file.write(b"\nended\n")
    copy_ends(source, target)
    assert target.stat().st_size < 2 * KEPT_BYTES + 100
    assert target.read_bytes().startswith(b"started\n")
    assert target.read_bytes().endswith(b"\nended\n")
    assert len(read_end(target)) <= KEPT_BYTES
    assert read_end(source) == "ended\n"


def test_the_end_of_a_log_begins_with_a_line(tmp_path):
    log = tmp_path / "server.log"
    assert read_end(log) == ""
    log.write_bytes(b"first\nsecond\n\xff\n")
    assert read_end(log) == "first\nsecond\n\ufffd\n"
    assert read_end(log, 9) == "second\n\ufffd\n"
    assert read_end(log, 8) == "\ufffd\n"
    assert read_end(log, 1) == "\n"


def test_a_growing_log_is_read_once_and_by_whole_lines(tmp_path, monkeypatch):
    log = tmp_path / "log"
    log.write_text("of an earlier server\n")
    new = NewLines(log)
    assert new.read() == ""
    with log.open("a") as file:
        for text, lines in (("one\ntw", "one\n"), ("", ""), ("o\n\xe9", "two\n"), ("\n", "\xe9\n")):
            file.write(text)
            file.flush()
            assert new.read() == lines
        monkeypatch.setattr(Path, "open", lambda *_: pytest.fail("nothing is new, and it is read"))
        assert new.read() == ""


def test_a_log_that_is_absent_begun_anew_or_one_endless_line(tmp_path):
    log = tmp_path / "log"
    new = NewLines(log)
    assert new.read() == ""
    log.write_text("a first line\n")
    assert new.read() == "a first line\n"
    log.write_text("anew\n")
    assert new.read() == "anew\n"
    log.write_bytes(b"x" * (LONGEST_LINE_BYTES + 6))
    assert len(new.read()) == LONGEST_LINE_BYTES + 1
