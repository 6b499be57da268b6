"""What the gate says: for people, as JSON, and as the facts that --output writes."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from typing import Any

from rich.table import Table
from rich.text import Text

from pipelines.console import format as fmt
from pipelines.console.printing import print_table, say
from pipelines.gate.finding import Finding, Word
from pipelines.gate.limits import METRICS
from pipelines.gate.stage import GateResult
from pipelines.outputs.facts import Check, Facts, Figure, State
from pipelines.outputs.markdown import SHOW
from pipelines.report.sentences import sentence

STYLES: Mapping[Word, str] = {"pass": "green", "fail": "bold red", "undecided": "yellow"}
STATES: Mapping[Word, State] = {"pass": "passed", "fail": "failed", "undecided": "skipped"}
COUNTED = {"answers": "right answers", "failures": "failed requests"}
COUNT_OF = {"answers": "wrong answers", "failures": "failed requests"}
"""What the figure of each counts."""
FACTOR_SHOWN = 1000
NOISE = "the factor lies beyond the limit, but within this machine's own noise of {floor}"


def name_of(finding: Finding) -> str:
    """Name the metric, its side and its load."""
    metric = METRICS[finding.metric].name if finding.metric in METRICS else COUNTED[finding.metric]
    load = f" under {finding.load}" if finding.load else ""
    return f"{metric} of {finding.side}{load}"


def found(finding: Finding) -> str:
    """Format the figures: factor and interval, or what was counted."""
    if finding.metric == "answers":
        figures = finding.reason.figures
        return f"{figures['wrong_count']} of {figures['checked_count']} checked answers were wrong"
    if finding.metric == "failures":
        figures = finding.reason.figures
        return f"{figures['failed_count']} of {figures['asked_count']} requests failed"
    if finding.factor is None:
        return "no factor"
    if METRICS[finding.metric].points:
        show = SHOW[finding.unit]
        return (
            f"{_sign(finding.factor)} points ({show(finding.baseline or 0)} → {show(finding.candidate or 0)})"
        )
    factor = f"{_factor(finding.factor)} times the baseline's"
    if finding.interval is None or finding.confidence is None:
        return f"{factor} (exact)"
    return f"{factor} ({fmt.span(finding.interval, _factor)}, {fmt.confidence(finding.confidence)} interval)"


def _factor(value: float) -> str:
    """Format three decimals, so that a limit of one per cent does not look like none."""
    if value > FACTOR_SHOWN:
        return f"over {FACTOR_SHOWN}"
    return f"{value:.3f}" if value > 1 / FACTOR_SHOWN else f"under {1 / FACTOR_SHOWN}"


def _sign(share: float) -> str:
    return f"{'+' if share > 0 else ''}{fmt.points(share)}"


def allowed(finding: Finding) -> str:
    """Describe the limit in words."""
    if finding.metric == "answers":
        return "none may be"
    if finding.metric == "failures":
        return f"at most {fmt.percent(finding.limit)} may, or as many as the baseline's"
    metric = METRICS[finding.metric]
    if metric.points:
        return f"may fall by {fmt.points(finding.limit)} points"
    return f"may {'fall' if metric.falls else 'rise'} by {fmt.percent(finding.limit)}"


def why(finding: Finding) -> str:
    """Say which rule gave the word, and what to do where something is to be done."""
    make = REASONS.get(finding.reason.code)
    return make(finding) if make else fmt.one_line(sentence(finding.reason))


def _more(finding: Finding) -> str:
    across = "the interval reaches across the limit"
    if finding.metric in METRICS and METRICS[finding.metric].kind == "blocks":
        return f"{across}: {_measure_more(finding, 'more fresh servers', '--blocks')}"
    if finding.rounds_needed is None:
        return f"{across}, and the factor is so near it that no reasonable number of rounds decides"
    needed = fmt.plural(finding.rounds_needed, "more pair")
    more = _measure_more(finding, "them", "--rounds or --blocks")
    return f"{across}: about {needed} of rounds would decide, {more}"


def _measure_more(finding: Finding, what: str, options: str) -> str:
    """Say by which options there is more of it; `tandem gate --sides` has none of a comparison's."""
    if finding.open_ended:
        return "give more time with --decide-within"
    return f"measure {what} with {options} of `tandem compare`, or with --decide-within"


def _no_floor(finding: Finding) -> str:
    sides = finding.reason.figures.get("sides")
    which = " and ".join(map(str, sides)) if isinstance(sides, tuple) and sides else "a side"
    more = _measure_more(finding, "more", "--rounds or --profile full")
    return f"no control of {which} gave an interval, so nobody knows this machine's own noise: {more}"


def _beyond(finding: Finding) -> str:
    beyond = "lies beyond the limit"
    floor = (
        ""
        if not finding.noise_floor
        else f" and this machine's own noise of {fmt.within(finding.noise_floor)}"
    )
    option = METRICS[finding.metric].option
    return f"the whole interval {beyond}{floor}: find the cause, or allow it with {option}"


def _exact(finding: Finding) -> str:
    if finding.word == "pass":
        return "a property of the build, exact"
    return (
        f"a property of the build, exact: find the cause, or allow it with {METRICS[finding.metric].option}"
    )


REASONS: Mapping[str, Callable[[Finding], str]] = {
    "within_limit": lambda _: "the whole interval ends before the limit",
    "beyond_margin": _beyond,
    "across_margin": _more,
    "inside_floor": lambda finding: (
        f"{NOISE.format(floor=fmt.within(finding.noise_floor or 0))}: use a quieter machine, or a wider limit"
    ),
    "near_limit": lambda _: "the factor is so near the limit that no reasonable number of rounds decides it",
    "no_floor": _no_floor,
    "too_few_blocks": lambda finding: (
        "fewer than two fresh servers of each side have this figure: "
        f"{_measure_more(finding, 'more of them', '--blocks')}"
    ),
    "too_few_pairs": lambda finding: (
        "fewer than two valid rounds of each side have this figure: see why in the run's report, or "
        f"{_measure_more(finding, 'more and longer ones', '--rounds and --round-s')}"
    ),
    "not_recorded_of_both": lambda _: "not recorded of both: measure both where it is",
    "counted_differently": lambda finding: (
        f"counted as {finding.reason.figures['baseline']} and {finding.reason.figures['candidate']}, which "
        "do not compare: measure both with one runner"
    ),
    "exact": _exact,
    "answers": lambda finding: (
        "every checked answer was right"
        if finding.word == "pass"
        else "run `tandem verify`, and compare the builds"
    ),
    "failures": lambda finding: (
        "no more than a valid round has"
        if finding.word == "pass"
        else "look into the server's log in the run"
    ),
}


def line(finding: Finding) -> str:
    """Put the whole finding on one line."""
    return f"{name_of(finding)}: {finding.word}: {found(finding)}; {allowed(finding)}; {why(finding)}"


def verdict(result: GateResult) -> str:
    """Return the gate's word with the findings that gave it."""
    counts = f"{len(result.of('pass'))} passed"
    if result.word == "pass":
        return (
            f"pass: {result.candidate} against {result.baseline}, all {len(result.findings)} findings passed"
        )
    others = result.of(result.word)
    also = result.of("undecided") if result.word == "fail" else ()
    more = f"; {len(also)} undecided" if also else ""
    reasons = "; ".join(
        f"{name_of(other)}: {found(other)}, {allowed(other)}; {why(other)}" for other in others
    )
    return f"{result.word}: {reasons} ({counts}{more})"


def facts(result: GateResult) -> dict[str, Any]:
    """Return everything, for programs."""
    return {
        "word": result.word,
        "model": result.model,
        "baseline": result.baseline,
        "candidate": result.candidate,
        "interleaved": result.interleaved,
        "left_out": list(result.left_out),
        "environment": [asdict(difference) for difference in result.environment],
        "configuration": [asdict(difference) for difference in result.configuration],
        "findings": [_finding(finding) for finding in result.findings],
    }


def _finding(finding: Finding) -> dict[str, Any]:
    return asdict(finding) | {"reason": finding.reason.model_dump(), "said": line(finding)}


def print_result(result: GateResult) -> None:
    """Print a row per finding, then what to do, and in what the runs differ."""
    table = Table(show_edge=False, pad_edge=False)
    for column in ("", "metric", "found", "limit"):
        table.add_column(column, overflow="fold")
    rows = [
        (Text(finding.word, style=STYLES[finding.word]), name_of(finding), found(finding), allowed(finding))
        for finding in result.findings
    ]
    print_table(table, rows)
    for text in remarks(result):
        say(text)
    say(f"\n{verdict(result)}")


def remarks(result: GateResult) -> Iterator[str]:
    """Yield what must be read with the result."""
    if result.environment:
        unlike = "; ".join(map(str, result.environment))
        yield f"Environments differ, allowed by --allow-environment: {unlike}"
    if result.configuration:
        yield f"Servers were configured differently: {'; '.join(map(str, result.configuration))}"
    if result.left_out:
        yield f"Measured and not gated, for they belong to no pair: {', '.join(result.left_out)}"
    if not result.interleaved:
        yield (
            "Two runs on two occasions: what changed in the machine between them is in the factors and not "
            "in their intervals. `--sides base=ARTIFACTS_DIR,new=ARTIFACTS_DIR` measures both interleaved."
        )


def outputs_facts(result: GateResult, *, passed: bool) -> Facts:
    """Return the facts that --output writes; `passed` is whether the exit code is 0."""
    return Facts(
        command="gate",
        model=result.model,
        headline=verdict(result),
        started_at_utc=result.started_at_utc,
        passed=passed,
        checks=tuple(map(_check, result.findings)),
        figures=tuple(figure for each in result.findings for figure in _figures(result.model, each)),
        lines=tuple(remarks(result)),
    )


def _check(finding: Finding) -> Check:
    subject, name = finding.side, name_of(finding).replace(f" of {finding.side}", "", 1)
    sure = f"it is no worse than allowed ({allowed(finding)})"
    return Check(
        subject, name, sure, STATES[finding.word], f"{finding.word}: {found(finding)}; {why(finding)}"
    )


def _figures(model: str, finding: Finding) -> Iterator[Figure]:
    """Yield the factor; of what is counted or is in points the candidate's own figure."""
    labels = {"model": model, "target": finding.side} | ({"load": finding.load} if finding.load else {})
    if finding.metric in COUNTED:
        if finding.candidate is not None:
            yield Figure(labels, COUNT_OF[finding.metric], "count", finding.candidate, True)
        return
    metric = METRICS[finding.metric]
    if metric.points and finding.candidate is not None:
        yield Figure(labels, metric.name, finding.unit, finding.candidate, not metric.falls)
    elif finding.factor is not None:
        low, high = finding.usual_interval or (None, None)
        name = f"{metric.name} against baseline"
        yield Figure(labels, name, "ratio", finding.factor, not metric.falls, low, high)
