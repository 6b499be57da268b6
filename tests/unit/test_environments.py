"""Environments of their own: made once, whole or not at all, by one maker, and used offline afterwards."""

import os
import shutil
import signal
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from pipelines import doctor
from pipelines.environments import creation, known
from pipelines.environments.known import ENVIRONMENTS, Environment
from pipelines.errors import MachineError, RequestError
from pipelines.processes.children import child_environment

OFFLINE = {"PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull, "PIP_EXTRA_INDEX_URL": "", "PIP_INDEX_URL": ""}
MAKER = """
import sys
from pathlib import Path
from pipelines.environments.known import Environment
from pipelines.environments.creation import ensure
print(ensure(Environment("tiny", "a test", 1, locks=Path(sys.argv[1])), lambda text: print(text, flush=True)))
"""


def put_wheel(folder, name, version="1.0", text="VALUE = 7\n"):
    """A wheel of one module, by hand: no tool and no index is needed."""
    info = f"{name}-{version}.dist-info"
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{name}.py", text)
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """An environment with one package of a wheel that lies in a folder."""
    put_wheel(tmp_path / "wheels", "tandem_tiny")
    locks = tmp_path / "locks"
    locks.mkdir()
    (locks / "tiny.lock").write_text("# Written by hand.\ntandem-tiny==1.0\n")
    for name, value in {**OFFLINE, "PIP_FIND_LINKS": str(tmp_path / "wheels")}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv(known.FOLDER_VARIABLE, str(tmp_path / "environments"))
    return Environment("tiny", "a test", 1, locks=locks)


def value_in(python):
    command = [str(python), "-c", "import tandem_tiny; print(tandem_tiny.VALUE)"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def left_in(environment):
    return sorted(
        path.name for path in environment.folder.parent.iterdir() if not path.name.endswith(".lock")
    )


@pytest.mark.slow
def test_it_is_made_on_first_use_and_used_offline_afterwards(tiny, tmp_path):
    told = []
    assert value_in(creation.ensure(tiny, told.append)) == "7"
    assert told[0].startswith("making the environment tiny, once (a test; 1 MB on disk")
    shutil.rmtree(tmp_path / "wheels")
    told.clear()
    assert value_in(creation.ensure(tiny, told.append)) == "7"
    assert told == []
    assert left_in(tiny) == [tiny.folder.name]


def test_other_pins_are_another_environment(tiny):
    before = tiny.folder
    tiny.lock.write_text("tandem-tiny==2.0\n")
    assert replace(tiny).folder != before
    assert replace(tiny).pins == {"tandem-tiny": "2.0"}


@pytest.mark.slow
def test_what_cannot_be_installed_leaves_nothing_and_says_why_in_one_line(tiny):
    tiny.lock.write_text("tandem-tiny==3.0\n")
    with pytest.raises(
        MachineError, match=r"tiny cannot be made: .*tandem-tiny==3\.0.*package index once"
    ) as told:
        creation.ensure(tiny, lambda _: None)
    assert "\n" not in str(told.value)
    assert left_in(tiny) == []


@pytest.mark.slow
def test_an_index_that_does_not_answer_is_named_as_the_reason(tiny, monkeypatch):
    for name, value in {
        "PIP_NO_INDEX": "0",
        "PIP_INDEX_URL": "http://127.0.0.1:9/simple",
        "PIP_FIND_LINKS": "",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PIP_RETRIES", "0")
    with pytest.raises(MachineError, match="tiny cannot be made") as told:
        creation.ensure(tiny, lambda _: None)
    assert "\n" not in str(told.value)


def test_too_small_a_disk_is_said_before_anything_is_downloaded(tiny):
    with pytest.raises(MachineError, match=r"needs \d+ MB, .* has \d+ MB free.*TANDEM_ENVIRONMENTS"):
        creation.ensure(replace(tiny, disk_mb=10**9), lambda _: None)
    assert left_in(tiny) == []


def test_a_folder_that_cannot_be_written_is_one_line(tiny, tmp_path, monkeypatch):
    (tmp_path / "a file").write_text("")
    monkeypatch.setenv(known.FOLDER_VARIABLE, str(tmp_path / "a file" / "below"))
    with pytest.raises(MachineError, match="cannot write"):
        creation.ensure(tiny, lambda _: None)


@pytest.mark.parametrize("variable", ["HOME", known.FOLDER_VARIABLE])
def test_a_user_without_a_home_folder_is_told_what_to_set(tiny, monkeypatch, variable):
    monkeypatch.delenv(known.FOLDER_VARIABLE, raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv(variable, "~nobody-of-this-name")
    monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    with pytest.raises(MachineError, match=r"no home folder.*set HOME, or TANDEM_ENVIRONMENTS"):
        creation.ensure(tiny, lambda _: None)
    check = doctor._environment(tiny)
    assert not check.ok
    assert "set HOME" in check.remedy


def test_a_home_folder_that_is_not_ours_to_look_into_holds_no_environment(tiny, tmp_path, monkeypatch):
    monkeypatch.setenv(known.FOLDER_VARIABLE, str(tmp_path / ("long" * 100)))  # as refused as another's
    assert not tiny.made


def test_a_python_without_wheels_is_refused_with_those_that_have_some(tiny):
    with pytest.raises(MachineError, match=r"cannot be made with Python 3\.\d+: .* wheels for 3\.9"):
        creation.ensure(replace(tiny, pythons=("3.9",)), lambda _: None)


def test_a_lock_that_is_missing_is_said(tiny):
    tiny.lock.unlink()
    with pytest.raises(MachineError, match="cannot be read"):
        creation.ensure(tiny, lambda _: None)


@pytest.mark.slow
def test_of_two_makers_one_waits_for_the_other(tiny):
    command = [sys.executable, "-c", MAKER, str(tiny.locks)]
    both = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=child_environment(settings()))
        for _ in range(2)
    ]
    said = [process.communicate(timeout=120)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sum("making the environment" in text for text in said) == 1
    assert [text.splitlines()[-1] for text in said] == [str(tiny.python)] * 2
    assert left_in(tiny) == [tiny.folder.name]


def settings():
    """What the fixture has set, for a process of its own."""
    return {name: os.environ[name] for name in (*OFFLINE, "PIP_FIND_LINKS", known.FOLDER_VARIABLE)}


def test_a_maker_that_is_interrupted_leaves_no_environment(tiny, tmp_path):
    # A pip that never comes to an end.
    slow = tmp_path / "slow.py"
    slow.write_text("import time\nprint('Installing it', flush=True)\ntime.sleep(600)\n")
    script = MAKER.replace(
        "from pipelines.environments.creation import ensure", PATCHED.format(slow=str(slow))
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(tiny.locks)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=child_environment(settings()),
    )
    for line in process.stdout:
        if "unpacking" in line:
            break
    process.send_signal(signal.SIGINT)
    process.stdout.close()
    assert process.wait(30) != 0
    assert left_in(tiny) == []
    assert not tiny.made


PATCHED = """
from pipelines.environments import creation
whole = creation._run
creation._run = lambda command, *rest: whole([command[0], {slow!r}], *rest)
ensure = creation.ensure
"""


def test_every_lock_names_the_tools_of_its_roads():
    from pipelines.roads.known import ALL

    for road in ALL.values():
        assert set(road.tools) <= {*road.environment.pins, *road.environment.shares}, road.name
        assert all(version for version in road.versions.values())


def test_what_is_shared_is_not_pinned_again():
    for environment in ENVIRONMENTS.values():
        assert not set(environment.shares) & set(environment.pins), environment.name


def test_an_unknown_environment_is_a_wrong_request():
    with pytest.raises(RequestError, match="did you mean torchax"):
        known.find("torchx")
