import os
from types import SimpleNamespace

import pytest

from pipelines.machine.cores import Cores
from pipelines.measure.cpu import CoreClock, CpuReading, Edges, Neighbours, neighbours, read_cores, read_cpu

TWO = Cores(server=(0,), generator=(1,))


def reading(busy, steal=None, cores=2, at_s=0.0, **ours):
    """`busy` and `steal`: seconds by core number; every clock has advanced to `at_s`."""
    steal = steal or {}
    clocks = {n: CoreClock(busy.get(n, 0.0), steal.get(n, 0.0), at_s) for n in range(cores)}
    return CpuReading(clocks, **ours)


def test_what_server_generator_and_harness_use_is_not_foreign():
    after = reading({0: 9.0, 1: 4.1}, at_s=10, server_s=9.0, generator_s=4.0, harness_s=0.1)
    found = neighbours(reading({}), after, TWO)
    assert found == Neighbours(pytest.approx(0.0, abs=1e-9), pytest.approx(0.0, abs=1e-9), 0.0)


def test_a_neighbour_on_the_server_core_is_a_share_of_that_core():
    after = reading({0: 10.0, 1: 4.0}, at_s=10, server_s=9.0, generator_s=4.0)
    found = neighbours(reading({}), after, TWO)
    assert found.foreign_cores == pytest.approx(0.1)
    assert found.foreign_share == pytest.approx(0.1)


@pytest.mark.parametrize("cores", [4, 16, 64])
def test_a_neighbour_is_the_same_on_a_large_machine_as_on_a_small_one(cores):
    split = Cores(server=tuple(range(cores - 1)), generator=(cores - 1,))
    after = reading({0: 3.0, cores - 1: 6.0}, cores=cores, at_s=10, server_s=3.0, generator_s=4.0)
    found = neighbours(reading({}, cores=cores), after, split)
    assert found.foreign_cores == pytest.approx(0.2)
    assert found.foreign_share == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("before_s", "after_s", "expected"),
    [(1.0, 1.3, 0.3), (1.0, 0.4, 0.0), (None, 0.4, None), (0.1, None, None)],
)
def test_what_compilers_used_in_a_window(before_s, after_s, expected):
    found = Edges(reading({}, compilers_s=before_s), reading({}, compilers_s=after_s)).compilers_cpu_s
    assert found == (None if expected is None else pytest.approx(expected))
    assert Edges(reading({}, compilers_s=1.0)).compilers_cpu_s is None


def test_other_cores_count_for_the_machine_and_not_for_ours():
    split = Cores(server=(0,), generator=(1,))
    after = reading({0: 5.0, 1: 5.0, 3: 10.0}, cores=4, at_s=10, server_s=5.0, generator_s=5.0)
    found = neighbours(reading({}, cores=4), after, split)
    assert found.foreign_cores == pytest.approx(1.0)
    assert found.foreign_share == pytest.approx(0.0)


def test_steal_is_that_of_the_core_that_lost_most_and_only_of_ours():
    after = reading({0: 5.0}, {0: 0.2, 1: 0.8, 2: 5.0}, cores=3, at_s=10, server_s=5.0)
    assert neighbours(reading({}, cores=3), after, TWO).steal_share == pytest.approx(0.08)


def test_shared_cores_are_one_group():
    shared = Cores(server=(0, 1), generator=(1,))
    after = reading({0: 5.0, 1: 9.0}, at_s=10, server_s=9.0, generator_s=4.0)
    assert neighbours(reading({}), after, shared).foreign_share == pytest.approx(0.05)


def test_a_server_here_that_somebody_else_runs_may_use_every_core():
    """On the generator's core too, where a server of ours never is."""
    after = reading({0: 6.0, 1: 8.0, 2: 1.0}, cores=4, at_s=10, server_s=10.0, generator_s=4.0)
    found = neighbours(reading({}, cores=4), after, TWO, "here")
    assert found.foreign_cores == pytest.approx(0.1)
    assert found.foreign_share == pytest.approx(1 / 40)
    assert neighbours(reading({}, cores=4), after, TWO).foreign_share == pytest.approx(0.4), "ours is pinned"


def test_of_a_server_that_cannot_be_told_from_others_only_stolen_time_is_known():
    after = reading({0: 9.0, 1: 4.0}, {0: 0.7}, at_s=10, generator_s=4.0)
    assert neighbours(reading({}), after, TWO, "hidden") == Neighbours(steal_share=pytest.approx(0.07))


def test_of_a_server_elsewhere_only_the_generators_core_is_looked_at():
    after = reading({0: 9.0, 1: 4.5}, {0: 5.0, 1: 0.1}, at_s=10, generator_s=4.0)
    found = neighbours(reading({}), after, TWO, "elsewhere")
    assert found.foreign_share == pytest.approx(0.05)
    assert found.steal_share == pytest.approx(0.01)


def test_a_server_of_somebody_elses_counts_only_while_it_is_under_load():
    def server(runner, cpu_s):
        plan = SimpleNamespace(implementation=SimpleNamespace(runner=runner))
        return SimpleNamespace(plan=plan, cpu_s=lambda: cpu_s)

    ours, theirs, unknown = server("local", 3.0), server("url", 5.0), server("url", None)
    every = [ours, theirs, unknown]
    assert read_cpu(ours, every, os.getpid()).server_s == 3.0
    found = read_cpu(theirs, every, os.getpid())
    assert (found.server_s, found.measured_server_s) == (8.0, 5.0)
    assert read_cpu(unknown, every, os.getpid()).measured_server_s is None
    assert Edges(found, read_cpu(unknown, every, os.getpid())).server_cpu_s is None


def test_clocks_that_did_not_advance_tell_nothing():
    assert neighbours(reading({}), reading({}), TWO) == Neighbours()
    assert neighbours(CpuReading({}), CpuReading({}), TWO) == Neighbours()


def test_the_kernels_lines_are_read_by_core_number_whatever_cores_are_offline(tmp_path):
    stat = tmp_path / "stat"
    stat.write_text(
        "cpu  100 0 100 100 0 0 0 0 0 0\n"
        "cpu0 100 20 300 4000 50 6 7 80 90 0\n"
        "cpu3 1 0 0 9 0 0 0\n"
        "intr 12345\nctxt 99\n"
    )
    clocks = read_cores(stat)
    assert sorted(clocks) == [0, 3]
    assert clocks[0].busy_s == pytest.approx(4.2)
    assert clocks[0].steal_s == pytest.approx(0.8)
    assert clocks[0].total_s == pytest.approx(45.63)
    assert clocks[3] == CoreClock(pytest.approx(0.01), 0.0, pytest.approx(0.1))
    assert read_cores(tmp_path / "missing") == {}


@pytest.mark.parametrize("serving", [1, 15])
def test_interrupts_on_serving_cores_are_no_other_program(tmp_path, serving):
    """Processes are not charged for them, so nobody of ours could be either."""
    split = Cores(server=tuple(range(serving)), generator=(serving,))

    def reading_of(ticks):
        """Each core: 99 % user, 0.5 % softirq; its idle time makes up the rest."""
        stat = tmp_path / "stat"
        line = f"{ticks * 198 // 200} 0 0 {ticks // 200} 0 0 {ticks // 200} 0 0 0"
        stat.write_text("".join(f"cpu{core} {line}\n" for core in range(serving + 1)))
        ours_s = ticks * 198 // 200 / 100
        return CpuReading(read_cores(stat), server_s=serving * ours_s, generator_s=ours_s)

    edges = Edges(reading_of(0), reading_of(2000))
    found = edges.neighbours(split)
    assert found.foreign_cores == pytest.approx(0.0, abs=1e-6)
    assert found.foreign_share == pytest.approx(0.0, abs=1e-6)


def test_the_clocks_of_this_machine_can_be_read():
    assert all(clock.total_s > clock.busy_s >= 0 for clock in read_cores().values())
