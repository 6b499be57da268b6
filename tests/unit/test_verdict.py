import math

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from loadtests.intervals import RatioInterval, ratio_interval
from loadtests.reason import Reason
from loadtests.verdict import decide, larger_floor, noise_floor

log_sides = st.floats(0, 0.3)
floors = st.none() | st.floats(0, 0.2)


def interval(low, high, ratio=None, pairs=6):
    return RatioInterval(math.sqrt(low * high) if ratio is None else ratio, low, high, 2, pairs)


@st.composite
def any_interval(draw):
    centre, below, above = draw(st.floats(-0.5, 0.5)), draw(log_sides), draw(log_sides)
    low, ratio, high = (math.exp(value) for value in (centre - below, centre, centre + above))
    return RatioInterval(ratio, low, max(high, ratio), 2, draw(st.integers(2, 40)))


def mirrored(found):
    return RatioInterval(1 / found.ratio, 1 / found.high, 1 / found.low, 2, found.pairs_count)


@pytest.mark.parametrize(
    ("low", "high", "floor", "word"),
    [
        (1.06, 1.10, 0.02, "worse"),
        (0.80, 0.90, 0.02, "better"),
        (0.97, 1.04, 0.02, "equivalent"),
        (1 / 1.05, 1.05, 0.02, "equivalent"),
        (0.951, 1.0, 0.02, "inconclusive"),  # 0.951 is more than 5 % away: 1 / 1.05 is 0.952
        (1.04, 1.10, 0.02, "inconclusive"),
        (0.90, 1.10, 0.02, "inconclusive"),
        (1.05, 1.10, 0.02, "inconclusive"),
        (1.06, 1.10, 0.08, "inconclusive"),
        (1.09, 1.10, 0.08, "worse"),
        (0.80, 0.90, 0.30, "inconclusive"),
        (1.06, 1.10, None, "inconclusive"),
        (0.97, 1.04, None, "equivalent"),
        (0.97, 1.04, 0.30, "equivalent"),
    ],
)
def test_words_of_a_latency(low, high, floor, word):
    assert decide(interval(low, high), lower_is_better=True, noise_floor=floor).word == word


def rule(found, lower_is_better, margin, floor):
    """The rule of the specification in logarithms, written once more."""
    low, high = math.log(found.low), math.log(found.high)
    inner, outer = math.log(1 + margin), math.log(1 + max(margin, floor or 0))
    if -inner <= low and high <= inner:
        return "equivalent"
    if floor is None or (low <= outer and high >= -outer):
        return "inconclusive"
    slower = low > outer
    return "worse" if slower == lower_is_better else "better"


@given(any_interval(), st.booleans(), st.floats(0.01, 0.2), floors)
def test_words_follow_the_rule(found, lower_is_better, margin, floor):
    for edge in (found.low, found.high):
        for limit in (margin, floor or 0):
            assume(abs(abs(math.log(edge)) - math.log1p(limit)) > 1e-9)
    verdict = decide(found, lower_is_better=lower_is_better, margin=margin, noise_floor=floor)
    assert verdict.word == rule(found, lower_is_better, margin, floor)


@given(any_interval(), st.booleans(), floors)
def test_swapping_the_sides_turns_the_word_round(found, lower_is_better, floor):
    for edge in (found.low, found.high):
        for limit in (0.05, floor or 0):
            assume(abs(abs(math.log(edge)) - math.log1p(limit)) > 1e-9)
    verdict = decide(found, lower_is_better=lower_is_better, noise_floor=floor)
    opposite = {"better": "worse", "worse": "better"}.get(verdict.word, verdict.word)
    assert decide(mirrored(found), lower_is_better=lower_is_better, noise_floor=floor).word == opposite
    assert decide(found, lower_is_better=not lower_is_better, noise_floor=floor).word == opposite


@given(any_interval(), st.floats(0, 0.2), st.floats(0, 0.2))
def test_a_higher_noise_floor_never_calls_more(found, floor, more):
    calls = ("better", "worse")
    louder = decide(found, lower_is_better=True, noise_floor=floor + more).word
    if louder in calls:
        assert decide(found, lower_is_better=True, noise_floor=floor).word == louder


@given(any_interval(), st.booleans())
def test_without_a_control_nothing_is_called_different(found, lower_is_better):
    verdict = decide(found, lower_is_better=lower_is_better, noise_floor=None)
    assert verdict.word in ("equivalent", "inconclusive")
    if found.low > 1.06 or found.high < 0.94:
        assert verdict.reason.code == "no_floor"
        assert verdict.rounds_needed is None


def test_no_interval_no_verdict():
    verdict = decide(None, lower_is_better=True, noise_floor=0.01)
    assert (verdict.word, verdict.rounds_needed) == ("inconclusive", None)
    assert verdict.reason == Reason("too_few_pairs")


def narrowed(found, rounds_needed):
    """The same ratio with as many more rounds, its width shrunk with the square root of their number."""
    shrink = math.sqrt(found.pairs_count / (found.pairs_count + rounds_needed))
    low, high = (found.ratio * (edge / found.ratio) ** shrink for edge in (found.low, found.high))
    return RatioInterval(found.ratio, low, high, 2, found.pairs_count + rounds_needed)


@pytest.mark.slow
@given(any_interval(), st.booleans(), floors)
@settings(deadline=None)
def test_the_suggested_rounds_decide_and_far_fewer_do_not(found, lower_is_better, floor):
    verdict = decide(found, lower_is_better=lower_is_better, noise_floor=floor)
    assume(verdict.rounds_needed is not None)
    assert verdict.word == "inconclusive"
    assert 1 <= verdict.rounds_needed <= 1000

    def word_after(rounds):
        return decide(narrowed(found, rounds), lower_is_better=lower_is_better, noise_floor=floor).word

    assert word_after(verdict.rounds_needed + 1) != "inconclusive"
    if verdict.rounds_needed > 2:
        assert word_after(verdict.rounds_needed - 2) == "inconclusive"


@pytest.mark.parametrize(
    ("low", "ratio", "high", "floor", "needed", "reason"),
    [
        (0.9, 1.0, 1 / 0.9, 0.01, 22, ("across_margin", "across")),  # (ln 0.9 / ln 1.05)^2 * 6 = 27.98
        (1.0, 1.05, 1.1, 0.01, None, ("near_limit", "across")),
        (1.02, 1.0501, 1.08, 0.01, None, ("near_limit", "across")),
        (1.07, 1.08, 1.09, 0.10, None, ("inside_floor", "within_floor")),
        (1.07, 1.12, 1.17, 0.10, 33, ("across_margin", "within_floor")),  # (ln 1.12/1.07 / ln 1.12/1.1)^2
        (1.07, 1.08, 1.09, None, None, ("no_floor", "outside")),
        (1.05, 1.075, 1.1, 0.01, 1, ("across_margin", "across")),
    ],
)
def test_what_would_decide(low, ratio, high, floor, needed, reason):
    verdict = decide(interval(low, high, ratio), lower_is_better=True, noise_floor=floor)
    assert verdict.word == "inconclusive"
    assert verdict.rounds_needed == needed
    assert (verdict.reason.code, verdict.reason.figures["position"]) == reason


def test_a_decision_names_its_rule():
    different = decide(interval(1.714, 2.12, 1.9, 24), lower_is_better=True, noise_floor=0.013)
    assert different.reason == Reason("beyond_margin")
    same = decide(interval(0.99, 1.02, 1.0), lower_is_better=True, noise_floor=None)
    assert same.reason == Reason("inside_margin")


@pytest.mark.parametrize(
    ("low", "high", "floor"), [(0.99, 1.03, 0.03), (0.95, 1.03, 1 / 0.95 - 1), (1.01, 1.02, 0.02), (1, 1, 0)]
)
def test_noise_floor_is_the_far_end_of_the_control(low, high, floor):
    assert noise_floor(interval(low, high)) == pytest.approx(floor)


@given(any_interval())
def test_noise_floor_is_the_same_from_both_sides_and_the_control_itself_is_never_called(control):
    floor = noise_floor(control)
    assert floor == pytest.approx(noise_floor(mirrored(control)))
    for lower_is_better in (True, False):
        word = decide(control, lower_is_better=lower_is_better, noise_floor=floor * (1 + 1e-9)).word
        assert word in ("equivalent", "inconclusive")


def test_no_control_no_noise_floor():
    assert noise_floor(None) is None


@pytest.mark.parametrize(
    ("floors", "larger"),
    [((0.02, 0.09), 0.09), ((0.09, 0.02), 0.09), ((0.0, 0.0), 0.0), ((0.02, None), None), ((), None)],
)
def test_the_floor_of_a_pair_is_the_larger_one_and_there_is_none_without_both(floors, larger):
    assert larger_floor(floors) == larger


@pytest.mark.parametrize("interval_of", [(1.2, 1.4), (0.9, 1.4)])
def test_sides_without_a_floor_are_named(interval_of):
    verdict = decide(
        interval(*interval_of), lower_is_better=True, noise_floor=None, without_floor=["torchserve"]
    )
    assert (verdict.word, verdict.rounds_needed) == ("inconclusive", None)
    assert (verdict.reason.code, verdict.reason.figures["sides"]) == ("no_floor", ("torchserve",))


@pytest.mark.parametrize(
    ("margin", "floor"), [(0, 0.1), (-0.05, 0.1), (0.05, -0.1), (math.nan, 0), (0.05, math.nan)]
)
def test_a_margin_is_above_zero_and_a_floor_not_below(margin, floor):
    with pytest.raises(ValueError, match="margin"):
        decide(interval(1.1, 1.2), lower_is_better=True, margin=margin, noise_floor=floor)


@given(
    st.lists(st.lists(st.floats(0.07, 1), min_size=2, max_size=4), min_size=2, max_size=4),
    st.booleans(),
    st.booleans(),
)
@settings(max_examples=50, deadline=None)
def test_the_direction_is_never_wrong_from_rounds_to_word(differences, candidate_larger, lower_is_better):
    sign = 1 if candidate_larger else -1
    data = [[sign * value for value in block] for block in differences]
    verdict = decide(
        ratio_interval(data, seed=1, resamples=200), lower_is_better=lower_is_better, noise_floor=0.0
    )
    assert verdict.word in ("inconclusive", "worse" if candidate_larger == lower_is_better else "better")
