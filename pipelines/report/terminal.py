"""The report for a terminal: who answered, latencies, artifacts, parity and what to beware of."""

from dataclasses import replace

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table as RichTable
from rich.text import Text

from pipelines.console import format as fmt
from pipelines.console.layout import fitted
from pipelines.record.run import RunRecord
from pipelines.report import (
    answers,
    banners,
    measured,
    mobile,
    mobile_tables,
    pick,
    protocols,
    slo,
    subjects,
    tradeoffs,
    training,
    tune,
    verdicts,
    warming,
)
from pipelines.report.table import Cell, Column, Table

# Wide enough for every column of the widest table with usual names.
ROOMY_WIDTH = 120
TONES = {"good": "green", "bad": "bold red"}


def print_run(run: RunRecord, console: Console) -> None:
    """Print a summary; columns of lesser interest only where the console has 120 columns or more."""
    console.print(Text(f"{fmt.one_line(run.model.name)}  {fmt.one_line(run.run_id)}  {run.status}", "bold"))
    for banner in banners.banners(run):
        console.print(Text(f"! {_plain(banner)}", "bold red"))
    _print_result(run, console)
    if run.kind == "mobile":
        _print_mobile(run, console)
    for table in _tables(run):
        print_table(table, console)
    if run.kind != "mobile":
        _print_mobile(run, console)
    _print_warnings(run, console)


def _print_result(run: RunRecord, console: Console) -> None:
    if run.kind == "mobile":
        return
    if run.kind == "train":
        _print_training(run, console)
        return
    _print_answer(run, console)
    tables = (
        *(tune.claim_table(run), tune.setting_table(run), tradeoffs.table(run), verdicts.verdict_table(run)),
        *(slo.rate_table(run), slo.search_table(run), tune.trial_table(run)),
    )
    for table in tables:
        if table.rows:
            print_table(table, console)
            _print_remark(table.remark, "dim", console)
    for remark in (*tune.remarks(run), *slo.remarks(run), *answers.unlike(run)):
        _print_remark(remark, "yellow", console)


def _print_answer(run: RunRecord, console: Console) -> None:
    answer = answers.answer(run)
    console.print(Text(f"\n{_plain(answer.result)}", "bold"))
    for name, text in answer.parts:
        _print_remark(f"{name}: {text}", "", console)


def _print_training(run: RunRecord, console: Console) -> None:
    _print_answer(run, console)
    for table in training.tables(run):
        print_table(table, console)
        _print_remark(table.remark, "dim", console)


def _print_mobile(run: RunRecord, console: Console) -> None:
    if run.mobile is None:
        return
    tone = "good" if run.mobile.gate.chosen is not None else "bad"
    console.print(Text(f"\n{_plain(mobile.headline(run.mobile))}", TONES[tone]))
    _print_remark(mobile.reason(run.mobile), "", console)
    _print_remark(mobile.limits(run.mobile), "dim", console)
    for table in mobile_tables.tables(run):
        print_table(table, console)


def _print_remark(remark: str | None, style: str, console: Console) -> None:
    if remark:
        console.print(Padding(Text(_plain(remark), style), (0, 0, 0, 2)))


def _tables(run: RunRecord) -> list[Table]:
    loads = [] if run.slo else [measured.latency_table(run, load) for load in pick.loads(run)]
    tables = [
        subjects.implementation_table(run),
        subjects.configuration_table(run),
        measured.image_table(run),
        *loads,
        protocols.protocol_table(run),
        warming.warming_table(run),
        warming.drift_table(run),
        measured.invalid_by_reason(run),
        _unlike(run),
        *([] if run.kind == "mobile" else [subjects.artifact_table(run)]),
        subjects.parity_table(run),
    ]
    return [table for table in tables if table.rows]


def _unlike(run: RunRecord) -> Table:
    """Show what was not given alike, or may not have been; the pages have what was alike."""
    fields = {asymmetry.field for asymmetry in run.fairness.asymmetries}
    fields |= {field for field, values in run.fairness.checked.items() if "not known" in values.values()}
    table = verdicts.fairness_table(run)
    return replace(table, rows=tuple(row for row in table.rows if row[0].text in fields))


def print_table(table: Table, console: Console) -> None:
    """Print a table with its caption and its notes."""
    visible = table if console.width >= ROOMY_WIDTH else table.without_minor()
    console.print()
    console.print(Text(_plain(visible.caption), "bold"))
    console.print(_rich(visible, console.width))
    for number, note in enumerate(visible.notes, start=1):
        console.print(Text(f"  [{number}] {_plain(note)}", "dim"))


def _rich(table: Table, width: int) -> RenderableType:
    rich_table = RichTable(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    for column in table.columns:
        rich_table.add_column(
            _heading(column), justify="right" if column.numeric else "left", no_wrap=column.numeric
        )
    return fitted(rich_table, [[_text(table, cell) for cell in row] for row in table.rows], width)


def _heading(column: Column) -> Text:
    return Text(_plain(f"{column.name}\n{column.unit}" if column.unit else column.name), "dim")


def _text(table: Table, cell: Cell) -> Text:
    note = f" [{table.note_number(cell)}]" if cell.why else ""
    text = Text(_plain(cell.text) + note, TONES.get(cell.tone or "", ""))
    return text.append(f"\n{_plain(cell.beside)}", "dim") if cell.beside else text


def _plain(text: str) -> str:
    """Return `text` with ordinary spaces: fonts may lack thin ones, and nobody can type one into grep.

    None before %, where a line might break.
    """
    return fmt.visible(text).replace(f"{fmt.THIN}%", "%").replace(fmt.THIN, " ")


def _print_warnings(run: RunRecord, console: Console) -> None:
    warnings = banners.warnings(run)
    if warnings:
        console.print(Text("\nRead this before believing a figure", "bold"))
    for warning in warnings:
        console.print(_hanging(Text(fmt.one_line(warning.happened), "yellow")))
        if warning.remedy:
            console.print(Padding(Text(fmt.one_line(warning.remedy)), (0, 0, 0, 2)))


def _hanging(text: Text) -> RichTable:
    """Put `text` behind a dash, its later lines indented."""
    grid = RichTable.grid(padding=(0, 1, 0, 0))
    grid.add_row("-", text)
    return grid
