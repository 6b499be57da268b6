"""What a line of a preset is worth: which files leave what out, and which way round a factor is."""

import importlib.util
from pathlib import Path

import pytest
from report_fixture import make_run

from pipelines.targets.presets import resolve

SOURCE = Path(__file__).parents[2] / "benchmarks" / "preset_lines.py"
SPEC = importlib.util.spec_from_file_location("bench_preset_lines", SOURCE)
lines = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(lines)


@pytest.mark.parametrize("target", ["torchserve", "tfserving", "python", "mlserver", "triton"])
def test_every_line_is_left_out_once_and_what_is_left_is_a_preset(target, tmp_path):
    whole = resolve("tuned", [target])[target].settings
    left_out = []
    for name, settings in lines.without_each(target).items():
        file = tmp_path / f"{name}.toml"
        file.write_text(lines.preset_text(target, settings))
        given = resolve(str(file), [target])[target].settings.given()
        assert given.items() <= whole.given().items()
        left_out += whole.given().keys() - given.keys()
    assert sorted(left_out) == sorted(whole.given())


def with_names(run, baseline, candidate):
    """The run's comparisons, as if they were of these two sides."""
    names = dict(zip(("tfserving", "torchserve"), (baseline, candidate), strict=True))
    comparisons = [
        one.model_copy(update={"baseline": names[one.baseline], "candidate": names[one.candidate]})
        for one in run.comparisons
        if one.load == run.comparisons[0].load
    ]
    targets = {names[name]: target for name, target in run.targets.items() if name in names}
    return run.model_copy(update={"comparisons": tuple(comparisons), "targets": targets})


def cells(table):
    return [cell.strip() for cell in table.splitlines()[-1].strip("| ").split("|")]


def test_a_factor_is_of_the_whole_preset_over_the_one_without_the_line():
    run = make_run()
    (throughput,) = [
        one
        for one in run.comparisons
        if one.metric == "throughput_per_s" and one.load == run.comparisons[0].load
    ]
    as_it_is = cells(lines.table(with_names(run, "vmargs", lines.WHOLE)))
    inverse = cells(lines.table(with_names(run, lines.WHOLE, "vmargs")))
    low, high = throughput.interval
    assert as_it_is[:2] == ["`vmargs`", f"{throughput.ratio:.2f} ({low:.2f} to {high:.2f})"]
    assert inverse[1] == f"{1 / throughput.ratio:.2f} ({1 / high:.2f} to {1 / low:.2f})"
