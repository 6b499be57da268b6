"""The report as GitHub-flavoured Markdown: the same tables and sentences, one fact per line."""

import shlex

from pipelines.console import format as fmt
from pipelines.console.text import code, escaped, fenced
from pipelines.record.run import RunRecord
from pipelines.report import (
    answers,
    banners,
    efficiency,
    measured,
    mobile,
    mobile_tables,
    pick,
    protocols,
    slo,
    subjects,
    time_split,
    tradeoffs,
    training,
    tune,
    verdicts,
    warming,
)
from pipelines.report.table import Cell, Table

BODY_CHARACTERS = 300


def render_markdown(run: RunRecord) -> str:
    """Render the whole report as text that ends in one newline. Same record, same text."""
    parts = [
        *_head(run),
        *_result(run),
        *_tables("", subjects.implementation_table(run)),
        *([] if run.kind == "mobile" else _warnings(run)),
        *_loads(run),
        *_tables("From a fresh server to a steady one", warming.warming_table(run), warming.drift_table(run)),
        *_tables("", verdicts.noise_table(run), measured.invalid_table(run)),
        *(_mobile(run) if run.mobile and run.kind != "mobile" else []),
        *_tables("Artifacts and parity", subjects.artifact_table(run), subjects.parity_table(run)),
        *_tables("Budget" if run.kind == "train" else "Servers", *_server_tables(run)),
        *_about(run),
        *_reproduce(run),
    ]
    return "\n\n".join(parts) + "\n"


def _head(run: RunRecord) -> list[str]:
    title = f"# {escaped(run.model.name)}: Tandem run {escaped(run.run_id)}"
    started = f"Status: **{run.status}**. Started {escaped(run.started_at_utc)}."
    return [title, started, *(f"> **Attention:** {escaped(banner)}" for banner in banners.banners(run))]


def _result(run: RunRecord) -> list[str]:
    if run.kind == "mobile":
        return _mobile(run)
    return _training(run) if run.kind == "train" else _answers(run)


def _training(run: RunRecord) -> list[str]:
    return [*_paragraph(run), *_tables("", *training.tables(run))]


def _paragraph(run: RunRecord) -> list[str]:
    answer = answers.answer(run)
    parts = [f"**{name}:** {escaped(text)}" for name, text in answer.parts]
    return ["## The answer", f"**{escaped(answer.result)}**", *parts]


def _answers(run: RunRecord) -> list[str]:
    remarks = [escaped(remark) for remark in (*tune.remarks(run), *slo.remarks(run), *answers.remarks(run))]
    tables = (
        *(tune.claim_table(run), tune.setting_table(run), tradeoffs.table(run), verdicts.verdict_table(run)),
        *(slo.rate_table(run), slo.search_table(run), tune.trial_table(run)),
    )
    return [*_paragraph(run), *remarks, *_tables("", *tables)]


def _mobile(run: RunRecord) -> list[str]:
    heading = "## Which file to ship"
    if run.mobile is None:
        return [heading, "No artifact was measured in this run.", *_warnings(run)]
    headline = f"**{escaped(mobile.headline(run.mobile))}**"
    beside = (mobile.reason(run.mobile), mobile.limits(run.mobile))
    warned = _warnings(run) if run.kind == "mobile" else []
    tables = _tables("Every artifact for devices", *mobile_tables.tables(run))
    return [heading, headline, *map(escaped, beside), *warned, *tables]


def _warnings(run: RunRecord) -> list[str]:
    lines = [
        f"- **{escaped(warning.happened)}**" + (f" {escaped(warning.remedy)}" if warning.remedy else "")
        for warning in banners.warnings(run)
    ]
    return ["## Read this before believing a figure", "\n".join(lines)] if lines else []


def _loads(run: RunRecord) -> list[str]:
    if run.slo is not None or run.kind in ("mobile", "train"):
        return []
    tables = [measured.latency_table(run, load) for load in pick.loads(run)]
    tables += [protocols.protocol_table(run), efficiency.efficiency_table(run), time_split.time_table(run)]
    return _tables("Load", *tables) or ["## Load", "No load was measured in this run."]


def _server_tables(run: RunRecord) -> tuple[Table, ...]:
    return (
        verdicts.fairness_table(run),
        subjects.configuration_table(run),
        measured.image_table(run),
        measured.memory_table(run),
        measured.cold_start_table(run),
    )


def _about(run: RunRecord) -> list[str]:
    tables = subjects.model_table(run), subjects.method_table(run), subjects.machine_table(run)
    return [*_tables("Model, method and machine", *tables), *_body(run)]


def _body(run: RunRecord) -> list[str]:
    if run.payload is None:
        return []
    body = fmt.shortened(fmt.one_line(run.payload.body_example), BODY_CHARACTERS)
    return [f"### {subjects.body_title(run)}", fenced(body)]


def _reproduce(run: RunRecord) -> list[str]:
    rounds = (
        slo.point_table(run),
        measured.rounds_table(run),
        measured.conditions_table(run),
        measured.errors_table(run),
        mobile_tables.timing_table(run),
    )
    logs = [
        f"- {escaped(name)}: {code(target.log_file)}"
        for name, target in run.targets.items()
        if target.log_file
    ]
    parts = [
        "## Reproduce",
        fenced(fmt.one_line(shlex.join(run.command))),
        subjects.raw_files(run),
        *_tables("", *rounds),
    ]
    return [*parts, *(["### Server logs", "\n".join(logs)] if logs else [])]


def _tables(heading: str, *tables: Table) -> list[str]:
    """Render a heading and the tables that have rows; nothing at all when none has."""
    filled = [table for table in tables if table.rows]
    if not heading:
        return [part for table in filled for part in _table(table, "##")]
    below = [part for table in filled for part in _table(table, "###")]
    return [f"## {heading}", *below] if filled else []


def _table(table: Table, level: str) -> list[str]:
    names = [
        escaped(f"{column.name} ({column.unit})" if column.unit else column.name) for column in table.columns
    ]
    rule = ["---:" if column.numeric else ":---" for column in table.columns]
    rows = [[_cell(table, cell) for cell in row] for row in table.rows]
    lines = "\n".join("| " + " | ".join(line) + " |" for line in (names, rule, *rows))
    notes = "\n".join(f"{number}. {escaped(note)}" for number, note in enumerate(table.notes, start=1))
    remark = escaped(table.remark) if table.remark else ""
    return [f"{level} {escaped(table.caption)}", *(part for part in (lines, notes, remark) if part)]


def _cell(table: Table, cell: Cell) -> str:
    if cell.why:
        return f"{escaped(cell.text)} [{table.note_number(cell)}]"
    if cell.code:
        return code(cell.text).replace("|", "\\|")
    return escaped(cell.text + (f" ({cell.beside})" if cell.beside else ""))
