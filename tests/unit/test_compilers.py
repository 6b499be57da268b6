"""The CPU clock of just-in-time compilers: by their threads' names, in all processes of a server."""

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from loadtests.reports import Report
from pipelines.measure.compilers import CompilerClock
from pipelines.measure.conditioning import _Watch

NAMED = """
import ctypes, sys, time
ctypes.CDLL(None).prctl(15, sys.argv[1].encode())
end = time.process_time() + float(sys.argv[2])
while time.process_time() < end:
    pass
print(flush=True)
time.sleep(60)
"""
LIMIT_S = 20.0


@pytest.fixture
def busy():
    """Start a program whose only thread has a name and used some CPU time; all end with the test."""
    started = []

    def start(name, cpu_s):
        one = subprocess.Popen([sys.executable, "-c", NAMED, name, str(cpu_s)], stdout=subprocess.PIPE)
        started.append(one)
        assert one.stdout.readline()
        return one.pid

    yield start
    for one in started:
        one.kill()
        one.communicate()


@pytest.mark.parametrize("name", ["C1 CompilerThread0", "C2 CompilerThread12"])
def test_what_a_compilers_thread_has_used_is_read(busy, name):
    assert CompilerClock(busy(name, 0.3)).read_s() == pytest.approx(0.3, abs=0.15)


@pytest.mark.parametrize("name", ["C3 CompilerThread0", "GC Thread#0", "VM Thread", ") C2 CompilerThre"])
def test_other_threads_are_no_compilers(busy, name):
    assert CompilerClock(busy(name, 0.05)).read_s() == 0.0


def test_children_and_single_threads_of_a_process_count():
    """As TorchServe's Java, which a Python program started."""
    done, used = threading.Event(), threading.Event()

    def compile_something():
        ctypes.CDLL(None).prctl(15, b"C2 CompilerThread0")
        end = time.thread_time() + 0.2
        while time.thread_time() < end:
            pass
        used.set()
        done.wait(LIMIT_S)

    thread = threading.Thread(target=compile_something)
    thread.start()
    assert used.wait(LIMIT_S)
    try:
        program = "import subprocess, sys; subprocess.run([sys.executable, '-c', *sys.argv[1:]])"
        launcher = subprocess.Popen(
            [sys.executable, "-c", program, NAMED, "C1 CompilerThread0", "0.2"], stdout=subprocess.PIPE
        )
        assert launcher.stdout is not None
        assert launcher.stdout.readline()
        children = CompilerClock(launcher.pid)
        assert children.read_s() == pytest.approx(0.2, abs=0.15)
    finally:
        done.set()
        thread.join()
        for process in children._tree[::-1]:
            process.kill()
        launcher.communicate()


def test_a_server_that_is_no_process_here_cannot_be_read():
    assert CompilerClock(0).read_s() is None


def test_a_process_that_ended_has_used_nothing(busy):
    pid = busy("C2 CompilerThread0", 0.1)
    clock = CompilerClock(pid)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert clock.read_s() == 0.0


class Clock:
    def __init__(self, *readings):
        self.readings = iter(readings)

    def read_s(self):
        return next(self.readings)


class Server:
    def cpu_s(self):
        return time.monotonic()


def test_every_second_says_what_compilers_used_in_it():
    """A thread that ended takes its count along: that second is 0, never below."""
    seconds = []
    watch = _Watch(Server(), Clock(5.0, 5.2, 5.2, 1.0, None, None), seconds.append, after_pause=False)
    watch(Report("opened"), 1)
    for _ in range(5):
        watch(Report("second", 100, 5.0), 1)
    assert [one.compilers_cpu_s for one in seconds] == [pytest.approx(0.2), 0.0, 0.0, None, None]
