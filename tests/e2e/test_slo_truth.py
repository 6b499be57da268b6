"""The SLO search on a server whose capacity is known, against a queueing calculation done here."""

from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest
from known_session import known_delay

from loadtests.rates import SearchLimits
from pipelines.compare import slo as slo_searching
from pipelines.compare.slo import SloQuestion, empty_slo, search_one
from pipelines.config.asked import run_settings
from pipelines.measure.blocks import fresh_servers
from pipelines.measure.session import Session

pytestmark = [pytest.mark.slow, pytest.mark.alone, pytest.mark.timeout(600)]

SERVICE_MS = 1
LIMIT_MS = 10
START_RATE_PER_S = 600.0
CAPACITY_PER_S = 1000 / SERVICE_MS
LIMITS = SearchLimits(
    min_rate_per_s=200.0,
    resolution=0.1,
    confirmations_failed=1,
    rechecks=1,
    most_measurements=60,
    most_invalid=20,
)
TRIES = 3
"""Searches of one block: neighbours may spoil some of them, and the code is wrong when all are."""


def p99_ms(rate_per_s: float, arrivals_count: int = 100_000) -> float:
    """p99 of the response times of one server with constant service and Poisson arrivals (Lindley 1952)."""
    gaps_ms = np.random.default_rng(7).exponential(1000 / rate_per_s, arrivals_count)
    wait_ms, responses_ms = 0.0, []
    for gap_ms in gaps_ms:
        responses_ms.append(wait_ms + SERVICE_MS)
        wait_ms = max(0.0, wait_ms + SERVICE_MS - gap_ms)
    return float(np.percentile(responses_ms, 99))


@cache
def highest_rate_per_s() -> float:
    """Where p99 reaches the limit, by bisection."""
    low, high = 1.0, 0.999 * CAPACITY_PER_S
    while high / low > 1.005:
        middle = (low * high) ** 0.5
        low, high = (middle, high) if p99_ms(middle) <= LIMIT_MS else (low, middle)
    return low


def test_the_rate_found_is_the_one_a_queueing_calculation_gives(tmp_path, monkeypatch):
    # A p99 needs so many requests that low rates make long rounds, and fine steps many of them.
    monkeypatch.setattr(slo_searching, "START_RATE_PER_S", START_RATE_PER_S)
    monkeypatch.setattr(slo_searching, "LIMITS", LIMITS)
    settings = run_settings(profile="smoke", model="digits_cnn", sides="tfserving")
    # The server is as fast in its first second as ever.
    profile = settings.profile.model_copy(update={"warmup_limit_s": 0.5})
    settings = settings.model_copy(update={"profile": profile})
    server = known_delay("queue", settings, "--delay", f"constant:{SERVICE_MS}", "--one-at-a-time")
    for name in ("samples", "logs"):
        (tmp_path / name).mkdir()
    session = Session(settings, [server], tmp_path, _silent, on_plans=_nothing, on_round=_nothing)
    question = SloQuestion(p99_limit_ms=LIMIT_MS, hourly_price=None)
    run = SimpleNamespace(
        session=session,
        settings=settings,
        folder=tmp_path,
        slo=empty_slo(question, ["queue"], 0.1),
        slo_points={},
    )
    points = _search(run, question, 0)
    assert points[0].rate_per_s == START_RATE_PER_S


def _search(run, question, block):
    """Search until the rate is right, at most TRIES times; return the last search's points."""
    expected_per_s, before, wrong = highest_rate_per_s(), run.slo, []
    with fresh_servers(run.session, block) as servers:
        for _ in range(TRIES):
            run.slo, run.slo_points = before, {}
            rounds_before = len(run.session.measured["queue"].rounds)
            search_one(run, question, block, "queue", servers)
            points, found = run.slo_points["queue"], run.slo.targets["queue"].blocks[-1]
            rounds = len(run.session.measured["queue"].rounds) - rounds_before
            _check_record(points, found, rounds)
            if _is_right(found, expected_per_s):
                return points
            wrong.append((found.outcome, found.rate_per_s, found.reason))
    raise AssertionError(f"block {block}: {expected_per_s:.4g} requests/s expected, found {wrong}")


def _is_right(found, expected_per_s):
    """Whether that is the rate. A bound is a right answer where others made the generator late at the rate
    above; it is as exact as a rate then, because it was confirmed as one.

    Three of four rounds of some 1,000 requests have to keep the limit: that chooses rates a little below.
    """
    if found.outcome not in ("found", "lower_bound"):
        return False
    return 0.6 * expected_per_s <= found.rate_per_s <= 1.1 * expected_per_s


def _check_record(points, found, rounds_count):
    """What holds of every search, whatever neighbours do: no noise makes a server faster."""
    assert len(points) == rounds_count == found.rounds_count
    assert not any(point.met for point in points if point.rate_per_s > CAPACITY_PER_S)
    if found.outcome == "lower_bound":
        assert any(point.met is None for point in points if point.rate_per_s == found.breaks_at_per_s)
    if found.rate_per_s is not None:
        assert found.rate_per_s <= 1.1 * highest_rate_per_s()
        confirming = [p for p in points if p.phase == "confirm" and p.rate_per_s == found.rate_per_s]
        # A recheck that passes has a rate confirmed anew: rounds of before stay in the record.
        assert sum(bool(point.met) for point in confirming) >= LIMITS.confirmations
        assert confirming[-1].met


def _silent(_title: str, _text: str) -> None:
    return


def _nothing() -> None:
    return
