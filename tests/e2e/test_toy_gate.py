"""`tandem gate --sides` on a served toy, and what `--output` holds when its server dies."""

import json
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from main_job import changed
from test_toy_target import environment, exported, place  # noqa: F401 - fixtures

pytestmark = pytest.mark.slow

BRIEF = """
import pipelines.config.asked
from pipelines.config.profiles import PROFILES
brief = {"warmup_limit_s": 0, "conditioning_limit_s": 0, "round_s": 0.5, "longest_round_s": None}
PROFILES["quick"] = PROFILES["quick"].model_copy(update=brief | {"rounds": 2, "retries": 0})
pipelines.config.asked.LEAST_DECIDE_S = 1
"""
"""Verdicts of rounds so short mean nothing: what is tested is that they are given. One block takes longer
than the time there is, so that it is the only one."""


def tandem(place: Path, *arguments: str) -> subprocess.CompletedProcess[str]:  # noqa: F811
    return subprocess.run(
        [*changed(BRIEF), *arguments],
        cwd=place,
        env=environment(place),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def failures(path: Path) -> list[str]:
    return [one.get("message", "") for one in ET.parse(path).iter("failure")]  # noqa: S314 - our own


GENEROUS = ("--max-p50-regression", "900%", "--undecided", "pass")


def test_both_builds_are_measured_until_the_gate_is_decided(exported):  # noqa: F811
    sides = ("--model", "tiny.py", "--sides", "base=artifacts,new=artifacts")
    done = tandem(
        exported,
        *("gate", *sides, "--decide-within", "2s", *GENEROUS, "--json"),
        *("--output", "junit=gate.xml", "--output", "bencher=gate.json"),
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert {one["metric"] for one in told["findings"]} == {"answers", "failures", "p50"}
    assert failures(exported / "gate.xml") == []
    assert json.loads((exported / "gate.json").read_text())["tiny/new"]["wrong-answers-count"]["value"] == 0
    run = json.loads((exported / "runs" / "latest" / "run.json").read_text())
    assert run["status"] == "complete"
    assert [name for name, one in run["targets"].items() if one["role"] == "compared"] == ["new", "base"]
    (look,) = run["sequential"]["looks"]
    assert look["decided"] is (told["word"] != "undecided")
    again = tandem(exported, "gate", "runs/latest", *GENEROUS, "--json")
    assert json.loads(again.stdout)["findings"] == told["findings"]


def test_a_server_that_dies_is_a_failure_in_the_files_and_in_the_board(exported):  # noqa: F811
    app = exported / "packages" / "toy_target" / "app.py"
    alive = app.read_text()
    app.write_text(f"import os, threading\nthreading.Timer(2.5, os._exit, [7]).start()\n{alive}")
    try:
        done = tandem(
            exported,
            *("compare", "tiny.py", "--sides", "toy,toy", "--runner", "local", "--no-mobile"),
            *("--profile", "smoke", "--rounds", "1", "--loads", "closed:2", "--round-s", "5"),
            *("--output", "junit=dead.xml", "--output", "markdown=dead.md", "--tensorboard", "board"),
        )
    finally:
        app.write_text(alive)
    assert done.returncode == 3, done.stderr
    run = json.loads((exported / "runs" / "latest" / "run.json").read_text())
    assert run["status"] == "failed"
    assert failures(exported / "dead.xml")[0] == f"run.complete: {run['status_reason']}"
    assert "**Failed**" in (exported / "dead.md").read_text()
    assert [path.name for path in (exported / "board").iterdir()] == [run["run_id"]]
