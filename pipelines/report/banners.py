"""What a reader must know before any figure: an unfinished run, a fallback, failed parity, no verdict."""

from pipelines.console import format as fmt
from pipelines.record.fairness import AsymmetryRecord
from pipelines.record.run import RunRecord
from pipelines.record.target import TargetRecord
from pipelines.report import pick, slo, verdicts
from pipelines.report.reasons import kinds
from pipelines.report.sentences import Said, say
from pipelines.targets.registry import product_name

NOT_KNOWN = {
    "cores": "cores",
    "memory": "memory",
    "configuration": "configuration",
    "cold_start": "cold start",
    "until_steady": "time until steady",
    "cpu": "its CPU time",
    "neighbours": "what other programs used meanwhile",
    "neighbours_there": "what went on around it",
}


def banners(run: RunRecord) -> tuple[str, ...]:
    """Return the most important things, each in one line; usually none."""
    lines = (
        *_status(run),
        *_unfair(run),
        *(_no_verdict(run) or verdicts.primary_missing(run)),
        *_not_known(run),
        *_stand_ins(run),
        *_failed_parity(run),
    )
    return tuple(map(fmt.one_line, lines))


def warnings(run: RunRecord) -> tuple[Said, ...]:
    """Return the record's warnings, but for the one that a banner has: that a fallback answered."""
    return tuple(say(warning) for warning in run.warnings if warning.code != "stand_in")


def _status(run: RunRecord) -> list[str]:
    if run.status == "complete":
        return []
    happened = "was interrupted" if run.status == "interrupted" else "failed"
    reason = f": {run.status_reason}" if run.status_reason else ""
    return [f"This run {happened}{reason}. It holds only what was measured before that."]


def _unfair(run: RunRecord) -> list[str]:
    return [
        f"Not a fair comparison: {not_alike(asymmetry)} was not alike, and nobody allowed it by name."
        for asymmetry in run.fairness.asymmetries
        if not asymmetry.allowed
    ]


def not_alike(asymmetry: AsymmetryRecord) -> str:
    """Format as `threads per worker (torchserve 1, tfserving 2)`."""
    values = ", ".join(f"{target} {value}" for target, value in asymmetry.values.items())
    return f"{asymmetry.field} ({values})"


def _no_verdict(run: RunRecord) -> list[str]:
    """Warn only when nothing at all could be called and rounds were lost."""
    compared = set(pick.compared(run))
    lost = [record for record in pick.unused(run) if record.target in compared]
    if not lost or not _nothing_called(run):
        return []
    total = sum(len(target.rounds) for target in pick.compared(run).values())
    counted = [f"{kind.happened} ({fmt.plural(kind.rounds_count, 'round')})" for kind in kinds(lost)]
    lost_of = pick.not_used(len(lost), total, "compared round")
    return [f"No verdict: too few valid rounds remain. {lost_of}: {'; '.join(counted)}."]


def _nothing_called(run: RunRecord) -> bool:
    if run.slo is not None:
        return all(map(slo.not_measured, run.slo.targets.values()))
    return bool(run.comparisons) and all(
        comparison.verdict is None and not (comparison.reason and comparison.reason.code == "profile")
        for comparison in run.comparisons
    )


def _stand_ins(run: RunRecord) -> list[str]:
    """Say what answered in place of a product, in one line for all sides of which it is true."""
    sides: dict[tuple[str, str], list[str]] = {}
    for name, target in pick.stand_ins(run).items():
        what = target.implementation
        answered = f"answered by {what.name} {what.version}", _instead(name, target)
        sides.setdefault(answered, []).append(name)
    return [
        f"{fmt.listed(names)} {'was' if len(names) == 1 else 'were'} {by}, {instead}. Read "
        f"{'its' if len(names) == 1 else 'their'} figures as that server's."
        for (by, instead), names in sides.items()
    ]


def _not_known(run: RunRecord) -> list[str]:
    """List what cannot be known of running endpoints, and of containers elsewhere, one line each."""
    return [
        _of_running(name, target)
        if target.implementation.runner == "url"
        else f"Of {name} is not known: {_unknown(target)}."
        for name, target in pick.compared(run).items()
        if target.not_known
    ]


def _of_running(name: str, target: TargetRecord) -> str:
    return (
        f"{name} is {target.implementation.note or 'a server that somebody else runs'}. Not known: "
        f"{_unknown(target)}. It was not started afresh for each block; a difference may be that of "
        "machines, networks or other users. Stolen time and other programs were looked for on this machine "
        "alone."
    )


def _unknown(target: TargetRecord) -> str:
    why: dict[str, list[str]] = {}
    for what, cause in target.not_known.items():
        why.setdefault(str(say(cause)), []).append(NOT_KNOWN.get(what, what))
    return "; ".join(f"{', '.join(what)} ({reason})" for reason, what in why.items())


def _instead(name: str, target: TargetRecord) -> str:
    """Return what it was not, and what the record notes of it."""
    note = target.implementation.note
    return f"not by {product_of(name, target)}" + (f" ({note.rstrip('.')})" if note else "")


def product_of(name: str, target: TargetRecord) -> str:
    """Return the product's own server of the side `name`, in words."""
    product = product_name(target.target or name)
    return f"{product}'s own server" if product else "the product the target is named after"


def _failed_parity(run: RunRecord) -> list[str]:
    return [
        f"{name}: parity failed for {parity.subject}. It does not give the source model's "
        "outputs, so its speed and size answer nothing."
        for name, parity in pick.parities(run)
        if not parity.passed
    ]
