"""What a candidate may lose: metrics that a gate knows, and limits as the user typed them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pipelines.errors import RequestError

Kind = Literal["rounds", "blocks", "exact"]
DEFAULT_LIMIT = 0.05
"""Of p99 where no limit is given: the margin of a comparison."""
SHARE_LIMIT = 10.0


@dataclass(frozen=True)
class Metric:
    """Something that may get worse.

    Attributes:
        key: part of the option, such as `p99` of --max-p99-regression.
        name: what people call it.
        kind: `rounds` have a figure per round, `blocks` one per fresh server; `exact` is no measurement.
        unit: a key of UNITS in pipelines/outputs/facts.py.
        falls: whether less of it is worse.
        points: whether the limit is in percentage points of the figure itself, and no ratio.
    """

    key: str
    name: str
    kind: Kind
    unit: str
    falls: bool = False
    points: bool = False

    @property
    def option(self) -> str:
        """The option that sets its limit."""
        return f"--max-{self.key}-regression"


METRICS: Mapping[str, Metric] = {
    metric.key: metric
    for metric in (
        Metric("p99", "p99", "rounds", "ms"),
        Metric("p95", "p95", "rounds", "ms"),
        Metric("p50", "p50", "rounds", "ms"),
        Metric("throughput", "throughput", "rounds", "per_s", falls=True),
        Metric("memory", "peak memory", "blocks", "bytes"),
        Metric("cold-start", "cold start", "blocks", "s"),
        Metric("size", "artifact size", "exact", "bytes"),
        Metric("image-size", "image size", "exact", "bytes"),
        Metric("accuracy", "accuracy", "exact", "share", falls=True, points=True),
    )
}


@dataclass(frozen=True)
class Limit:
    """By how much a metric may get worse, a share: 0.1 for ten per cent, or for ten percentage points."""

    metric: Metric
    share: float

    @property
    def margin(self) -> float:
        """The same as a margin m of the ratio: 1 + m of what rises, 1 / (1 + m) of what falls."""
        return 1 / (1 - self.share) - 1 if self.metric.falls else self.share


def asked_limits(typed: Mapping[str, str | None]) -> tuple[Limit, ...]:
    """Return the limits given, by metric; p99 by DEFAULT_LIMIT if none was.

    Raises:
        RequestError: one that cannot be read, or is out of range.
    """
    limits = tuple(_read(METRICS[key], text) for key, text in typed.items() if text is not None)
    return limits or (Limit(METRICS["p99"], DEFAULT_LIMIT),)


def _read(metric: Metric, text: str) -> Limit:
    match = re.fullmatch(r"(\d+(?:\.\d+)?) ?%", text.strip(), re.ASCII)
    if match is None:
        meant = f"did you mean {text.strip()}%? " if re.fullmatch(r"\d+(\.\d+)?", text.strip()) else ""
        raise RequestError(
            f"{metric.option} is {text[:40]!r}; {meant}a percentage is allowed, such as 10% or 2.5%"
        )
    share = float(match[1]) / 100
    most = 1.0 if metric.falls else SHARE_LIMIT
    least_is_zero = metric.kind == "exact"
    if not (0 <= share < most and (share > 0 or least_is_zero)):
        least = "from 0%" if least_is_zero else "above 0%"
        raise RequestError(f"{metric.option} is {text[:40]!r}; allowed: {least}, below {most:.0%}")
    return Limit(metric, share)
