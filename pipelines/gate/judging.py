"""From two sides' figures to findings: pass, fail or undecided, decided on the ends of intervals."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

from loadtests.multiplicity import Judge, holm
from loadtests.verdict import Verdict
from pipelines.gate.baseline import Pair
from pipelines.gate.exact import answers, exact
from pipelines.gate.finding import UNDECIDED, Finding, Word
from pipelines.gate.limits import Limit
from pipelines.gate.measured import Question, of_blocks, of_rounds
from pipelines.record.reason import reason, recorded


def findings(pairs: Sequence[Pair], limits: Sequence[Limit], seed: int) -> tuple[Finding, ...]:
    """Judge everything that was asked, and whether answers were right, which is always asked.

    What is measured is one family: `fail` is said by Holm's corrected intervals, so that the chance of any
    false one is at most 5 %. `pass` needs every finding to pass and goes by 95 % intervals: that all of
    several hold needs no correction (Berger 1982, "Multiparameter hypothesis testing", Technometrics 24(4)).
    """
    asked = [one for pair in pairs for limit in limits for one in _ask(pair, limit, seed)]
    measured = [one for one in asked if isinstance(one, Question)]
    judges: list[Judge] = [one.verdict for one in measured]
    said = {id(one): each for one, each in zip(measured, holm(judges), strict=True)}
    return (
        *(one for pair in pairs for one in answers(pair)),
        *(
            one if isinstance(one, Finding) else _found(one, said[id(one)].verdict, said[id(one)].confidence)
            for one in asked
        ),
    )


def _found(one: Question, verdict: Verdict, confidence: float) -> Finding:
    word: Word = UNDECIDED
    interval, why, needed = one.estimate.interval(confidence), recorded(verdict.reason), verdict.rounds_needed
    if verdict.word == "worse":
        word = "fail"
    elif one.within_limit and not one.climbing:
        word, interval, why, needed = "pass", one.usual, reason("within_limit"), None
    elif one.passes_by_itself and not one.climbing:
        # Only narrower is needed: what keeps the limit needs no noise floor.
        interval, why, needed = one.usual, reason("across_margin"), one.rounds_needed
    return Finding(
        word=word,
        metric=one.limit.metric.key,
        side=one.pair.side,
        load=one.load,
        unit=one.limit.metric.unit,
        limit=one.limit.share,
        baseline=one.baseline,
        candidate=one.candidate,
        factor=interval.ratio,
        interval=(interval.low, interval.high),
        confidence=interval.confidence,
        reason=why,
        rounds_needed=needed,
        noise_floor=one.floor if one.limit.metric.kind == "rounds" else None,
        usual_interval=(one.usual.low, one.usual.high),
    )


def _ask(pair: Pair, limit: Limit, seed: int) -> Iterator[Question | Finding]:
    asking: Mapping[str, Callable[[], Iterator[Question | Finding]]] = {
        "rounds": partial(of_rounds, pair, limit, seed),
        "blocks": partial(of_blocks, pair, limit, seed),
        "exact": partial(exact, pair, limit),
    }
    return asking[limit.metric.kind]()


def overall(found: Sequence[Finding]) -> Word:
    """Return `fail` if anything failed, else `undecided` if anything is, else `pass`."""
    words = {one.word for one in found}
    return "fail" if "fail" in words else "undecided" if "undecided" in words else "pass"
