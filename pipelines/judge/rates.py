"""The highest rates of a search, pair by pair: a search's record holds the ratio of one pair of its sides."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from statistics import median
from typing import Final, Literal

from loadtests.intervals import CONFIDENCE, FEWEST_PAIRS, RatioEstimate, RatioInterval, estimate_ratio
from loadtests.multiplicity import holm
from loadtests.verdict import Verdict, decide
from pipelines.judge.bounds import Bound, decide_bounded, ends_of
from pipelines.judge.slo import judge_slo
from pipelines.record.reason import ReasonRecord
from pipelines.record.rounds import RoundRecord
from pipelines.record.run import ProfileRecord, RunRecord
from pipelines.record.slo import SloRecord, SloTargetRecord

Word = Literal["better", "worse", "equivalent", "inconclusive"]
Ends = tuple[float | None, float | None]

SEARCHES_AGREE: Final = 1.25
"""Searches of one side on a quiet machine find rates that are at most this many times apart."""


@dataclass(frozen=True)
class MachineChange:
    """How many times as long a fixed computation took the server's cores in one block as in another."""

    slow_block: int
    fast_block: int
    times: float


@dataclass(frozen=True)
class Disagreement:
    """The lowest and highest rate that searches of one side found, requests/s, and their ratio.

    `machine` is None where nobody timed it.
    """

    lowest_per_s: float
    highest_per_s: float
    times: float
    machine: MachineChange | None


@dataclass(frozen=True)
class RatePair:
    """Two sides' highest rates: candidate / baseline, as of SloRecord, and who is ahead.

    `verdict` is by the margin; None where the run gives none, or too few searches found a rate. It goes by
    `verdict_interval`, of `verdict_confidence`: of a bounded ratio one end alone.
    """

    candidate: str
    baseline: str
    ratio: float | None
    interval: tuple[float, float] | None
    at_least: float | None
    at_most: float | None
    reason: ReasonRecord | None
    verdict: Word | None
    verdict_confidence: float | None
    verdict_interval: Ends | None


@dataclass(frozen=True)
class _Called:
    """A verdict with what it goes by."""

    word: Word
    confidence: float
    ends: Ends


def rate_pairs(run: RunRecord) -> tuple[RatePair, ...]:
    """Return every pair of sides of a search, the run's own first; verdicts are one family (Holm)."""
    if run.slo is None or run.slo.baseline is None or run.profile is None:
        return ()
    searches = list(_searches(run, run.slo))
    if len(searches) == 1:
        return (_pair(run.slo, _of_record(run.slo, run.profile)),)
    family = {place: one for place, search in enumerate(searches) if (one := _estimate(search, run))}
    corrected = holm([partial(_verdict, run, searches[place], one) for place, one in family.items()])
    called = {
        place: _Called(each.verdict.word, each.confidence, _ends(searches[place], one, each.confidence))
        for (place, one), each in zip(family.items(), corrected, strict=True)
    }
    return tuple(_pair(search, called.get(place)) for place, search in enumerate(searches))


def reversed_ratio(ratio: float) -> float:
    """Return baseline / candidate of candidate / baseline."""
    return 1 / ratio


def disagreement(target: SloTargetRecord, rounds: Sequence[RoundRecord]) -> Disagreement | None:
    """Return how far apart the rates are that a side's searches found; None where they agree.

    Args:
        target: a bound is not what a search found, and so is left out.
        rounds: of that side, which say how fast the machine was.
    """
    rates = [rate for rate in target.block_rates_per_s if rate]
    if len(rates) < FEWEST_PAIRS or max(rates) / min(rates) <= SEARCHES_AGREE:
        return None
    return Disagreement(min(rates), max(rates), max(rates) / min(rates), _machine_change(rounds))


def confirming_requests_count(run: RunRecord) -> int | None:
    """Return the fewest requests that confirmed a rate, of any side and block; None where none did.

    What a server does less often than that, such as packing its logs, may be in none of the searches.
    """
    if run.slo is None:
        return None
    counts = []
    for name, searched in run.slo.targets.items():
        rounds = run.targets[name].rounds if name in run.targets else ()
        sent = {record.index: record.requests_count for record in rounds}
        for block in searched.blocks:
            kept = [
                sent.get(point.round_index, 0)
                for point in searched.points
                if (point.block, point.phase, point.met) == (block.block, "confirm", True)
                and point.rate_per_s == block.rate_per_s
            ]
            counts += [sum(kept)] if kept else []
    return min(counts, default=None)


def _machine_change(rounds: Sequence[RoundRecord]) -> MachineChange | None:
    """Compare the blocks by the median over their rounds; None unless two blocks were timed."""
    timed: dict[int, list[float]] = {}
    for record in rounds:
        if record.server_probe_ms is not None:
            timed.setdefault(record.block, []).append(record.server_probe_ms)
    if len(timed) < FEWEST_PAIRS:
        return None
    by_block = {block: median(values) for block, values in timed.items()}
    slow, fast = max(by_block, key=by_block.__getitem__), min(by_block, key=by_block.__getitem__)
    return MachineChange(slow, fast, by_block[slow] / by_block[fast])


def _searches(run: RunRecord, own: SloRecord) -> Iterator[SloRecord]:
    """Yield the search as it would be, had each pair been the one whose ratio it records."""
    yield own
    for candidate, baseline in combinations(own.targets, 2):
        if {candidate, baseline} == {own.candidate, own.baseline} or run.profile is None:
            continue
        sides = {name: own.targets[name] for name in (candidate, baseline)}
        pair = own.model_copy(update={"candidate": candidate, "baseline": baseline, "targets": sides})
        yield judge_slo(pair, run.profile.seed, verdicts=run.profile.verdicts)


def _of_record(search: SloRecord, profile: ProfileRecord) -> _Called | None:
    """Return the verdict by the figures of the record."""
    word = _word(search, profile)
    ends = search.interval or (search.ratio_at_least, search.ratio_at_most)
    return _Called(word, CONFIDENCE, ends) if word else None


def _word(search: SloRecord, profile: ProfileRecord) -> Word | None:
    if not profile.verdicts:
        return None
    if search.ratio and search.interval:
        low, high = search.interval
        interval = RatioInterval(search.ratio, low, high, len(search.block_ratios), len(search.block_ratios))
        return decide(interval, lower_is_better=False, margin=profile.margin, noise_floor=0.0).word
    if len(search.block_ratios) < FEWEST_PAIRS:
        return None
    if search.ratio_at_least is not None:
        return "better" if search.ratio_at_least > 1 + profile.margin else "inconclusive"
    if search.ratio_at_most is not None:
        return "worse" if search.ratio_at_most < 1 / (1 + profile.margin) else "inconclusive"
    return None


def _estimate(search: SloRecord, run: RunRecord) -> RatioEstimate | None:
    known = (search.interval, search.ratio_at_least, search.ratio_at_most)
    if run.profile is None or not run.profile.verdicts or all(figure is None for figure in known):
        return None
    return estimate_ratio([[math.log(pair.ratio)] for pair in search.block_ratios], seed=run.profile.seed)


def _verdict(run: RunRecord, search: SloRecord, estimate: RatioEstimate, confidence: float) -> Verdict:
    """Judge by the interval, which is no narrower than the steps between the rates that were tried."""
    assert run.profile  # noqa: S101 - _estimate has looked
    return decide_bounded(
        estimate,
        confidence,
        lower_is_better=False,
        margin=run.profile.margin,
        bound=_bound(search),
        widened=1 + search.resolution,
    )


def _bound(search: SloRecord) -> Bound | None:
    return next((pair.bound for pair in search.block_ratios if pair.bound), None)


def _ends(search: SloRecord, estimate: RatioEstimate, confidence: float) -> Ends:
    """Return the interval that `_verdict` goes by."""
    return ends_of(estimate, confidence, _bound(search), 1 + search.resolution)


def _pair(search: SloRecord, called: _Called | None) -> RatePair:
    assert search.baseline  # noqa: S101 - rate_pairs has looked
    return RatePair(
        candidate=search.candidate,
        baseline=search.baseline,
        ratio=search.ratio,
        interval=search.interval,
        at_least=search.ratio_at_least,
        at_most=search.ratio_at_most,
        reason=search.reason,
        verdict=called.word if called else None,
        verdict_confidence=called.confidence if called else None,
        verdict_interval=called.ends if called else None,
    )
