"""docs/faults.md names tests: each is there."""

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
PAGE = TESTS.parent / "docs" / "faults.md"
# `unit/test_x.py` some_words, other_words
NAMED = re.compile(r"`((?:unit|e2e|containers|targets|fuzz)/\w+\.py)`((?: \w+\b(?!\.py)(?:,(?= \w))?)*)")
FOUND = [
    (file, words.replace(",", " ").split())
    for line in PAGE.read_text().splitlines()
    for file, words in NAMED.findall(line)
]


def test_the_table_is_read():
    assert len(FOUND) > 70
    assert sum(bool(words) for _, words in FOUND) > 40


@pytest.mark.parametrize("file", sorted({file for file, _ in FOUND}))
def test_every_test_that_the_table_names_exists(file):
    names = re.findall(r"def (test_\w+)", (TESTS / file).read_text())
    assert names
    words = {word for found, named in FOUND if found == file for word in named if "_" in word}
    assert {word for word in words if not any(word in name for name in names)} == set()
