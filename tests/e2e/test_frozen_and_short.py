"""Processes that somebody freezes, Ctrl-C where it is rare, and machines that are short of something."""

import json
import os
import re
import resource
import shutil
import signal
import subprocess
import time

import psutil
import pytest
from main_job import (
    HASTE,
    HASTY,
    TOY_SERVER,
    changed,
    complaint,
    folders_left,
    processes_of,
    running,
    tandem,
)
from tiny_disk import fill, mounted_disk

pytestmark = [pytest.mark.slow, pytest.mark.timeout(420)]

SIDES = ("--sides", "tfserving,tfserving", "--profile", "smoke", "--no-mobile")
TOYS = ("tiny.py", "--sides", "toy,toy", "--profile", "smoke")
SHORT = ("--loads", "closed:2", "--rounds", "1", "--round-s", "1")
DESCRIPTORS = 12


@pytest.fixture
def project(exported, tmp_path):
    """A working directory that finds the session's artifacts and has runs of its own."""
    (tmp_path / "artifacts").symlink_to(exported / "artifacts")
    return tmp_path


def tandem_with(constant, value):
    """`tandem` in haste, with one constant that would have the test wait."""
    module, _, name = constant.rpartition(".")
    return changed(HASTE, f"import {module} as it", f"it.{name} = {value}")


def wait_for_rounds(process, count):
    for line in process.stderr:
        if f"[{count}/" in line and "under" in line:
            return
    raise AssertionError("it ended before it was meant to be disturbed")


def child(process, words):
    """The running child whose command line holds `words`, the youngest of them.

    A server that is frozen between rounds is none.
    """
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        for one in reversed(psutil.Process(process.pid).children(recursive=True)):
            try:
                if words in " ".join(one.cmdline()) and one.status() != psutil.STATUS_STOPPED:
                    return one
            except psutil.NoSuchProcess:
                continue
        time.sleep(0.02)
    raise AssertionError(f"there is no {words}")


def last_run(project):
    return json.loads((project / "runs/latest/run.json").read_text())


def rounds_kept(project):
    return sum(len(target["rounds"]) for target in last_run(project)["targets"].values())


def test_a_server_that_somebody_freezes_in_a_round_ends_the_run_and_its_rounds_are_kept(toys, temporary):
    short = ("--loads", "closed:2", "--rounds", "1", "--round-s", "3", "--timeout-s", "3")
    with running("compare", *TOYS, *short, cwd=toys, program=HASTY) as process:
        wait_for_rounds(process, 1)
        child(process, "loadtests.prefork")
        time.sleep(1.5)  # past the warm-up's first seconds
        child(process, TOY_SERVER).send_signal(signal.SIGSTOP)
        _, stderr = process.communicate(timeout=180)
    assert process.returncode in {0, 3}, stderr
    run = last_run(toys)
    assert rounds_kept(toys) >= 1
    if process.returncode == 3:
        assert "toy" in complaint(stderr)
        assert run["status"] == "failed"
    assert processes_of(toys) == []
    assert folders_left(temporary) == []


def test_a_frozen_load_generator_is_ended_and_named(toys, temporary):
    # A first round on a busy machine takes longer than it should as well.
    impatient = tandem_with("pipelines.measure.generator.START_AND_FINISH_S", 8.0)
    with running("compare", *TOYS, "--round-s", "1", cwd=toys, program=impatient) as process:
        wait_for_rounds(process, 1)
        child(process, "loadtests.prefork").send_signal(signal.SIGSTOP)
        _, stderr = process.communicate(timeout=240)
    assert process.returncode == 3, stderr
    assert "load generator" in complaint(stderr)
    assert rounds_kept(toys) >= 1
    assert last_run(toys)["status"] == "failed"
    assert processes_of(toys) == []
    assert folders_left(temporary) == []


def test_ctrl_c_in_an_slo_search_keeps_the_points_so_far(toys, temporary):
    # At low rates a round is long.
    fast = tandem_with("pipelines.compare.slo.START_RATE_PER_S", 300.0)
    with running("slo", *TOYS, "--p99-ms", "50", cwd=toys, program=fast) as process:
        for line in process.stderr:
            if line.startswith("measure: [2 rounds]"):
                break
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    run = last_run(toys)
    assert run["status"] == "interrupted"
    assert rounds_kept(toys) >= 2
    assert (toys / "runs/latest/report.html").exists()
    assert processes_of(toys) == []
    assert folders_left(temporary) == []


def test_ctrl_c_in_smoke_leaves_nothing_that_runs(project, temporary):
    arguments = ("smoke", "--runner", "local", "--sides", "tfserving")
    with running(*arguments, cwd=project) as process:
        child(process, "tfserving.embedded")
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert "Traceback" not in stderr
    assert processes_of(project) == []
    assert folders_left(temporary) == []


def test_a_comparison_with_few_file_descriptors_is_one_line(project, temporary):
    done = subprocess.run(
        [*HASTY, "compare", *SIDES, *SHORT],
        cwd=project,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS)),
    )
    assert done.returncode == 3, done.stderr
    assert "ulimit -n" in complaint(done.stderr)
    assert processes_of(project) == []
    assert folders_left(temporary) == []


def test_a_disk_that_fills_up_between_rounds_keeps_what_was_measured(toys, tmp_path, monkeypatch):
    with mounted_disk(tmp_path / "small", "16m") as disk:
        monkeypatch.setenv("TMPDIR", str(disk))
        several = ("--loads", "closed:2", "--rounds", "3", "--round-s", "1")
        with running("compare", *TOYS, *several, cwd=toys, program=HASTY) as process:
            wait_for_rounds(process, 1)
            fill(disk)
            _, stderr = process.communicate(timeout=240)
        assert process.returncode == 3, stderr
        assert re.search(r"is full|No space left on device", complaint(stderr))
        assert last_run(toys)["status"] == "failed"
        assert rounds_kept(toys) >= 1
        assert (toys / "runs/latest/report.html").exists()
        assert folders_left(disk) == []
    assert processes_of(toys) == []


def test_a_full_disk_of_artifacts_is_one_line_and_nothing_half_made_stays(toys, tmp_path):
    with mounted_disk(tmp_path / "small", "64k") as disk:
        fill(disk)
        done = tandem("export", "tiny.py", "--targets", "toy", "--artifacts", str(disk), cwd=toys)
        assert done.returncode == 3, done.stderr
        assert re.search(r"is full|No space left on device", complaint(done.stderr))
        # A lock file is empty.
        assert [one.name for one in disk.rglob("*") if one.is_file() and one.stat().st_size] == ["filling"]


def test_a_home_that_is_not_there_is_no_hindrance(project):
    environment = {**os.environ, "HOME": "/proc/nothing"}
    environment["XDG_CACHE_HOME"] = environment["MPLCONFIGDIR"] = "/proc/nothing"
    done = subprocess.run(
        [*HASTY, "compare", *SIDES, *SHORT],
        cwd=project,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert rounds_kept(project) >= 2


def test_a_working_directory_that_vanishes_ends_in_one_line(toys):
    place = toys / "going"
    place.mkdir()
    names = ("artifacts", "tiny.py", "tiny.safetensors")
    for name in names:
        (place / name).symlink_to(toys / name)
    with running("compare", *TOYS, *SHORT, "--runs", str(toys / "kept"), cwd=place, program=HASTY) as process:
        wait_for_rounds(process, 1)
        shutil.rmtree(place)
        _, stderr = process.communicate(timeout=240)
    assert "Traceback" not in stderr
    assert process.returncode in {0, 1, 2, 3}, stderr
    run = json.loads((toys / "kept/latest/run.json").read_text())
    assert run["status"] in {"complete", "failed"}
    assert processes_of(toys) == []
