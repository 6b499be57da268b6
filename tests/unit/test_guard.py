import json
import os
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from orphans import reaped_orphans  # noqa: F401 - a fixture

from pipelines.files import leftovers
from pipelines.processes.group import wait_until
from pipelines.processes.guard import guarded

pytestmark = pytest.mark.usefixtures("reaped_orphans")

# Starts a child that is stopped, a grandchild in a session of its own and a deaf child, and makes folders in
# the temporary folder and elsewhere; then says what it has made, and waits.
COMMAND = """
import json, os, signal, subprocess, sys, tempfile, time
from pathlib import Path
from pipelines.files import leftovers
from pipelines.processes.guard import guarded

SLEEP = [sys.executable, "-c", "print('up', flush=True); import time; time.sleep(60)"]
DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True)"
PARENT = f"import subprocess; print(subprocess.Popen({SLEEP!r}, start_new_session=True).pid, flush=True)"
WAIT = "; import time; time.sleep(60)"

def start(code):
    child = subprocess.Popen([sys.executable, "-c", code + WAIT], stdout=subprocess.PIPE, text=True,
        start_new_session=True)
    return child, child.stdout.readline().strip()

elsewhere = Path(sys.argv[1])
with guarded():
    stopped, _ = start("print('up', flush=True)")
    stopped.send_signal(signal.SIGSTOP)
    deaf, _ = start(DEAF)
    parent, grandchild = start(PARENT)
    tempfile.mkdtemp(prefix="inner-")
    for name in (".half", "empty-run", "run"):
        (elsewhere / name).mkdir()
    (elsewhere / "run" / "run.json").touch()
    leftovers.note_elsewhere(str(elsewhere / ".half"))
    leftovers.note_elsewhere(str(elsewhere / "empty-run"), unless="run.json")
    leftovers.note_elsewhere(str(elsewhere / "run"), unless="run.json")
    guard = next(p for p in __import__("psutil").Process().children() if "leftovers" in " ".join(p.cmdline()))
    print(json.dumps({"pids": [stopped.pid, deaf.pid, parent.pid, int(grandchild)], "guard": guard.pid,
        "mark": os.environ[leftovers.MARK]}), flush=True)
    time.sleep(60)
"""


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """A temporary folder of the test's own, for us and for what we start."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return folder


@pytest.fixture
def command(tmp_path, temporary):
    """The command of above, running, and what it said."""
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, str(tmp_path)], stdout=subprocess.PIPE, start_new_session=True
    )
    said = json.loads(process.stdout.readline())
    yield process, said
    process.stdout.close()
    process.kill()
    process.wait()
    for pid in (*said["pids"], said["guard"]):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def ended(pid):
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def all_ended(pids):
    return wait_until(lambda: all(map(ended, pids)), limit_s=10, interval_s=0.05)


def kill(process):
    process.kill()
    process.wait()


def left_in(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.slow
def test_a_killed_command_leaves_no_process_and_no_folder(command, temporary, tmp_path):
    process, said = command
    kill(process)
    assert all_ended([*said["pids"], said["guard"]])
    assert left_in(temporary) == []
    assert left_in(tmp_path) == ["run", "temporary"]


def test_a_command_that_is_killed_before_it_knows_its_folder_leaves_none(temporary):
    reader, writer = os.pipe()
    os.close(reader)
    guard = [sys.executable, "-I", "-S", leftovers.__file__, str(temporary)]
    done = subprocess.run(guard, stdin=subprocess.DEVNULL, stdout=writer, check=False, timeout=60)
    os.close(writer)
    assert done.returncode == 0
    assert left_in(temporary) == []


def test_a_command_that_ends_leaves_nothing_either(temporary):
    with guarded():
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        assert Path(tempfile.mkdtemp()).is_relative_to(next(temporary.iterdir()))
    assert child.wait(10) == -signal.SIGTERM
    assert left_in(temporary) == []
    assert os.environ["TMPDIR"] == str(temporary)
    assert leftovers.MARK not in os.environ


def test_a_process_that_has_not_begun_its_program_yet_is_ended_when_it_has(temporary, monkeypatch):
    """As the kernel shows it: whoever started it goes on before its environment is there."""
    mark, held = leftovers.claim(str(temporary))
    environment = {**os.environ, leftovers.MARK: mark}
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], env=environment)
    shown, hidden_times = leftovers._environment, iter(range(2))

    def later(pid):
        return b"" if pid == child.pid and next(hidden_times, None) is not None else shown(pid)

    monkeypatch.setattr(leftovers, "_environment", later)
    try:
        leftovers.clear(mark, quiet_looks=1)
        assert child.poll() == -signal.SIGTERM
    finally:
        child.kill()
        child.wait()
        os.close(held)


def test_a_process_without_an_environment_delays_the_end_and_does_not_prevent_it(temporary):
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], env={}) as process:
        assert wait_until(leftovers.someone_begins, 5)
        with guarded():
            pass
        assert left_in(temporary) == []
        assert process.poll() is None
        process.kill()


def test_a_command_whose_guard_was_killed_tidies_up_itself(temporary):
    with guarded():
        for process in psutil.Process().children():
            # Children that other tests have not waited for yet are zombies.
            if process.status() != psutil.STATUS_ZOMBIE and leftovers.__file__ in process.cmdline():
                process.kill()
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    assert child.wait(10) == -signal.SIGTERM
    assert left_in(temporary) == []


@pytest.mark.slow
def test_the_next_start_sweeps_what_a_command_and_its_guard_left(command, temporary, tmp_path):
    process, said = command
    os.kill(said["guard"], signal.SIGKILL)
    assert all_ended([said["guard"]])
    kill(process)
    assert not any(map(ended, said["pids"][:2]))
    with guarded():
        assert all_ended(said["pids"])
        assert len(left_in(temporary)) == 1
    assert left_in(temporary) == []
    assert left_in(tmp_path) == ["run", "temporary"]


def test_a_living_command_is_not_swept_even_without_its_guard(command, temporary):
    _, said = command
    os.kill(said["guard"], signal.SIGKILL)
    assert all_ended([said["guard"]])
    assert leftovers.sweep(str(temporary)) == []
    assert not any(map(ended, said["pids"]))
    assert Path(leftovers.folder_of(said["mark"])).is_dir()


def spoil_mode(folder):
    folder.chmod(0o755)


def spoil_lock(folder):
    (folder / "lock").unlink()


def spoil_mark(folder):
    (folder / "lock").write_text("/etc:0123")


def spoil_with_link(folder):
    lock = folder / "lock"
    lock.rename(folder.parent / "elsewhere")
    lock.symlink_to(folder.parent / "elsewhere")


def spoil_with_pipe(folder):
    (folder / "lock").unlink()
    os.mkfifo(folder / "lock")


@pytest.mark.parametrize("spoil", [spoil_mode, spoil_lock, spoil_mark, spoil_with_link, spoil_with_pipe])
def test_a_folder_that_proves_nothing_is_left_alone(spoil, tmp_path):
    mark, held = leftovers.claim(str(tmp_path))
    os.close(held)
    folder = Path(leftovers.folder_of(mark))
    spoil(folder)
    assert leftovers.sweep(str(tmp_path)) == []
    assert folder.is_dir()


def test_a_dead_folder_is_swept_and_a_link_to_one_is_not_followed(tmp_path):
    mark, held = leftovers.claim(str(tmp_path))
    os.close(held)
    (tmp_path / "tandem-link").symlink_to(leftovers.folder_of(mark))
    assert leftovers.sweep(str(tmp_path)) == [mark]
    assert left_in(tmp_path) == ["tandem-link"]


def test_what_took_the_place_of_a_noted_folder_is_kept(tmp_path, monkeypatch):
    mark, held = leftovers.claim(str(tmp_path))
    monkeypatch.setenv(leftovers.MARK, mark)
    noted = tmp_path / "odd name\nof two lines"
    noted.mkdir()
    leftovers.note_elsewhere(str(noted))
    noted.rename(tmp_path / "moved")
    noted.mkdir()
    os.close(held)
    leftovers.sweep(str(tmp_path))
    assert left_in(tmp_path) == ["moved", noted.name]


def test_a_folder_that_is_written_into_while_it_goes_is_removed_again(tmp_path, monkeypatch):
    mark, held = leftovers.claim(str(tmp_path))
    remove, times = leftovers._remove, []

    def remove_and_lose_a_race(path):
        remove(path)
        times.append(path)
        if len(times) < 3:
            Path(path).mkdir()

    monkeypatch.setattr(leftovers, "_remove", remove_and_lose_a_race)
    leftovers.clear(mark, quiet_looks=1)
    os.close(held)
    assert left_in(tmp_path) == []


def test_shared_memory_goes_with_its_command_and_only_that(tmp_path, monkeypatch):
    monkeypatch.setattr(leftovers, "SHARED_MEMORY", str(tmp_path / "shm"))
    (tmp_path / "shm").mkdir()
    mark, held = leftovers.claim(str(tmp_path))
    monkeypatch.setenv(leftovers.MARK, mark)
    own = leftovers.shared_memory_prefix()
    assert own.startswith(leftovers.PREFIX)
    for name in (f"{own}1", f"{own}2", f"{own[:-1]}0-1", "other"):
        (tmp_path / "shm" / name).touch()
    os.close(held)
    leftovers.clear(mark, quiet_looks=1)
    assert sorted(path.name for path in (tmp_path / "shm").iterdir()) == sorted([f"{own[:-1]}0-1", "other"])


def test_a_process_without_the_mark_is_not_ended(tmp_path, monkeypatch):
    mark, held = leftovers.claim(str(tmp_path))
    monkeypatch.setenv(leftovers.MARK, mark)
    ours = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    monkeypatch.setenv(leftovers.MARK, mark + "0")
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        leftovers.end_marked(mark, quiet_looks=1)
        assert ours.wait(10) == -signal.SIGTERM
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()
        os.close(held)


@pytest.mark.slow
def test_a_guard_outlives_the_signals_of_a_closing_terminal(command):
    process, said = command
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(said["guard"], number)
    kill(process)
    assert all_ended(said["pids"])


def test_a_guard_is_given_none_of_the_secrets_in_our_environment(temporary, monkeypatch):
    monkeypatch.setenv("TOKEN", "s3cr3t")
    monkeypatch.setenv("DOCKER_HOST", "unix:///run/other.sock")
    children = set(psutil.Process().children())
    with guarded():
        (guard,) = set(psutil.Process().children()) - children
        environment = guard.environ()
    assert "TOKEN" not in environment
    assert environment["PATH"] == os.environ["PATH"]
    assert environment["DOCKER_HOST"] == "unix:///run/other.sock"


def test_a_guard_uses_next_to_no_processor_time(command):
    _, said = command
    used = psutil.Process(said["guard"]).cpu_times()
    assert used.user + used.system < 0.1
