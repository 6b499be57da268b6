"""Tasks in processes of their own. What they do is written into a module that only they import."""

import io
import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from types import SimpleNamespace
from typing import Any, Literal

import psutil
import pytest
from orphans import reaped_orphans  # noqa: F401 - a fixture

from models.spec import ModelError
from pipelines import errors
from pipelines.processes.group import wait_until
from pipelines.tasks import tasks, wire
from pipelines.tasks.tasks import Task, run_tasks, task_of

pytestmark = pytest.mark.usefixtures("reaped_orphans")

TASKS = '''
import os, pathlib, subprocess, sys, time
from models.spec import ModelError
from pipelines import errors

def add(progress, a, b):
    progress("adding")
    return {"sum": a + b}

def pid(progress):
    return os.getpid()

def meet(progress, mine, other):
    """Returns only while the other one runs too."""
    pathlib.Path(mine).touch()
    end = time.monotonic() + 20
    while not pathlib.Path(other).exists():
        if time.monotonic() > end:
            raise RuntimeError("the other one never came")
        time.sleep(0.01)
    if mine.endswith("slow"):
        time.sleep(0.2)
    return mine

def raise_known(progress, kind, text):
    raise {"ModelError": ModelError, **vars(errors)}[kind](text)

def raise_of_load_test(progress, kind):
    from loadtests import errors
    raise getattr(errors, kind)("the disk is full")

def raise_unknown(progress):
    raise ValueError("a very odd thing")

def vanish(progress, code):
    print("the last words", file=sys.stderr, flush=True)
    os._exit(code)

def kill_myself(progress):
    os.kill(os.getpid(), 9)

def leave(progress):
    sys.exit(0)

def chatter(progress):
    print('{"result": "a lie"}', flush=True)
    progress("one")
    os.write(1, b'{"result": "from below"}\\n')
    os.system("echo from a child process")
    subprocess.run([sys.executable, "-c", "print('not json')"])
    progress("two")
    return "the truth"

def not_json(progress):
    return object()

def big(progress):
    return "x" * 2_000_000

def multi_line(progress):
    progress("first\\nsecond")
    return None

def stay(progress, folder):
    stubborn = subprocess.Popen(["sh", "-c", "trap '' TERM; echo up; exec sleep 60"], stdout=subprocess.PIPE)
    stubborn.stdout.readline()
    path = pathlib.Path(folder, str(os.getpid()))
    path.with_suffix(".tmp").write_text(f"{os.getpid()} {stubborn.pid}")
    path.with_suffix(".tmp").rename(path)
    progress("staying")
    time.sleep(60)

def fail_when_somebody_stays(progress, folder):
    end = time.monotonic() + 20
    while not [p for p in pathlib.Path(folder).iterdir() if not p.suffix] and time.monotonic() < end:
        time.sleep(0.01)
    raise errors.GateError("enough")

def environment(progress):
    return dict(os.environ)
'''
INTERRUPTED = """
import ctypes, sys
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # orphans become ours
from pipelines.tasks.tasks import Task, run_tasks
print("up", flush=True)
try:
    tasks = [Task(str(n), "the_tasks:stay", {"folder": sys.argv[1]}, 60) for n in range(int(sys.argv[2]))]
    run_tasks(tasks, lambda *_, **__: None)
except KeyboardInterrupt:
    sys.exit(130)
"""


@pytest.fixture(autouse=True)
def the_tasks(tmp_path, monkeypatch):
    folder = tmp_path / "importable"
    folder.mkdir()
    (folder / "the_tasks.py").write_text(TASKS)
    monkeypatch.setenv("PYTHONPATH", str(folder))


@pytest.fixture
def shared(tmp_path):
    folder = tmp_path / "shared"
    folder.mkdir()
    return folder


def task(function, limit_s=60.0, **arguments):
    return Task(function, f"the_tasks:{function}", arguments, limit_s)


def quiet(title, text):
    pass


def run_one(function, **arguments):
    (outcome,) = run_tasks([task(function, **arguments)], quiet)
    return outcome.result


def pids_in(folder):
    return [int(pid) for path in folder.iterdir() if not path.suffix for pid in path.read_text().split()]


def all_gone(pids):
    def gone(pid):
        try:
            return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return True

    return wait_until(lambda: all(map(gone, pids)), limit_s=5, interval_s=0.02)


@pytest.mark.slow
def test_results_come_in_the_order_of_the_tasks_from_processes_at_the_same_time(tmp_path):
    slow, fast = str(tmp_path / "slow"), str(tmp_path / "fast")
    outcomes = run_tasks([task("meet", mine=slow, other=fast), task("meet", mine=fast, other=slow)], quiet)
    assert [outcome.result for outcome in outcomes] == [slow, fast]
    assert outcomes[0].elapsed_s > outcomes[1].elapsed_s > 0


@pytest.mark.slow
def test_a_task_runs_in_a_process_of_its_own_and_says_what_it_does():
    said = []
    (outcome,) = run_tasks([task("add", a=1, b=2)], lambda *words: said.append(words))
    assert outcome.result == {"sum": 3}
    assert said == [("add", "adding"), ("add", "done")]
    assert run_one("pid") != os.getpid()


@dataclass(frozen=True)
class Place:
    file: Path
    size: tuple[int | None, ...]


def moved(progress, places: Sequence[Place], to: Path, shares: Mapping[str, float]) -> dict[str, Place]:
    assert all(type(place) is Place for place in places)
    progress(f"moving to {to.name}")
    return {place.file.name: Place(to / place.file.name, (*place.size, None)) for place in places}


@pytest.mark.slow
def test_arguments_and_results_are_what_annotations_say_on_both_sides(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    places, said = [Place(Path("a/\udcff"), (1, None)), Place(Path("b"), ())], []
    asked = task_of("it", 60, moved, places=places, to=Path("/there"), shares={"a": math.inf})
    (outcome,) = run_tasks([asked], lambda *words: said.append(words[1]))
    assert outcome.result == {
        "\udcff": Place(Path("/there/\udcff"), (1, None, None)),
        "b": Place(Path("/there/b"), (None,)),
    }
    assert said == ["moving to there", "done"]


@pytest.mark.parametrize("told", [{"a": {"file": "a", "size": ["x"]}}, ["a"], None])
def test_a_result_of_another_kind_is_the_machines_fault(told):
    asked = task_of("it", 60, moved, places=[], to=Path(), shares={})
    with pytest.raises(errors.MachineError, match=r"^it failed: its result.* is not what it should be: "):
        tasks._result(asked, told)


@pytest.mark.parametrize(
    "hint", [str, int | None, Sequence[float], dict[str, list[bool]], Literal["a", "b"], Any]
)
def test_what_json_has_is_taken_as_it_is_without_a_library(monkeypatch, hint):
    def function(progress, x: hint, *, y: hint):
        pass

    monkeypatch.setattr(wire, "typed", lambda *_: pytest.fail("it was made anew"))
    arguments = {"x": object(), "y": object()}
    assert wire.typed_arguments(function, arguments) is arguments


def test_no_tasks_give_no_outcomes():
    assert run_tasks([], quiet) == []


@pytest.mark.slow
def test_whatever_is_printed_does_not_disturb_the_messages():
    said = []
    (outcome,) = run_tasks([task("chatter")], lambda *words: said.append(words[1]))
    assert outcome.result == "the truth"
    assert said == ["one", "two", "done"]


@pytest.mark.slow
def test_a_large_result_arrives_whole():
    assert run_one("big") == "x" * 2_000_000


@pytest.mark.slow
def test_a_line_break_inside_a_message_does_not_break_the_protocol():
    assert run_one("multi_line") is None


def test_no_gpu_decides_what_is_exported(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert run_one("environment")["CUDA_VISIBLE_DEVICES"] == ""


@pytest.mark.slow
def test_threads_of_tasks_that_share_the_cores_do_not_wait_spinning():
    alone = run_one("environment")
    together = [outcome.result for outcome in run_tasks([task("environment")] * 2, quiet)]
    assert "OMP_WAIT_POLICY" not in alone
    assert [one["OMP_WAIT_POLICY"] for one in together] == ["PASSIVE"] * 2


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["UserError", "RequestError", "GateError", "MachineError", "ModelError"])
def test_an_error_for_people_keeps_its_kind_and_its_words(kind):
    expected = ModelError if kind == "ModelError" else getattr(errors, kind)
    with pytest.raises(expected) as caught:
        run_one("raise_known", kind=kind, text="sample 3 is wrong")
    assert type(caught.value) is expected
    assert str(caught.value) == "sample 3 is wrong"


@pytest.mark.slow
def test_an_unforeseen_error_is_the_machines_with_its_kind_and_words():
    with pytest.raises(errors.MachineError) as caught:
        run_one("raise_unknown")
    said = str(caught.value)
    assert said.startswith("raise_unknown failed: ValueError: a very odd thing; its last lines: ")
    assert "\n" not in said


@pytest.mark.slow
def test_a_process_that_vanishes_is_reported_with_code_and_last_words():
    with pytest.raises(errors.MachineError) as caught:
        run_one("vanish", code=42)
    assert str(caught.value) == (
        "vanish ended without a result (exit code 42); its last lines: the last words"
    )


@pytest.mark.slow
@pytest.mark.parametrize(("function", "code"), [("kill_myself", -9), ("leave", 0)])
def test_a_process_killed_or_left_early_is_no_success(function, code):
    with pytest.raises(errors.MachineError, match=rf"ended without a result \(exit code {code}\b"):
        run_one(function)


@pytest.mark.slow
def test_a_result_that_is_not_json_is_an_error():
    with pytest.raises(errors.MachineError, match="not_json failed: TypeError"):
        run_one("not_json")


@pytest.mark.slow
@pytest.mark.parametrize("function", ["the_tasks:nowhere", "no_such_module:f"])
def test_a_function_that_is_not_there_is_an_error(function):
    with pytest.raises(errors.MachineError, match=r"it failed: (AttributeError|ModuleNotFoundError)"):
        run_tasks([Task("it", function, {}, 60)], quiet)


@pytest.mark.slow
def test_the_first_failure_ends_the_others_and_all_they_started(shared):
    folder = {"folder": str(shared)}
    with pytest.raises(errors.GateError, match="enough"):
        run_tasks([task("stay", **folder), task("fail_when_somebody_stays", **folder)], quiet)
    assert len(pids_in(shared)) == 2
    assert all_gone(pids_in(shared))


@pytest.mark.slow
@pytest.mark.parametrize(("number", "tasks_count"), [(signal.SIGINT, 2), (signal.SIGKILL, 1)])
def test_no_process_is_left_when_we_are_interrupted_or_killed(shared, number, tasks_count, tmp_path):
    command = [sys.executable, "-c", INTERRUPTED, str(shared), str(tasks_count)]
    # Without a guard a killed parent leaves its folder: in the test's own, not in the machine's.
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    parent = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True, env=environment)
    assert wait_until(lambda: len(pids_in(shared)) == 2 * tasks_count, limit_s=20, interval_s=0.02)
    pids = pids_in(shared)
    parent.send_signal(number)
    assert parent.wait(15) == (130 if number == signal.SIGINT else -number)
    # A killed parent can end nobody: the kernel ends the workers, their own children are left to them.
    ours = pids if number == signal.SIGINT else pids[:1]
    try:
        assert all_gone(ours)
    finally:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@pytest.mark.slow
def test_an_interrupt_while_waiting_ends_every_process(shared):
    def interrupt(title, text):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_tasks([task("stay", folder=str(shared))], interrupt)
    assert all_gone(pids_in(shared))


def descriptors():
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - the folder of this very process


@pytest.mark.slow
def test_a_task_that_hangs_is_ended_by_name(shared):
    staying = [task("stay", limit_s=2.0, folder=str(shared)), task("stay", folder=str(shared))]
    with pytest.raises(errors.MachineError, match=r"^stay did not end within 2 s") as caught:
        run_tasks(staying, quiet)
    assert tasks.LIMIT_VARIABLE in str(caught.value)
    assert all_gone(pids_in(shared))


def test_a_task_that_hangs_is_told_with_what_it_did_last(tmp_path):
    messages, log = SimpleQueue(), tmp_path / "0.log"
    log.write_text("a last line\n")
    messages.put((0, {"progress": "freezing the graph"}))
    child = tasks._Child(task("export"), SimpleNamespace(), log, limit_s=0.05)
    with pytest.raises(errors.MachineError, match="last at: freezing the graph; its last lines: a last line"):
        tasks._collect([child], messages, quiet)


@pytest.mark.slow
def test_a_task_that_ended_is_not_counted_as_hung(tmp_path):
    slow, fast = str(tmp_path / "slow"), str(tmp_path / "fast")
    tasks = [task("meet", mine=slow, other=fast), task("meet", mine=fast, other=slow)]
    assert len(run_tasks(tasks, quiet)) == 2


@pytest.mark.parametrize("asked", ["0", "-1", "nan", "inf", "soon", "1e300"])
def test_a_limit_that_is_no_time_is_a_wrong_request(monkeypatch, asked):
    monkeypatch.setenv(tasks.LIMIT_VARIABLE, asked)
    with pytest.raises(errors.RequestError, match=f"{tasks.LIMIT_VARIABLE} is '{asked}'"):
        run_one("pid")


@pytest.mark.slow
def test_the_limit_can_be_changed(monkeypatch, shared):
    monkeypatch.setenv(tasks.LIMIT_VARIABLE, "1.5")
    with pytest.raises(errors.MachineError, match="did not end within 2 s"):
        run_one("stay", folder=str(shared))


@pytest.mark.slow
@pytest.mark.parametrize("program", ["/bin/false", "/no/such/program", "/etc/passwd"])
def test_a_child_that_dies_at_birth_leaks_nothing(monkeypatch, tmp_path, program):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(tasks, "python_module", lambda _, **__: [program])
    large = "x" * 200_000  # more than a pipe holds
    before, threads = descriptors(), threading.active_count()
    for _ in range(10):
        with pytest.raises(errors.MachineError, match="add"):
            run_tasks([task("add", a=large, b=1)] * 3, quiet)
    assert (descriptors(), threading.active_count()) == (before, threads)
    assert not list(tmp_path.glob("tandem-tasks-*"))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["RecorderError", "PayloadError"])
def test_an_error_of_the_load_test_in_a_task_is_one_for_people(kind):
    expected = errors.MachineError if kind == "RecorderError" else errors.RequestError
    with pytest.raises(expected, match=r"^the disk is full$"):
        run_one("raise_of_load_test", kind=kind)


def test_a_line_that_is_no_message_is_an_error():
    messages = SimpleQueue()
    child = SimpleNamespace(process=SimpleNamespace(stdout=io.BytesIO(b"Segmentation fault\n3\n")))
    tasks._read(0, child, messages)
    for _ in range(2):
        assert messages.get_nowait()[1]["kind"] == "unexpected"
    assert messages.get_nowait() == (0, None)


@pytest.mark.slow
def test_no_log_is_left(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "importable"))
    run_one("add", a=1, b=1)
    assert not list(Path(tempfile.gettempdir()).glob("tandem-tasks-*"))


def test_a_message_cut_short_by_a_kill_does_not_hang_us():
    messages = SimpleQueue()
    child = SimpleNamespace(process=SimpleNamespace(stdout=io.BytesIO(b'{"progress": "x"}\n{"resu')))
    try:
        tasks._read(0, child, messages)
    except json.JSONDecodeError:
        pytest.fail("the end of the stream is never announced")
    assert messages.get_nowait() == (0, {"progress": "x"})
    assert messages.get_nowait() == (0, None)


@pytest.mark.slow
def test_the_worker_answers_in_lines_of_json():
    request = {"function": "the_tasks:chatter", "arguments": {}}
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "pipelines.tasks.task_main"],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        check=True,
    )
    assert [json.loads(line) for line in done.stdout.splitlines()] == [
        {"progress": "one"},
        {"progress": "two"},
        {"result": "the truth"},
    ]
    assert "from below" in done.stderr
    assert time.monotonic() - started < 30
