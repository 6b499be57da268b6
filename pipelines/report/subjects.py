"""Tables of what was measured on: implementations, what each was given, artifacts, parity, the machine."""

from pipelines.console import format as fmt
from pipelines.record.artifact import ArtifactRecord
from pipelines.record.implementation import GivenRecord
from pipelines.record.model import TensorRecord
from pipelines.record.parity import ParityRecord
from pipelines.record.run import ProfileRecord, RunRecord
from pipelines.record.target import PayloadRecord
from pipelines.report import pick
from pipelines.report.table import Cell, Column, Table, code, missing, number, target_cell, word

REDUCED = "a reduced precision is held to its output error and its accuracy"
FULL = "computes in float32, and is held to the tolerances"
NO_ACCURACY = "the outputs choose no class, or the samples have no labels"
NO_SETTING = "unknown, or the server has no such setting"
SETTINGS = {
    "workers_count": "workers",
    "workers_max_count": "workers at most",
    "threads_per_worker": "threads in an operation, per worker",
    "inter_op_threads_count": "threads between operations, per worker",
    "rest_threads_count": "threads for REST",
    "batch_max_size": "largest batch",
    "batch_delay_ms": "longest wait for a batch, ms",
    "queue_max_count": "queue, requests or batches",
}
CONTROL_BLOCKS = {
    "all": "in all blocks",
    "in turn": "in turn by block",
    "all first": "all in the first block, then in turn by block",
}
SOURCES = {"server": "asked", "flag": "flag", "rule": "rule"}
DIGEST_DIGITS = 12


def implementation_table(run: RunRecord) -> Table:
    """Show which implementation answered for each served target."""
    names = ("target", "answered by", "version", "runner", "preset", "protocol", "body")
    columns = (*(Column(name, numeric=False) for name in names), Column("note", numeric=False, minor=True))
    rows = tuple(_implementation_row(run, name) for name in pick.shown(run))
    return Table("What answered", columns, rows)


def _implementation_row(run: RunRecord, name: str) -> tuple[Cell, ...]:
    it = run.targets[name].implementation
    answered = f"{it.name} (fallback)" if it.stand_in else it.name
    cells = (word(answered, tone="bad" if it.stand_in else None), *map(word, (it.version, it.runner)))
    note = "" if it.stand_in else it.note or ""  # A banner says it of a fallback.
    way = word(it.preset), word(it.protocol), word(it.body)
    return target_cell(name, pick.label(run, name)), *cells, *way, word(note)


def configuration_table(run: RunRecord) -> Table:
    """Show what each server makes of its budget, a column per compared target; only what some side has."""
    sides = {name: target.given for name, target in pick.compared(run).items()}
    columns = (Column("configuration", numeric=False), *(Column(fmt.one_line(name)) for name in sides))
    rows = tuple(
        (word(title), *(_setting(budget, field) for budget in sides.values()))
        for field, title in SETTINGS.items()
        if any(getattr(budget, field) is not None for budget in sides.values())
    )
    return Table("How each server was configured", columns, rows)


def _setting(budget: GivenRecord, field: str) -> Cell:
    """Show a value and where it is from."""
    value = getattr(budget, field)
    if value is None:
        return missing(NO_SETTING)
    source = SOURCES.get(budget.sources.get(field, ""))
    text = f"{value:,g}"
    return word(f"{text} ({source})" if source else text)


def artifact_table(run: RunRecord) -> Table:
    """Show every exported file or folder."""
    artifacts = pick.artifacts(run)
    varied = any(artifact.variant for artifact in artifacts)
    by_road = any(artifact.road for artifact in artifacts)
    columns = (
        Column("target", numeric=False),
        Column("format", numeric=False),
        Column("precision", numeric=False),
        *([Column("variant", numeric=False)] if varied else []),
        *([Column("road", numeric=False)] if by_road else []),
        Column("size"),
        Column("gzip size"),
        Column("export", "s"),
        Column("sha256", numeric=False, minor=True),
        Column("path", numeric=False, minor=True),
        Column("exported with", numeric=False, minor=True),
    )
    rows = tuple(_artifact_row(artifact, varied=varied, by_road=by_road) for artifact in artifacts)
    return Table("Artifacts", columns, rows)


def _artifact_row(artifact: ArtifactRecord, *, varied: bool, by_road: bool) -> tuple[Cell, ...]:
    return (
        target_cell(artifact.target),
        word(artifact.format),
        word(artifact.precision),
        *([word(artifact.variant or fmt.MISSING)] if varied else []),
        *([word(artifact.road or fmt.MISSING)] if by_road else []),
        Cell(fmt.size(artifact.size_bytes), exact=fmt.exact_bytes(artifact.size_bytes)),
        Cell(fmt.size(artifact.gzip_bytes), exact=fmt.exact_bytes(artifact.gzip_bytes)),
        number(artifact.export_s, fmt.significant, unit="s", why="not measured"),
        code(artifact.sha256[:DIGEST_DIGITS], exact=artifact.sha256),
        code(artifact.path),
        word(versions(artifact.toolchain) or fmt.MISSING),
    )


def versions(named: dict[str, str]) -> str:
    """Format as `torch 2.13.0, numpy 2.4.1`, in order of name."""
    return ", ".join(f"{name} {version}" for name, version in sorted(named.items()))


def parity_table(run: RunRecord) -> Table:
    """Compare every artifact and endpoint with the source model's outputs."""
    reduced = any(parity.absolute_tolerance is None for _, parity in pick.parities(run))
    several = any(parity.outputs for _, parity in pick.parities(run))
    columns = (
        Column("target", numeric=False),
        Column("checked", numeric=False),
        *((Column("output", numeric=False),) if several else ()),
        Column("parity", numeric=False),
        Column("error", "absolute"),
        Column("allowed", "absolute", minor=True),
        Column("error", "relative", minor=True),
        Column("allowed", "relative", minor=True),
        Column("top-1", "agreement"),
        Column("accuracy"),
        *(_reduced_columns() if reduced else ()),
        Column("samples", minor=True),
    )
    rows = tuple(
        _parity_row(name, record, _subject(run, name, parity), reduced=reduced, several=several)
        for name, parity in pick.parities(run)
        if run.targets[name].role != "control"
        for record in parity.outputs or (parity,)
    )
    remark = "Largest error against the source model's outputs on the held-out samples."
    return Table("Parity", columns, rows, remark)


def _reduced_columns() -> tuple[Column, ...]:
    return (
        Column("drop allowed", "points", minor=True),
        Column("output error", "std"),
        Column("allowed", "std", minor=True),
    )


def _reduced_cells(parity: ParityRecord) -> tuple[Cell, ...]:
    why = FULL if parity.absolute_tolerance is not None else NO_ACCURACY
    return (
        number(parity.max_accuracy_drop, fmt.points, unit="of 1", why=why),
        number(parity.output_error, fmt.significant, unit="std", why="not measured"),
        number(parity.max_output_error, fmt.significant, unit="std", why=FULL),
    )


def _parity_row(
    name: str, parity: ParityRecord, subject: Cell, *, reduced: bool, several: bool
) -> tuple[Cell, ...]:
    errors = (
        parity.max_abs_error,
        parity.absolute_tolerance,
        parity.max_rel_error,
        parity.relative_tolerance,
    )
    return (
        target_cell(name),
        subject,
        *((word(parity.output or fmt.MISSING),) if several else ()),
        word("passed", tone="good") if parity.passed else word("FAILED", tone="bad"),
        *(number(value, fmt.scientific, unit="", why=REDUCED) for value in errors),
        number(parity.top1_agreement, fmt.percent, unit="of 1", why="the model has no classes to agree on"),
        number(parity.accuracy, fmt.percent, unit="of 1", why=NO_ACCURACY),
        *(_reduced_cells(parity) if reduced else ()),
        word(fmt.count(parity.samples_count)),
    )


def _subject(run: RunRecord, name: str, parity: ParityRecord) -> Cell:
    """Name the artifact or the endpoint, without the target's name, which stands in front of it already."""
    is_endpoint = parity is run.targets[name].endpoint_parity
    path = parity.subject.removeprefix(f"{name}/")
    return word("endpoint" if is_endpoint else path, exact=parity.subject)


def _facts(caption: str, facts: list[tuple[str, Cell]], remark: str | None = None) -> Table:
    columns = (Column("what", numeric=False), Column("value", numeric=False))
    return Table(caption, columns, tuple((word(name), cell) for name, cell in facts), remark)


def model_table(run: RunRecord) -> Table:
    """Show the model all targets serve."""
    model = run.model
    accuracy = number(model.accuracy, fmt.percent, unit="of 1", why=NO_ACCURACY)
    facts = [
        ("model", word(model.name)),
        ("digest", code(model.digest)),
        ("checkpoint sha256", code(model.checkpoint_sha256)),
        ("parameters", word(fmt.count(model.parameters_count))),
        ("inputs", word("; ".join(map(tensor, model.inputs)))),
        ("outputs", word("; ".join(map(tensor, model.outputs)))),
        ("held-out samples", word(fmt.count(model.samples_count))),
        ("source model's accuracy", accuracy),
    ]
    return _facts("Model", facts)


def tensor(record: TensorRecord) -> str:
    """Format as `image: float32 [batch, 1, 28, 28]`."""
    shape = ", ".join("batch" if size is None else str(size) for size in record.shape)
    return f"{record.name}: {record.dtype} [{shape}]"


def machine_table(run: RunRecord) -> Table:
    """Show the machine and the versions."""
    it = run.environment
    git = missing("not run from a git repository") if it.git_commit is None else code(it.git_commit)
    facts = [
        ("processor", word(f"{it.cpu_model}, {fmt.plural(it.cores_count, 'core')}")),
        ("memory", Cell(fmt.size(it.memory_bytes), exact=fmt.exact_bytes(it.memory_bytes))),
        ("system", word(f"{it.os}, kernel {it.kernel}")),
        *(_cores_facts(run) if run.kind != "mobile" else []),
        ("Tandem", word(run.tandem_version)),
        ("git commit", git),
        *((name, word(version)) for name, version in sorted(it.versions.items())),
    ]
    return _facts("Machine and versions", facts)


def _cores_facts(run: RunRecord) -> list[tuple[str, Cell]]:
    it = run.environment
    if run.kind == "train":
        return [("cores of every training", word(fmt.numbers(it.server_cores)))]
    return [
        ("cores for servers", word(fmt.numbers(it.server_cores))),
        ("cores for the load generator", word(fmt.numbers(it.generator_cores))),
    ]


def raw_files(run: RunRecord) -> str:
    """Say where the figures of the run can be recomputed from."""
    if run.kind == "train":
        return "Every figure here can be recomputed from the trainings in run.json, next to this page."
    if run.kind == "mobile":
        return "Every latency here can be recomputed from the raw times of its calls, next to this page."
    return "Every figure here can be recomputed from the raw requests, one file per round, next to this page."


def body_title(run: RunRecord) -> str:
    """Name the example of a request, with its side where sides sent different ones."""
    sides = {name: target.payload for name, target in pick.compared(run).items() if target.payload}
    if len({payload.body_example for payload in sides.values()}) <= 1:
        return "Example of a request body"
    first = next((name for name, payload in sides.items() if payload == run.payload), next(iter(sides)))
    return f"Example of a request body, of {fmt.one_line(first)}"


def method_table(run: RunRecord) -> Table:
    """Show how long and how often was measured, and how percentiles are defined."""
    ended = missing("the run did not end") if run.ended_at_utc is None else word(run.ended_at_utc)
    facts = [
        *(_profile_facts(run.profile) if run.profile else []),
        *(_verdict_facts(run.profile) if run.profile and run.kind == "compare" else []),
        ("percentile method", word(run.percentile_method)),
        *(_payload_facts(run.payload) if run.payload else []),
        ("started (UTC)", word(run.started_at_utc)),
        ("ended (UTC)", ended),
    ]
    return _facts("How it was measured", facts)


def _profile_facts(it: ProfileRecord) -> list[tuple[str, Cell]]:
    return [
        ("profile", word(it.name)),
        ("loads", word(", ".join(it.loads) or fmt.MISSING)),
        ("blocks, rounds in each", word(f"{it.blocks}, {it.rounds}")),
        ("longest warm-up", word(fmt.seconds(it.warmup_limit_s))),
        ("measured window of a round", word(fmt.seconds(it.round_s))),
        ("seed", word(str(it.seed))),
        ("answers checked", word(fmt.percent(it.check_share))),
    ]


def _verdict_facts(it: ProfileRecord) -> list[tuple[str, Cell]]:
    primary = pick.metric_name(it.primary) if it.verdicts else "none, and no verdicts"
    return [("A/A controls", word(_controls(it))), ("primary metric", word(primary))]


def _controls(it: ProfileRecord) -> str:
    if not it.control:
        return "none"
    return f"of every side, {CONTROL_BLOCKS[it.control_blocks]}"


def _payload_facts(body: PayloadRecord) -> list[tuple[str, Cell]]:
    return [
        ("payload", word(f"{body.protocol}, {fmt.plural(body.bodies_count, 'different request')}")),
        ("body size", word(f"{fmt.count(body.body_bytes_min)} to {fmt.exact_bytes(body.body_bytes_max)}")),
    ]
