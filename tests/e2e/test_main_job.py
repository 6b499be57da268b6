"""The main job, from artifacts to report, with what an independent reader finds in its record."""

import json
import re
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from main_job import processes_of, tandem

from pipelines.config.settings import BUDGET

pytestmark = pytest.mark.slow

PERCENTILES = {"p50": 50, "p90": 90, "p95": 95, "p99": 99}


@pytest.fixture(scope="module")
def run(compared: Path) -> dict:
    return json.loads((compared / "run.json").read_text())


def test_what_compilers_used_is_of_every_round_and_of_java_alone(run):
    """TorchServe of the profile smoke is cold: its compilers work all the time."""
    used = {name: [one["compilers_cpu_s"] for one in side["rounds"]] for name, side in run["targets"].items()}
    assert all(seconds > 0 for seconds in used["torchserve"])
    assert set(used["tfserving"]) == {0.0}


def test_a_second_export_does_nothing_and_says_so(exported):
    before = {p: p.stat().st_mtime_ns for p in (exported / "artifacts").rglob("*") if p.is_file()}
    done = tandem("export", "digits_cnn", cwd=exported)
    assert done.returncode == 0
    assert "nothing was done" in done.stdout
    after = {p: p.stat().st_mtime_ns for p in (exported / "artifacts").rglob("*") if p.is_file()}
    assert {p: t for p, t in before.items() if p.name != ".lock"} == {
        p: t for p, t in after.items() if p.name != ".lock"
    }


def test_verify_sees_every_artifact_and_the_whole_held_out_set(verified):
    facts = json.loads(verified.stdout)
    assert facts["passed"]
    assert facts["source_accuracy"] >= 0.98
    judged = {p["subject"]: p for p in facts["parity"]}
    exact = {
        "torchserve/digits_cnn.pt",
        "torchserve/digits_cnn.mar",
        "tfserving/digits_cnn/1",
        "tflite/digits_cnn_float32.tflite",
        "executorch/digits_cnn_float32_xnnpack.pte",
        "onnx/digits_cnn_float32.onnx",
    }
    reduced = {
        *(f"tflite/digits_cnn_{precision}.tflite" for precision in ("float16", "dynamic-int8", "int8")),
        "executorch/digits_cnn_int8_xnnpack.pte",
    }
    assert exact | reduced <= judged.keys()
    for record in facts["parity"]:
        assert record["samples_count"] == 450
    for subject in exact:
        assert judged[subject]["top1_agreement"] == 1.0
        assert 0 < judged[subject]["max_abs_error"] < 1e-4
    for subject in reduced:
        assert judged[subject]["max_accuracy_drop"] == 0.01
        assert judged[subject]["accuracy"] >= facts["source_accuracy"] - 0.01


def test_the_record_says_who_answered_and_with_what(run):
    assert run["schema_version"] == 2
    assert run["status"] == "complete"
    assert run["targets"]["torchserve"]["implementation"]["name"] == "torchserve"
    for name in ("torchserve", "tfserving"):
        target = run["targets"][name]
        assert all(re.fullmatch(r"[0-9a-f]{64}", a["sha256"]) for a in target["artifacts"])
        assert all(p["passed"] for p in target["parity"])
        assert target["endpoint_parity"]["passed"]
        assert target["endpoint_parity"]["samples_count"] == 450
        assert target["memory"]["peak_bytes"] > 100_000_000
        assert target["cold_starts"][0]["first_right_answer_s"] >= target["cold_starts"][0]["ready_s"] > 0.5


def test_every_budget_that_is_compared_can_be_allowed_to_differ_by_its_name(run):
    assert run["fairness"]["checked"].keys() - {"implementation"} == set(BUDGET)


def test_a_stand_in_is_never_called_the_product(run, compared):
    implementation = run["targets"]["tfserving"]["implementation"]
    if not implementation["stand_in"]:
        pytest.skip("tensorflow_model_server is on PATH: the product itself answered")
    assert implementation["name"] == "tandem embedded server"
    for page in ("report.html", "report.md"):
        text = (compared / page).read_text()
        assert "tandem embedded server" in text
        assert not re.search(r"TensorFlow Serving (0|1|2)\.", text)


def test_every_figure_follows_from_the_raw_files(run, compared):
    rounds = [r for target in run["targets"].values() for r in target["rounds"]]
    # An invalid round is measured again: more records, the same places.
    places = {(r["block"], r["load"], r["repetition"], r["target"]) for r in rounds}
    assert len(places) == 8
    for record in rounds:
        table = pq.read_table(compared / record["samples_file"]).to_pydict()
        good = [
            (done - sent) / 1e6
            for sent, done, status, correct in zip(
                table["sent_ns"], table["done_ns"], table["status"], table["correct"], strict=True
            )
            if status == 200 and correct is not False
        ]
        assert len(table["sent_ns"]) == record["requests_count"]
        assert len(good) == record["requests_count"] - record["errors_count"]
        for name, q in PERCENTILES.items():
            found = record["latency_ms"][name]
            if found is None:  # a machine this busy answered too few requests for it
                assert record["latency_ms"]["reasons"][name]["figures"]["succeeded_count"] == len(good)
            else:
                assert found == pytest.approx(np.percentile(good, q), rel=1e-12)
        assert record["throughput_per_s"] == pytest.approx(len(good) / record["window_s"], rel=1e-12)


def test_answers_were_checked_and_right(run):
    for target in ("torchserve", "tfserving"):
        for record in run["targets"][target]["rounds"]:
            assert record["checked_count"] >= 0.01 * record["requests_count"]
            assert record["wrong_count"] == record["errors_count"] == 0


def test_smoke_gives_ratios_and_no_verdict(run, compared):
    assert run["profile"]["verdicts"] is False
    assert len(run["comparisons"]) == 8
    for one in run["comparisons"]:
        assert one["verdict"] is None
        # A machine this busy may leave too few pairs of rounds, which is a reason of its own.
        assert one["reason"]["code"] == ("profile" if one["pairs_count"] >= 2 else "too_few_pairs")
    claims = (compared / "report.md").read_text().partition("## The answer")[2]
    assert "o verdict" in claims
    assert not re.search(r"\*\*(better|worse|equivalent|inconclusive)\*\*", claims)


def test_rounds_alternate_and_the_start_rotates(run):
    rounds = sorted(
        (r for t in run["targets"].values() for r in t["rounds"]), key=lambda record: record["index"]
    )
    order = [r["target"] for r in rounds if r["load"] == "closed:1" and r["attempt"] == 0]
    assert order == ["torchserve", "tfserving", "tfserving", "torchserve"]


def test_generator_and_server_have_cores_of_their_own(run):
    environment = run["environment"]
    if environment["cores_count"] < 2:
        pytest.skip("this machine has one core")
    assert not set(environment["server_cores"]) & set(environment["generator_cores"])
    for target in ("torchserve", "tfserving"):
        for record in run["targets"][target]["rounds"]:
            assert record["generator"]["cores"] == environment["generator_cores"]


def test_the_report_is_rebuilt_identically(compared):
    names = ("run.json", "report.md", "report.html")
    before = {name: (compared / name).read_bytes() for name in names}
    done = tandem("report", str(compared), cwd=compared)
    assert done.returncode == 0, done.stderr
    assert {name: (compared / name).read_bytes() for name in names} == before


def test_the_report_stands_alone(compared):
    page = (compared / "report.html").read_text()
    assert not re.search(r"""(src|href)=["']?https?:""", page)
    assert "<svg" in page


def test_nothing_is_left_running(exported, compared):
    assert processes_of(exported) == []
