"""The UCI handwritten digits that ship inside scikit-learn, with a fixed split."""

from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import numpy.typing as npt

from models.errors import ModelError
from models.spec import FloatArray, Samples

SPLIT_SEED = 20
TEST_COUNT = 450
Places = npt.NDArray[np.int64]


@cache
def _split() -> tuple[Samples, Samples]:
    rows = np.loadtxt(_file(), delimiter=",", dtype=np.float32)
    pixels: FloatArray = rows[:, :-1].reshape(-1, 8, 8, 1)
    labels = rows[:, -1].astype(np.int64)
    train, test = _places(labels)
    return Samples(pixels[train], labels[train]), Samples(pixels[test], labels[test])


def _file() -> Path:
    """Find the data inside scikit-learn, without the second that importing it costs every process."""
    package = find_spec("sklearn")
    if package is None or package.origin is None:
        raise ModelError("scikit-learn is not installed, whose digits the model learns; run `make setup`")
    return Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz"


def _places(labels: Places) -> tuple[Places, Places]:
    """Split as scikit-learn's `train_test_split` does with `stratify=labels`, draw by draw."""
    draw = np.random.RandomState(SPLIT_SEED)
    counts = np.bincount(labels)
    train_counts = _shares(counts, len(labels) - TEST_COUNT, draw)
    test_counts = _shares(counts - train_counts, TEST_COUNT, draw)
    train: list[int] = []
    test: list[int] = []
    for digit, count in enumerate(counts):
        places = np.flatnonzero(labels == digit)[draw.permutation(count)]
        train += [*places[: train_counts[digit]]]
        test += [*places[train_counts[digit] :][: test_counts[digit]]]
    return draw.permutation(train), draw.permutation(test)


def _shares(counts: Places, total: int, draw: np.random.RandomState) -> Places:
    """Share `total` by the `counts` of classes; what is left goes to the largest remainders, ties by lot."""
    exact = counts / counts.sum() * total
    shares: Places = np.floor(exact).astype(np.int64)
    remainders, left = exact - shares, int(total - shares.sum())
    for remainder in np.unique(remainders)[::-1] if left else ():
        tied = np.flatnonzero(remainders == remainder)
        chosen = draw.choice(tied, size=min(len(tied), left), replace=False)
        shares[chosen] += 1
        left -= len(chosen)
        if not left:
            break
    return shares


def train_samples() -> Samples:
    """Return 1,347 images, (n, 8, 8, 1) float32 with pixel values 0 to 16, and their digits."""
    return _split()[0]


def test_samples() -> Samples:
    """Return 450 held-out images, in the same layout."""
    return _split()[1]
