"""Where a server's requests spent their time, by its own report, and the part between two reports."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pipelines.units import MS_PER_S

# Of a request on its way, in this order; `codec` is decode and encode where a server does not tell them
# apart, `frontend` what passes a request on to the process or thread with the model.
PARTS = ("transport", "frontend", "queue", "decode", "inference", "encode", "codec")


@dataclass(frozen=True)
class Timings:
    """Totals since a server started.

    Attributes:
        totals: seconds, and the requests that they are of, by part; of what is told alone.
        whole: seconds and requests of all that the server saw of a request; None where it does not tell.
        rest: the part that is left of the whole where all other parts of it are told; None for no such part.
        folded: parts that are told in pieces: the mean of the first is added to the second's, where that is
            told.
    """

    totals: Mapping[str, tuple[float, int]]
    whole: tuple[float, int] | None = None
    rest: str | None = None
    folded: Mapping[str, str] = field(default_factory=dict)


def parts_ms(before: Timings | None, after: Timings | None) -> dict[str, float]:
    """Return a request's mean milliseconds by part, between two answers; of parts that both have."""
    if before is None or after is None:
        return {}
    means = {
        part: mean
        for part in PARTS
        if part in before.totals and part in after.totals
        if (mean := _mean_ms(before.totals[part], after.totals[part])) is not None
    }
    if after.rest and before.whole and after.whole and set(means) == set(after.totals):
        whole = _mean_ms(before.whole, after.whole)
        if whole is not None:
            means[after.rest] = max(0.0, whole - sum(means.values()))
    for part, into in after.folded.items():
        if part in means and into in means:
            means[into] += means.pop(part)
    return {part: round(means[part], 6) for part in PARTS if part in means}


def _mean_ms(before: tuple[float, int], after: tuple[float, int]) -> float | None:
    """Return the mean in ms; None if no request came in between, or the count began anew."""
    seconds, count = after[0] - before[0], after[1] - before[1]
    return MS_PER_S * seconds / count if count > 0 and seconds >= 0 else None
