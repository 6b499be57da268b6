"""Several runs of one model on one page: what each says, its figures side by side, and what was not alike."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from pipelines.console import format as fmt
from pipelines.errors import RequestError
from pipelines.files.atomic import disk_error, write_atomically
from pipelines.outputs.facts import Figure
from pipelines.outputs.markdown import SHOW
from pipelines.outputs.of_run import figures_of_run
from pipelines.record.run import RunRecord
from pipelines.report import answers, mobile, tradeoffs, training
from pipelines.report.html import page_template
from pipelines.report.table import Cell, Column, Table, code, last_within_bytes, missing, word
from pipelines.run.environment import differing
from pipelines.run.rebuild import holding_together, read_coherent

TABLE_BYTES = 400_000
"""Of the table of runs on the page: a little less than the page gives any table."""
RUNS_CAPTION = "The runs"
NOT_THERE = "this run has no such figure"
FIGURES_REMARK = (
    "Every figure as its run.json has it, with its own 95% interval. Rounds of different runs are no pairs: "
    "that two intervals do not overlap is a hint, and tandem gate is the judgement."
)


@dataclass(frozen=True)
class Several:
    """Runs of one model, the oldest first, each with the folder it is in."""

    folders: tuple[Path, ...]
    runs: tuple[RunRecord, ...]

    @property
    def page(self) -> Path:
        """Where the page goes: beside the newest run."""
        name = "".join(c if c.isalnum() or c in "-_" else "-" for c in self.runs[-1].model.name)[:80]
        return self.folders[-1].parent / f"report-{name}.html"


def read_several(folders: Sequence[Path]) -> Several:
    """Read runs as they are on disk.

    Raises:
        RequestError: one is no run or is damaged, two are the same, or their models differ.
    """
    places = [folder.resolve() for folder in folders]
    if len(set(places)) < len(places):
        twice = next(
            str(folder) for folder, place in zip(folders, places, strict=True) if places.count(place) > 1
        )
        raise RequestError(f"{twice} is given twice; give each run once")
    read = sorted(zip((read_coherent(place) for place in places), places, strict=True), key=_age)
    first = read[0][0]
    for run, folder in read:
        if run.model.digest != first.model.digest:
            raise RequestError(
                f"the runs are of different models: {_model(first)} in {read[0][1]}, {_model(run)} in "
                f"{folder}; give runs of one model"
            )
    return Several(tuple(folder for _, folder in read), tuple(run for run, _ in read))


def _age(read: tuple[RunRecord, Path]) -> tuple[str, str]:
    return read[0].started_at_utc, str(read[1])


def _model(run: RunRecord) -> str:
    return f"{run.model.name} ({run.model.digest[:19]})"


def write_several(several: Several) -> Path:
    """Write the page and return its path.

    Raises:
        RequestError: a run's numbers lead to no figures.
        MachineError: the disk refused.
    """
    with holding_together(several.folders[-1]):
        text = render_several(several)
    try:
        write_atomically(several.page, text)
    except OSError as error:
        raise disk_error(several.page, error) from error
    return several.page


def render_several(several: Several) -> str:
    """Render the page, which links to each run's own."""
    model = fmt.one_line(several.runs[0].model.name)
    return page_template("several.html.j2").render(
        title=f"{model} – {len(several.runs)} runs",  # noqa: RUF001
        model_name=model,
        count=len(several.runs),
        differences=len(differing(several.runs)),
        links=[(run.run_id, _link(several, folder)) for run, folder in _named(several)],
        tables=[_newest(table) for table in tables(several)],
        swatches={},
    )


def _named(several: Several) -> list[tuple[RunRecord, Path]]:
    return list(zip(several.runs, several.folders, strict=True))


def _link(several: Several, folder: Path) -> str:
    return quote(os.path.relpath(folder / "report.html", several.page.parent))


def tables(several: Several) -> list[Table]:
    """Return the tables that have rows: results, trade-offs, every figure, the environments' differences."""
    all_tables = (
        _runs_table(several),
        tradeoffs.table_of_runs(several.runs),
        figures_table(several.runs),
        differences_table(several.runs),
    )
    return [table for table in all_tables if table.rows]


def _newest(table: Table) -> Table:
    """Return the table of runs, the oldest first, with the newest that fit; every other table as it is."""
    return last_within_bytes(table, TABLE_BYTES) if table.caption == RUNS_CAPTION else table


def _runs_table(several: Several) -> Table:
    columns = (
        Column("run", numeric=False),
        Column("started", "UTC", numeric=False),
        Column("kind", numeric=False),
        Column("profile", numeric=False, minor=True),
        Column("status", numeric=False),
        Column("commit", numeric=False, minor=True),
        Column("what it says", numeric=False),
    )
    rows = tuple(
        (
            word(run.run_id),
            word(run.started_at_utc),
            word(run.kind),
            word(run.profile.name if run.profile else fmt.MISSING),
            word(run.status, tone=None if run.status == "complete" else "bad"),
            code((run.environment.git_commit or fmt.MISSING)[:12]),
            word(_says(run)),
        )
        for run in several.runs
    )
    return Table(RUNS_CAPTION, columns, rows)


def _says(run: RunRecord) -> str:
    if run.kind == "mobile":
        return mobile.headline(run.mobile) if run.mobile else "No artifact was measured in this run."
    if run.kind == "train":
        return training.headline(run)
    return answers.answer(run).result


def figures_table(runs: Sequence[RunRecord]) -> Table:
    """Make a table with a row per figure, a column per run."""
    by_key = [{_key(figure): figure for figure in figures_of_run(run)} for run in runs]
    keys = dict.fromkeys(key for own in by_key for key in own)
    columns = (
        Column("of", numeric=False),
        Column("measure", numeric=False),
        *(Column(fmt.one_line(run.run_id)) for run in runs),
    )
    rows = tuple((word(key[0]), word(key[1]), *(_cell(own.get(key)) for own in by_key)) for key in keys)
    return Table("Figures of every run", columns, rows, FIGURES_REMARK)


def _key(figure: Figure) -> tuple[str, str]:
    """Return what a figure is of, without the model, and its measure."""
    labels = [value for name, value in figure.labels.items() if name != "model"]
    return " ".join(labels), figure.measure


def _cell(figure: Figure | None) -> Cell:
    if figure is None:
        return missing(NOT_THERE)
    show = SHOW[figure.unit]
    has_interval = figure.low is not None and figure.high is not None
    beside = fmt.span((figure.low, figure.high), show) if has_interval else None  # type: ignore[arg-type]
    return Cell(show(figure.value), exact=f"{figure.value} {figure.unit}", beside=beside)


def differences_table(runs: Sequence[RunRecord]) -> Table:
    """Make a table with a row per field of the environment that differs; no rows where all are alike."""
    columns = (
        Column("field", numeric=False),
        *(Column(fmt.one_line(run.run_id), numeric=False) for run in runs),
    )
    rows = tuple((word(name), *map(word, values)) for name, values in differing(runs).items())
    return Table("In what the environments differ", columns, rows)
