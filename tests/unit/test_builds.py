"""Sides that are builds: what `--sides base=DIR,new=DIR` means, and what is refused."""

import pytest

from pipelines.builds import read_builds
from pipelines.config.asked import run_settings
from pipelines.errors import RequestError


@pytest.fixture
def build(tmp_path):
    def make(name: str, *targets: str) -> str:
        folder = tmp_path / name
        folder.mkdir()
        for target in targets:
            (folder / "digits_cnn" / target).mkdir(parents=True)
            (folder / "digits_cnn" / target / "manifest.json").write_text("{}")
        return str(folder)

    return make


def names(*sides: str) -> list[tuple[str, str, str]]:
    return [(one.name, one.target, one.folder.name) for one in read_builds(sides, "digits_cnn")]


def test_the_base_comes_last_since_the_first_side_is_the_candidate(build):
    a, b = build("a", "torchserve"), build("b", "torchserve", "tflite")
    assert names(f"base={a}", f"new={b}") == [("new", "torchserve", "b"), ("base", "torchserve", "a")]


def test_a_folder_with_several_targets_gives_a_side_for_each_unless_one_is_named(build):
    a, b = (build(name, "torchserve", "tfserving") for name in "ab")
    assert names(f"base={a}", f"new={b}") == [
        ("new-torchserve", "torchserve", "b"),
        ("new-tfserving", "tfserving", "b"),
        ("base-torchserve", "torchserve", "a"),
        ("base-tfserving", "tfserving", "a"),
    ]
    assert names(f"base=tfserving@{a}", f"new=tfserving@{b}") == [
        ("new", "tfserving", "b"),
        ("base", "tfserving", "a"),
    ]


def test_settings_hold_targets_names_and_folders(build):
    a, b = build("a", "tfserving"), build("b", "tfserving")
    settings = run_settings(profile="quick", sides=f"base={a}, new={b}", model="digits_cnn", runner="auto")
    assert [(side.name, side.target) for side in settings.sides] == [
        ("new", "tfserving"),
        ("base", "tfserving"),
    ]
    assert {name: folder.name for name, folder in settings.folders.items()} == {"new": "b", "base": "a"}
    assert settings.runner == "local"
    assert {side.preset.name for side in settings.sides} == {"default"}


@pytest.mark.parametrize(
    ("sides", "said"),
    [
        (("base={a}", "torchserve"), "give every side as NAME=DIR"),
        (("base={a}", "base={a}"), "names 'base' twice"),
        (("torchserve={a}", "new={a}"), "cannot name a side"),
        (("a-control={a}", "new={a}"), "cannot name a side"),
        (("../x={a}", "new={a}"), "cannot name a side"),
        (("=x", "new={a}"), "cannot name a side"),
        (("base=", "new={a}"), "no server's artifacts for digits_cnn"),
        (("base=nowhere", "new={a}"), "tandem export digits_cnn --artifacts nowhere"),
        (("base=tfserving@{a}", "new={a}"), "no artifacts of tfserving"),
        (("base={empty}", "new={a}"), "no server's artifacts"),
    ],
)
def test_what_is_no_build_is_refused_in_one_line(build, sides, said):
    places = {"a": build("a", "torchserve"), "empty": build("empty", "tflite")}
    with pytest.raises(RequestError, match=said):
        read_builds([side.format(**places) for side in sides], "digits_cnn")


def test_images_hold_their_own_artifacts(build):
    with pytest.raises(RequestError, match="--runner docker serves images"):
        run_settings(profile="quick", sides=f"base={build('a')}", model="digits_cnn", runner="docker")
