"""The examples of docs/your-own-model.md are complete: each trains, and every claim of its spec holds."""

import re
import runpy
from pathlib import Path

import pytest
import torch

from models.spec import ModelSpec
from pipelines.check import stage

PAGE = (Path(__file__).parents[2] / "docs" / "your-own-model.md").read_text()
EXAMPLES = dict(re.findall(r"```python\n# (\w+\.py)\n(.*?)```", PAGE, re.DOTALL))


def test_there_are_six():
    assert len(EXAMPLES) == 6


@pytest.fixture(autouse=True)
def one_thread():
    """Layers this small are slower on several."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.slow
@pytest.mark.parametrize("name", EXAMPLES)
def test_every_claim_of_an_example_holds(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path(name).write_text(EXAMPLES[name])
    torch.manual_seed(0)
    runpy.run_path(name, run_name="__main__")
    claims = stage.check_here(lambda _: None, name)
    assert [claim for claim in claims if claim.state not in ("ok", "note")] == []
    notes = {claim.what for claim in claims if claim.state == "note"}
    assert notes <= {"calibration samples"}


def test_the_page_names_every_field():
    for field in ModelSpec.__dataclass_fields__:
        if field not in ("sources", "origin", "whole", "given"):
            assert f"| `{field}` |" in PAGE, field
