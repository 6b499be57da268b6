"""`tandem history` and `tandem runs`: figures over time, what changed, which levels moved, and pruning."""

import json
import random
import re
import xml.etree.ElementTree as ET
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from report_fixture import make_run
from report_slo_fixture import make_slo_run

from pipelines.cli.main import tandem
from pipelines.errors import RequestError
from pipelines.history import runs as kept
from pipelines.history.changes import find_changes
from pipelines.history.html import render
from pipelines.history.presentation import facts
from pipelines.history.stage import history
from pipelines.record.run import RunRecord

MOVED_AT = 6


def scaled(run: RunRecord, factor: float, day: int, **changes) -> RunRecord:
    """The run of another day, its latencies times a factor."""
    targets = {}
    for name, target in run.targets.items():
        summaries = []
        for one in target.summaries:
            update = {
                key: value * factor for key, value in one.latency_ms if key in {"p50", "p95", "p99"} and value
            }
            latency = one.latency_ms.model_copy(update=update)
            summaries.append(one.model_copy(update={"latency_ms": latency}))
        targets[name] = target.model_copy(update={"summaries": tuple(summaries)})
    stamp = {"run_id": f"202611{day:02d}-120000-digits_cnn", "started_at_utc": f"2026-11-{day:02d}T12:00:00Z"}
    return run.model_copy(update={"targets": targets} | stamp | changes)


def keep(run: RunRecord, runs: Path) -> Path:
    folder = runs / run.run_id
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(run.model_dump_json())
    return folder


@pytest.fixture
def runs(tmp_path):
    """Twelve runs; in the seventh, torch is a newer one and latencies rise by 30 %."""
    base, chance = make_run(), random.Random(3)  # noqa: S311
    old = base.environment
    new = old.model_copy(update={"versions": {**old.versions, "torch": "2.14.0"}})
    for place in range(12):
        factor = chance.lognormvariate(0, 0.01) * (1.3 if place >= MOVED_AT else 1)
        environment = new if place >= MOVED_AT else old
        keep(scaled(base, factor, place + 1, environment=environment), tmp_path)
    (tmp_path / "latest").symlink_to("20261112-120000-digits_cnn")
    return tmp_path


def test_figures_are_those_of_the_runs_in_their_order(runs):
    found = history("digits_cnn", runs)
    assert [entry.run_id[:8] for entry in found.entries] == [f"202611{day:02d}" for day in range(1, 13)]
    (p99,) = [one for one in found.series if one.key == ("torchserve/closed:8", "p99", "ms")]
    recorded = [
        json.loads(path.read_text())["targets"]["torchserve"]["summaries"][1]["latency_ms"]["p99"]
        for path in sorted(runs.glob("2026*/run.json"))
    ]
    assert [point.figure.value for point in p99.points] == recorded


@pytest.mark.slow
def test_a_moved_level_and_a_new_version_are_marked_where_they_were(runs):
    found = history("digits_cnn", runs)
    assert [place for place, entry in enumerate(found.entries) if entry.changed] == [MOVED_AT]
    assert [str(one) for one in found.entries[MOVED_AT].changed] == ["version of torch (2.13.0 → 2.14.0)"]
    for one in found.series:
        moved = [change.place for change in one.changes]
        assert moved == ([MOVED_AT] if one.key[1] in {"p50", "p95", "p99"} else []), one.key
    told = next(one for one in facts(found)["series"] if one["measure"] == "p99")
    assert told["changes"][0]["run_id"].startswith("20261107")
    assert told["changes"][0]["factor"] == pytest.approx(1.3, rel=0.03)


def test_what_changed_between_two_figures_is_told_although_another_run_came_between(tmp_path):
    """A run of another kind was the first with the new version."""
    base = make_run()
    newer = base.environment.model_copy(update={"versions": {**base.environment.versions, "torch": "2.14.0"}})
    keep(scaled(base, 1.0, 1), tmp_path)
    keep(scaled(make_slo_run(), 1.0, 2, environment=newer), tmp_path)
    keep(scaled(base, 1.0, 3, environment=newer), tmp_path)
    found = history("digits_cnn", tmp_path)
    (p99,) = [one for one in found.series if one.key == ("torchserve/closed:8", "p99", "ms")]
    assert [point.place for point in p99.points] == [0, 2]
    assert [str(one) for one in p99.points[1].changed] == ["version of torch (2.13.0 → 2.14.0)"]
    assert [len(entry.changed) for entry in found.entries] == [0, 0, 1]


def limited(limit_ms: float, rows: int, day: int) -> RunRecord:
    run = scaled(make_slo_run(), 1.0, day)
    slo = run.slo.model_copy(update={"p99_limit_ms": limit_ms})
    return run.model_copy(update={"slo": slo, "payload": run.payload.model_copy(update={"rows": rows})})


def test_rates_within_unlike_limits_and_of_unlike_requests_are_series_of_their_own(tmp_path):
    for day, (limit_ms, rows) in enumerate([(20, 1), (50, 1), (20, 8), (20, 1)], start=1):
        keep(limited(limit_ms, rows, day), tmp_path)
    found = history("digits_cnn", tmp_path, "rate at the limit")
    of_side = {
        one.key[0]: [point.place for point in one.points]
        for one in found.series
        if one.key[0].startswith("tfserving/")
    }
    assert sorted(of_side.values()) == [[0, 3], [1], [2]], of_side


def test_rows_part_series_under_load_and_leave_those_of_the_build_whole(tmp_path):
    keep(scaled(make_run(), 1.0, 1), tmp_path)
    run = scaled(make_run(), 1.0, 2)
    keep(run.model_copy(update={"payload": run.payload.model_copy(update={"rows": 8})}), tmp_path)
    counted = {one.key[:2]: len(one.points) for one in history("digits_cnn", tmp_path).series}
    assert counted["torchserve/closed:8", "p99"] == counted["torchserve/closed:8/8 rows", "p99"] == 1
    assert counted["torchserve", "peak memory"] == counted["torchserve/8 rows", "peak memory"] == 1
    assert counted["torchserve", "accuracy"] == 2


def configured(run: RunRecord, payload=None, **changes) -> RunRecord:
    target = run.targets["torchserve"]
    who = target.implementation.model_copy(update=changes)
    changed = target.model_copy(update={"implementation": who, "payload": payload or target.payload})
    return run.model_copy(update={"targets": {**run.targets, "torchserve": changed}})


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda run: configured(run, preset="tuned.toml"), "torchserve preset"),
        (lambda run: configured(run, settings={"minWorkers": 4}), "torchserve minWorkers"),
        (lambda run: configured(run, body="npy"), "payload of torchserve"),
        (
            lambda run: run.model_copy(update={"profile": run.profile.model_copy(update={"name": "full"})}),
            "profile",
        ),
        (
            lambda run: run.model_copy(
                update={"profile": run.profile.model_copy(update={"loads": ("closed:99",)})}
            ),
            "loads",
        ),
    ],
)
def test_what_was_measured_otherwise_is_marked(tmp_path, change, field):
    for day in (1, 2, 3):
        run = scaled(make_run(), 1.0, day)
        run = configured(run, run.payload)
        keep(change(run) if day > 1 else run, tmp_path)
    found = history("digits_cnn", tmp_path)
    assert [[one.field for one in entry.changed] for entry in found.entries] == [[], [field], []]
    (p50,) = [one for one in found.series if one.key == ("torchserve/closed:8", "p50", "ms")]
    assert [bool(point.changed) for point in p50.points] == [False, True, False]
    assert 'class="environment"' in render(found)


@pytest.mark.parametrize("payload", [make_run().payload, None])
def test_what_an_older_version_did_not_record_is_no_change(tmp_path, payload):
    """Runs were once without the payload of every side and the settings of its server."""
    newer = configured(make_run(), make_run().payload, settings={"minWorkers": 1})
    older = make_run(payload=payload)
    for day, run in ((1, older), (2, newer), (3, configured(newer, settings={"minWorkers": 4}))):
        keep(scaled(run, 1.0, day), tmp_path)
    found = history("digits_cnn", tmp_path)
    assert [[one.field for one in entry.changed] for entry in found.entries] == [
        [],
        [],
        ["torchserve minWorkers"],
    ]


def test_runs_of_other_sides_are_compared_in_those_they_share(tmp_path):
    run = make_run()
    keep(scaled(run, 1.0, 1), tmp_path)
    fewer = {name: target for name, target in run.targets.items() if name != "torchserve"}
    keep(scaled(run.model_copy(update={"targets": fewer}), 1.0, 2), tmp_path)
    keep(scaled(run, 1.0, 3), tmp_path)
    changed = [entry.changed for entry in history("digits_cnn", tmp_path).entries]
    assert not changed[0]
    assert all(one.field.startswith("torchserve ") for both in changed[1:] for one in both)


@pytest.mark.slow
def test_a_link_to_a_figure_leads_there_when_there_are_more_figures(runs):
    headings = re.compile(r'<h2 id="([^"]+)">([^<]+) <a')
    some = dict(headings.findall(render(history("digits_cnn", runs, "p99"))))
    everything = dict(headings.findall(render(history("digits_cnn", runs))))
    assert some.items() < everything.items()
    assert len(everything) == len(history("digits_cnn", runs).series)
    assert len(set(everything.values())) == len(everything)


@pytest.mark.parametrize("days", [-1.0, float("inf"), float("nan"), 1e12])
def test_an_age_that_cannot_be_is_a_wrong_request(days):
    with pytest.raises(RequestError, match="--older-than"):
        kept.chosen_to_prune((), model=None, keep=None, older_than_days=days)


@pytest.mark.slow
def test_the_page_needs_nothing_else_and_names_what_moved(runs):
    page = render(history("digits_cnn", runs, "p99"))
    assert "http" not in page
    assert "<script" not in page
    assert page.count("<svg") == page.count('role="img"') == 4
    assert "to 1.3" in page
    assert 'class="environment"' in page
    for part in page.split("<svg")[1:]:
        ET.fromstring("<svg" + part.partition("</svg>")[0] + "</svg>")  # noqa: S314 - our own


def test_names_from_elsewhere_are_escaped(tmp_path):
    run = make_run()
    name = "<img src=x onerror=alert(1)>"
    keep(run.model_copy(update={"model": run.model.model_copy(update={"name": name})}), tmp_path)
    assert "<img" not in render(history(name, tmp_path))


def test_what_is_no_complete_run_is_left_out_and_said(runs):
    (runs / "broken").mkdir()
    (runs / "broken" / "run.json").write_text("{")
    keep(scaled(make_run(), 1, 20, status="interrupted"), runs)
    found = history("digits_cnn", runs)
    assert len(found.entries) == 12
    assert set(found.skipped) == {"broken", "20261120-120000-digits_cnn"}


def test_wrong_requests_say_what_there_is(runs, tmp_path):
    with pytest.raises(RequestError, match="did you mean digits_cnn"):
        history("digit_cnn", runs)
    with pytest.raises(RequestError, match=r"unknown measure 'p9'.*p99"):
        history("digits_cnn", runs, "p9")
    (tmp_path / "empty").mkdir()
    with pytest.raises(RequestError, match="tandem compare digits_cnn"):
        history("digits_cnn", tmp_path / "empty")
    with pytest.raises(RequestError, match="cannot be read"):
        history("digits_cnn", tmp_path / "nowhere")


def series(levels: list[tuple[int, float]], noise: float, seed: int) -> list[float]:
    chance = np.random.default_rng(seed)
    return [float(level * np.exp(chance.normal(0, noise))) for count, level in levels for _ in range(count)]


@pytest.mark.slow
def test_levels_that_move_are_found_and_noise_is_not():
    """The rates of docs/history.md, as far as a short test can tell."""
    found = [find_changes(series([(10, 1.0), (10, 1.2)], 0.05, seed)) for seed in range(40)]
    assert sum(len(one) == 1 and abs(one[0].place - 10) <= 1 for one in found) >= 36
    assert sum(bool(find_changes(series([(20, 1.0)], 0.05, seed))) for seed in range(100)) <= 5
    there_and_back = find_changes(series([(8, 1.0), (8, 1.3), (8, 1.0)], 0.02, 1))
    assert [change.place for change in there_and_back] == [8, 16]


@pytest.mark.parametrize(
    "values", [[], [1.0] * 5, [1.0] * 20, [0.0] * 10, [1.0] * 9 + [5.0], [1.0, 1.02] * 5]
)
def test_no_level_moved(values):
    assert find_changes(values) == ()


def test_an_exact_figure_that_moves_is_found():
    (change,) = find_changes([100.0] * 5 + [150.0] * 5)
    assert (change.place, round(change.factor, 3)) == (5, 1.5)


def test_prune_keeps_the_newest_of_each_model_and_the_latest(runs):
    found = kept.list_runs(runs)
    assert sum(one.is_latest for one in found) == 1
    chosen = kept.chosen_to_prune(found, keep=3, older_than_days=None, model=None)
    assert [one.folder.name[:8] for one in chosen] == [f"202611{day:02d}" for day in range(1, 10)]
    old = kept.chosen_to_prune(
        found, keep=0, older_than_days=5, model=None, now=datetime(2026, 11, 12, 13, tzinfo=UTC)
    )
    assert len(old) == 7
    assert not any(
        one.is_latest for one in kept.chosen_to_prune(found, keep=0, older_than_days=None, model=None)
    )
    assert kept.chosen_to_prune(found, keep=0, older_than_days=None, model="another") == ()
    with pytest.raises(RequestError, match="say what to keep"):
        kept.chosen_to_prune(found, keep=None, older_than_days=None, model=None)
    with pytest.raises(RequestError, match="not below 0"):
        kept.chosen_to_prune(found, keep=-1, older_than_days=None, model=None)


def invoke(*arguments: str) -> str:
    result = CliRunner().invoke(tandem, arguments, standalone_mode=False, catch_exceptions=False)
    return result.output


def test_the_commands(runs, tmp_path):
    page = tmp_path / "page.html"
    told = json.loads(invoke("history", "digits_cnn", "--runs", str(runs), "--json", "--html", str(page)))
    assert len(told["runs"]) == 12
    assert page.is_file()
    assert "digits_cnn" in invoke("runs", "list", "--runs", str(runs))
    assert len(json.loads(invoke("runs", "list", "--runs", str(runs), "--json"))) == 12
    assert json.loads(invoke("runs", "show", str(runs / "latest"), "--json"))["run_id"].startswith("20261112")
    invoke("runs", "prune", "--keep", "2", "--runs", str(runs))
    assert len(list(runs.glob("2026*"))) == 12
    invoke("runs", "prune", "--keep", "2", "--runs", str(runs), "--yes")
    assert len(list(runs.glob("2026*"))) == 2
