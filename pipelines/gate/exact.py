"""What is counted and not estimated: properties of a build, and whether answers were right."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial

from loadtests.validity import ERRORS_SHARE_LIMIT
from pipelines.gate.baseline import Pair
from pipelines.gate.finding import Finding, unknown
from pipelines.gate.limits import Limit
from pipelines.record.reason import ReasonRecord, reason
from pipelines.record.target import TargetRecord


def exact(pair: Pair, limit: Limit) -> Iterator[Finding]:
    """Judge a property of the build by the figure itself."""
    theirs, ours = (EXACT[limit.metric.key](target) for target in (pair.theirs, pair.ours))
    if theirs is None or ours is None:
        yield unknown(pair, limit, None, reason("not_recorded_of_both"), theirs, ours)
        return
    if limit.metric.points:
        factor, worse = ours - theirs, theirs - ours
    else:
        factor = ours / theirs if theirs else math.inf
        worse = factor - 1
    # A difference of two rounded shares is not to fail by its last binary digit.
    within = worse <= limit.share + 1e-12
    yield Finding(
        word="pass" if within else "fail",
        metric=limit.metric.key,
        side=pair.side,
        load=None,
        unit=limit.metric.unit,
        limit=limit.share,
        baseline=theirs,
        candidate=ours,
        factor=factor,
        reason=reason("exact"),
    )


def _size(target: TargetRecord) -> float | None:
    return float(sum(artifact.size_bytes for artifact in target.artifacts)) if target.artifacts else None


def _image(target: TargetRecord) -> float | None:
    image = target.implementation.image
    return float(image.size_bytes) if image else None


def _accuracy(target: TargetRecord) -> float | None:
    return target.endpoint_parity.accuracy if target.endpoint_parity else None


EXACT: Mapping[str, Callable[[TargetRecord], float | None]] = {
    "size": _size,
    "image-size": _image,
    "accuracy": _accuracy,
}


@dataclass(frozen=True)
class _Counted:
    """What a side answered, over all of its rounds."""

    wrong: int
    checked: int
    failed: int
    asked: int
    failed_share: float = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "failed_share", self.failed / self.asked if self.asked else 0.0)


def _count(target: TargetRecord) -> _Counted:
    """Count in invalid rounds too: wrong answers make a round invalid for its latencies alone."""
    rounds = target.rounds
    return _Counted(
        sum(record.wrong_count for record in rounds),
        sum(record.checked_count for record in rounds),
        sum(record.errors_count for record in rounds),
        sum(record.requests_count for record in rounds),
    )


def answers(pair: Pair) -> Iterator[Finding]:
    """Judge what was answered: nothing wrong, no more failed than a valid round allows, or failed before."""
    ours, theirs = _count(pair.ours), _count(pair.theirs)
    share = partial(_counted, pair)
    wrong = reason("answers", wrong_count=ours.wrong, checked_count=ours.checked)
    if ours.checked:
        yield share("answers", ours.wrong == 0, theirs.wrong, ours.wrong, wrong)
    failed = reason("failures", failed_count=ours.failed, asked_count=ours.asked)
    within = ours.failed_share <= max(ERRORS_SHARE_LIMIT, theirs.failed_share)
    yield share("failures", within, theirs.failed, ours.failed, failed)


def _counted(pair: Pair, metric: str, within: bool, theirs: int, ours: int, why: ReasonRecord) -> Finding:
    return Finding(
        word="pass" if within else "fail",
        metric=metric,
        side=pair.side,
        load=None,
        unit="number",
        limit=0.0 if metric == "answers" else ERRORS_SHARE_LIMIT,
        baseline=float(theirs),
        candidate=float(ours),
        factor=None,
        reason=why,
    )
