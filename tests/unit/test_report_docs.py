"""docs/run-json.md has a section per model of the record and a row per field."""

import importlib
import pkgutil
import re
from pathlib import Path

import pytest

import pipelines.record
from pipelines.record.base import Record

DOCUMENT = (Path(__file__).parents[2] / "docs" / "run-json.md").read_text(encoding="utf-8")
MODULES = [
    importlib.import_module(f"pipelines.record.{module.name}")
    for module in pkgutil.iter_modules(pipelines.record.__path__)
]
MODELS = [
    kind
    for module in MODULES
    for kind in vars(module).values()
    if isinstance(kind, type)
    and issubclass(kind, Record)
    and kind is not Record
    and kind.__module__ == module.__name__
]


def section(name: str) -> str:
    found = re.search(rf"^## {name}\n(.*?)(?=^## |\Z)", DOCUMENT, re.MULTILINE | re.DOTALL)
    assert found, f"docs/run-json.md has no section {name}"
    return found.group(1)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_fields_are_documented_in_order(model: type[Record]) -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \|.*\| (.+) \|$", section(model.__name__), re.MULTILINE)
    assert [name for name, _, _ in rows] == list(model.model_fields)
    assert all(kind.strip() and meaning.strip() for _, kind, meaning in rows)


def test_no_section_for_a_model_that_is_gone() -> None:
    documented = re.findall(r"^## (\w+Record)$", DOCUMENT, re.MULTILINE)
    assert sorted(documented) == sorted(model.__name__ for model in MODELS)
