"""Whether the machine was as fast as usual: the probe's totals, and what a window is held against."""

import mmap
import os
import time

import pytest

from pipelines.machine import speed_probe
from pipelines.machine.cores import Cores
from pipelines.machine.speed_probe import KEPT_S, NS_PER_S, SIZE, Tally, Totals, probe, read
from pipelines.measure import machine_speed as measuring
from pipelines.measure.machine_speed import MachineSpeed, probe_ms
from pipelines.processes.group import wait_until

TWO = Cores(server=(0,), generator=(1,))
USUAL_S = 300e-6


def totals(count=0, total_s=0.0, seconds=()):
    return Totals(count, total_s, used_s=total_s, seconds=tuple(seconds))


def window(slowdown, usual=(USUAL_S,) * 30, count=40):
    """Readings at both edges of a window in which samples took `slowdown` times as long as usual."""
    before = totals(100, 100 * USUAL_S, usual)
    return before, totals(100 + count, before.total_s + count * USUAL_S * slowdown, usual)


def slowdowns(server, generator, place="cores"):
    before = {"server": server[0], "generator": generator[0]}
    return MachineSpeed().slowdowns(before, {"server": server[1], "generator": generator[1]}, place)


def test_each_group_of_cores_has_its_own():
    found = slowdowns(window(1.1), window(1.6))
    assert found == {"server": pytest.approx(1.1), "generator": pytest.approx(1.6)}


def test_of_a_server_on_another_machine_the_generators_cores_alone_are_looked_at():
    assert slowdowns(window(1.5), window(1.02), "elsewhere") == {"generator": pytest.approx(1.02)}


def test_too_little_is_no_slowdown_and_no_full_speed():
    assert slowdowns(window(1.5, count=9), window(1.5, usual=(USUAL_S,) * 9)) == {}
    assert slowdowns(window(1.5, count=9), window(1.3)) == {"generator": pytest.approx(1.3)}
    assert MachineSpeed().slowdowns({}, {}, "cores") == {}


def test_how_long_it_took_is_known_without_anything_usual():
    before, after = window(1.5, usual=())
    assert probe_ms({"server": before}, {"server": after}, "server") == pytest.approx(1.5e3 * USUAL_S)
    few_before, few_after = window(1.5, count=9)
    assert probe_ms({"server": few_before}, {"server": few_after}, "server") is None
    assert probe_ms({"server": before}, {"server": after}, "generator") is None


def test_usual_is_what_most_seconds_were_and_a_machine_that_stays_slower_becomes_so():
    mostly_fast = (USUAL_S,) * 20 + (1.6 * USUAL_S,) * 15
    assert slowdowns(window(1.6, mostly_fast), window(1))["server"] == pytest.approx(1.6)
    mostly_slow = (USUAL_S,) * 15 + (1.6 * USUAL_S,) * 20
    assert slowdowns(window(1.6, mostly_slow), window(1))["server"] == pytest.approx(1.0)


def samples(durations_us, monkeypatch, per_second=10):
    """What a probe writes of these samples, `per_second` of them in each second."""
    shared, told, times = mmap.mmap(-1, SIZE), iter(durations_us), iter(range(len(durations_us)))
    monkeypatch.setattr(speed_probe, "INTERVAL_S", 0)
    monkeypatch.setattr(time, "monotonic", lambda: next(times) / per_second)
    probe(shared, [min(os.sched_getaffinity(0))], lambda: next(told) * 1000, rounds=len(durations_us))
    return read(shared)


@pytest.fixture
def own_cores():
    before = os.sched_getaffinity(0)
    yield
    os.sched_setaffinity(0, before)


def test_a_probe_adds_up_and_keeps_a_mean_of_every_full_second(own_cores, monkeypatch):
    found = samples([300] * 10 + [500] * 5 + [300] * 5 + [900] * 3, monkeypatch)
    assert found.count == 23
    assert found.total_s == pytest.approx((15 * 300 + 5 * 500 + 3 * 900) / 1e6)
    assert found.seconds == pytest.approx((300e-6, 400e-6))


def test_a_probe_keeps_the_last_minutes_only():
    shared = mmap.mmap(-1, SIZE)
    tally = Tally(shared)
    for second in range(KEPT_S + 5):
        tally.add(second, second)
    found = read(shared)
    assert len(found.seconds) == KEPT_S
    assert {round(one * NS_PER_S) for one in found.seconds} == set(range(4, KEPT_S + 4))


@pytest.mark.slow
def test_probes_run_on_their_cores_and_end_with_the_servers():
    cores = sorted(os.sched_getaffinity(0))
    own = Cores(server=(cores[0],), generator=(cores[-1],))
    speed = MachineSpeed()
    with speed.probing(own):
        assert set(speed.read()) == ({"server"} if own.shared else {"server", "generator"})
        assert wait_until(lambda: all(one.count >= 30 for one in speed.read().values()), limit_s=30)
        for one in speed.read().values():
            assert 0 < one.total_s / one.count < 0.05
            assert one.used_s > one.total_s
    assert speed.read() == {}


def test_a_probe_that_cannot_be_started_tells_nothing_and_ends_nothing(monkeypatch):
    def fail(*_, **__):
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(measuring.subprocess, "Popen", fail)
    speed = MachineSpeed()
    with speed.probing(TWO):
        assert speed.read() == {}


def test_what_was_usual_is_remembered_for_the_next_block(monkeypatch):
    speed = MachineSpeed()
    seen = {"generator": totals(seconds=(1.0, 2.0))}
    monkeypatch.setattr(MachineSpeed, "read", lambda _: seen)
    monkeypatch.setattr(measuring, "_groups", lambda _: {})
    for _ in range(2):
        with speed.probing(TWO):
            pass
    assert speed._earlier == {"generator": (1.0, 2.0, 1.0, 2.0)}


def test_a_machine_of_many_cores_is_looked_at_on_a_few_of_them():
    assert measuring._some(range(4)) == range(4)
    assert measuring._some(range(64)) == [0, 8, 16, 24, 32, 40, 48, 56]


def test_a_window_as_long_as_what_is_remembered_is_not_compared_with_itself():
    before = totals(100, 100 * USUAL_S, (USUAL_S,) * 30)
    slow = totals(5100, before.total_s + 5000 * 1.6 * USUAL_S, (1.6 * USUAL_S,) * KEPT_S)
    assert MachineSpeed().slowdowns({"server": before}, {"server": slow}, "cores") == {
        "server": pytest.approx(1.6)
    }


def test_cores_that_are_threads_of_one_physical_core_say_nothing_of_the_machine_while_they_serve():
    pairs = {0: (0, 1), 1: (0, 1), 2: (2, 3), 3: (2, 3)}
    groups = lambda server: measuring._groups(Cores(server=server, generator=(3,)), pairs.__getitem__)  # noqa: E731
    assert groups((0, 1)) == {"generator": (3,)}
    assert groups((0,)) == {"server": (0,), "generator": (3,)}
    assert groups((0, 1, 2)) == groups((0, 2)) == {}, "a thread beside the generator's serves"
    apart = Cores(server=(0, 1, 2), generator=(3,))
    assert measuring._groups(apart, lambda core: (core,)) == {"server": (0, 1, 2), "generator": (3,)}
