"""The wall clock is set back and forth by an hour under everything that a comparison starts."""

import json
import shutil
import subprocess
import sys

import pytest
from main_job import HASTY, folders_left, processes_of, tandem

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(420),
    pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc"),
]
# Takes the place of the C library's own in every process: for half a second each, the wall clock is right, an
# hour late and an hour early. The monotonic clock stays what it is.
CLOCK = r"""
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long set_by(void) {
    struct timespec now;
    syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &now);
    return 3600 * ((now.tv_sec * 2 + now.tv_nsec / 500000000) % 3 - 1);
}
int clock_gettime(clockid_t which, struct timespec *now) {
    int failed = syscall(SYS_clock_gettime, which, now);
    if (!failed && (which == CLOCK_REALTIME || which == CLOCK_REALTIME_COARSE)) now->tv_sec += set_by();
    return failed;
}
int gettimeofday(struct timeval *now, void *zone) {
    int failed = syscall(SYS_gettimeofday, now, zone);
    if (!failed && now) now->tv_sec += set_by();
    return failed;
}
time_t time(time_t *kept) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return kept ? (*kept = now.tv_sec) : now.tv_sec;
}
"""
LOOKS = "import time; [print(time.time()) or time.sleep(0.1) for _ in range(17)]"
FAR_S = 60.0
"""Longer than anything of the comparison takes, and shorter than what the clock is set by."""


@pytest.fixture
def jumping_clock(tmp_path, monkeypatch):
    """Every process from now on has that clock."""
    library = tmp_path / "clock.so"
    build = ["gcc", "-shared", "-fPIC", "-O1", "-xc", "-", "-o", library]
    subprocess.run(build, input=CLOCK.encode(), check=True)
    monkeypatch.setenv("LD_PRELOAD", str(library))
    told = subprocess.run([sys.executable, "-c", LOOKS], capture_output=True, text=True, check=True)
    times_s = [float(line) for line in told.stdout.split()]
    assert max(times_s) - min(times_s) > 7000


@pytest.mark.usefixtures("jumping_clock")
def test_a_clock_that_is_set_back_and_forth_moves_dates_and_nothing_else(toys, temporary):
    sides = ("--sides", "toy,toy", "--profile", "smoke", "--loads", "closed:2,open:40")
    done = tandem("compare", "tiny.py", *sides, "--rounds", "1", "--round-s", "1", cwd=toys, program=HASTY)
    assert done.returncode == 0, done.stderr
    run = json.loads((toys / "runs/latest/run.json").read_text())
    assert run["status"] == "complete"
    rounds = [one for target in run["targets"].values() for one in target["rounds"]]
    assert len(rounds) >= 4
    for one in rounds:
        assert one["requests_count"] > 0
        assert one["errors_count"] == one["wrong_count"] == 0
        assert 0.5 < one["window_s"] < FAR_S
        assert 0 < one["latency_ms"]["p50"] <= one["latency_ms"]["max"] < FAR_S * 1000
        assert 0 <= one["server_cpu_s"] < FAR_S
        # A busy machine may fail other checks.
        assert not {"interrupted", "clean", "right"} & set(one["failed_checks"])
    starts = [start for target in run["targets"].values() for start in target["cold_starts"]]
    assert starts
    assert all(0 < one["ready_s"] <= one["first_right_answer_s"] < FAR_S for one in starts)
    assert processes_of(toys) == []
    assert folders_left(temporary) == []
