"""Lines of text that ship inside scikit-learn: descriptions of data sets, Python, Cython."""

import os
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from models.errors import ModelError
from models.spec import Samples

KINDS = ("prose", "python", "cython")
SEED = 20
SHORTEST, LONGEST = 16, 64
EACH_COUNT = {"train": 900, "test": 150}
LARGEST_CHARACTER = 127
# Where each kind is, below the package. What few lines of prose there are decide how many of each are taken.
FILES = {
    "prose": ("datasets/descr/*.rst", "datasets/data/*.rst"),
    "python": ("linear_model/_*.py", "cluster/_*.py"),
    "cython": ("**/*.pyx", "**/*.pxd"),
}


def encode(line: str) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Return the codes of a line's first 64 characters, (length,); what is not ASCII becomes 127."""
    return np.array([min(ord(one), LARGEST_CHARACTER) for one in line[:LONGEST]], np.int64)


def _lines(kind: str) -> list[str]:
    package = find_spec("sklearn")
    if package is None or package.origin is None:
        raise ModelError("scikit-learn is not installed, whose texts text_gru learns from; run `make setup`")
    folder = Path(package.origin).parent
    found: dict[str, None] = {}
    for pattern in FILES[kind]:
        for path in sorted(folder.glob(pattern)):
            text = path.read_text(encoding="utf-8")
            lines = text.splitlines() if kind == "prose" else _code(text)
            found |= dict.fromkeys(line.strip() for line in lines if len(line.strip()) >= SHORTEST)
    return list(found)


def _code(text: str) -> list[str]:
    """Return the lines of a source file that are no comments and no documentation."""
    parts = text.replace("'''", '"""').split('"""')[::2]
    return [line for part in parts for line in part.splitlines() if not line.strip().startswith("#")]


@cache
def _split() -> tuple[Samples, Samples]:
    os.environ.setdefault("JOBLIB_MULTIPROCESSING", "0")
    draw = np.random.default_rng(SEED)
    train: list[tuple[str, int]] = []
    test: list[tuple[str, int]] = []
    for label, kind in enumerate(KINDS):
        lines = _lines(kind)
        chosen = [lines[place] for place in draw.permutation(len(lines))[: sum(EACH_COUNT.values())]]
        test += [(line, label) for line in chosen[: EACH_COUNT["test"]]]
        train += [(line, label) for line in chosen[EACH_COUNT["test"] :]]
    return _samples(train, draw), _samples(test, draw)


def _samples(lines: list[tuple[str, int]], draw: np.random.Generator) -> Samples:
    mixed = [lines[place] for place in draw.permutation(len(lines))]
    return Samples([encode(line) for line, _ in mixed], np.array([label for _, label in mixed], np.int64))


def train_samples() -> Samples:
    """Return 2,700 lines, each an int64 array of 16 to 64 character codes, and what kind each is."""
    return _split()[0]


def test_samples() -> Samples:
    """Return 450 held-out lines, in the same layout."""
    return _split()[1]
