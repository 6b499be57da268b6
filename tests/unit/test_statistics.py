import math
import statistics as stdlib

import numpy as np
import pytest
import scipy.stats
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from loadtests import statistics as tandem
from loadtests.reason import Reason

values = st.lists(st.integers(0, 10**12), min_size=1, max_size=300)


def percentile_by_hand(numbers, q):
    """Between the two nearest ranks, counted out on a sorted list with whole-number ranks."""
    ordered = sorted(numbers)
    position = q * (len(ordered) - 1)  # in hundredths of a rank
    below, hundredths = divmod(position, 100)
    if hundredths == 0:
        return float(ordered[below])
    return ordered[below] + (ordered[below + 1] - ordered[below]) * hundredths / 100


@given(values, st.integers(0, 100))
def test_percentile_is_the_one_counted_out_by_hand(numbers, q):
    assert tandem.percentile(np.array(numbers), q) == pytest.approx(percentile_by_hand(numbers, q), rel=1e-12)


@pytest.mark.slow
@given(values, st.integers(1, 99))
def test_percentile_is_scipys(numbers, q):
    theirs = scipy.stats.mstats.mquantiles(numbers, [q / 100], alphap=1, betap=1)[0]
    assert tandem.percentile(np.array(numbers), q) == pytest.approx(float(theirs), rel=1e-9, abs=1e-6)


def test_percentile_known_values():
    hundred_and_one = np.arange(101)
    assert [tandem.percentile(hundred_and_one, q) for q in (0, 50, 90, 99, 100)] == [0, 50, 90, 99, 100]
    assert tandem.percentile(np.array([1, 2]), 50) == 1.5
    assert tandem.PERCENTILE_METHOD == "linear"


@pytest.mark.parametrize(("numbers", "q"), [([], 50), ([1], -1), ([1], 101)])
def test_percentile_of_nothing_or_beyond_is_refused(numbers, q):
    with pytest.raises(ValueError, match=r"percentile|Percentiles"):
        tandem.percentile(np.array(numbers), q)


@pytest.mark.parametrize(("q", "needed"), [(50, 11), (90, 64), (95, 130), (99, 662)])
def test_samples_needed_is_the_table_of_the_measuring_rules(q, needed):
    assert tandem.samples_needed(q) == needed


@given(st.integers(1, 995))
def test_samples_needed_is_the_binomial_rule(tenths):
    q = tenths / 10
    needed = tandem.samples_needed(q)
    beyond = 1 - q / 100
    # scipy and the closed form may disagree in the last digit exactly on the limit
    assert scipy.stats.binom.cdf(1, needed, beyond) <= 0.01 * (1 + 1e-9)
    assert needed == 1 or scipy.stats.binom.cdf(1, needed - 1, beyond) > 0.01 * (1 - 1e-9)


@pytest.mark.parametrize("q", [0, 100, -5])
def test_samples_needed_wants_a_percentile(q):
    with pytest.raises(ValueError, match="between 0 and 100"):
        tandem.samples_needed(q)


@given(st.lists(st.integers(1, 10**10), min_size=1, max_size=900))
def test_summary_against_the_standard_library(numbers):
    summary = tandem.summarize_latency(np.array(numbers, dtype=np.int64))
    in_ms = [number / 1e6 for number in numbers]
    assert summary.min == pytest.approx(min(in_ms))
    assert summary.max == pytest.approx(max(in_ms))
    assert summary.mean == pytest.approx(stdlib.fmean(in_ms))
    for q, needed in ((50, 11), (90, 64), (95, 130), (99, 662)):
        figure = getattr(summary, f"p{q}")
        if len(numbers) < needed:
            assert figure is None
            figures = {"percentile": q, "needed_count": needed, "succeeded_count": len(numbers)}
            assert summary.reasons[f"p{q}"] == Reason("too_few_requests", figures)
        else:
            assert figure == pytest.approx(percentile_by_hand(in_ms, q), rel=1e-9)
            assert f"p{q}" not in summary.reasons


@pytest.mark.parametrize(("q", "needed"), [(50, 11), (90, 64), (95, 130), (99, 662)])
def test_a_percentile_appears_with_exactly_enough_samples(q, needed):
    assert getattr(tandem.summarize_latency(np.arange(needed - 1)), f"p{q}") is None
    assert getattr(tandem.summarize_latency(np.arange(needed)), f"p{q}") is not None


def test_summary_of_nothing_has_reasons_and_no_zeros():
    summary = tandem.summarize_latency(np.array([], dtype=np.int64))
    figures = {"p50", "p90", "p95", "p99", "min", "max", "mean"}
    assert all(getattr(summary, name) is None for name in figures)
    assert set(summary.reasons) == figures
    assert {summary.reasons[name].code for name in ("min", "max", "mean")} == {"none_succeeded"}


def test_latency_counts_from_sending_or_from_the_schedule():
    scheduled, sent, done = (np.array([value], dtype=np.int64) for value in (100, 130, 180))
    assert tandem.latency_ns(scheduled, sent, done, is_open=False).tolist() == [50]
    assert tandem.latency_ns(scheduled, sent, done, is_open=True).tolist() == [80]


outcomes = st.lists(
    st.tuples(st.sampled_from([0, 200, 404, 503]), st.sampled_from([-1, 0, 1]), st.integers(1, 10**9)),
    max_size=200,
)


@given(outcomes)
def test_failures_never_reach_the_latencies_and_nothing_is_dropped(rows):
    status = np.array([row[0] for row in rows], dtype=np.int16)
    correct = np.array([row[1] for row in rows], dtype=np.int8)
    taken = np.array([row[2] for row in rows], dtype=np.int64)
    good = [row[2] for row in rows if row[0] == 200 and row[1] in (-1, 1)]
    assert taken[tandem.succeeded(status, correct)].tolist() == good


def test_slow_failures_do_not_move_the_maximum():
    status = np.array([200] * 20 + [0] * 5, dtype=np.int16)
    correct = np.full(25, -1, dtype=np.int8)
    taken = np.array([1_000_000] * 20 + [10**12] * 5, dtype=np.int64)
    assert tandem.summarize_latency(taken[tandem.succeeded(status, correct)]).max == 1.0


def test_throughput():
    assert tandem.throughput_per_s(300, 2.0) == 150.0
    assert tandem.throughput_per_s(0, 2.0) == 0.0
    assert tandem.throughput_per_s(3, 0.0) is None


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=2000), st.integers(2, 200))
def test_ecdf_points_lie_on_scipys(numbers, points):
    latencies, shares = tandem.ecdf(np.array(numbers), points)
    theirs = scipy.stats.ecdf(numbers).cdf
    assert len(latencies) <= points
    assert latencies[0] == min(numbers)
    assert latencies[-1] == max(numbers)
    assert shares[-1] == 1.0
    assert shares == pytest.approx(theirs.evaluate(latencies))
    assert np.all(np.diff(latencies) > 0)
    assert np.all(np.diff(shares) > 0)


@given(st.integers(1000, 20_000))
def test_ecdf_is_denser_in_the_tail(count):
    assume(count > 1000)
    _, shares = tandem.ecdf(np.arange(count))
    assert np.count_nonzero(shares > 0.9) > 2 * np.count_nonzero(shares <= 0.1)


def test_ecdf_of_nothing_is_refused():
    with pytest.raises(ValueError, match="needs a value"):
        tandem.ecdf(np.array([]))


def test_a_mean_of_many_large_numbers_is_exact():
    assert tandem.summarize_latency(np.full(100_000, 100_000)).mean == math.fsum([0.1] * 100_000) / 100_000


def binomial(k, count, share):
    """P(binomial(count, share) <= k), counted out."""
    return math.fsum(math.comb(count, i) * share**i * (1 - share) ** (count - i) for i in range(k + 1))


@pytest.mark.slow
@given(st.integers(1, 200), st.sampled_from([50, 90, 95]))
@settings(max_examples=40, deadline=None)
def test_the_interval_of_a_percentile_has_the_ranks_of_the_binomial_distribution(count, q):
    """Of the values 1 to count, the interval's ends are the ranks themselves."""
    found = tandem.percentile_interval(np.arange(count, 0, -1), q)
    share = q / 100
    bounded = [r for r in range(1, count + 1) if binomial(r - 1, count, share) <= 0.025]
    beyond = [r for r in range(1, count + 1) if binomial(r - 1, count, share) >= 0.975]
    if not bounded or not beyond:
        assert found is None
    else:
        assert found == (max(bounded), min(beyond))
        # At least 95 %, and not 95 % with ranks to spare.
        low, high = map(int, found)
        assert binomial(high - 1, count, share) - binomial(low - 1, count, share) >= 0.95


@pytest.mark.slow
@pytest.mark.parametrize("draw", ["exponential", "lognormal", "bimodal"])
@pytest.mark.parametrize(("q", "count"), [(50, 11), (50, 400), (95, 130), (99, 662), (99, 3000)])
def test_the_interval_holds_the_true_percentile_as_often_as_it_says(draw, q, count):
    """Uniform numbers through a distribution's inverse: the truth is known, and the shape must not matter."""
    shapes = {
        "exponential": lambda u: -np.log1p(-u),
        "lognormal": lambda u: np.exp(scipy.stats.norm.ppf(u)),
        "bimodal": lambda u: np.where(u < 0.94, 1 + u, 100 + u),
    }
    uniform = np.random.default_rng([count, q]).random((2000, count))
    truth = float(shapes[draw](np.array(q / 100)))
    held = []
    for row in shapes[draw](uniform):
        low, high = tandem.percentile_interval(row, q)
        held.append(low <= truth <= high)
    # Four standard errors of 2,000 experiments; whole ranks make it conservative.
    assert 0.95 - 4 * math.sqrt(0.95 * 0.05 / 2000) < np.mean(held) < 0.995


@given(st.lists(st.integers(1, 10**10), min_size=0, max_size=900))
def test_a_percentile_lies_in_its_interval_and_too_few_values_have_neither(numbers):
    found = tandem.summarize_latency(np.array(numbers, dtype=np.int64))
    assert set(found.intervals) == {"p50", "p90", "p95", "p99"}
    for name, interval in found.intervals.items():
        value = getattr(found, name)
        if len(numbers) < tandem.samples_needed(int(name[1:])):
            assert (value, interval) == (None, None)
        else:
            assert interval[0] <= value * (1 + 1e-12)
            assert interval[1] >= value * (1 - 1e-12)


def test_the_interval_shrinks_with_the_number_of_values():
    source = np.random.default_rng(8)
    widths = []
    for count in (1000, 100_000):
        low, high = tandem.percentile_interval(source.exponential(size=count), 99)
        widths.append(high - low)
    assert widths[1] < widths[0] / 5
