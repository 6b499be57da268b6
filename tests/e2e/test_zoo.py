"""Attention by a road without a twin, texts of any length: exported, proven, served, loaded, reported."""

import json

import pytest
from main_job import HASTY, processes_of, tandem

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

SHORT = ("--profile", "smoke", "--no-mobile", "--loads", "closed:2", "--rounds", "1", "--round-s", "1")


@pytest.mark.parametrize(
    ("model", "sides"), [("digits_vit", "tfserving"), ("text_gru", "torchserve,tfserving")]
)
def test_a_model_of_the_zoo_is_compared_and_right(tmp_path, model, sides):
    done = tandem("compare", model, *SHORT, "--sides", sides, cwd=tmp_path, program=HASTY)
    assert done.returncode == 0, done.stderr
    run = json.loads((tmp_path / "runs/latest/run.json").read_text())
    assert set(run["targets"]) == set(sides.split(","))
    for target in run["targets"].values():
        assert all(record["passed"] for record in target["parity"])
        assert target["endpoint_parity"]["passed"]
        assert all(one["errors_count"] == 0 for one in target["rounds"])
        assert all(one["wrong_count"] == 0 for one in target["rounds"])
    assert processes_of(tmp_path) == []
