"""The checks and figures of a run record. Every figure is a field of run.json, as it stands there."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace

from pipelines.console import format as fmt
from pipelines.outputs import of_training
from pipelines.outputs.facts import Check, Facts, Figure, State
from pipelines.record.comparison import ComparisonRecord
from pipelines.record.mobile import MobileArtifactRecord, MobileRecord, TimingRecord
from pipelines.record.parity import ParityRecord
from pipelines.record.run import RunRecord
from pipelines.record.slo import SloRecord, SloTargetRecord
from pipelines.record.target import SummaryRecord, TargetRecord
from pipelines.record.tradeoff import TradeOffRecord
from pipelines.report import mobile, pick, training
from pipelines.report.sentences import sentence, verdict_sentence
from pipelines.report.tradeoffs import KINDS

SERVED = ("compare", "slo")
PERCENTILES = ("p50", "p95", "p99")
VERDICT_STATES: dict[str | None, State] = {
    "better": "passed",
    "worse": "passed",
    "equivalent": "passed",
    "inconclusive": "skipped",
    None: "skipped",
}


def facts_of_run(run: RunRecord) -> Facts:
    """Return the checks, the figures and the result of a whole run."""
    checks = tuple(_checks(run))
    return Facts(
        command=run.kind,
        model=run.model.name,
        headline=_headline(run),
        started_at_utc=run.started_at_utc,
        passed=run.status == "complete" and all(check.state != "failed" for check in checks),
        checks=checks,
        figures=tuple(figures_of_run(run)),
        lines=tuple(
            fmt.one_line(sentence(warning)) for warning in run.warnings if warning.code == "stand_in"
        ),
    )


def figures_of_run(run: RunRecord) -> Iterator[Figure]:
    """Yield the figures, those that are decided by first."""
    model, rows = {"model": run.model.name}, _rows(run)
    for comparison in run.comparisons:
        yield from _ratio(model, rows, comparison)
    if run.slo:
        # Rates within unlike limits, or of requests of unlike sizes, are not one figure.
        within = {"limit": f"p99 within {run.slo.p99_limit_ms:g} ms"} | rows
        yield from _slo_ratio(model, within, run.slo)
        for name, rates in run.slo.targets.items():
            yield from _slo(model | {"target": name} | within, rates)
    for name, target in pick.compared(run).items():
        for summary in target.summaries if run.kind == "compare" else ():
            yield from _summary(model | {"target": name, "load": summary.load} | rows, summary)
        yield from _target(model | {"target": name}, rows, target)
    if run.kind in SERVED:
        yield from _until_steady(model, rows, run)
        for trade_off in run.trade_offs:
            yield from _trade_off(model, rows, trade_off)
    if run.training:
        yield from of_training.figures(model, run.training)
    for artifact in run.mobile.artifacts if run.mobile else ():
        yield from _mobile(model | {"target": artifact.target, "artifact": artifact.path}, artifact)


def _rows(run: RunRecord) -> dict[str, str]:
    """Return the label of requests of several samples; a request of one has none."""
    rows = run.payload.rows if run.payload else 1
    return {} if rows == 1 else {"rows": f"{rows} rows"}


def _ratio(labels: dict[str, str], rows: dict[str, str], comparison: ComparisonRecord) -> Iterator[Figure]:
    if comparison.ratio is None:
        return
    sides = {"target": comparison.candidate, "against": comparison.baseline, "load": comparison.load}
    low, high = comparison.interval or (None, None)
    less = pick.metric_key(comparison.metric) != pick.THROUGHPUT
    measure = f"{pick.metric_name(comparison.metric)} ratio"
    yield Figure(labels | sides | rows, measure, "ratio", comparison.ratio, less, low, high)


def _slo_ratio(labels: dict[str, str], within: dict[str, str], slo: SloRecord) -> Iterator[Figure]:
    if slo.ratio is None:
        return
    sides = {"target": slo.candidate, "against": slo.baseline or ""}
    low, high = slo.interval or (None, None)
    yield Figure(labels | sides | within, "rate ratio", "ratio", slo.ratio, False, low, high)


def _slo(labels: dict[str, str], target: SloTargetRecord) -> Iterator[Figure]:
    if target.rate_per_s is not None:
        low, high = target.interval or (None, None)
        yield Figure(labels, "rate at the limit", "per_s", target.rate_per_s, False, low, high)
    if target.at_least_per_s is not None:
        yield Figure(labels, "rate at the limit, at least", "per_s", target.at_least_per_s, False)
    if target.cost_per_million is not None:
        low, high = target.cost_interval or (None, None)
        yield Figure(labels, "cost of a million", "price", target.cost_per_million, True, low, high)


def _summary(labels: dict[str, str], summary: SummaryRecord) -> Iterator[Figure]:
    latency = summary.latency_ms
    for name in PERCENTILES:
        value: float | None = getattr(latency, name)
        if value is not None:
            low, high = latency.intervals.get(name) or (None, None)
            yield Figure(labels, name, "ms", value, True, low, high)
    if summary.throughput_per_s is not None:
        spread = summary.round_range.get(pick.THROUGHPUT, ())
        figure = Figure(labels, "throughput", "per_s", summary.throughput_per_s, False)
        yield _spread(figure, spread)


def _spread(figure: Figure, values: Iterable[float]) -> Figure:
    """Add the least and the most of several values, unless the figure lies outside them."""
    least, most = min(values, default=math.nan), max(values, default=math.nan)
    if least < most and least <= figure.value <= most:
        return replace(figure, least=least, most=most)
    return figure


def _target(labels: dict[str, str], rows: dict[str, str], target: TargetRecord) -> Iterator[Figure]:
    if target.memory.peak_bytes is not None:
        peaks = [peak.peak_bytes for peak in target.memory.block_peaks]
        yield _spread(Figure(labels | rows, "peak memory", "bytes", target.memory.peak_bytes, True), peaks)
    if target.cold_starts:
        starts = [start.first_right_answer_s for start in target.cold_starts]
        yield _spread(Figure(labels, "cold start, slowest", "s", max(starts), True), starts)
    if target.endpoint_parity and target.endpoint_parity.accuracy is not None:
        yield Figure(labels, "accuracy", "share", target.endpoint_parity.accuracy, False)
    image = target.implementation.image
    if image is not None:
        yield Figure(labels, "image size", "bytes", image.size_bytes, True)
    for artifact in target.artifacts:
        yield Figure(labels | {"artifact": artifact.path}, "size", "bytes", artifact.size_bytes, True)


def _until_steady(labels: dict[str, str], rows: dict[str, str], run: RunRecord) -> Iterator[Figure]:
    """Yield the medians over each side's fresh servers, which a run of two sides or more has."""
    medians: dict[str, float | None] = {}
    for trade_off in run.trade_offs:
        if trade_off.measure == "until_steady_s":
            medians |= {
                trade_off.candidate: trade_off.candidate_value,
                trade_off.baseline: trade_off.baseline_value,
            }
    for name, median in medians.items():
        if median is not None:
            figure = Figure(labels | {"target": name} | rows, "time until steady", "s", median, True)
            yield _spread(figure, _first_steady(run.targets[name]))


def _first_steady(target: TargetRecord) -> list[float]:
    """Return the times of the first load on each fresh server; none where one was not steady at its end."""
    first: dict[int, float | None] = {}
    for conditioning in target.conditionings:
        first.setdefault(conditioning.block, conditioning.until_steady_s)
    known = [seconds for seconds in first.values() if seconds is not None]
    return known if len(known) == len(first) else []


def _trade_off(labels: dict[str, str], rows: dict[str, str], trade_off: TradeOffRecord) -> Iterator[Figure]:
    if trade_off.ratio is None:
        return
    sides = {"target": trade_off.candidate, "against": trade_off.baseline}
    under_load = rows if trade_off.measure in ("peak_memory_bytes", "until_steady_s") else {}
    low, high = trade_off.interval or (None, None)
    name, less = KINDS[trade_off.measure].name, trade_off.measure != "accuracy"
    yield Figure(labels | sides | under_load, f"{name} ratio", "ratio", trade_off.ratio, less, low, high)


def _mobile(labels: dict[str, str], artifact: MobileArtifactRecord) -> Iterator[Figure]:
    yield Figure(labels, "size", "bytes", artifact.size_bytes, True)
    if artifact.accuracy is not None:
        yield Figure(labels, "accuracy", "share", artifact.accuracy, False)
    for timing in artifact.timings:
        yield from _timing(labels | {"threads": str(timing.threads_count)}, timing)


def _timing(labels: dict[str, str], timing: TimingRecord) -> Iterator[Figure]:
    for name, value in (("p50", timing.p50_ms), ("p95", timing.p95_ms)):
        if value is not None:
            yield Figure(labels, f"{name} in process", "ms", value, True)
    if timing.peak_memory_bytes is not None:
        yield Figure(labels, "peak memory", "bytes", timing.peak_memory_bytes, True)


def _checks(run: RunRecord) -> Iterator[Check]:
    yield _ended(run)
    yield from _parities(run)
    for name, target in run.targets.items():
        if target.role == "compared":
            yield from _answers(name, target, slo=run.slo is not None)
    if run.kind == "compare":
        yield from (_verdict(comparison) for comparison in run.comparisons)
    if run.slo:
        yield from (_rate(name, searched, run.slo.p99_limit_ms) for name, searched in run.slo.targets.items())
    if run.training:
        yield from of_training.checks(run.training)
    if run.mobile:
        yield from map(_device, run.mobile.artifacts)
        if run.kind == "mobile":
            yield _choice(run.mobile)


def _ended(run: RunRecord) -> Check:
    state: State = "passed" if run.status == "complete" else "failed"
    return Check("run", "complete", "the run came to its end", state, run.status_reason or run.status)


def _parities(run: RunRecord) -> Iterator[Check]:
    """Yield every artifact's check once; sides with unlike artifacts of one name are named."""
    of_subjects: dict[str, dict[str, ParityRecord]] = {}
    for name, target in run.targets.items():
        for parity in target.parity:
            of_subjects.setdefault(parity.subject, {})[name] = parity
    for subject, of_sides in of_subjects.items():
        first, *others = of_sides.values()
        if all(other == first for other in others):
            yield parity_check(first)
            continue
        for name, parity in of_sides.items():
            yield replace(parity_check(parity), subject=f"{subject} of {name}")


def parity_check(parity: ParityRecord) -> Check:
    """Check whether an artifact or an endpoint is the source model."""
    drop = "" if parity.accuracy is None else f", accuracy {parity.accuracy:.4f}"
    detail = f"largest error {parity.max_abs_error:.2g} on {parity.samples_count} samples{drop}"
    state: State = "passed" if parity.passed else "failed"
    return Check(parity.subject, "parity", "it answers as the source model does", state, detail)


def _answers(name: str, target: TargetRecord, *, slo: bool) -> Iterator[Check]:
    """Check the server's answers while it was measured; a search overloads servers on purpose."""
    if target.endpoint_parity:
        sure = "the running server answers as the source model does"
        yield replace(
            parity_check(target.endpoint_parity), subject=name, name="endpoint parity", sentence=sure
        )
    wrong = sum(record.wrong_count for record in target.rounds)
    checked = sum(record.checked_count for record in target.rounds)
    if checked:
        detail = f"{wrong} of {checked} checked answers were wrong"
        yield Check(name, "right answers", "what it answers under load is right", _state(not wrong), detail)
    failed = sum(record.errors_count for record in target.rounds)
    requests_count = sum(record.requests_count for record in target.rounds)
    if requests_count and not slo:
        unclean = [record for record in target.rounds if "clean" in record.failed_checks]
        detail = f"{failed} of {requests_count} requests failed"
        yield Check(name, "no failures", "it answers what it is asked", _state(not unclean), detail)


def _state(held: bool) -> State:
    return "passed" if held else "failed"


def _verdict(comparison: ComparisonRecord) -> Check:
    reason = verdict_sentence(comparison) or "no reason recorded"
    subject = f"{comparison.candidate} against {comparison.baseline}"
    return Check(
        subject,
        f"{pick.metric_name(comparison.metric)} under {comparison.load}",
        "the comparison is decided",
        VERDICT_STATES[comparison.verdict],
        f"{comparison.verdict or 'no verdict'}: {fmt.one_line(reason)}",
    )


def _rate(name: str, target: SloTargetRecord, limit_ms: float) -> Check:
    state: State = "skipped"
    detail = fmt.one_line(sentence(target.reason)) if target.reason else "no search ended"
    if target.rate_per_s is not None:
        state, detail = "passed", f"{fmt.rate(target.rate_per_s)}"
    elif target.at_least_per_s is not None:
        state, detail = "passed", f"at least {fmt.rate(target.at_least_per_s)}"
    elif any(block.outcome == "none" for block in target.blocks):
        state = "failed"
    return Check(name, "rate", f"some rate keeps p99 within {fmt.given_ms(limit_ms)}", state, detail)


def _device(artifact: MobileArtifactRecord) -> Check:
    detail = artifact.error or mobile.failures(artifact) or f"{fmt.size(artifact.size_bytes)}"
    subject = f"{artifact.target}/{artifact.path}"
    return Check(
        subject, "fit to ship", "it runs, and keeps the limits", _state(artifact.passed), fmt.one_line(detail)
    )


def _choice(record: MobileRecord) -> Check:
    chosen = record.gate.chosen
    detail = chosen or mobile.choice(record)
    return Check("gate", "choice", "an artifact is left to ship", _state(chosen is not None), detail)


def _headline(run: RunRecord) -> str:
    if run.status != "complete":
        return f"the run is {run.status}: {run.status_reason or 'no reason recorded'}"
    primary = [
        comparison for comparison in run.comparisons if comparison.is_primary and run.kind == "compare"
    ]
    if primary:
        return "; ".join(map(_said, primary))
    if run.slo:
        return _rates(run)
    if run.kind == "train":
        return training.headline(run)
    if run.mobile:
        return f"to ship: {run.mobile.gate.chosen or 'nothing'} ({mobile.choice(run.mobile)})"
    return "one target was measured, and nothing compared"


def _said(comparison: ComparisonRecord) -> str:
    sides = f"{comparison.candidate} against {comparison.baseline}"
    named = f"{pick.metric_name(comparison.metric)} of {sides} under {comparison.load}"
    if comparison.ratio is None or comparison.interval is None:
        return f"{named}: no ratio"
    ratio, span = fmt.ratio(comparison.ratio), fmt.span(comparison.interval, fmt.ratio)
    return f"{named} is {comparison.verdict or 'without a verdict'}: {ratio} times ({span})"


def _rates(run: RunRecord) -> str:
    assert run.slo is not None  # noqa: S101 - asked by the caller
    parts = [f"{name} {_rate(name, target, 0).detail}" for name, target in run.slo.targets.items()]
    return f"highest rate with p99 within {fmt.given_ms(run.slo.p99_limit_ms)}: {', '.join(parts)}"
