"""`tandem gate --sides`: what it measures, when it has measured enough, and what is refused before."""

import json
from pathlib import Path
from types import SimpleNamespace

import click
import pytest
from click.testing import CliRunner
from gate_fixture import gated_run
from test_deciding import looked

from pipelines.cli.main import tandem
from pipelines.compare.looks import is_decided
from pipelines.config.asked import run_settings
from pipelines.errors import RequestError
from pipelines.gate import interleaved
from pipelines.gate.limits import asked_limits
from pipelines.gate.stage import GateRequest
from pipelines.judge.summarise import looks_of
from pipelines.judge.verdicts import judge
from pipelines.run.failing import carried_by

SLOWER = {"base": 1.0, "new": 1.3}
ALIKE = {"base": 1.0, "new": 1.0}


def request(**limits: str) -> GateRequest:
    return GateRequest(Path("unused"), None, asked_limits(limits or {"p99": "5%"}))


def decided(run, **limits: str) -> bool:
    return interleaved.decided_by(request(**limits))(run)


@pytest.mark.parametrize(
    ("factors", "noise", "is_decided"),
    [(SLOWER, 0.01, True), (ALIKE, 0.01, True), ({"base": 1.0, "new": 1.04}, 0.05, False)],
)
def test_it_is_enough_when_the_limit_is_kept_or_broken(factors, noise, is_decided):
    assert decided(looked(gated_run(factors, noise=noise), 0.3, 0.6, 0.9)) is is_decided


def test_it_goes_by_the_limits_and_not_by_the_primary_metric():
    run = looked(gated_run({"base": 1.0, "new": 1.08}, noise=0.02), 0.3, 0.6, 0.9)
    assert not decided(run, p99="8%")
    assert decided(run, p99="50%")
    assert not decided(run, p99="50%", throughput="7.5%")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("factor", [0.8, 1.0, 1.03, 1.08, 1.2])
def test_where_p99_is_limited_by_the_margin_what_the_comparison_decides_the_gate_decides(factor, seed):
    run = looked(gated_run({"base": 1.0, "new": factor}, noise=0.02, seed=seed), 0.3, 0.6, 0.9)
    controls, comparisons = judge(run.targets, margin=0.05, seed=1, looks=looks_of(run))
    run = run.model_copy(update={"controls": controls, "comparisons": comparisons})
    assert decided(run, p99="5%") or not is_decided(run)


def test_one_wrong_answer_is_enough_whatever_is_undecided_yet():
    run = gated_run({"base": 1.0, "new": 1.04}, noise=0.05, wrong=["new"])
    assert decided(looked(run, 0.3, 0.6, 0.9))


def test_what_no_block_decides_keeps_nobody_waiting():
    run = looked(gated_run(ALIKE), 0.3, 0.6, 0.9)
    assert decided(run, p99="5%", **{"image-size": "0%"})
    assert not decided(gated_run(ALIKE, blocks=1), p99="50%", memory="50%"), "memory needs two blocks"


def without(run, name: str, **changes):
    """The run in which one side's record is another."""
    target = run.targets[name]
    return run.model_copy(update={"targets": {**run.targets, name: target.model_copy(update=changes)}})


def without_p99(run, name: str, *, valid: bool):
    """The run in which no round of one side is valid, or has a p99."""
    rounds = tuple(
        one.model_copy(update={"valid": False})
        if valid
        else one.model_copy(update={"latency_ms": one.latency_ms.model_copy(update={"p99": None})})
        for one in run.targets[name].rounds
    )
    return without(run, name, rounds=rounds)


@pytest.mark.parametrize("blocks", [1, 2])
def test_from_the_second_block_on_figures_that_a_side_has_not_keep_nobody_waiting(blocks):
    run = gated_run(ALIKE, blocks=blocks)
    decides = blocks > 1
    memory = run.targets["base"].memory
    limits = {"p50": "50%"}
    assert decided(without(run, "base", cold_starts=()), **limits, **{"cold-start": "50%"}) is decides
    none = memory.model_copy(update={"block_peaks": (), "peak_bytes": None})
    assert decided(without(run, "new", memory=none), **limits, memory="50%") is decides
    other = memory.model_copy(update={"source": "cgroup"})
    assert decided(without(run, "new", memory=other), **limits, memory="50%") is decides
    assert decided(without_p99(run, "new", valid=False), **limits, p99="50%") is decides


def test_rounds_that_were_not_valid_may_be_valid_in_the_next_block():
    assert not decided(without_p99(gated_run(ALIKE), "new", valid=True), p99="50%")


def test_a_figure_of_fresh_servers_is_as_wide_as_all_looks_need(tmp_path):
    from pipelines.gate.stage import gate

    widths = []
    run = gated_run(ALIKE)
    for place, made in enumerate((run, looked(run, 0.3, 0.6, 1.0))):
        (tmp_path / str(place)).mkdir()
        (tmp_path / str(place) / "run.json").write_text(made.model_dump_json())
        found = gate(GateRequest(tmp_path / str(place), None, asked_limits({"memory": "5%"})))
        low, high = found.findings[-1].interval
        widths.append(high / low)
    assert widths[1] > widths[0]


@pytest.fixture
def staged(monkeypatch, tmp_path):
    """A run whose blocks are not measured; what it would have been measured with, and until what."""
    seen = SimpleNamespace(started=[], until=[], record=gated_run(ALIKE))

    def start_run(_kind, settings, *_):
        seen.started.append(settings)
        return SimpleNamespace(settings=settings, folder=tmp_path / "run", session=None)

    def conclude(run, measure):
        measure(run)
        run.folder.mkdir()
        (run.folder / "run.json").write_text(seen.record.model_dump_json())
        return seen.record

    monkeypatch.setattr(interleaved, "start_run", start_run)
    monkeypatch.setattr(interleaved, "conclude", conclude)
    monkeypatch.setattr(interleaved, "measure_blocks", lambda _, until=None: seen.until.append(until))
    return seen


def invoke(*arguments: str):
    return CliRunner().invoke(tandem, ["gate", *arguments], standalone_mode=False)


BUILDS = ("--sides", "base=tfserving,new=tfserving")


def test_the_default_is_quick_with_four_blocks(staged):
    done = invoke(*BUILDS, "--json")
    assert done.return_value == 0, done.exception
    (settings,) = staged.started
    assert (settings.profile.name, settings.profile.blocks, settings.mobile) == ("quick", 4, False)
    assert staged.until == [None]
    assert json.loads(done.output)["word"] == "pass"


def test_within_a_time_blocks_are_added_until_the_gate_is_decided(staged):
    staged.record = gated_run(SLOWER)
    done = invoke(*BUILDS, "--decide-within", "20min", "--max-p99-regression", "10%")
    assert done.return_value == 1
    (settings,) = staged.started
    assert settings.decide_within_s == 1200
    assert settings.profile.control_blocks == "in turn"
    (until,) = staged.until
    deciding = until.__self__
    assert (deciding.limit_s, deciding.asked) == (1200, "gate")
    assert deciding.decided(staged.record)


def test_sides_that_are_no_pair_are_refused_before_anything_is_measured(staged):
    settings = run_settings(profile="quick", sides="one=tfserving,other=tfserving", model="digits_cnn")
    with pytest.raises(RequestError, match="no side base, new, only one, other"):
        interleaved.measure_and_gate(request(), settings, None, [], lambda *_: None)
    assert staged.started == []
    named = GateRequest(Path(), None, request().limits, baseline_side="one", candidate_side="other")
    staged.record = gated_run({"one": 1.0, "other": 1.3})
    assert interleaved.measure_and_gate(named, settings, None, [], lambda *_: None).word == "fail"


def test_an_interrupted_run_decides_nothing(staged):
    staged.record = staged.record.model_copy(update={"status": "interrupted"})
    settings = run_settings(profile="quick", sides=BUILDS[1], model="digits_cnn")
    with pytest.raises(KeyboardInterrupt) as stopped:
        interleaved.measure_and_gate(request(), settings, None, [], lambda *_: None)
    kept = carried_by(stopped.value)
    assert kept is not None
    assert kept.record is staged.record


def test_what_an_interrupted_gate_measured_is_named_and_written(staged, tmp_path, capsys):
    stopped = {"status": "interrupted", "status_reason": "interrupted after 7 rounds"}
    staged.record = staged.record.model_copy(update=stopped)
    board = tmp_path / "bencher.json"
    done = invoke(*BUILDS, "--json", "--output", f"bencher={board}")
    assert done.return_value == 130, done.exception
    assert str(tmp_path / "run") in done.stderr
    assert json.loads(board.read_text()).keys() >= {"digits_cnn/new", "digits_cnn/base"}


def test_cores_of_the_environment_are_no_option_of_a_stored_run(tmp_path, monkeypatch):
    monkeypatch.setenv("TANDEM_SERVER_CORES", "0")
    (tmp_path / "run.json").write_text(gated_run(ALIKE).model_dump_json())
    assert invoke(str(tmp_path)).return_value == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["runs/latest", "--decide-within", "20min"],
            "gate with BASELINE; .*with --sides",
        ),
        (["runs/latest", "--slowdown", "10%"], "--slowdown does nothing in a gate with BASELINE"),
        (["runs/latest", "--model", "digits_cnn"], "--model does nothing in a gate with BASELINE"),
        (["runs/latest", "--server-cores", "0"], "--server-cores does nothing in a gate with BASELINE"),
        ([*BUILDS, "--slowdown", "10%"], "--slowdown does nothing in a gate with --sides"),
        (["--self-test", "--undecided", "pass"], "--undecided does nothing in a gate with --self-test"),
        (
            ["--self-test", "--candidate-side", "slow"],
            "--candidate-side does nothing",
        ),
        (
            ["--self-test", "--allow-environment"],
            "--allow-environment does nothing",
        ),
        (["runs/latest", *BUILDS], "three ways"),
        (["--self-test", *BUILDS], "three ways"),
        ([], "or --sides"),
        (["--self-test", "--slowdown", "10%", "--delay-ms", "5"], "leave one out"),
    ],
)
def test_options_that_do_not_go_together(arguments, said):
    with pytest.raises(click.UsageError, match=said):
        CliRunner().invoke(tandem, ["gate", *arguments], standalone_mode=False, catch_exceptions=False)
