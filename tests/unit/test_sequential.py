"""Group-sequential intervals: the boundaries of the literature, and error rates by simulation."""

import itertools

import numpy as np
import pytest
from scipy.special import ndtri

from loadtests.intervals import estimate_ratio
from loadtests.sequential import Look, look_confidence, repeated, spent


def limits(looks, error=0.05):
    found = [look_confidence(looks[: count + 1], 1 - error) for count in range(len(looks))]
    return [float(-ndtri((1 - confidence) / 2)) for confidence in found]


def test_five_even_looks_have_the_published_boundaries():
    """Lan and DeMets' Pocock-type function, as R's ldbounds gives them for alpha = 0.05 and five looks."""
    even = [Look(count, count / 5) for count in range(1, 6)]
    assert limits(even) == pytest.approx([2.438, 2.427, 2.410, 2.397, 2.386], abs=0.002)


def test_a_single_look_is_a_usual_interval():
    assert limits([Look(3, 1.0)]) == pytest.approx([1.95996], abs=1e-4)
    assert look_confidence([Look(1, 1.0)], 0.99) == pytest.approx(0.99)


def test_the_error_is_spent_and_never_more():
    assert (spent(0, 0.05), spent(1, 0.05), spent(2, 0.05)) == pytest.approx((0, 0.05, 0.05))
    shares = [spent(share / 10, 0.05) for share in range(11)]
    assert all(a < b for a, b in itertools.pairwise(shares))


@pytest.mark.parametrize(
    "looks",
    [[], [Look(0, 0.5)], [Look(2, 0.5), Look(2, 0.6)], [Look(1, 0.5), Look(2, 0.4)]],
)
def test_looks_that_cannot_be(looks):
    with pytest.raises(ValueError, match=r"look|rise"):
        look_confidence(looks, 0.95)


def test_paths_of_a_brownian_motion_cross_as_often_as_was_spent():
    """Independent of the recursion: 40,000 random walks against the boundaries of uneven looks."""
    looks = [Look(1, 0.1), Look(2, 0.2), Look(3, 0.5), Look(5, 0.6), Look(6, 1.0)]
    chance = np.random.default_rng(4)
    walks = np.cumsum(chance.normal(size=(40_000, 6)), axis=1)
    crossed = np.zeros(len(walks), dtype=bool)
    for look, limit in zip(looks, limits(looks), strict=True):
        crossed |= np.abs(walks[:, look.blocks - 1]) > limit * np.sqrt(look.blocks)
        assert crossed.mean() == pytest.approx(spent(look.time_share, 0.05), abs=0.004)


def test_one_block_alone_is_not_believed_beyond_what_blocks_may_differ_by():
    block = [[0.50, 0.50, 0.51]]
    usual = estimate_ratio(block, seed=1, resamples=500)
    first = repeated(usual, [Look(1, 0.2)]).interval()
    assert usual.interval().low > 1.6
    assert first.low < 1.4 < first.ratio
    assert first.confidence == 0.95
    twofold = repeated(estimate_ratio([[0.69, 0.70, 0.68]], seed=1, resamples=500), [Look(1, 0.2)])
    assert twofold.interval().low > 1.05


def test_later_looks_are_wider_than_a_usual_interval_and_narrower_than_the_first():
    blocks = [[0.10, 0.11, 0.12], [0.09, 0.10, 0.11], [0.10, 0.12, 0.10]]
    usual = estimate_ratio(blocks, seed=1, resamples=500)
    looks = [Look(1, 0.2), Look(2, 0.4), Look(3, 0.6)]
    interval, plain = repeated(usual, looks).interval(), usual.interval()
    assert interval.low < plain.low < plain.high < interval.high
    assert interval.ratio == plain.ratio
