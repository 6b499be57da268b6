"""The table of all servers is what the runs hold, and a dash where they hold nothing."""

import importlib.util
from pathlib import Path
from types import SimpleNamespace

import pytest
from report_fixture import make_run

from pipelines.record.implementation import ImageRecord
from pipelines.record.slo import SloTargetRecord

SOURCE = Path(__file__).parents[2] / "benchmarks" / "servers.py"
SPEC = importlib.util.spec_from_file_location("bench_servers", SOURCE)
servers = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(servers)


def column(line, name):
    return line[servers.HEAD.index(name)]


def test_there_is_a_row_for_each_compared_server_and_load_with_the_runs_own_figures():
    run = make_run()
    lines = servers.rows([run])
    compared = {name: one for name, one in run.targets.items() if one.role == "compared"}
    assert len(lines) == sum(len(one.summaries) for one in compared.values()) > 0
    assert all(len(line) == len(servers.HEAD) for line in lines)
    for name, target in compared.items():
        for one in target.summaries:
            (line,) = [
                line
                for line in lines
                if column(line, "server").startswith(f"{name}:") and column(line, "load") == one.load
            ]
            assert column(line, "p99 ms") == servers._figure(one.latency_ms.p99)
            assert column(line, "requests/s at the SLO") == servers.NONE, "no search is among the runs"


def test_controls_floors_and_artifacts_for_devices_are_no_servers_of_the_table():
    said = {column(line, "server").partition(":")[0] for line in servers.rows([make_run()])}
    assert said == {"torchserve", "tfserving"}


def test_what_is_unknown_is_a_dash_and_zero_is_a_figure():
    assert servers._figure(None) == servers.NONE
    assert servers._figure(0.0) == "0"
    assert servers._figure(12345.6) == "12,346"
    assert servers.table([]).count("\n") == 2


def with_image(run, size_bytes):
    """The run, as one in containers without verdicts would have been."""
    targets = {}
    for name, target in run.targets.items():
        image = ImageRecord.model_construct(size_bytes=size_bytes)
        implementation = target.implementation.model_copy(update={"image": image})
        targets[name] = target.model_copy(update={"implementation": implementation})
    profile = run.profile.model_copy(update={"verdicts": False})
    return run.model_copy(update={"targets": targets, "profile": profile})


def test_a_run_without_verdicts_lends_its_images_and_no_speed():
    run = make_run()
    lines = servers.rows([run, with_image(run, 321 * servers.MEGA)])
    assert len(lines) == len(servers.rows([run]))
    assert {column(line, "image MB") for line in lines} == {"321"}
    assert {column(line, "image MB") for line in servers.rows([run])} == {servers.NONE}


def test_a_rate_that_is_only_bounded_is_said_to_be():
    found = SloTargetRecord.model_construct(rate_per_s=None, at_least_per_s=1234.5)
    assert servers._rate(found) == "at least 1,234"
    assert servers._rate(found.model_copy(update={"rate_per_s": 99.0})) == "99"
    assert servers._rate(found.model_copy(update={"at_least_per_s": None})) == servers.NONE


@pytest.mark.parametrize("images", [True, False])
def test_each_model_has_its_own_limit_and_containers_only_where_an_engine_answers(monkeypatch, images):
    commands = []

    def run(command, **_):
        commands.append(tuple(command[3:]))
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(servers.subprocess, "run", run)
    given = SimpleNamespace(sides="torchserve,python", profile="quick", round_s=12.0)
    model, limit_ms = servers.asked("mobilenet_v2=200")
    folders = servers.measure(model, limit_ms, given, images=images)
    assert len(folders) == len(commands) == 2 + images
    assert [command[:2] for command in commands[-2:]] == [("compare", model), ("slo", model)]
    assert commands[-1][-2:] == ("--p99-ms", "200.0")
    assert [command[-2:] == ("--runner", "docker") for command in commands] == [True] * images + [False] * 2
    assert servers.asked("digits_cnn") == ("digits_cnn", servers.P99_MS)


def test_an_engine_that_does_not_answer_is_said(monkeypatch, capsys):
    monkeypatch.setenv("PATH", "/nowhere")
    assert not servers.engine_answers()
    assert capsys.readouterr().err
