"""Records of older schema versions: a recorded run is rebuilt, damage is a wrong request in one line."""

import json
import shutil
from pathlib import Path

import pytest

from pipelines.errors import RequestError
from pipelines.record.mobile import MobileRecord
from pipelines.record.reading import read_run
from pipelines.record.reason import ReasonRecord, reason
from pipelines.record.run import RunRecord
from pipelines.report.sentences import sentence
from pipelines.run.rebuild import rebuild

RECORDED = Path(__file__).parent / "recorded" / "version_1"
"""`tandem compare digits_cnn --profile smoke` on a machine that was busy: no round was valid."""

CLAIM = Path(__file__).parents[2] / "docs" / "claims" / "mobile-digits"


@pytest.fixture
def folder(tmp_path):
    return Path(shutil.copytree(RECORDED, tmp_path / "run"))


@pytest.fixture
def old():
    return json.loads((RECORDED / "run.json").read_text())


def rounds_of(record):
    return {one["index"]: one for target in record["targets"].values() for one in target["rounds"]}


def test_a_run_of_version_1_is_rebuilt_with_the_same_figures(folder, old):
    assert old["schema_version"] == 1
    rebuild(folder)
    new = json.loads((folder / "run.json").read_text())
    assert new["schema_version"] == 2
    before, after = rounds_of(old), rounds_of(new)
    assert list(before) == list(after)
    assert len(before) == 10
    for index, one in before.items():
        same = {name: after[index][name] for name in one if name not in ("invalid_reasons", "latency_ms")}
        assert same == {name: one[name] for name in same}
        before_ms, after_ms = one["latency_ms"], after[index]["latency_ms"]
        assert {name: after_ms[name] for name in before_ms if name != "reasons"} == {
            name: before_ms[name] for name in before_ms if name != "reasons"
        }
        assert {name: sentence(ReasonRecord(**why)) for name, why in after_ms["reasons"].items()} == (
            before_ms["reasons"]
        )
        texts = [why["figures"]["text"] for why in after[index]["invalid_reasons"]]
        assert texts == one["invalid_reasons"] != []
    assert {one["reason"]["code"] for one in new["comparisons"]} == {"too_few_pairs"}


def test_its_sentences_stand_in_the_report(folder, old):
    rebuild(folder)
    page = (folder / "report.md").read_text()
    for text in {why for one in rounds_of(old).values() for why in one["invalid_reasons"]}:
        assert text in page.replace("\\", "")
    # What the banner says of the fallback is not said again as a warning.
    assert page.count("was answered by tandem embedded server") == 1
    assert "mobile artifacts were not measured" in page


def test_a_rebuilt_run_can_be_rebuilt(folder):
    rebuild(folder)
    once = (folder / "run.json").read_text()
    rebuild(folder)
    assert (folder / "run.json").read_text() == once


def test_what_version_1_said_has_codes_where_it_is_known(folder):
    run = read_run(folder)
    assert [one.code for one in run.warnings] == ["stand_in", "text"]
    assert run.warnings[0].figures["target"] == "tfserving"
    assert {one.reason.code for one in run.comparisons} == {"too_few_pairs"}
    first = run.targets["torchserve"].rounds[0].invalid_reasons[0]
    assert (first.code, first.figures["check"]) == ("text", "quiet")


def test_a_search_of_version_1_keeps_what_it_said(folder, old):
    point = {
        "round_index": 0,
        "block": 0,
        "phase": "search",
        "rate_per_s": 100.0,
        "p99_ms": None,
        "errors_share": 0.0,
        "met": None,
        "reason": "it was loud",
    }
    block = {
        "block": 0,
        "outcome": "none",
        "rate_per_s": None,
        "breaks_at_per_s": None,
        "rounds_count": 1,
        "reason": "no rate",
    }
    target = dict.fromkeys(("rate_per_s", "interval", "cost_per_million", "cost_interval"))
    target |= {"block_rates_per_s": [None], "lower_bound": False, "reason": "block 0: no rate"}
    target |= {"points": [point, point | {"reason": None}], "blocks": [block]}
    old["kind"] = "slo"
    old["slo"] = {
        "p99_limit_ms": 20.0,
        "resolution": 0.05,
        "hourly_price": None,
        "targets": {"torchserve": target},
        "candidate": "torchserve",
        "baseline": None,
        "ratio": None,
        "interval": None,
        "reason": "one alone",
    }
    (folder / "run.json").write_text(json.dumps(old))
    slo = read_run(folder).slo
    found = slo.targets["torchserve"]
    assert slo.reason == reason("text", text="one alone")
    assert found.reason == reason("text", text="block 0: no rate")
    assert found.blocks[0].reason == reason("text", text="no rate")
    assert [one.reasons for one in found.points] == [(reason("text", text="it was loud"),), ()]


def test_sentences_of_version_2_where_codes_are_now_are_kept_as_text():
    """As docs/claims/mobile-digits has them: the reason of the gate, of an artifact, of a missing figure."""
    run = read_run(CLAIM)
    old = json.loads((CLAIM / "run.json").read_text())["mobile"]
    assert isinstance(old["gate"]["reason"], str)
    assert run.mobile.gate.reason == reason("text", text=old["gate"]["reason"])
    again = RunRecord.model_validate_json(run.model_dump_json())
    assert again == run
    old["artifacts"][0] |= {"failures": ["too slow"], "mismatch": "sample 3"}
    old["artifacts"][0]["timings"][0]["reasons"] = {"p95_ms": "9 calls"}
    mobile = MobileRecord.model_validate_json(json.dumps(old))
    artifact = mobile.artifacts[0]
    assert artifact.failures == (reason("text", text="too slow"),)
    assert artifact.mismatch == reason("text", text="sample 3")
    assert artifact.timings[0].reasons == {"p95_ms": reason("text", text="9 calls")}


@pytest.mark.parametrize(
    "changes",
    [
        {"targets": 7},
        {"targets": {"torchserve": None}},
        {"targets": {"torchserve": {"rounds": [3]}}},
        {"comparisons": [{"reason": {"a": 1}}]},
        {"comparisons": "none"},
        {"warnings": [{"text": "no message"}]},
        {"warnings": "many"},
        {"slo": {"targets": {"a": {"points": [1], "blocks": 2}}}},
        {"schema_version": 3},
        {"schema_version": None},
    ],
)
def test_damage_is_a_wrong_request_in_one_line(folder, old, changes):
    (folder / "run.json").write_text(json.dumps(old | changes))
    with pytest.raises(RequestError) as refused:
        rebuild(folder)
    assert "\n" not in str(refused.value)
