"""One generator for many rounds: each is a process of its own, and what ends one does not end the next."""

import os
import signal
from contextlib import suppress

import psutil
import pytest
from load_harness import make_plan, null_server

from loadtests.recorder import read_samples
from pipelines.errors import MachineError
from pipelines.measure.generator import Generator

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def url():
    with null_server() as (_, address):
        yield address


@pytest.fixture(scope="module")
def generator():
    before = children()  # the one that tests of other files keep in this process
    with Generator() as kept:
        yield kept
    assert children() == before


def children():
    found = []
    for one in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # it ended between the two looks
            found += [one] if "loadtests.prefork" in one.cmdline() else []
    return found


class Listener:
    """Notes the round's process, and does something when its window opens."""

    def __init__(self, at_opening=lambda _pid: False):
        self.at_opening = at_opening
        self.pid = None
        self.parent = None

    def __call__(self, report, pid):
        if report.kind != "opened":
            return False
        self.pid, self.parent = pid, psutil.Process(pid).ppid()
        return self.at_opening(pid)


def short_plan(folder, url, **changes):
    return make_plan(folder, url, **{"duration_s": 0.4, "warmup_limit_s": 0.1, "check_share": 0.0} | changes)


def one_round(generator, folder, url, listener=None, **changes):
    listener = listener or Listener()
    result, stopped = generator.run(short_plan(folder, url, **changes), folder, listener)
    return result, stopped, listener


def test_every_round_is_a_process_of_its_own_under_one_parent(generator, url, tmp_path):
    rounds = [one_round(generator, tmp_path, url, load=load) for load in ("closed:2", "open:50", "closed:1")]
    assert len({listener.pid for _, _, listener in rounds}) == 3
    assert len({listener.parent for _, _, listener in rounds}) == 1
    for result, stopped, _ in rounds:
        assert not stopped
        assert not result.interrupted
        assert result.errors_count == 0
        assert 0.35 < result.window_s < 0.6
    assert len(read_samples(short_plan(tmp_path, url).samples_file)) == rounds[-1][0].requests_count
    assert not psutil.pid_exists(rounds[-1][2].pid)


def test_a_listener_ends_a_round_and_the_next_is_whole(generator, url, tmp_path):
    result, stopped, _ = one_round(generator, tmp_path, url, Listener(lambda _pid: True), duration_s=30.0)
    assert (stopped, result.interrupted) == (False, True)
    assert result.window_s < 10
    assert not one_round(generator, tmp_path, url)[0].interrupted


def test_an_interrupt_ends_the_round_and_keeps_it(generator, url, tmp_path):
    def interrupt(_pid):
        raise KeyboardInterrupt

    result, stopped, _ = one_round(generator, tmp_path, url, Listener(interrupt), duration_s=30.0)
    assert (stopped, result.interrupted) == (True, True)
    assert not one_round(generator, tmp_path, url)[1]


def test_a_killed_round_is_named_and_the_next_one_runs(generator, url, tmp_path):
    listener = Listener(lambda pid: os.kill(pid, signal.SIGKILL))
    with pytest.raises(MachineError, match="SIGKILL"):
        one_round(generator, tmp_path, url, listener)
    assert one_round(generator, tmp_path, url)[0].errors_count == 0


def test_without_the_process_it_was_forked_from_a_round_ends_and_keeps_what_it_has(generator, url, tmp_path):
    listener = Listener(lambda pid: os.kill(psutil.Process(pid).ppid(), signal.SIGKILL))
    result, _, _ = one_round(generator, tmp_path, url, listener, duration_s=30.0)
    assert result.interrupted
    again = one_round(generator, tmp_path, url)
    assert not again[0].interrupted
    assert again[2].parent != listener.parent


def test_a_plan_that_cannot_be_carried_out_is_the_machines_failure(generator, url, tmp_path):
    plan = short_plan(tmp_path, url)
    plan.pool_file.unlink()
    with pytest.raises(MachineError, match=r"exit code 2.*pool_file .* does not exist"):
        generator.run(plan, tmp_path, Listener())


def test_a_frozen_round_is_ended_at_its_limit(url, tmp_path, monkeypatch):
    monkeypatch.setattr("pipelines.measure.generator.START_AND_FINISH_S", 2.0)
    listener = Listener(lambda pid: os.kill(pid, signal.SIGSTOP))
    with Generator() as generator, pytest.raises(MachineError, match="did not finish"):
        one_round(generator, tmp_path, url, listener, timeout_s=0.5)
    assert [one for one in children() if one.pid == listener.pid] == []


def test_headers_that_nobody_may_see_reach_the_round_by_pipe(generator, url, tmp_path):
    seen = []

    def look(pid):
        process = psutil.Process(pid)
        seen.append(" ".join(process.cmdline()) + str(process.environ()))

    plan = short_plan(tmp_path, url, private_headers=True)
    result, _ = generator.run(plan, tmp_path, Listener(look), {"Authorization": "Bearer verysecret"})
    assert result.errors_count == 0
    assert seen
    written = [path.read_bytes() for path in tmp_path.iterdir() if path.is_file()]
    assert not any(b"verysecret" in content for content in [*written, seen[0].encode()])
