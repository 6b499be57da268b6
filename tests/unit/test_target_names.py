"""Outside its folder and the registry nothing knows a target by its name, but for the places listed here."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.targets.registry import BUILT_IN

ROOT = Path(__file__).parents[2]
PACKAGES = ("models", "loadtests", "pipelines")
REGISTRY = "pipelines/targets/registry.py"
OWN = tuple(f"pipelines/targets/{name.replace('-', '_')}/" for name in BUILT_IN)

ALLOWED = {
    "the language, its interpreter, or the stage of images that has it": {
        "models/digits_cnn/train.py": {"python"},
        "models/mobilenet_v2/train.py": {"python"},
        "models/text_gru/data.py": {"python"},
        "models/training.py": {"python"},
        "pipelines/environments/known.py": {"python"},
        "pipelines/environments/creation.py": {"python"},
        "pipelines/measure/environment.py": {"python"},
        "pipelines/package/recipes.py": {"python"},
    },
    "a kind of imported file, or a distribution, which goes by the same name": {
        "models/given.py": {"tflite", "onnx"},
        "models/recognised.py": {"tflite", "onnx"},
        "pipelines/cli/importing.py": {"tflite", "onnx"},
        "pipelines/importing/file_facts.py": {"tflite", "onnx"},
        "pipelines/importing/stage.py": {"tflite", "onnx", "torchserve", "tfserving"},
        "pipelines/roads/known.py": {"onnx"},
        "pipelines/roads/choice.py": {"onnx"},
    },
    "an API of running endpoints, called after the server that had it first": {
        "loadtests/locustfile.py": {"tfserving", "torchserve"},
        "pipelines/targets/address.py": {"tfserving", "torchserve"},
        "pipelines/targets/apis.py": {"tfserving", "torchserve"},
    },
    "an environment of Python, which any target may name": {
        "pipelines/environments/known.py": {"mlserver", "triton"},
    },
    "a claim of other people's about these very products": {
        "pipelines/claims/findings.py": {"tflite", "executorch", "torchserve", "tfserving"},
        "pipelines/claims/known.py": {"onnx", "python", "torchserve", "tfserving"},
    },
    "what an option takes where nothing is said": {
        "pipelines/cli/gating.py": {"tfserving"},
        "pipelines/cli/measure.py": {"torchserve", "tfserving"},
        "pipelines/cli/options.py": {"torchserve", "tfserving"},
    },
    "colours that stayed the same since there were these alone; any other target gets one of the rest": {
        "pipelines/report/figures/draw.py": {"torchserve", "tfserving", "tflite", "executorch", "onnx"},
    },
}
"""By reason the files that may name targets, and which."""


def named(text: str) -> set[str]:
    """The targets that a string names, where it is made of nothing else: `torchserve`, `tflite,onnx`."""
    words = text.split(",")
    return set(words) if BUILT_IN.keys() >= set(words) else set()


def names_in(source: str) -> Iterator[tuple[int, str]]:
    """Every string of a module that names targets and nothing else, with its line."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from ((node.lineno, name) for name in sorted(named(node.value)))


def modules() -> Iterator[tuple[str, Path]]:
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            name = path.relative_to(ROOT).as_posix()
            if name != REGISTRY and not name.startswith(OWN):
                yield name, path


@pytest.fixture(scope="module")
def found() -> dict[str, list[tuple[int, str]]]:
    names = {name: list(names_in(path.read_text())) for name, path in modules()}
    return {name: places for name, places in names.items() if places}


def allowed(file: str) -> set[str]:
    return {name for files in ALLOWED.values() for name in files.get(file, ())}


@pytest.mark.slow
def test_no_other_module_knows_a_target_by_its_name(found):
    new = [
        f"{file}:{line} names {name}"
        for file, places in found.items()
        for line, name in places
        if name not in allowed(file)
    ]
    assert new == [], "let the target declare it: a field of Target, or a module of its folder"


def test_every_place_that_is_allowed_is_still_needed(found):
    files = {file for by_file in ALLOWED.values() for file in by_file}
    unused = {file: allowed(file) - {name for _, name in found.get(file, ())} for file in files}
    assert {file: names for file, names in unused.items() if names} == {}


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ('if target == "tfserving": pass', ["tfserving"]),
        ('target.startswith("torchserve")', ["torchserve"]),
        ('DEFAULT = {"triton": 1, "other": "tflite,onnx"}', ["onnx", "tflite", "triton"]),
        ('"""torchserve is one."""', []),
        ('HELP = "such as torchserve:tuned"', []),
    ],
)
def test_a_name_is_found_wherever_code_goes_by_it(source, names):
    assert sorted(name for _, name in names_in(source)) == names
