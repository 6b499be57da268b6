"""Who takes part in which block: every side gets a control, in every block or in turn."""

import pytest

from pipelines.config import PROFILES
from pipelines.measure.blocks import planned_rounds
from pipelines.measure.sides import Side, controls, unique_names


def side(name):
    return Side(name, name, "compared", None, prepare=None, pool=None, prove=None)


def profile(how, blocks):
    return PROFILES["full"].model_copy(update={"control_blocks": how, "blocks": blocks})


def blocks_of(names, how, blocks):
    made = controls([side(name) for name in names], profile(how, blocks))
    assert [(one.name, one.control_of, one.role) for one in made] == [
        (f"{name}-control", name, "control") for name in names
    ]
    return ["".join(str(block) for block in range(blocks) if one.takes_part(block)) for one in made]


@pytest.mark.parametrize(
    ("names", "how", "blocks", "expected"),
    [
        ("AB", "all", 4, ["0123", "0123"]),
        ("AB", "in turn", 2, ["0", "1"]),
        ("AB", "in turn", 1, ["0", "0"]),
        ("AB", "in turn", 3, ["02", "1"]),
        ("ABC", "in turn", 2, ["0", "1", "0"]),
        ("A", "in turn", 2, ["01"]),
    ],
)
def test_every_side_has_a_control_in_some_block(names, how, blocks, expected):
    assert blocks_of(names, how, blocks) == expected


def test_quick_has_three_servers_in_every_block_and_full_has_all_controls():
    sides = [side("A"), side("B")]
    quick = PROFILES["quick"]
    taking_part = [*sides, *controls(sides, quick)]
    for block in range(quick.blocks):
        assert sum(one.takes_part(block) for one in taking_part) == 3
    full = PROFILES["full"]
    assert all(one.takes_part(block) for one in controls(sides, full) for block in range(full.blocks))
    assert controls(sides, PROFILES["smoke"]) == []


def test_a_target_compared_with_itself_has_a_control_under_each_name():
    names = unique_names(("tfserving", "tfserving"))
    made = controls([side(name) for name in names], PROFILES["full"])
    assert [one.control_of for one in made] == ["tfserving", "tfserving-2"]


def test_planned_rounds_count_only_who_takes_part():
    sides = [side("A"), side("B")]
    quick = PROFILES["quick"]
    settings = type("Settings", (), {"profile": quick})()
    planned = planned_rounds(settings, [*sides, *controls(sides, quick)])
    assert planned == quick.blocks * quick.rounds * len(quick.loads) * 3


def test_the_first_block_of_a_control_is_its_own():
    made = controls([side("A"), side("B")], PROFILES["quick"])
    assert [one.first_block for one in made] == [0, 1]
    assert side("A").first_block == 0
