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
    questions = [item for pair in pairs for limit in limits for item in _ask(pair, limit, seed)]
    measured = [item for item in questions if isinstance(item, Question)]
    judges: list[Judge] = [question.verdict for question in measured]
    verdicts = {id(question): each for question, each in zip(measured, holm(judges), strict=True)}
    return (
        *(finding for pair in pairs for finding in answers(pair)),
        *(
            item
            if isinstance(item, Finding)
            else _found(item, verdicts[id(item)].verdict, verdicts[id(item)].confidence)
            for item in questions
        ),
    )


def _found(question: Question, verdict: Verdict, confidence: float) -> Finding:
    word: Word = UNDECIDED
    interval, why, needed = (
        question.estimate.interval(confidence),
        recorded(verdict.reason),
        verdict.rounds_needed,
    )
    if verdict.word == "worse":
        word = "fail"
    elif question.within_limit and not question.climbing:
        word, interval, why, needed = "pass", question.usual, reason("within_limit"), None
    elif question.passes_by_itself and not question.climbing:
        # Only narrower is needed: what keeps the limit needs no noise floor.
        interval, why, needed = question.usual, reason("across_margin"), question.rounds_needed
    return Finding(
        word=word,
        metric=question.limit.metric.key,
        side=question.pair.side,
        load=question.load,
        unit=question.limit.metric.unit,
        limit=question.limit.share,
        baseline=question.baseline,
        candidate=question.candidate,
        factor=interval.ratio,
        interval=(interval.low, interval.high),
        confidence=interval.confidence,
        reason=why,
        rounds_needed=needed,
        noise_floor=question.floor if question.limit.metric.kind == "rounds" else None,
        usual_interval=(question.usual.low, question.usual.high),
        open_ended=question.pair.candidate_run.sequential is not None,
    )


def _ask(pair: Pair, limit: Limit, seed: int) -> Iterator[Question | Finding]:
    asking: Mapping[str, Callable[[], Iterator[Question | Finding]]] = {
        "rounds": partial(of_rounds, pair, limit, seed),
        "blocks": partial(of_blocks, pair, limit, seed),
        "exact": partial(exact, pair, limit),
    }
    return asking[limit.metric.kind]()


def overall(decided: Sequence[Finding]) -> Word:
    """Return `fail` if anything failed, else `undecided` if anything is, else `pass`."""
    words = {finding.word for finding in decided}
    return "fail" if "fail" in words else "undecided" if "undecided" in words else "pass"
