"""Which parts of a record belong where. Picks and orders, computes nothing."""

from collections.abc import Iterator

from pipelines.record.artifact import ArtifactRecord
from pipelines.record.comparison import ComparisonRecord
from pipelines.record.parity import ParityRecord
from pipelines.record.rounds import RoundRecord
from pipelines.record.run import RunRecord
from pipelines.record.target import SummaryRecord, TargetRecord
from pipelines.report.sentences import sentence
from pipelines.targets.registry import product_name

THROUGHPUT = "throughput_per_s"


def compared(run: RunRecord) -> dict[str, TargetRecord]:
    """Return the targets that are ranked, in the order of the record."""
    return _of_roles(run, "compared")


def stand_ins(run: RunRecord) -> dict[str, TargetRecord]:
    """Return the compared targets that another server answered than the product they are named after."""
    return {name: target for name, target in compared(run).items() if target.implementation.stand_in}


def shown(run: RunRecord) -> dict[str, TargetRecord]:
    """Return the compared targets, then the harness floor, for the main tables and figures."""
    return compared(run) | _of_roles(run, "floor")


def served(run: RunRecord) -> dict[str, TargetRecord]:
    """Return every target that answers over the network, the control's second servers included."""
    return _of_roles(run, "compared", "control", "floor")


def _of_roles(run: RunRecord, *roles: str) -> dict[str, TargetRecord]:
    return {name: target for name, target in run.targets.items() if target.role in roles}


def label(run: RunRecord, name: str) -> str:
    """Return what a target is called in tables and figures."""
    target = run.targets.get(name)
    if target is not None and target.role == "floor":
        several = sum(target.role == "floor" for target in run.targets.values()) > 1
        way = f", {target.implementation.protocol} {target.implementation.body}" if several else ""
        return f"harness floor (null server{way})"
    if target is not None and target.control_of is not None:
        return f"{target.control_of} (control)"
    return name


def loads(run: RunRecord) -> tuple[str, ...]:
    """Return every load with at least one round or summary, in the order planned."""
    measured = tuple(dict.fromkeys(_seen(run)))
    planned = tuple(load for load in (run.profile.loads if run.profile else ()) if load in measured)
    return tuple(dict.fromkeys((*planned, *measured)))


def _seen(run: RunRecord) -> Iterator[str]:
    for target in served(run).values():
        yield from (summary.load for summary in target.summaries)
        yield from (record.load for record in target.rounds)


def summary_of(target: TargetRecord, load: str) -> SummaryRecord | None:
    """Return the summary of one load, if there is one."""
    return next((summary for summary in target.summaries if summary.load == load), None)


def rounds_of(run: RunRecord, load: str) -> list[RoundRecord]:
    """Return all rounds of one load, of all targets, in the order they were measured."""
    return [record for record in all_rounds(run) if record.load == load]


def all_rounds(run: RunRecord) -> list[RoundRecord]:
    """Return all rounds of all served targets in the order they were measured."""
    rounds = [record for target in served(run).values() for record in target.rounds]
    return sorted(
        rounds, key=lambda record: (record.block, record.index, record.started_at_utc, record.target)
    )


def artifacts(run: RunRecord) -> list[ArtifactRecord]:
    """Return every artifact once, whether the run or a target lists it."""
    listed = (*run.artifacts, *(artifact for target in run.targets.values() for artifact in target.artifacts))
    # Two builds of one target share everything but their bytes.
    keyed = {
        (artifact.target, artifact.path, artifact.precision, artifact.variant, artifact.sha256): artifact
        for artifact in listed
    }
    return list(keyed.values())


def parities(run: RunRecord) -> Iterator[tuple[str, ParityRecord]]:
    """Yield target and check, of its artifacts and its endpoint."""
    for name, target in run.targets.items():
        for parity in (*target.parity, *([target.endpoint_parity] if target.endpoint_parity else [])):
            yield name, parity


def percentile_reasons(run: RunRecord, comparison: ComparisonRecord) -> tuple[str, ...]:
    """Return why valid rounds of the two sides lack the metric, the first reason of each side."""
    reasons = []
    for name in (comparison.candidate, comparison.baseline):
        rounds = run.targets[name].rounds if name in run.targets else ()
        own = [x.latency_ms.reasons for x in rounds if x.valid and x.load == comparison.load]
        reasons += [
            f"{name}: {sentence(by_metric[key])}"
            for by_metric in own
            if (key := metric_key(comparison.metric)) in by_metric
        ][:1]
    return tuple(reasons)


def thinned(rounds: list[RoundRecord], most: int) -> tuple[list[RoundRecord], str]:
    """Take about `most` rounds at most, evenly over the run, and say so in words; else take all of them.

    Pairs stay together: whole repetitions are left out.
    """
    if len(rounds) <= most:
        return rounds, ""
    places = list(dict.fromkeys((record.block, record.repetition) for record in rounds))
    every = -(-len(rounds) // most)
    kept_places = set(places[::every])
    sample = [record for record in rounds if (record.block, record.repetition) in kept_places]
    return sample, f"one repetition in {every} of {len(rounds)} rounds; "


def unused(run: RunRecord) -> list[RoundRecord]:
    """Return the rounds that feed no figure, as they were measured.

    A search goes by its own rule, see `met` of RatePointRecord: that a server under too much load fails, or
    never becomes steady, is what it looks for.
    """
    if run.slo is None:
        return [record for record in all_rounds(run) if not record.valid]
    used = {
        point.round_index
        for target in run.slo.targets.values()
        for point in target.points
        if point.met is not None
    }
    return [record for record in all_rounds(run) if not record.valid and record.index not in used]


def not_used(lost: int, total: int, noun: str = "round") -> str:
    """Format as `1 of 33 rounds was not used`."""
    return f"{lost} of {total} {noun}s {'was' if lost == 1 else 'were'} not used"


def display_name(run: RunRecord, target: str) -> str:
    """Return the product's name where the product itself answered, else the target's own name."""
    record = run.targets.get(target)
    if record is None or record.implementation.stand_in:
        return target
    product = product_name(record.target or target)
    # A side that is more than its target, such as tfserving:grpc, goes by its name.
    return product if product and target == (record.target or target) else target


def primary(run: RunRecord) -> list[ComparisonRecord]:
    """Return what the run was decided by; in an older record p99."""
    marked = [comparison for comparison in run.comparisons if comparison.is_primary]
    return (
        marked
        or [comparison for comparison in run.comparisons if metric_key(comparison.metric) == "p99"]
        or [*run.comparisons]
    )


def ratio_of(comparison: ComparisonRecord) -> float | None:
    """Return the ratio; that of the only pair where one pair is too few for an interval."""
    if comparison.ratio is None and comparison.pairs_count == 1 and comparison.round_range is not None:
        return comparison.round_range[0]
    return comparison.ratio


def metric_key(metric: str) -> str:
    """Return the field a metric means: `latency_ms.p99`, `latency_p99_ms` and `p99_ms` are `p99`."""
    if metric == "throughput":
        return THROUGHPUT
    return metric.removeprefix("latency_ms.").removeprefix("latency_").removesuffix("_ms")


def metric_name(metric: str) -> str:
    """Name a metric in a sentence."""
    key = metric_key(metric)
    return "throughput" if key == THROUGHPUT else key


def round_range(summary: SummaryRecord, key: str) -> tuple[float, float] | None:
    """Return the smallest and largest value of `key` in single valid rounds, if recorded."""
    return next((span for name, span in summary.round_range.items() if metric_key(name) == key), None)
