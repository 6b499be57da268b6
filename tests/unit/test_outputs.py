"""`--output`: every format is what its consumers read, and its figures are run.json's."""

import json
import math
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
import xmlschema
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from report_fixture import make_run
from report_mobile_fixture import make_mobile_run
from report_parts import parity
from report_slo_fixture import make_slo_run

from models.spec import Tolerance
from pipelines.errors import RequestError
from pipelines.judge.tradeoffs import judge_trade_offs
from pipelines.outputs.asked import FORMATS, asked_outputs, write_outputs
from pipelines.outputs.bencher import slug
from pipelines.outputs.facts import Check, Facts, Figure
from pipelines.outputs.markdown import SHOW
from pipelines.outputs.of_run import facts_of_run
from pipelines.outputs.of_verify import facts_of_verified
from pipelines.parity.quality import Expectation, Expectations
from pipelines.record.conditioning import ConditioningRecord
from pipelines.report import pick
from pipelines.verify.stage import Verified

JUNIT = xmlschema.XMLSchema(Path(__file__).resolve().parents[1] / "conformance" / "formats" / "junit-10.xsd")

RUNS = {"compare": make_run, "slo": make_slo_run, "mobile": make_mobile_run}


@pytest.fixture(params=RUNS)
def run(request):
    return RUNS[request.param]()


@pytest.fixture
def facts(run):
    return facts_of_run(run)


def numbers_in(value) -> set[float]:
    """Every number of a JSON value."""
    if isinstance(value, dict):
        return set().union(*map(numbers_in, value.values()))
    if isinstance(value, list):
        return set().union(*map(numbers_in, value))
    return {value} if isinstance(value, int | float) and not isinstance(value, bool) else set()


def benchmarks(facts) -> list[float]:
    entries = [
        *json.loads(FORMATS["benchmark-smaller"](facts)),
        *json.loads(FORMATS["benchmark-bigger"](facts)),
    ]
    ends = [float(end) for one in entries if "range" in one for end in one["range"].split(" to ")]
    return [one["value"] for one in entries] + ends


def bencher(facts) -> list[float]:
    found = json.loads(FORMATS["bencher"](facts))
    return [v for measures in found.values() for metric in measures.values() for v in metric.values()]


def openmetrics(facts) -> list[float]:
    families = text_string_to_metric_families(FORMATS["openmetrics"](facts))
    return [one.value for family in families for one in family.samples if family.name != "tandem_passed"]


@pytest.mark.parametrize("read", [benchmarks, bencher, openmetrics])
def test_every_figure_is_one_of_run_json_and_none_is_lost(run, facts, read):
    recorded = numbers_in(json.loads(run.model_dump_json()))
    found = read(facts)
    wanted = [n for f in facts.figures for n in (f.value, *(f.ends or ()))]
    assert len(wanted) > 5
    assert sorted(found) == sorted(wanted)
    assert set(found) <= recorded


def test_the_summary_shows_the_same_figures_in_its_digits(facts):
    text = FORMATS["markdown"](facts)
    for figure in facts.figures[:12]:
        assert f"| {SHOW[figure.unit](figure.value)} |" in text
    assert len(text) < 5_000


def test_junit_follows_the_schema_and_counts_what_it_holds(facts):
    text = FORMATS["junit"](facts)
    JUNIT.validate(text)
    suite = ET.fromstring(text)[0]  # noqa: S314 - our own
    assert int(suite.get("tests")) == len(suite) == len(facts.checks)
    assert int(suite.get("failures")) == len(suite.findall(".//failure"))
    assert int(suite.get("skipped")) == len(suite.findall(".//skipped"))
    names = [(case.get("classname"), case.get("name")) for case in suite]
    assert len(set(names)) == len(names)


def test_bencher_has_slugs_and_ends_around_the_value(facts):
    for measures in json.loads(FORMATS["bencher"](facts)).values():
        for name, metric in measures.items():
            assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name)
            assert (
                metric.get("lower_value", -math.inf) <= metric["value"] <= metric.get("upper_value", math.inf)
            )


def test_benchmark_names_are_unique_and_each_figure_is_in_the_file_of_its_direction(facts):
    smaller, bigger = (json.loads(FORMATS[f"benchmark-{way}"](facts)) for way in ("smaller", "bigger"))
    names = [one["name"] for one in (*smaller, *bigger)]
    assert len(set(names)) == len(names)
    assert all(set(one) <= {"name", "unit", "value", "range", "extra"} for one in (*smaller, *bigger))
    assert not any("throughput" in one["name"] or "accuracy" in one["name"] for one in smaller)


def hostile() -> Facts:
    name = 'a"b\\c\nd|e<f>\x1b'
    figure = Figure({"model": name, "load": "closed:1"}, "p99", "ms", 1.5, True, 1.25, 1.75)
    check = Check(name, "x", "y", "failed", "<b>|`\x00")
    return Facts("compare", name, name, "2026-01-01T00:00:00Z", False, (check,), (figure,), (name,))


def with_costs(run):
    """The run, its sides steady after 3 and 5 s, and 4 and 4 s."""
    steady = {"torchserve": (3.0, 5.0), "tfserving": (4.0, 4.0)}
    targets = {
        name: target.model_copy(
            update={"conditionings": tuple(map(conditioning, range(2), steady.get(name, ())))}
        )
        for name, target in run.targets.items()
    }
    trade_offs = judge_trade_offs(targets, margin=0.05, seed=1)
    return run.model_copy(update={"targets": targets, "trade_offs": trade_offs})


def conditioning(block: int, until_steady_s: float) -> ConditioningRecord:
    return ConditioningRecord(
        block=block,
        load="closed:8",
        samples_files=(),
        state="steady",
        until_steady_s=until_steady_s,
        until_steady_requests_count=1,
        duration_s=until_steady_s,
        requests_count=1,
        errors_count=0,
        seconds=(),
    )


def test_what_a_side_costs_has_the_range_of_its_servers_and_the_interval_of_its_ratio():
    run = with_costs(make_run())
    facts = facts_of_run(run)
    found = json.loads(FORMATS["bencher"](facts))
    side = run.targets["torchserve"]
    starts = [start.first_right_answer_s for start in side.cold_starts]
    own = found["digits_cnn/torchserve"]
    assert own["cold-start-slowest-s"] == {
        "value": max(starts),
        "lower_value": min(starts),
        "upper_value": max(starts),
    }
    assert own["time-until-steady-s"] == {"value": 4.0, "lower_value": 3.0, "upper_value": 5.0}
    assert found["digits_cnn/tfserving"]["time-until-steady-s"] == {"value": 4.0}
    (least, most) = pick.summary_of(side, "closed:8").round_range["throughput_per_s"]
    throughput = found["digits_cnn/torchserve/closed:8"]["throughput-per-s"]
    assert (throughput["lower_value"], throughput["upper_value"]) == (least, most)
    recorded = {one.measure: one for one in run.trade_offs}
    ratios = found["digits_cnn/torchserve/tfserving"]
    for measure, name in (("peak_memory_bytes", "peak-memory"), ("until_steady_s", "time-until-steady")):
        low, high = recorded[measure].interval
        assert ratios[f"{name}-ratio-ratio"] == {
            "value": recorded[measure].ratio,
            "lower_value": low,
            "upper_value": high,
        }
    shown = {one["name"]: one for one in json.loads(FORMATS["benchmark-bigger"](facts))}
    assert "rounds" in shown["digits_cnn/torchserve/closed:8 throughput"]["extra"], "which is no interval"


def limited(limit_ms: float, rows: int):
    run = make_slo_run()
    slo = run.slo.model_copy(update={"p99_limit_ms": limit_ms})
    return run.model_copy(update={"slo": slo, "payload": run.payload.model_copy(update={"rows": rows})})


def test_rates_within_unlike_limits_or_of_unlike_requests_have_unlike_names():
    names = [
        {one["name"] for one in json.loads(FORMATS["benchmark-bigger"](facts_of_run(limited(*asked))))}
        for asked in ((20, 1), (50, 1), (20, 8))
    ]
    rates = [{name for name in own if "rate" in name} for own in names]
    assert all(rates)
    assert not (rates[0] & rates[1] or rates[0] & rates[2] or rates[1] & rates[2])


@pytest.mark.parametrize("name", FORMATS)
def test_names_from_elsewhere_break_no_format(name):
    text = FORMATS[name](hostile())
    assert "\x1b" not in text
    if name == "junit":
        JUNIT.validate(text)
    elif name == "openmetrics":
        assert len(list(text_string_to_metric_families(text))) == 4
    elif name == "markdown":
        assert "<b>" not in text
    else:
        json.loads(text)


def test_a_failed_check_fails_the_run():
    facts = facts_of_run(make_run(status="failed", status_reason="the server died"))
    assert facts.passed is False
    assert "<failure" in FORMATS["junit"](facts)
    assert "**Failed**" in FORMATS["markdown"](facts)
    assert FORMATS["openmetrics"](facts).rstrip().endswith("0\n# EOF")


def with_parity(run, **of_sides):
    """The run, each of these sides with one artifact of this accuracy, all of one name."""
    targets = {
        name: target.model_copy(update={"parity": (parity("torchserve/m.pt", accuracy=of_sides[name]),)})
        for name, target in run.targets.items()
        if name in of_sides
    }
    return run.model_copy(update={"targets": targets})


@pytest.mark.parametrize(("other", "cases"), [(0.98, 1), (0.91, 2)])
def test_checks_of_one_artifact_are_one_and_those_of_unlike_builds_name_their_side(other, cases):
    checks = facts_of_run(with_parity(make_run(), torchserve=0.98, tfserving=other)).checks
    names = [(check.subject, check.name) for check in checks]
    assert len(set(names)) == len(names)
    assert sum(name == "parity" for _, name in names) == cases


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["junti=x.xml"], "did you mean junit"),
        (["junit"], "such as junit=result.txt"),
        (["junit="], "say the file too"),
        (["junit=a", "markdown=a"], "twice"),
        (["junit=/tmp"], "is a folder"),
    ],
)
def test_what_cannot_be_written_is_said_before_any_work(given, said):
    with pytest.raises(RequestError, match=said):
        asked_outputs(given)


def test_several_outputs_at_once(tmp_path, facts):
    asked = asked_outputs([f"{name}={tmp_path}/below/{name}" for name in FORMATS])
    write_outputs(asked, facts)
    assert {path.name for path in (tmp_path / "below").iterdir()} == set(FORMATS)


def test_slugs():
    assert slug("Rate at the limit, at least-per_s") == "rate-at-the-limit-at-least-per-s"


def verified(**changes) -> Verified:
    """Two artifacts, one of which is not the source model, one that does not run, one target without any."""
    good, bad = parity("tflite/a.tflite"), parity("tflite/b.tflite", passed=False, accuracy=0.5)
    fields = {
        "records": {"tflite": (good, bad)},
        "expected": Expectations({"y": Expectation(np.zeros((2, 1)), None, Tolerance(0, 0), "none")}),
        "accuracy": 0.98,
        "failures": ("b is another model", "it does not load"),
        "errors": {"onnx/m.onnx": "it does not load"},
        "mismatches": {"tflite/b.tflite": "b is another model"},
        "absent": {"executorch": "nobody exported it"},
    }
    return Verified(**(fields | changes))


def test_a_verification_has_a_check_per_artifact_and_its_figures():
    found = facts_of_verified("digits_cnn", verified(), "2026-01-01T00:00:00Z")
    assert [(check.subject, check.state) for check in found.checks] == [
        ("tflite/a.tflite", "passed"),
        ("tflite/b.tflite", "failed"),
        ("onnx/m.onnx", "failed"),
        ("executorch", "skipped"),
    ]
    text = FORMATS["junit"](found)
    JUNIT.validate(text)
    assert "b is another model" in text
    assert found.headline == "2 of 3 artifacts are not the source model"
    recorded = [n for one in verified().records["tflite"] for n in (one.max_abs_error, one.accuracy)]
    assert (
        sorted(openmetrics(found)) == sorted(benchmarks(found)) == sorted(bencher(found)) == sorted(recorded)
    )
    whole = verified(
        failures=(), errors={}, mismatches={}, absent={}, records={"tflite": (parity("tflite/a"),)}
    )
    assert facts_of_verified("x", whole, "2026-01-01T00:00:00Z").passed
