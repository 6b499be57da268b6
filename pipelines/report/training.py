"""One model trained in two frameworks: the answer in a sentence, and the tables."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from pipelines.console import format as fmt
from pipelines.record.run import RunRecord
from pipelines.record.training import (
    OneTrainingRecord,
    TrainingComparisonRecord,
    TrainingFigureRecord,
    TrainingMeasure,
    TrainingRecord,
)
from pipelines.report import sentences
from pipelines.report.table import Cell, Column, Table, Tone, missing, number, target_cell, word

NAMES: Final[Mapping[TrainingMeasure, str]] = {
    "epoch_s": "seconds per epoch",
    "first_epoch_s": "first epoch",
    "samples_per_s": "samples per second",
    "peak_memory_bytes": "peak memory",
    "accuracy": "accuracy",
}
UNITS: Final[Mapping[TrainingMeasure, str]] = {
    "epoch_s": "s",
    "first_epoch_s": "s",
    "samples_per_s": "samples/s",
    "peak_memory_bytes": "bytes",
    "accuracy": "share",
}
SHOW: Final[Mapping[TrainingMeasure, Callable[[float], str]]] = {
    "epoch_s": fmt.seconds,
    "first_epoch_s": fmt.seconds,
    "samples_per_s": lambda value: f"{fmt.rate_number(value)}{fmt.THIN}samples/s",
    "peak_memory_bytes": lambda value: fmt.size(round(value)),
    "accuracy": fmt.percent,
}
TONES: Final[dict[str | None, Tone]] = {"better": "good", "worse": "bad"}
NO_INTERVAL = "an interval needs two seeds, and for times undisturbed ones"
NO_VERDICT = "a verdict needs two seeds in both frameworks, and for times undisturbed ones"
NO_FLOOR = "a framework has no controls of two seeds, and for times undisturbed ones"
DISTURBED = "others used the CPU meanwhile, so its times feed nothing: run again on a quiet machine"
NOT_TRAINED = "Nothing was trained in this run."
RULES = (
    "A pair is one seed: the same initial weights, data, order, batches and learning rates in both. "
    "Intervals are over seeds. An epoch is a warm one: the first, which compiles and allocates, stands "
    "apart. Of the accuracy it is a difference, with a margin of one percentage point. The noise floor is "
    "each framework against itself, trained twice per seed."
)
REASONS: Final[Mapping[str, str]] = {
    "inside_margin": "the interval lies inside the margin",
    "beyond_margin": "the interval lies beyond the margin and the noise floor",
    "inside_floor": "a difference inside the noise floor is not called: use a quieter machine",
    "no_floor": "no control of a framework gave an interval, so its noise is not known",
    "near_limit": "it is so near a limit that many more seeds may not decide it",
    "too_few_pairs": "fewer than two seeds have undisturbed trainings in both frameworks",
}


def why(comparison: TrainingComparisonRecord) -> str:
    """Say why a comparison has its verdict or none."""
    code = comparison.reason.code if comparison.reason else "too_few_pairs"
    if code == "across_margin":
        more = fmt.plural(comparison.seeds_needed or 1, "more seed")
        return f"the interval reaches across the margin; about {more} would decide"
    return REASONS[code]


def headline(run: RunRecord) -> str:
    """Answer who trains an epoch in less time, by how much, and how sure that is."""
    training = run.training
    if training is None or not training.trainings:
        return NOT_TRAINED
    if len(training.frameworks) == 1:
        return f"{training.frameworks[0]} alone was trained; nothing was compared."
    comparison = next((each for each in training.comparisons if each.is_primary), None)
    if comparison is None or comparison.ratio is None:
        return f"No comparison of times: {_too_few(run, training)}."
    times = f"{fmt.ratio(comparison.ratio)} times as long as in {comparison.baseline}"
    lead = f"An epoch in {comparison.candidate} takes {times}"
    interval = fmt.span(comparison.interval, fmt.ratio) if comparison.interval else ""
    seeds = fmt.plural(comparison.pairs_count, "seed")
    span = f" (95{fmt.THIN}% interval {interval}, {seeds})" if interval else ""
    return f"{lead}{span}: {comparison.verdict or 'no verdict'}, {why(comparison)}."


def answer_parts(run: RunRecord) -> tuple[str, str, str]:
    """Say under what was trained, what would change the answer, and what is not shown."""
    training = run.training
    if training is None or not training.trainings:
        return "", "", ""
    return _conditions(run, training), _turns(training), _not_shown(training)


def _conditions(run: RunRecord, training: TrainingRecord) -> str:
    work = (
        f"{fmt.plural(training.epochs_count, 'epoch')} of {fmt.plural(training.samples_count, 'sample')} in "
        f"batches of {fmt.count(training.batch_size)}, from {fmt.plural(len(training.seeds), 'seed')}"
    )
    cores = f"core{'' if len(training.cores) == 1 else 's'} {fmt.numbers(training.cores)}"
    budget = f"each training alone on {cores}, memory unlimited, of {run.environment.cpu_model}"
    return f"{work}; {budget}."


def _turns(training: TrainingRecord) -> str:
    """List what the framework in front is behind in, what is open, and what was fixed."""
    primary = next((each for each in training.comparisons if each.is_primary), None)
    ahead = _winner(primary) if primary else None
    others = [each for each in training.comparisons if not each.is_primary]
    against = [_of_both(training, each) for each in others if _winner(each) not in (None, ahead)]
    undecided = [_of_both(training, each) for each in others if each.verdict == "inconclusive"]
    clauses = []
    if against:
        who = (
            f"{next(x for x in training.frameworks if x != ahead)} is ahead in" if ahead else "they differ in"
        )
        clauses.append(f"{who} {fmt.listed(against)}")
    if undecided:
        clauses.append(f"who is ahead in {fmt.listed(undecided)} is not decided")
    fixed = (
        f"another batch size than {fmt.count(training.batch_size)}",
        "more or longer epochs",
        "more cores or an accelerator",
        "a memory limit",
    )
    clauses.append(f"perhaps {fmt.listed(fixed)}, which this run did not vary")
    text = "; ".join(clauses)
    return f"{text[:1].upper()}{text[1:]}."


def _winner(comparison: TrainingComparisonRecord) -> str | None:
    ours, theirs = comparison.candidate, comparison.baseline
    return {"better": ours, "worse": theirs}.get(comparison.verdict or "")


def _of_both(training: TrainingRecord, comparison: TrainingComparisonRecord) -> str:
    """Name a measure with the figures of both frameworks."""
    show, own = SHOW[comparison.measure], [x for x in training.figures if x.measure == comparison.measure]
    figures = ", ".join(f"{figure.framework} {show(figure.value)}" for figure in own)
    return f"{NAMES[comparison.measure]} ({figures})"


def _not_shown(training: TrainingRecord) -> str:
    topics = [
        "how fast either serves what it trained (tandem compare)",
        *([] if training.controls else ["how far each framework differs from itself (no controls)"]),
        "any other model",
        "any other machine",
    ]
    text = fmt.listed(topics)
    return f"{text[:1].upper()}{text[1:]}."


def _too_few(run: RunRecord, training: TrainingRecord) -> str:
    if run.status == "complete" or any(not each.valid for each in training.trainings):
        return "too few trainings were undisturbed by other programs"
    return f"only {fmt.plural(len(training.trainings), 'training')} ended"


def tables(run: RunRecord) -> list[Table]:
    """Return all tables, the verdicts first."""
    if run.training is None:
        return []
    all_tables = (
        verdict_table(run.training),
        figure_table(run.training),
        floor_table(run.training),
        training_table(run.training),
    )
    return [table for table in all_tables if table.rows]


def verdict_table(training: TrainingRecord) -> Table:
    """Measure by measure: ratio or difference, interval and verdict."""
    columns = (
        Column("measure", numeric=False),
        Column("verdict", numeric=False),
        Column("ratio or difference"),
        Column("interval", f"95{fmt.THIN}%"),
        Column("judged by", minor=True),
        Column("seeds"),
        Column("noise floor", minor=True),
    )
    rows = tuple(map(_verdict_row, training.comparisons))
    names = " against ".join(training.frameworks)
    return Table(f"Verdicts: {names}", columns, rows, RULES)


def _verdict_row(comparison: TrainingComparisonRecord) -> tuple[Cell, ...]:
    is_accuracy = comparison.measure == "accuracy"
    show = _show_difference(comparison.measure)
    value = comparison.difference if is_accuracy else comparison.ratio
    return (
        word(NAMES[comparison.measure] + (" (primary)" if comparison.is_primary else "")),
        _verdict(comparison),
        number(value, show, unit="share" if is_accuracy else "", why=NO_VERDICT),
        _span(comparison.measure, comparison.interval),
        _span(comparison.measure, comparison.verdict_interval),
        Cell(str(comparison.pairs_count)),
        _floor(comparison.measure, comparison.noise_floor),
    )


def _verdict(comparison: TrainingComparisonRecord) -> Cell:
    """Show the word; for an undecided one, with the reason as a note."""
    if comparison.verdict is None:
        return missing(NO_VERDICT)
    if comparison.verdict == "inconclusive":
        return Cell(comparison.verdict, why=why(comparison))
    return word(comparison.verdict, exact=why(comparison), tone=TONES.get(comparison.verdict))


def _floor(measure: TrainingMeasure, floor: float | None) -> Cell:
    return number(floor, fmt.in_points if measure == "accuracy" else fmt.percent, unit="share", why=NO_FLOOR)


def _show_difference(measure: TrainingMeasure) -> Callable[[float], str]:
    return fmt.in_points if measure == "accuracy" else fmt.ratio


def _span(measure: TrainingMeasure, ends: tuple[float, float] | None) -> Cell:
    if ends is None:
        return missing(NO_INTERVAL)
    points = measure == "accuracy"
    text = f"{fmt.span(ends, fmt.points)} points" if points else fmt.span(ends, fmt.ratio)
    return Cell(text, exact=f"{ends[0]} to {ends[1]}")


def figure_table(training: TrainingRecord) -> Table:
    """Make a row per measure, a column per framework."""
    columns = (Column("measure", numeric=False), *(Column(name) for name in training.frameworks))
    figures = {(figure.framework, figure.measure): figure for figure in training.figures}
    rows = tuple(
        (
            word(name),
            *(
                _figure(figures.get((framework, measure)), _no_figure(training, framework))
                for framework in training.frameworks
            ),
        )
        for measure, name in NAMES.items()
        if any((framework, measure) in figures for framework in training.frameworks)
    )
    return Table("What a training takes and gives", columns, rows)


def _no_figure(training: TrainingRecord, framework: str) -> str:
    trained = any(each.framework == framework for each in training.trainings)
    return f"no training of this framework {'was undisturbed' if trained else 'ended'}"


def _figure(figure: TrainingFigureRecord | None, why_none: str) -> Cell:
    if figure is None:
        return missing(why_none)
    show = SHOW[figure.measure]
    beside = fmt.span(figure.interval, show) if figure.interval else None
    return Cell(show(figure.value), exact=f"{figure.value} {UNITS[figure.measure]}", beside=beside)


def floor_table(training: TrainingRecord) -> Table:
    """Compare every framework with itself."""
    columns = (
        Column("framework", numeric=False),
        Column("measure", numeric=False),
        Column("itself", f"95{fmt.THIN}%"),
        Column("noise floor"),
        Column("seeds"),
    )
    rows = tuple(
        (
            target_cell(control.framework),
            word(NAMES[control.measure]),
            _span(control.measure, control.interval),
            _floor(control.measure, control.noise_floor),
            Cell(str(control.pairs_count)),
        )
        for control in training.controls
    )
    return Table("Each framework against itself", columns, rows)


def training_table(training: TrainingRecord) -> Table:
    """Make a row per training."""
    columns = (
        Column("training", numeric=False, minor=True),
        Column("framework", numeric=False),
        Column("seed"),
        Column("role", numeric=False, minor=True),
        Column("first epoch", "s"),
        Column("last loss"),
        Column("accuracy"),
        Column("loaded", minor=True),
        Column("peak memory"),
        Column("used", numeric=False),
    )
    return Table("Every training", columns, tuple(map(_training_row, training.trainings)))


def _training_row(training: OneTrainingRecord) -> tuple[Cell, ...]:
    used: Any = word("yes")
    if not training.valid:
        reasons = fmt.one_line(sentences.sentences(training.invalid_reasons))
        used = Cell("memory and accuracy alone", exact=reasons, why=DISTURBED, tone="bad")
    return (
        word(str(training.index + 1)),
        target_cell(training.framework),
        Cell(str(training.seed)),
        word(training.role),
        number(training.epochs[0].elapsed_s, fmt.significant, unit="s", why=NOT_TRAINED),
        number(training.epochs[-1].loss, fmt.significant, unit="", why=NOT_TRAINED),
        number(training.accuracy, fmt.percent, unit="share", why=NOT_TRAINED),
        number(training.loaded_memory_bytes, fmt.size, unit="bytes", why=NOT_TRAINED),
        number(training.peak_memory_bytes, fmt.size, unit="bytes", why=NOT_TRAINED),
        used,
    )
