"""The C++ compiler of `.pt2` packages: which one is taken, and what is said where there is none."""

import stat

import pytest

from models.digits_cnn import MODEL
from models.text_gru import MODEL as TEXT
from pipelines import doctor
from pipelines.errors import MachineError
from pipelines.machine import compiler
from pipelines.targets.torchserve_pt2.export import MANY_THREADS, export, options


@pytest.fixture
def empty_path(monkeypatch, tmp_path):
    """A PATH with nothing on it, to put compilers into."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    return tmp_path


def put(folder, name, script):
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def test_the_usual_compiler_is_taken_and_asked_for_its_version(empty_path):
    path = put(empty_path, compiler.USUAL, "echo its version 1; echo more")
    assert compiler.find_compiler() == compiler.Compiler(str(path), "its version 1")


def test_the_one_that_is_named_comes_first(empty_path, monkeypatch):
    put(empty_path, compiler.USUAL, "echo usual")
    put(empty_path, "mine", "echo mine")
    monkeypatch.setenv("CXX", "mine")
    assert compiler.find_compiler().version == "mine"


@pytest.mark.parametrize("script", [None, "exit 3"], ids=["missing", "broken"])
def test_without_one_the_target_fails_alone_before_any_work_and_doctor_says_what_to_do(
    empty_path, tmp_path, script
):
    if script:
        put(empty_path, compiler.USUAL, script)
    with pytest.raises(MachineError) as caught:
        export(MODEL, tmp_path / "nowhere", lambda _: pytest.fail("work began"))
    assert "\n" not in str(caught.value)
    assert "g++" in str(caught.value)
    (found,) = [check for check in doctor.examine() if check.name == "C++ compiler"]
    assert (found.ok, found.required) == (False, False)
    assert "CXX" in found.remedy


def test_doctor_says_apart_what_is_wrong_and_what_to_do_whatever_the_name(empty_path, monkeypatch):
    monkeypatch.setenv("CXX", "none; such")
    (found,) = [check for check in doctor.examine() if check.name == "C++ compiler"]
    assert found.found.endswith("none; such on PATH")
    assert found.remedy.endswith(compiler.REMEDY)
    assert "such" not in found.remedy


def test_what_looks_values_up_is_compiled_so_that_a_wrong_one_cannot_end_the_server():
    assert options(TEXT, "g++")["cpp.threads"] == 1
    assert options(TEXT, "g++")["cpp.dynamic_threads"] is False
    assert options(MODEL, "g++")["cpp.threads"] == MANY_THREADS
    assert options(MODEL, "g++")["cpp.dynamic_threads"] is True
