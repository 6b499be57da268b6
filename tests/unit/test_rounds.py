from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from loadtests.rounds import PlannedRound, block_rounds, rotated

names = st.lists(st.sampled_from("abcdef"), min_size=1, max_size=5, unique=True)


def order(block, repetitions, targets="AB"):
    return "".join(r.target for r in block_rounds(block, list(targets), ["closed:1"], repetitions))


def test_two_targets_alternate_who_goes_first_within_a_block():
    assert order(0, 4) == "ABBAABBA"


def test_the_next_block_starts_with_the_other_one():
    assert order(1, 2) == "BAAB"
    assert order(2, 2) == "ABBA"


def test_three_targets_rotate():
    assert order(0, 3, "ABC") == "ABCBCACAB"


def test_rounds_know_their_place():
    rounds = list(block_rounds(3, ["a", "b"], ["closed:1", "closed:8"], 1))
    assert rounds == [
        PlannedRound(3, "closed:1", 0, "b"),
        PlannedRound(3, "closed:1", 0, "a"),
        PlannedRound(3, "closed:8", 0, "b"),
        PlannedRound(3, "closed:8", 0, "a"),
    ]


@given(names, st.integers(0, 20))
def test_rotation_keeps_all_targets_and_their_cyclic_order(targets, turn):
    found = rotated(targets, turn)
    assert sorted(found) == sorted(targets)
    assert found[0] == targets[turn % len(targets)]
    doubled = "".join(targets) * 2
    assert "".join(found) in doubled


@given(names, st.integers(0, 5), st.integers(1, 6), st.integers(1, 3))
def test_every_target_is_measured_equally_often_and_pairs_are_neighbours(
    targets, block, repetitions, loads_count
):
    loads = [f"closed:{n + 1}" for n in range(loads_count)]
    rounds = list(block_rounds(block, targets, loads, repetitions))
    counts = Counter((r.load, r.repetition, r.target) for r in rounds)
    assert set(counts.values()) == {1}
    assert len(rounds) == len(targets) * repetitions * loads_count
    for start in range(0, len(rounds), len(targets)):
        pair = rounds[start : start + len(targets)]
        assert len({(r.block, r.load, r.repetition) for r in pair}) == 1


@given(names, st.integers(0, 5))
def test_over_as_many_repetitions_as_targets_each_goes_first_once(targets, block):
    rounds = list(block_rounds(block, targets, ["closed:1"], len(targets)))
    assert sorted(r.target for r in rounds[:: len(targets)]) == sorted(targets)
