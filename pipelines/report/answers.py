"""The sentences at the top of a report: what each comparison says."""

from collections import Counter
from dataclasses import dataclass

from pipelines.console import format as fmt
from pipelines.record.comparison import ComparisonRecord
from pipelines.record.run import RunRecord
from pipelines.report import banners, pick
from pipelines.report.verdicts import explanation, judged_wider


@dataclass(frozen=True)
class Answer:
    """One comparison in words: the claim, the verdict about the candidate, and what follows from it."""

    claim: str
    verdict: str
    rest: str

    @property
    def text(self) -> str:
        """All of it as one or two sentences."""
        return f"{self.claim}: {self.verdict}{self.rest}"


@dataclass(frozen=True)
class Group:
    """The answers under one load, and the reasons that more than one of them has."""

    load: str
    answers: tuple[Answer, ...]
    remarks: tuple[str, ...]


def groups(run: RunRecord) -> tuple[Group, ...]:
    """The answers by load, in the order of the record."""
    loads = dict.fromkeys(one.load for one in run.comparisons)
    return tuple(_group(run, load) for load in loads)


def remarks(run: RunRecord) -> tuple[str, ...]:
    """What stands beside the result: what was not alike, and how many rounds were left out."""
    rounds = pick.all_rounds(run)
    lost = len(pick.unused(run))
    left_out = [f"{pick.not_used(lost, len(rounds))}; each stands with its reason below."] if lost else []
    return (*unlike(run), *left_out)


def unlike(run: RunRecord) -> tuple[str, ...]:
    """What the sides were not given alike, on somebody's word."""
    found = [one for one in run.fairness.asymmetries if one.allowed]
    return tuple(fmt.one_line(f"Not alike, allowed by name: {banners.not_alike(one)}.") for one in found)


def shared_reasons(run: RunRecord) -> tuple[str, ...]:
    """The one reason of everything that has no verdict, where there is only one and loads are several."""
    found = {(one.verdict, explanation(one)) for one in run.comparisons}
    if len({one.load for one in run.comparisons}) == 1 or len(found) != 1:
        return ()
    verdict, reason = next(iter(found))
    said = f"{_verdict_word(verdict).capitalize()} under any load: {reason}."
    return (fmt.one_line(said),) if reason else ()


def _group(run: RunRecord, load: str) -> Group:
    own = [one for one in run.comparisons if one.load == load]
    times = Counter(reason for one in own if (reason := explanation(one)))
    common = [reason for reason, count in times.items() if count > 1]
    said_above = bool(shared_reasons(run))
    said = tuple(_remark(own, reason) for reason in common) if not said_above else ()
    return Group(
        fmt.one_line(load),
        tuple(_answer(run, one, reason_apart=explanation(one) in common or said_above) for one in own),
        said,
    )


def _remark(comparisons: list[ComparisonRecord], reason: str) -> str:
    own = [one for one in comparisons if explanation(one) == reason]
    metrics = dict.fromkeys(pick.metric_name(one.metric) for one in own)
    about = "" if len(own) == len(comparisons) else f" on {', '.join(metrics)}"
    words = dict.fromkeys(_verdict_word(one.verdict) for one in own)
    return fmt.one_line(f"{' or '.join(words).capitalize()}{about}: {reason}.")


def _verdict_word(verdict: str | None) -> str:
    return verdict or "no verdict"


def _answer(run: RunRecord, one: ComparisonRecord, *, reason_apart: bool) -> Answer:
    rest = _rest(one, "" if reason_apart else explanation(one))
    return Answer(fmt.one_line(_claim(run, one)), _verdict_word(one.verdict), fmt.one_line(rest))


def _claim(run: RunRecord, one: ComparisonRecord) -> str:
    candidate, baseline = (pick.display_name(run, name) for name in (one.candidate, one.baseline))
    subject, ratio = f"{candidate}'s {pick.metric_name(one.metric)}", pick.ratio_of(one)
    if ratio is None:
        return f"{subject} could not be set against {baseline}'s"
    return f"{subject} is {fmt.ratio(ratio)} times {baseline}'s ({_basis(one)})"


def _basis(one: ComparisonRecord) -> str:
    """What the ratio rests on: its interval, or how far single pairs lie apart."""
    if one.pairs_count == 1:
        return "one pair"
    counts = [fmt.plural(one.blocks_count, "block"), fmt.plural(one.pairs_count, "pair")]
    if one.interval is not None:
        spans = [f"95{fmt.THIN}% interval {fmt.span(one.interval, fmt.ratio)}", *_judged(one)]
        return ", ".join([*spans, *counts])
    if one.round_range is not None:
        return ", ".join(["no interval", f"single pairs {fmt.span(one.round_range, fmt.ratio)}", *counts])
    return ", ".join(["no interval", *counts])


def _judged(one: ComparisonRecord) -> list[str]:
    """The wider interval that left it undecided, where the 95 % interval does not show why."""
    if one.verdict != "inconclusive" or not judged_wider(one):
        return []
    assert one.verdict_interval and one.verdict_confidence  # noqa: S101 - judged_wider has looked
    return [
        f"judged by {fmt.confidence(one.verdict_confidence)}: {fmt.span(one.verdict_interval, fmt.ratio)}"
    ]


def _rest(one: ComparisonRecord, reason: str) -> str:
    if one.verdict == "equivalent":
        return f", within {fmt.within(one.margin)}."
    if one.rounds_needed is not None:
        return f". About {fmt.plural(one.rounds_needed, 'more round')} per target would decide."
    return f", {reason}." if reason else "."
