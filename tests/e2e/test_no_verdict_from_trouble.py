"""What spoils a measurement makes its rounds invalid, with the right reason, and no verdict appears."""

import contextlib
import os
import subprocess
import sys

import pytest
from known_session import compare, known_delay
from load_harness import GENERATOR_CORE, SERVER_CORE

from pipelines.config.profiles import Profile
from pipelines.config.settings import MeasureSettings
from pipelines.machine.cores import Cores
from pipelines.measure.machine_speed import MachineSpeed
from pipelines.report.sentences import say

pytestmark = [
    pytest.mark.slow,
    pytest.mark.alone,
    pytest.mark.skipif(SERVER_CORE == GENERATOR_CORE, reason="needs two cores: one for each side"),
]

# Runs before anything ordinary if it may, as the generator does; never all the time, or the kernel's limit
# for real-time processes would stop the generator as well.
HOG = """
import os, time
try:
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(50))
except PermissionError:
    pass
while True:
    end = time.monotonic() + 0.03
    while time.monotonic() < end:
        pass
    time.sleep(0.02)
"""
NEIGHBOUR = "while True: pass"


def settings(load="closed:4"):
    profile = Profile(
        name="trouble",
        blocks=1,
        rounds=1,
        warmup_limit_s=0.5,
        round_s=1.0,
        loads=(load,),
        control=False,
        null=False,
        retries=1,
    )
    return MeasureSettings(
        profile=profile, cores=Cores(server=(SERVER_CORE,), generator=(GENERATOR_CORE,)), seed=3
    )


@contextlib.contextmanager
def busy(program, *cores):
    """Processes that run `program`, one on each of the cores."""
    with contextlib.ExitStack() as stack:
        for core in cores:
            process = stack.enter_context(
                subprocess.Popen(["taskset", "-c", str(core), sys.executable, "-c", program])
            )
            stack.callback(process.kill)
        yield


def test_a_machine_that_becomes_slower_is_seen_by_probes_that_run_beside_every_round(tmp_path, monkeypatch):
    counts = []

    def slower(_speed, before, after, _place):
        counts.append({group: after[group].count - before[group].count for group in before})
        return {"server": 1.5, "generator": 1.0}

    monkeypatch.setattr(MachineSpeed, "slowdowns", slower)
    outcome = measured(tmp_path)
    for record in outcome.all_rounds:
        codes = [one.code for one in record.invalid_reasons]
        assert "machine_slower" in codes, f"round {record.index} was not given what the probes saw: {codes}"
        assert (record.server_slowdown, record.generator_slowdown) == (1.5, 1.0)
    assert {one.verdict for one in outcome.comparisons} <= {"inconclusive", None}
    assert counts
    for each in counts:
        assert set(each) == {"server", "generator"}
        assert min(each.values()) > 0


def measured(tmp_path, load="closed:4", options=("--delay", "constant:3")):
    here = settings(load)
    sides = [
        known_delay(name, here, *options, "--seed", seed) for name, seed in (("left", "1"), ("right", "2"))
    ]
    return compare(sides, here, tmp_path)


def assert_no_verdict(outcome, code, *, attempts=2):
    """Every round is invalid for this reason among others, was tried so often, and nothing is called."""
    assert outcome.all_rounds
    for record in outcome.all_rounds:
        assert not record.valid
        assert code in {one.code for one in record.invalid_reasons}, record.invalid_reasons
        assert all(say(one).remedy for one in record.invalid_reasons)
    assert max(record.attempt for record in outcome.all_rounds) == attempts - 1
    assert {one.metric for one in outcome.comparisons} == {"p50", "p95", "p99", "throughput_per_s"}
    for one in outcome.comparisons:
        assert (one.verdict, one.ratio, one.interval, one.pairs_count) == (None, None, None, 0)
        assert one.reason.code == "too_few_pairs"


def test_a_starved_generator(tmp_path):
    with busy(HOG, GENERATOR_CORE):
        outcome = measured(tmp_path)
    assert_no_verdict(outcome, "generator_starved")
    assert all(record.generator.waited_share > 0.05 for record in outcome.all_rounds)


def test_a_rate_that_cannot_be_sent(tmp_path):
    outcome = measured(tmp_path, load="open:20000")
    assert_no_verdict(outcome, "not_delivered")
    assert all(record.achieved_per_s < 0.99 * record.offered_per_s for record in outcome.all_rounds)


def test_a_noisy_neighbour(tmp_path):
    cores = sorted(os.sched_getaffinity(0))
    with busy(NEIGHBOUR, *cores, *cores):
        outcome = measured(tmp_path)
    assert_no_verdict(outcome, "foreign_cpu")
    assert all(record.foreign_cpu_share > 0.1 for record in outcome.all_rounds)


def test_one_wrong_answer_in_a_hundred(tmp_path):
    outcome = measured(tmp_path, options=("--delay", "constant:3", "--wrong-share", "0.01"))
    assert_no_verdict(outcome, "wrong_answers", attempts=1)
    for record in outcome.all_rounds:
        assert record.checked_count == record.requests_count
        assert "requests_failed" in {one.code for one in record.invalid_reasons}
        assert [error.kind for error in record.errors] == ["wrong answer"]
