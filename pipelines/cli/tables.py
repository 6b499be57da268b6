"""Tables for people, and the same facts for `--json`, of every stage but the run report."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from models.errors import ModelError
from pipelines.console import format as fmt
from pipelines.console.printing import print_table, say
from pipelines.parity.words import source_worth

if TYPE_CHECKING:  # to show one table is to load one stage, not all of them
    from models.spec import ModelSpec
    from pipelines.artifacts.manifest import Manifest
    from pipelines.check.stage import Claim
    from pipelines.export.stage import ExportResult
    from pipelines.record.artifact import ArtifactRecord, NotExportedRecord
    from pipelines.record.parity import ParityRecord
    from pipelines.serve.stage import Standing
    from pipelines.targets.needs import Check
    from pipelines.train.stage import TrainOutcome
    from pipelines.verify.stage import Verified


def _print(
    columns: Sequence[str], rows: Iterable[Sequence[str | Text]], *, numeric: Sequence[str] = ()
) -> None:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        right = column in numeric
        table.add_column(
            column,
            justify="right" if right else "left",
            overflow="fold",
            no_wrap=right,
        )
    print_table(table, rows)


def print_checks(checks: Iterable[Check]) -> None:
    """Print what `tandem doctor` found."""
    _print(
        ("", "what", "found", "remedy"),
        [(_mark(check), check.name, check.found, check.remedy or "") for check in checks],
    )


def _mark(check: Check) -> Text:
    if check.ok:
        return Text("ok", style="green")
    return Text("missing", style="bold red") if check.required else Text("absent", style="yellow")


def print_claims(claims: Iterable[Claim]) -> None:
    """Print what `tandem check` found, claim by claim."""
    _print(
        ("", "claim", "found", "line"),
        [(_state(claim), claim.what, claim.found, claim.place or "") for claim in claims],
    )


def _state(claim: Claim) -> Text:
    styles = {"ok": "green", "wrong": "bold red", "note": "yellow", "untested": "dim"}
    return Text("-" if claim.state == "untested" else claim.state, style=styles[claim.state])


def model_facts(spec: ModelSpec) -> dict[str, Any]:
    """Return a model's name, digest and signature."""
    return {
        "name": spec.name,
        "digest": _digest(spec),
        "checkpoint": str(spec.checkpoint),
        "inputs": [vars(tensor) for tensor in spec.inputs],
        "outputs": [vars(tensor) for tensor in spec.outputs],
        "has_twin": spec.build_keras is not None,
        "imported": None if spec.given is None else [file.kind for file in spec.given.files],
    }


def _digest(spec: ModelSpec) -> str | None:
    """Return the model's digest; None if a file of it is missing or another one."""
    try:
        return spec.digest
    except ModelError:
        return None


def print_models(specs: Iterable[ModelSpec], damaged: Mapping[str, str]) -> None:
    """Print the table of `tandem models`, and of every `damaged` import why it cannot be read."""
    _print(
        ("model", "from", "inputs", "outputs", "checkpoint", "digest"),
        [
            (
                spec.name,
                _came_from(spec),
                "\n".join(f"{tensor.name} {_shape(tensor.shape)} {tensor.dtype}" for tensor in spec.inputs),
                "\n".join(f"{tensor.name} {_shape(tensor.shape)} {tensor.dtype}" for tensor in spec.outputs),
                *_checkpoint(spec),
            )
            for spec in specs
        ],
    )
    for name, error in damaged.items():
        say(f"{name}: {error}")


def _came_from(spec: ModelSpec) -> str:
    """Say whether a model is shipped, or what was imported of it."""
    if spec.given is None:
        return "Tandem"
    samples = "random samples" if spec.given.random else "own samples"
    return "\n".join(["import:", *(file.kind for file in spec.given.files), samples])


def _shape(shape: tuple[int | None, ...]) -> str:
    """Format a shape with the batch first; a star is a size that may differ between samples."""
    return f"({', '.join(['batch', *('*' if size is None else str(size) for size in shape[1:])])})"


def _checkpoint(spec: ModelSpec) -> tuple[str, str]:
    try:
        if spec.given is None:
            size_bytes = sum(path.stat().st_size for path in spec.checkpoint_files)
        else:
            size_bytes = sum(file.size_bytes for file in spec.given.files)
        return fmt.size(size_bytes), f"{spec.digest[:12]}…"
    except ModelError as error:
        return f"missing: {spec.remedy}" if spec.given is None else str(error), fmt.MISSING


def print_training(outcome: TrainOutcome) -> None:
    """Print what `tandem train` did."""
    same = {True: "the same bytes as before", False: "not the bytes there were before", None: "new"}
    record = outcome.record
    _print(
        ("checkpoint", "weights", "test accuracy", "seconds"),
        [
            (
                str(outcome.checkpoint),
                same[outcome.reproduced],
                fmt.percent(record["test_accuracy"]),
                fmt.significant(record["train_s"]),
            )
        ],
        numeric=("test accuracy", "seconds"),
    )


def export_facts(result: ExportResult) -> dict[str, Any]:
    """Describe what an export did, and every artifact."""
    return {
        "exported": list(result.exported),
        "reasons": result.reasons,
        "pipeline_s": {name: round(value, 3) for name, value in result.pipeline_s.items()},
        "elapsed_s": round(result.elapsed_s, 3),
        "artifacts": [a.model_dump() for a in _artifacts(result)],
        "not_exported": [omission.model_dump() for omission in _not_exported(result)],
        "warnings": list(result.warnings),
    }


def _artifacts(result: ExportResult) -> list[ArtifactRecord]:
    return [a for manifest in result.manifests.values() for a in manifest.artifacts]


def _not_exported(result: ExportResult) -> list[NotExportedRecord]:
    return [omission for manifest in result.manifests.values() for omission in manifest.not_exported]


def print_export(result: ExportResult) -> None:
    """Print what `tandem export` made, and how long each framework's pipeline took."""
    columns = ("artifact", "precision", "variant", "road", "size", "gzip", "export s", "sha256")
    rows = [
        (
            f"{a.target}/{a.path}",
            a.precision,
            a.variant or "",
            a.road or "",
            fmt.size(a.size_bytes),
            fmt.size(a.gzip_bytes),
            fmt.significant(a.export_s),
            f"{a.sha256[:8]}…",
        )
        for a in _artifacts(result)
    ]
    _print(columns, rows, numeric=("size", "gzip", "export s"))
    _say_not_exported(result.manifests.values())
    for line in result.warnings:
        say(f"warning: {line}")
    if not result.exported:
        say("Nothing changed since the last export: nothing was done. --force exports again.")
        return
    for name, reason in result.reasons.items():
        if not result.manifests[name].failure:
            say(f"exported {name}: {reason}")
    pipelines = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in result.pipeline_s.items())
    say(f"pipelines at the same time: {pipelines}; in all {result.elapsed_s:.1f} s")


def _say_not_exported(manifests: Iterable[Manifest]) -> None:
    for manifest in manifests:
        for omission in manifest.not_exported:
            say(f"not exported: {omission.target}{' ' if omission.format else ': '}{omission.told}")


def _records(verified: Verified) -> list[ParityRecord]:
    return [record for records in verified.records.values() for record in records]


def parity_facts(verified: Verified) -> dict[str, Any]:
    """Return the verdict of the parity check, and every comparison."""
    return {
        "passed": not verified.failures,
        "failures": list(verified.failures),
        "task": verified.expected.primary.task,
        "tasks": {name: expectation.task for name, expectation in verified.expected.by_output.items()},
        "absent": dict(verified.absent),
        "notes": list(verified.notes),
        "source_accuracy": verified.accuracy,
        "source_target_rmse": verified.expected.primary.target_rmse(verified.expected.primary.outputs),
        "parity": [record.model_dump() for record in _records(verified)],
        "not_exported": [
            omission.model_dump()
            for manifest in verified.manifests.values()
            for omission in manifest.not_exported
        ],
    }


PARITY_FIGURES = {
    "error": "largest absolute error",
    "relative": "largest relative error",
    "std": "root mean square error in standard deviations of {reference}'s outputs",
    "agreement": "share of choices that are {reference}'s",
    "accuracy": "share of choices that are right",
    "RMSE": "root mean square error to the labels",
    "of range": "largest error as a share of the labels' range",
}


def print_parity(verified: Verified) -> None:
    """Print what `tandem verify` found."""
    several = len(verified.expected.by_output) > 1
    figures = tuple(PARITY_FIGURES)
    columns = ("artifact", *(("output",) if several else ()), "parity", *figures)
    rows = [
        (record.subject, *((output.output or "",) if several else ()), *_parity_cells(output))
        for record in _records(verified)
        for output in record.outputs or (record,)
    ]
    named = len(columns) - len(figures)
    places = [place for place in range(len(columns)) if place < named or _any(rows, place)]
    _print([columns[i] for i in places], [[row[i] for i in places] for row in rows], numeric=figures)
    for reason in dict.fromkeys(verified.absent.values()):
        names = [name for name, why in verified.absent.items() if why == reason]
        say(f"not verified: {', '.join(names)}: {reason}")
    meanings = ", ".join(PARITY_FIGURES[columns[i]] for i in places if columns[i] in PARITY_FIGURES)
    meanings = meanings.format(reference=verified.expected.primary.reference)
    say(f"{meanings}; on {len(verified.expected)} held-out samples")
    for expectation in verified.expected:
        say(source_worth(expectation))
    for line in _roads(verified.manifests):
        say(line)
    for note in verified.notes:
        say(f"note: {note}")


def _roads(manifests: Mapping[str, Manifest]) -> list[str]:
    """List how each target's artifacts came out of PyTorch: by a twin, or with which tools."""
    by_target = {
        name: next((artifact for artifact in manifest.artifacts if artifact.road), None)
        for name, manifest in manifests.items()
    }
    return [
        f"{name}: road {artifact.road} (" + ", ".join(f"{t} {v}" for t, v in artifact.toolchain.items()) + ")"
        for name, artifact in by_target.items()
        if artifact is not None
    ]


def _any(rows: Sequence[Sequence[str | Text]], place: int) -> bool:
    return any(row[place] != fmt.MISSING for row in rows)


def _parity_cells(record: ParityRecord) -> tuple[str | Text, ...]:
    optional = (record.output_error, record.target_rmse, record.spread_error)
    std, rmse, spread = (fmt.MISSING if value is None else fmt.scientific(value) for value in optional)
    return (
        Text("passed", style="green") if record.passed else Text("FAILED", style="bold red"),
        fmt.scientific(record.max_abs_error),
        fmt.scientific(record.max_rel_error),
        std,
        _percent(record.top1_agreement),
        _percent(record.accuracy),
        rmse,
        spread,
    )


def _percent(share: float | None) -> str:
    return fmt.MISSING if share is None else fmt.percent(share)


def standing_facts(standing: Standing) -> dict[str, Any]:
    """Return where a server stands, how it is configured, and how long it took to come up."""
    return {
        "target": standing.plan.target,
        "implementation": standing.plan.implementation.model_dump(),
        "given": standing.plan.given.model_dump(),
        "predict_url": standing.predict_url,
        "endpoints": dict(standing.plan.endpoint.addresses),
        "pid": standing.pid,
        "ready_s": round(standing.ready.ready_s, 3),
        "first_right_answer_s": round(standing.ready.first_right_answer_s, 3),
        "example": str(standing.example),
    }


def try_line(standing: Standing) -> str:
    """Return a command to copy into a shell; -g because curl takes an IPv6 address's brackets for a range."""
    data = shlex.quote(f"@{standing.example}")
    globbing = "-g " if "[" in standing.predict_url else ""
    return (
        f"curl -s {globbing}{shlex.quote(standing.predict_url)} -d {data} -H 'Content-Type: application/json'"
    )


def print_standing(standing: Standing) -> None:
    """Print the addresses of the server that `tandem serve` started."""
    plan = standing.plan
    lines = [f"{plan.target} is answered by {plan.implementation.name} {plan.implementation.version}"]
    if plan.implementation.note:
        lines.append(f"  note        {plan.implementation.note}")
    lines += [f"  {name:<11} {address}" for name, address in plan.endpoint.addresses.items()]
    lines += [
        f"  ready       after {standing.ready.ready_s:.1f} s; Ctrl-C ends it",
        f"  try         {try_line(standing)}",
    ]
    say("\n".join(lines))
