"""Tables for people, and the same facts for `--json`, of every stage but the run report."""

import shlex
from collections.abc import Iterable, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from models.spec import ModelSpec
from pipelines.console import format as fmt
from pipelines.console.printing import print_table, say
from pipelines.doctor import Check
from pipelines.export.stage import ExportResult
from pipelines.record.artifact import ArtifactRecord, NotExportedRecord
from pipelines.record.parity import ParityRecord
from pipelines.serve.stage import Standing
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
            no_wrap=right or column == "artifact",
        )
    print_table(table, rows)


def print_checks(checks: Iterable[Check]) -> None:
    """What `tandem doctor` found."""
    _print(
        ("", "what", "found", "remedy"),
        [(_mark(check), check.name, check.found, check.remedy or "") for check in checks],
    )


def _mark(check: Check) -> Text:
    if check.ok:
        return Text("ok", style="green")
    return Text("missing", style="bold red") if check.required else Text("absent", style="yellow")


def model_facts(spec: ModelSpec) -> dict[str, Any]:
    """A model's name, digest and signature."""
    return {
        "name": spec.name,
        "digest": spec.digest if spec.checkpoint.is_file() else None,
        "checkpoint": str(spec.checkpoint),
        "inputs": [vars(tensor) for tensor in spec.inputs],
        "outputs": [vars(tensor) for tensor in spec.outputs],
        "has_twin": spec.build_keras is not None,
    }


def print_models(specs: Iterable[ModelSpec]) -> None:
    """What `tandem models` lists."""
    _print(
        ("model", "inputs", "outputs", "checkpoint", "digest"),
        [
            (
                spec.name,
                "\n".join(f"{one.name} {_shape(one.shape)} {one.dtype}" for one in spec.inputs),
                "\n".join(f"{one.name} {_shape(one.shape)} {one.dtype}" for one in spec.outputs),
                *_checkpoint(spec),
            )
            for spec in specs
        ],
    )


def _shape(shape: tuple[int | None, ...]) -> str:
    """The batch first; a star is a size that samples may differ in."""
    return f"({', '.join(['batch', *('*' if size is None else str(size) for size in shape[1:])])})"


def _checkpoint(spec: ModelSpec) -> tuple[str, str]:
    if not spec.checkpoint.is_file():
        return f"missing: {spec.remedy}", fmt.MISSING
    return fmt.size(spec.checkpoint.stat().st_size), f"{spec.digest[:12]}…"


def print_training(outcome: TrainOutcome) -> None:
    """What `tandem train` did."""
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
    """What an export did, and every artifact."""
    return {
        "exported": list(result.exported),
        "reasons": result.reasons,
        "pipeline_s": {name: round(value, 3) for name, value in result.pipeline_s.items()},
        "elapsed_s": round(result.elapsed_s, 3),
        "artifacts": [a.model_dump() for a in _artifacts(result)],
        "not_exported": [one.model_dump() for one in _not_exported(result)],
        "warnings": list(result.warnings),
    }


def _artifacts(result: ExportResult) -> list[ArtifactRecord]:
    return [a for manifest in result.manifests.values() for a in manifest.artifacts]


def _not_exported(result: ExportResult) -> list[NotExportedRecord]:
    return [one for manifest in result.manifests.values() for one in manifest.not_exported]


def print_export(result: ExportResult) -> None:
    """What `tandem export` made, and how long each framework's pipeline took."""
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
    for one in _not_exported(result):
        named = " ".join(part for part in (one.format, one.precision, one.variant) if part)
        say(f"not exported: {one.target} {named}: {one.reason}")
    for line in result.warnings:
        say(f"warning: {line}")
    if not result.exported:
        say("Nothing changed since the last export: nothing was done. --force exports again.")
        return
    for name, reason in result.reasons.items():
        say(f"exported {name}: {reason}")
    pipelines = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in result.pipeline_s.items())
    say(f"pipelines at the same time: {pipelines}; in all {result.elapsed_s:.1f} s")


def _records(verified: Verified) -> list[ParityRecord]:
    return [record for records in verified.records.values() for record in records]


def parity_facts(verified: Verified) -> dict[str, Any]:
    """The verdict of the gate, and every comparison."""
    return {
        "passed": not verified.failures,
        "failures": list(verified.failures),
        "task": verified.expected.primary.task,
        "tasks": {name: one.task for name, one in verified.expected.by_output.items()},
        "source_accuracy": verified.accuracy,
        "source_target_rmse": verified.expected.primary.target_rmse(verified.expected.primary.outputs),
        "parity": [record.model_dump() for record in _records(verified)],
    }


def print_parity(verified: Verified) -> None:
    """What `tandem verify` found."""
    columns = ("artifact", "parity", "error", "relative", "std", "top-1", "accuracy")
    rows = [
        (
            record.subject,
            Text("passed", style="green") if record.passed else Text("FAILED", style="bold red"),
            fmt.scientific(record.max_abs_error),
            fmt.scientific(record.max_rel_error),
            fmt.MISSING if record.output_error is None else fmt.scientific(record.output_error),
            _percent(record.top1_agreement),
            _percent(record.accuracy),
        )
        for record in _records(verified)
    ]
    _print(columns, rows, numeric=columns[2:])
    say(
        "largest absolute and relative error, root mean square error in standard deviations of the source "
        "model's outputs, top-1 agreement and accuracy on "
        f"{len(verified.expected)} held-out samples; {_source_worth(verified)}"
    )


def _source_worth(verified: Verified) -> str:
    expected = verified.expected.primary
    rmse = expected.target_rmse(expected.outputs)
    if expected.task == "classes":
        return f"the source model's accuracy is {_percent(verified.accuracy)}"
    if rmse is not None:
        return f"a regression, the source model's RMSE to its targets is {fmt.significant(rmse)}"
    return "the samples' labels say nothing of these outputs, so there is no accuracy"


def _percent(share: float | None) -> str:
    return fmt.MISSING if share is None else fmt.percent(share)


def standing_facts(standing: Standing) -> dict[str, Any]:
    """Where a standing server is, how it is configured, and how long it took to come up."""
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
    """A command to copy into a shell; -g because curl takes an IPv6 address's brackets for a range."""
    data = shlex.quote(f"@{standing.example}")
    globbing = "-g " if "[" in standing.predict_url else ""
    return (
        f"curl -s {globbing}{shlex.quote(standing.predict_url)} -d {data} -H 'Content-Type: application/json'"
    )


def print_standing(standing: Standing) -> None:
    """What `tandem serve` says once the server stands."""
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
