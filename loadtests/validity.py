"""May a round be used? Every check gives its reason and what to do about it, in words.

Whether there are enough requests for a percentile is not asked here. That is a matter of each percentile, not
of the round: `statistics.summarize_latency` leaves it out with a reason.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

ERRORS_SHARE_LIMIT: Final = 0.001
GENERATOR_CPU_LIMIT: Final = 0.8
GENERATOR_WAITED_LIMIT: Final = 0.05
STEAL_LIMIT: Final = 0.05
FOREIGN_CORES_LIMIT: Final = 0.2
FOREIGN_CPU_LIMIT: Final = 0.05
DELIVERED_LIMIT: Final = 0.99
LATE_SHARE_LIMIT: Final = 0.01

Check = Literal["interrupted", "warm", "delivered", "lateness", "clean", "right", "generator", "quiet"]


FINDINGS: Final[frozenset[Check]] = frozenset({"clean", "right"})
"""What a round that fails these shows of the server. It is not measured again: a server that sometimes fails
would lose its bad rounds and be judged by its good ones."""

GENERATOR_CHECKS: Final[frozenset[Check]] = frozenset({"delivered", "lateness", "generator"})
"""A round that fails one of these shows that the load itself was not as asked."""


@dataclass(frozen=True)
class RoundFacts:
    """What the checks look at. Shares are from 0 to 1; None is what could not be measured or does not apply.

    Attributes:
        requests_count, errors_count, wrong_count: of the measured window.
        generator_cpu_share: of one core, which is all that the generator's one thread can use.
        generator_waited_share: of the window, that the generator was ready to run and had no core.
        steal_share: of a core that serves or generates, taken by other guests of the host.
        foreign_cores: cores' worth of the whole machine that neither server nor generator used.
        foreign_cpu_share: of the cores that serve or of those that generate, used by other programs.
        interrupted: the round ended before its time.
        steady: whether the server was warm when the window began; see loadtests/steady.py.
        delivered_share: achieved / offered rate of an open load.
        late_share: of the requests of an open load, sent more than 1 ms after their time.
    """

    requests_count: int
    errors_count: int
    wrong_count: int
    generator_cpu_share: float | None
    steal_share: float | None
    foreign_cpu_share: float | None
    interrupted: bool
    steady: bool | None = None
    delivered_share: float | None = None
    late_share: float | None = None
    generator_waited_share: float | None = None
    foreign_cores: float | None = None


@dataclass(frozen=True)
class Invalidity:
    """One check that a round did not pass; the name of the check, what was found, and what to do about it."""

    check: Check
    reason: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.reason}: {self.remedy}"


def invalidities(facts: RoundFacts) -> tuple[Invalidity, ...]:
    """Return every check that the round did not pass; empty if it may be used."""
    found = (
        _interrupted(facts),
        _warm(facts),
        _delivered(facts),
        _lateness(facts),
        _clean(facts),
        _right(facts),
        _generator(facts),
        _starved(facts),
        _steal(facts),
        _foreign_core(facts),
        _foreign_machine(facts),
    )
    return tuple(invalidity for invalidity in found if invalidity)


def _interrupted(facts: RoundFacts) -> Invalidity | None:
    return (
        Invalidity("interrupted", "the round was interrupted", "run it again") if facts.interrupted else None
    )


def _warm(facts: RoundFacts) -> Invalidity | None:
    if facts.steady is None or facts.steady:
        return None
    return Invalidity(
        "warm",
        "throughput and p50 had not settled within 10% when the warm-up's time was up",
        "allow a longer warm-up, or a lower load",
    )


def _delivered(facts: RoundFacts) -> Invalidity | None:
    share = facts.delivered_share
    if share is None or share >= DELIVERED_LIMIT:
        return None
    shown, limit = _percentages(share, DELIVERED_LIMIT)
    return Invalidity(
        "delivered",
        f"the load generator sent {shown} of the offered rate, at least {limit} is needed",
        "lower the rate, or give the generator a faster core",
    )


def _lateness(facts: RoundFacts) -> Invalidity | None:
    return _at_most(
        LATE_SHARE_LIMIT,
        facts.late_share,
        "lateness",
        "{found} of the requests were sent more than 1 ms late, at most {limit} may be",
        "lower the rate, or give the generator a core of its own",
    )


def _clean(facts: RoundFacts) -> Invalidity | None:
    if facts.requests_count == 0:
        return Invalidity("clean", "no request was answered", "look into the server's log")
    if facts.errors_count / facts.requests_count <= ERRORS_SHARE_LIMIT:
        return None
    return Invalidity(
        "clean",
        f"{facts.errors_count} of {facts.requests_count} requests failed, at most "
        f"{ERRORS_SHARE_LIMIT:.1%} may",
        "look into the server's log, or lower the load",
    )


def _right(facts: RoundFacts) -> Invalidity | None:
    if facts.wrong_count == 0:
        return None
    return Invalidity("right", f"{facts.wrong_count} checked answers were wrong", "run `tandem verify`")


def _generator(facts: RoundFacts) -> Invalidity | None:
    return _at_most(
        GENERATOR_CPU_LIMIT,
        facts.generator_cpu_share,
        "generator",
        "the load generator used {found} of its core, at most {limit} may be",
        "its own queue is in the latencies; lower the concurrency",
    )


def _starved(facts: RoundFacts) -> Invalidity | None:
    return _at_most(
        GENERATOR_WAITED_LIMIT,
        facts.generator_waited_share,
        "generator",
        "the load generator had to wait for its core {found} of the time, at most {limit} may be",
        "what it waited is in the latencies; give it a core of its own, and no CPU quota",
    )


def _steal(facts: RoundFacts) -> Invalidity | None:
    return _at_most(
        STEAL_LIMIT,
        facts.steal_share,
        "quiet",
        "{found} of a core that serves or generates was stolen by the host's other guests",
        "use a quieter machine (limit {limit})",
    )


def _foreign_core(facts: RoundFacts) -> Invalidity | None:
    return _at_most(
        FOREIGN_CPU_LIMIT,
        facts.foreign_cpu_share,
        "quiet",
        "{found} of the cores that serve or generate was used by other programs",
        "stop them and run again (limit {limit})",
    )


def _foreign_machine(facts: RoundFacts) -> Invalidity | None:
    """Other programs disturb from other cores too, through caches, memory and the clock rate."""
    found = facts.foreign_cores
    if found is None or found <= FOREIGN_CORES_LIMIT:
        return None
    return Invalidity(
        "quiet",
        f"other programs used {found:.2g} cores of the machine",
        f"stop them and run again (limit {FOREIGN_CORES_LIMIT:g} cores)",
    )


def _at_most(limit: float, share: float | None, check: Check, reason: str, remedy: str) -> Invalidity | None:
    """None where `share` is unknown or within `limit`; `{found}` and `{limit}` in the texts are filled in."""
    if share is None or share <= limit:
        return None
    found, shown_limit = _percentages(share, limit)
    texts = (text.format(found=found, limit=shown_limit) for text in (reason, remedy))
    return Invalidity(check, *texts)


def _percentages(share: float, limit: float) -> tuple[str, str]:
    """Return both in percent, the share with as many digits as it takes to look different from its limit."""
    shown_limit = f"{limit:.0%}"
    for digits in range(6):
        if float(f"{share:.{digits}%}"[:-1]) != float(shown_limit[:-1]):
            return f"{share:.{digits}%}", shown_limit
    return f"{share!r} (as a share)", shown_limit


def is_finding(failed_checks: Iterable[str]) -> bool:
    """Whether failures of a round are the server's: not where the generator could not send the load."""
    failed = frozenset(failed_checks)
    return bool(failed & FINDINGS) and not failed & GENERATOR_CHECKS
