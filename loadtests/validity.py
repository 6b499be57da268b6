"""May a round be used? Every check that fails gives its reason: a code with figures.

Whether there are enough requests for a percentile is not asked here. That is a matter of each percentile, not
of the round: `statistics.summarize_latency` leaves it out with a reason.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, Literal

from loadtests.reason import Figure, Reason

ERRORS_SHARE_LIMIT: Final = 0.001
GENERATOR_CPU_LIMIT: Final = 0.8
GENERATOR_WAITED_LIMIT: Final = 0.05
STEAL_LIMIT: Final = 0.05
P99_STEAL_LIMIT: Final = 0.01
"""Where the host takes more, the slowest hundredth of all requests may be those that it made wait."""
FOREIGN_CORES_LIMIT: Final = 0.2
FOREIGN_CPU_LIMIT: Final = 0.05
DELIVERED_LIMIT: Final = 0.99
LATE_SHARE_LIMIT: Final = 0.01
CAPPED_SHARE_LIMIT: Final = 0.01
SLOWDOWN_LIMIT: Final = 1.2

Check = Literal["interrupted", "warm", "delivered", "lateness", "clean", "right", "generator", "quiet"]


FINDINGS: Final[frozenset[Check]] = frozenset({"clean", "right"})
"""What a round that fails these shows of the server. It is not measured again: a server that sometimes fails
would lose its bad rounds and be judged by its good ones."""

SATURATED: Final = "generator_saturated"
"""The generator had no more CPU time to give."""
GENERATOR_CHECKS: Final[frozenset[Check]] = frozenset({"delivered", "lateness", "generator"})
"""A round that fails one of these shows that the load itself was not as asked."""


def spoils(metric: str, steal_share: float | None) -> bool:
    """Return whether time that was stolen may have made this figure of a round that is otherwise valid."""
    return metric == "p99" and steal_share is not None and steal_share > P99_STEAL_LIMIT


@dataclass(frozen=True)
class RoundFacts:
    """What the checks look at. Shares are from 0 to 1; None is what could not be measured or does not apply.

    Attributes:
        requests_count, errors_count, wrong_count: of the measured window.
        generator_cpu_share: of one core, which is all that the generator's one thread can use.
        generator_waited_share: of the window, that the generator was ready to run and had no core.
        steal_share: of a core that serves or generates, taken by other guests of the host.
        foreign_cores: cores' worth of the whole machine that neither server nor generator used.
        foreign_cpu_share: of a core that serves or generates, the most that other programs can have used.
        interrupted: the round ended before its time.
        steady: whether the server was warm when the window began; see loadtests/steady.py.
        delivered_share: achieved / offered rate of an open load.
        late_share: of the requests of an open load, sent more than 1 ms after their time.
        capped_share: of the requests of a closed load, held back by the highest rate that was allowed.
        server_slowdown, generator_slowdown: how many times as long as usually in the run a fixed computation
            took on their cores.
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
    capped_share: float | None = None
    server_slowdown: float | None = None
    generator_slowdown: float | None = None


@dataclass(frozen=True)
class Invalidity(Reason):
    """One check that a round did not pass, by its name, and why."""

    check: Check = field(kw_only=True)


def invalidities(facts: RoundFacts) -> tuple[Invalidity, ...]:
    """Return every check that the round did not pass; empty if it may be used."""
    checks = (
        _interrupted(facts),
        _warm(facts),
        _delivered(facts),
        _at_most("rate_capped", "delivered", CAPPED_SHARE_LIMIT, facts.capped_share),
        _at_most("sent_late", "lateness", LATE_SHARE_LIMIT, facts.late_share),
        _clean(facts),
        _right(facts),
        _at_most(SATURATED, "generator", GENERATOR_CPU_LIMIT, facts.generator_cpu_share),
        _at_most("generator_starved", "generator", GENERATOR_WAITED_LIMIT, facts.generator_waited_share),
        _at_most("cpu_stolen", "quiet", STEAL_LIMIT, facts.steal_share),
        _at_most("foreign_cpu", "quiet", FOREIGN_CPU_LIMIT, facts.foreign_cpu_share),
        _foreign_machine(facts),
        _slower(facts),
    )
    return tuple(invalidity for invalidity in checks if invalidity)


def _invalid(code: str, check: Check, **figures: Figure) -> Invalidity:
    return Invalidity(code, figures, check=check)


def _interrupted(facts: RoundFacts) -> Invalidity | None:
    return _invalid("interrupted", "interrupted") if facts.interrupted else None


def _warm(facts: RoundFacts) -> Invalidity | None:
    return None if facts.steady is None or facts.steady else _invalid("not_steady", "warm")


def _delivered(facts: RoundFacts) -> Invalidity | None:
    share = facts.delivered_share
    if share is None or share >= DELIVERED_LIMIT:
        return None
    return _invalid("not_delivered", "delivered", share=share, limit=DELIVERED_LIMIT)


def _clean(facts: RoundFacts) -> Invalidity | None:
    if facts.requests_count == 0:
        return _invalid("no_answer", "clean")
    if facts.errors_count / facts.requests_count <= ERRORS_SHARE_LIMIT:
        return None
    return _invalid(
        "requests_failed",
        "clean",
        errors_count=facts.errors_count,
        requests_count=facts.requests_count,
        limit=ERRORS_SHARE_LIMIT,
    )


def _right(facts: RoundFacts) -> Invalidity | None:
    return _invalid("wrong_answers", "right", wrong_count=facts.wrong_count) if facts.wrong_count else None


def _foreign_machine(facts: RoundFacts) -> Invalidity | None:
    """Judge other programs, which disturb from other cores too, through caches, memory and clock rate."""
    cores = facts.foreign_cores
    if cores is None or cores <= FOREIGN_CORES_LIMIT:
        return None
    return _invalid("foreign_cores", "quiet", cores=cores, limit=FOREIGN_CORES_LIMIT)


def _slower(facts: RoundFacts) -> Invalidity | None:
    """Judge what no clock of ours shows: a neighbour on the same physical core, or heat.

    A slower generator counts as far as it was at work: one that mostly waits makes no latency longer.
    """
    server, generator, share = facts.server_slowdown, facts.generator_slowdown, facts.generator_cpu_share
    if server is not None and server > SLOWDOWN_LIMIT:
        return _invalid("machine_slower", "quiet", where="server", slowdown=server, limit=SLOWDOWN_LIMIT)
    if generator is None or share is None or (generator - 1) * share <= SLOWDOWN_LIMIT - 1:
        return None
    return _invalid(
        "machine_slower", "quiet", where="generator", slowdown=generator, limit=SLOWDOWN_LIMIT, share=share
    )


def _at_most(code: str, check: Check, limit: float, share: float | None) -> Invalidity | None:
    """Return None if `share` is unknown or within `limit`."""
    if share is None or share <= limit:
        return None
    return _invalid(code, check, share=share, limit=limit)


def is_finding(failed_checks: Iterable[str]) -> bool:
    """Return whether a round's failures are the server's: not if the generator could not send the load."""
    failed = frozenset(failed_checks)
    return bool(failed & FINDINGS) and not failed & GENERATOR_CHECKS
