"""Open load: on schedule, through a stall, and beyond what server and generator can do."""

import math
import random
import time
from pathlib import Path

import numpy as np
import pytest
from load_harness import (
    CORES,
    known_delay_server,
    make_plan,
    null_server,
    run,
    several_tries,
    start,
)

from loadtests import delivery
from loadtests.arrivals import IN_FLIGHT_LIMIT
from loadtests.recorder import read_samples
from loadtests.result import RoundResult

pytestmark = [pytest.mark.slow, pytest.mark.alone]

BASE_MB = 110
"""Resident memory of a generator with little in flight, generously."""


def arrivals_s(rate_per_s, seed, until_s):
    """The times of a seeded Poisson process, computed without the code under test."""
    source, times_s = random.Random(seed), [0.0]  # noqa: S311 - the schedule's own generator
    while times_s[-1] < until_s:
        times_s.append(times_s[-1] - math.log(1 - source.random()) / rate_per_s)
    return np.array(times_s[1:-1])


def queue_s(arrivals, service_s, stall_at_s, stall_s=1.0):
    """Response times of one server that takes one request at a time and begins none while it stalls."""
    stall_begins = arrivals[0] + stall_at_s
    free, response = 0.0, []
    for arrival in arrivals:
        begins = max(arrival, free)
        if stall_begins <= begins < stall_begins + stall_s:
            begins = stall_begins + stall_s
        free = begins + service_s
        response.append(free - arrival)
    return np.array(response)


def rates(result, samples):
    start_ns, end_ns = result.window_start_ns, result.window_start_ns + round(result.window_s * 1e9)
    return (
        delivery.offered_rate(samples.scheduled_ns, start_ns, end_ns),
        delivery.achieved_rate(samples.scheduled_ns, samples.sent_ns, start_ns, end_ns),
    )


@several_tries
def test_a_stall_shows_as_a_queueing_calculation_says(tmp_path):
    service_ms = 6
    options = ("--delay", f"constant:{service_ms}", "--one-at-a-time", "--stall-at-s", "1")
    with known_delay_server(tmp_path, *options) as server:
        plan = make_plan(tmp_path, server.url, load="open:100", warmup_limit_s=0.0, duration_s=3.5)
        result, samples = run(plan)
    ours_ms = (samples.done_ns - samples.scheduled_ns) / 1e6
    expected_ms = 1000 * queue_s(arrivals_s(100, plan.seed, 3.5), service_ms / 1000, 1.0)
    assert result.errors_count == 0
    assert len(ours_ms) == pytest.approx(len(expected_ms), abs=1)
    assert np.percentile(ours_ms, 99) == pytest.approx(np.percentile(expected_ms, 99), rel=0.05)
    assert ours_ms.max() == pytest.approx(expected_ms.max(), rel=0.05)
    assert np.mean(ours_ms > 100) == pytest.approx(np.mean(expected_ms > 100), abs=0.02)


@several_tries
def test_a_thousand_a_second_are_delivered_on_schedule(tmp_path):
    """The host of a virtual machine may stop it for some 30 ms, which is a hundredth of a round of three
    seconds: then another try is on schedule, and a generator that is late is late in all of them."""
    with null_server() as (_process, url):
        plan = make_plan(tmp_path, url, load="open:1000", check_share=0.0, duration_s=3.0)
        result, samples = run(plan)
    assert result.errors_count == 0
    lateness_ms = (samples.sent_ns - samples.scheduled_ns) / 1e6
    assert lateness_ms.min() >= 0
    offered_per_s, achieved_per_s = rates(result, samples)
    assert np.percentile(lateness_ms, 99) < 2
    assert achieved_per_s / offered_per_s >= 0.99


@pytest.mark.parametrize("cores", [(), (CORES[-1],)], ids=["anywhere", "its own"])
def test_the_generator_stays_awake_before_an_arrival_only_on_a_core_of_its_own(tmp_path, cores):
    with known_delay_server(tmp_path, "--delay", "constant:1") as server:
        result, samples = run(make_plan(tmp_path, server.url, load="open:200", cores=cores, duration_s=1.0))
    use = result.generator
    assert (use.polled_s > 0) == (0 < len(cores) < len(CORES))
    assert 0 < use.cpu_s + use.polled_s <= 1.05
    assert (samples.sent_ns >= samples.scheduled_ns).all()


@several_tries
def test_many_requests_are_in_flight_at_once(tmp_path):
    with known_delay_server(tmp_path, "--delay", "constant:50") as server:
        plan = make_plan(tmp_path, server.url, load="open:300", duration_s=1.0)
        result, samples = run(plan)
    # 300/s times 50 ms is 15 at a time: more than the 10 that FastHttpUser allows by default.
    assert result.errors_count == 0
    assert np.median(samples.done_ns - samples.scheduled_ns) / 1e6 == pytest.approx(50, abs=3)


@several_tries
def test_windows_of_one_seed_have_the_same_schedule_however_long_the_warm_up_took(tmp_path):
    schedules = []
    with known_delay_server(tmp_path, "--delay", "constant:1") as server:
        for warmup_limit_s in (0.0, 0.3, 2.0):
            plan = make_plan(
                tmp_path, server.url, load="open:100", warmup_limit_s=warmup_limit_s, duration_s=1.0
            )
            result, samples = run(plan)
            schedules.append(np.sort(samples.scheduled_ns - result.window_start_ns))
            # The opening itself makes nobody late: of a hundred arrivals in a second one or two may be.
            assert np.percentile(samples.sent_ns - samples.scheduled_ns, 95) < 10e6
    expected = arrivals_s(100, plan.seed, 3.0)
    expected_ns = np.round(1e9 * expected[expected < 1.0]).astype(np.int64)
    assert all(np.array_equal(schedule, expected_ns) for schedule in schedules)


@pytest.mark.parametrize(
    ("delay", "load"), [("constant:3", "open:20000"), ("constant:20000", "open:20000")], ids=["fast", "hung"]
)
def test_a_rate_that_cannot_be_sent_ends_with_an_honest_record(tmp_path, delay, load):
    with known_delay_server(tmp_path, "--delay", delay) as server:
        plan = make_plan(tmp_path, server.url, load=load, timeout_s=1.0, duration_s=2.0)
        status, peak_mb = peak_memory_mb(start(plan))
        server.stop()
    result, samples = RoundResult.load(plan.result_file), read_samples(plan.samples_file)
    assert status == 0
    assert peak_mb < BASE_MB + IN_FLIGHT_LIMIT * 0.03
    # Every arrival of the window is a row, sent or not: the schedule begins with the window.
    rate_per_s = float(load.partition(":")[2])
    inside = np.count_nonzero(arrivals_s(rate_per_s, plan.seed, 4) < result.window_s)
    assert len(samples) == result.requests_count == pytest.approx(inside, abs=2)
    not_sent = sum(group.count for group in result.errors if group.kind == "not sent")
    assert not_sent <= np.count_nonzero(samples.status == 0)
    offered_per_s, achieved_per_s = rates(result, samples)
    assert offered_per_s == pytest.approx(rate_per_s, rel=0.05)
    assert achieved_per_s < 0.99 * offered_per_s
    assert achieved_per_s * result.window_s <= len(samples) - not_sent


def peak_memory_mb(process):
    """Wait for a generator; return its exit status and the most memory it ever had.

    From /proc, since what `wait4` says counts the pages of this process at the fork too.
    """
    peak_kb = 0
    while process.poll() is None:
        for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                peak_kb = max(peak_kb, int(line.split()[1]))
        time.sleep(0.02)
    process.stderr.close()
    return process.returncode, peak_kb / 1000
