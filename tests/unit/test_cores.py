"""Which cores serve and which one generates, over machines from one core to 64, with and without threads."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.errors import RequestError
from pipelines.machine.cores import Cores, asked_cores, expand, listed, split_cores, thread_siblings


def alone(core):
    return (core,)


def threaded(count):
    """Two hyper-threads a physical core, numbered the way Linux does: N and N + count / 2."""
    return lambda core: tuple(sorted({core % (count // 2), core % (count // 2) + count // 2}))


@pytest.mark.parametrize(
    ("count", "server", "generator"),
    [
        (1, (0,), 0),
        (2, (0,), 1),
        (3, (0, 1), 2),
        (4, (0, 1, 2), 3),
        (16, tuple(range(15)), 15),
        (64, tuple(range(63)), 63),
    ],
)
def test_one_core_generates_and_the_others_serve(count, server, generator):
    cores = split_cores(range(count), siblings=alone)
    assert cores == Cores(server=server, generator=(generator,))
    assert cores.shared is (count == 1)


@pytest.mark.parametrize(
    ("count", "server", "idle", "coupled"),
    [
        (2, (0,), (), (0,)),
        (4, (0, 2), (1,), ()),
        (16, tuple(core for core in range(15) if core != 7), (7,), ()),
        (64, tuple(core for core in range(63) if core != 31), (31,), ()),
    ],
)
def test_hyper_threads_of_the_generators_core_stay_idle_where_others_are_left(count, server, idle, coupled):
    cores = split_cores(range(count), siblings=threaded(count))
    assert cores == Cores(server=server, generator=(count - 1,), idle=idle, coupled=coupled)


def test_a_core_without_hyper_threads_generates_before_one_that_has_some():
    pairs = {0: (0,), 1: (1, 2), 2: (1, 2)}
    assert split_cores((0, 1, 2), siblings=pairs.__getitem__) == Cores(server=(1, 2), generator=(0,))


@given(st.sets(st.integers(0, 200), min_size=1, max_size=16), st.sampled_from([1, 2, 4]))
def test_every_usable_core_has_exactly_one_part_to_play(allowed, width):
    def siblings(core):
        return tuple(range(core // width * width, core // width * width + width))

    cores = split_cores(allowed, siblings=siblings)
    assert cores.server
    assert len(cores.generator) == 1
    assert {*cores.server, *cores.generator, *cores.idle} == allowed
    assert cores.shared is (len(allowed) == 1)
    assert not set(cores.idle) & {*cores.server, *cores.generator}
    assert not (cores.coupled and cores.idle)


def test_the_cores_of_this_process_are_the_ones_split(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {5, 2, 9})
    assert split_cores(siblings=alone) == Cores(server=(2, 5), generator=(9,))


def test_one_core_in_common_is_shared():
    assert Cores(server=(0, 1), generator=(1, 2)).shared


@pytest.mark.parametrize(
    ("server", "generator", "expected"),
    [
        (None, None, Cores(server=(0, 2), generator=(3,), idle=(1,))),
        ("0-1", None, Cores(server=(0, 1), generator=(3,), coupled=(1,))),
        ("0,2", None, Cores(server=(0, 2), generator=(3,), idle=(1,))),
        ("0-3", None, Cores(server=(0, 1, 2, 3), generator=(3,), coupled=(1,))),
        (None, "0", Cores(server=(1, 3), generator=(0,), idle=(2,))),
        ("1,3", "0", Cores(server=(1, 3), generator=(0,), idle=(2,))),
        ("0", "0", Cores(server=(0,), generator=(0,), idle=(2,))),
        (" 3 , 0-1,1", "2", Cores(server=(0, 1, 3), generator=(2,), coupled=(0,))),
    ],
)
def test_what_is_asked_for_is_kept_and_the_rest_is_chosen(server, generator, expected):
    assert asked_cores(server, generator, usable=range(4), siblings=threaded(4)) == expected


@pytest.mark.parametrize("text", ["", " ", ",", "0,", "1-0", "a", "-1", "0-", "0.5", "0x1", "٣", "9" * 5000])
@pytest.mark.parametrize("option", ["server", "generator"])
def test_what_is_no_list_of_cores_is_refused_with_the_option_and_what_is_allowed(option, text):
    asked = (text, None) if option == "server" else (None, text)
    with pytest.raises(RequestError, match=rf"--{option}-core.*allowed: cores 0-3"):
        asked_cores(*asked, usable=range(4), siblings=alone)


@pytest.mark.parametrize("text", ["4", "0-4", "999999", "0-999999", "2"])
def test_a_core_that_is_unknown_or_not_ours_is_refused(text):
    with pytest.raises(RequestError, match=r"--server-cores.*allowed: cores 0-1,3"):
        asked_cores(text, usable=(0, 1, 3), siblings=alone)


def test_the_generator_has_one_core():
    with pytest.raises(RequestError, match="--generator-core is '0-1', 2 cores"):
        asked_cores(None, "0-1", usable=range(4), siblings=alone)


@given(st.sets(st.integers(0, 300), min_size=1))
def test_a_list_is_read_as_it_was_written(cores):
    assert expand(listed(cores)) == tuple(sorted(cores))


@pytest.mark.parametrize(("text", "expected"), [("1,33\n", (1, 33)), ("2-3\n", (2, 3)), ("nonsense", (5,))])
def test_siblings_are_the_kernels(tmp_path, text, expected):
    folder = tmp_path / "cpu5" / "topology"
    folder.mkdir(parents=True)
    (folder / "thread_siblings_list").write_text(text)
    assert thread_siblings(5, tmp_path) == tuple(sorted({5, *expected}))


def test_without_a_topology_a_core_stands_alone(tmp_path):
    assert thread_siblings(3, tmp_path) == (3,)
