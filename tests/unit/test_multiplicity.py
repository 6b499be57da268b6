"""Holm's procedure against its textbook form on p-values, and the error it is there to keep."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests.multiplicity import holm
from loadtests.reason import Reason
from loadtests.verdict import Verdict

probabilities = st.lists(st.floats(0, 1), max_size=12)


def judge(p):
    """Decides when the error that is allowed reaches `p`; without rounding right at the limit."""
    return lambda confidence: Verdict(
        "worse" if p <= (1 - confidence) * (1 + 1e-9) else "inconclusive", Reason("beyond_margin")
    )


def textbook(values, error):
    """Which hypotheses Holm (1979) rejects: in order of p, each against the error over how many are left."""
    rejected = set()
    for step, place in enumerate(sorted(range(len(values)), key=values.__getitem__)):
        if values[place] > error / (len(values) - step) * (1 + 1e-9):
            break
        rejected.add(place)
    return rejected


@pytest.mark.slow
@given(probabilities, st.sampled_from([0.05, 0.1, 0.01]))
def test_it_decides_what_the_textbook_rejects(values, error):
    found = holm([judge(p) for p in values], confidence=1 - error)
    assert {place for place, one in enumerate(found) if one.verdict.word == "worse"} == textbook(
        values, error
    )


@given(st.lists(st.floats(0, 0.2), max_size=12))
def test_a_family_never_decides_more_than_each_alone_and_never_less_than_bonferroni(values):
    decided = {
        place for place, one in enumerate(holm([judge(p) for p in values])) if one.verdict.word == "worse"
    }
    assert decided <= {place for place, p in enumerate(values) if p <= 0.05 * (1 + 1e-9)}
    assert decided >= {place for place, p in enumerate(values) if p < 0.05 / len(values) * (1 - 1e-9)}


@pytest.mark.parametrize(
    ("values", "confidences"),
    [
        ([0.04], [0.95]),
        ([0.9, 0.9, 0.9], [1 - 0.05 / 3] * 3),
        ([0.001, 0.02, 0.9], [1 - 0.05 / 3, 0.975, 0.95]),
        ([0.001, 0.3, 0.9], [1 - 0.05 / 3, 0.975, 0.975]),
    ],
)
def test_every_verdict_says_which_confidence_it_goes_by(values, confidences):
    assert [one.confidence for one in holm([judge(p) for p in values])] == pytest.approx(confidences)


def test_of_ten_true_hypotheses_one_is_rejected_as_rarely_as_of_one():
    source = np.random.default_rng(3)
    families = source.random((4000, 10))
    wrong = [any(c.verdict.word == "worse" for c in holm([judge(p) for p in row])) for row in families]
    alone = (families <= 0.05).any(axis=1)
    assert np.mean(alone) > 0.35
    # 5 % is known to ±1 % from 4,000 families (three standard errors).
    assert 0.03 < np.mean(wrong) < 0.061
