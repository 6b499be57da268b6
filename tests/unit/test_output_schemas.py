"""Every file of `--output`, of every command that makes one, follows its format's published schema.

The schemas, and what each is of, are in tests/conformance/formats.
"""

import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
import xmlschema
from jsonschema import Draft202012Validator
from kinds_fixture import every_facts
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from test_outputs import hostile

from pipelines.outputs.asked import FORMATS
from pipelines.outputs.facts import Facts
from pipelines.smoke import outputs
from pipelines.smoke.checklist import Outcome

FOLDER = Path(__file__).resolve().parents[1] / "conformance" / "formats"
JUNIT = xmlschema.XMLSchema(FOLDER / "junit-10.xsd")
NAMES = (
    *("compare", "slo", "mobile", "train", "tune", "verify", "gate", "gate that passes", "gate --self-test"),
    *("broken", "never begun", "hostile"),
)
WITHOUT_FIGURES = ("gate --self-test", "never begun")
OUTCOMES = (
    Outcome("setup.place", "there is room", "passed", "12 GB", 0.25),
    Outcome("tfserving.answer", "it answers <right>", "failed", "503 & nothing\x1b[31m", 1234.5678),
    Outcome("stack.limits", "all are alike", "skipped", "needs tfserving.answer", 0.0),
)


@pytest.fixture(scope="module")
def every(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Facts]:
    return every_facts(tmp_path_factory.mktemp("facts")) | {"hostile": hostile()}


@pytest.fixture(params=NAMES)
def facts(request: pytest.FixtureRequest, every: dict[str, Facts]) -> Facts:
    return every[request.param]


def complaints(schema: str, text: str) -> list[str]:
    """What a JSON schema has against a text; numbers that JSON does not have are refused as well."""
    value = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    validator = Draft202012Validator(json.loads((FOLDER / f"{schema}.json").read_text()))
    return [error.message for error in validator.iter_errors(value)]


@pytest.mark.slow
def test_every_kind_is_looked_at(every: dict[str, Facts]) -> None:
    assert set(NAMES) == set(every)


def counted(text: str) -> dict[str, Any]:
    """How many cases the one suite holds, and how many it says that it holds."""
    (suite,) = ET.fromstring(text)  # noqa: S314 - our own
    return {
        name: (suite.get(name), str(len(suite.findall(path))))
        for name, path in (
            ("tests", "testcase"),
            ("failures", "testcase/failure"),
            ("skipped", "testcase/skipped"),
        )
    }


@pytest.mark.slow
def test_junit_follows_jenkins_schema_and_its_counts_hold(facts: Facts) -> None:
    text = FORMATS["junit"](facts)
    JUNIT.validate(text)
    counts = counted(text)
    assert all(said == held for said, held in counts.values()), counts
    assert counts["tests"][0] == str(len(facts.checks)) != "0"
    assert facts.passed is (counts["failures"][0] == "0")


def test_junit_of_smoke_follows_jenkins_schema_and_its_counts_hold() -> None:
    text = outputs.junit(OUTCOMES, "tandem.smoke", "2026-01-01T00:00:00Z")
    JUNIT.validate(text)
    assert counted(text) == {"tests": ("3", "3"), "failures": ("1", "1"), "skipped": ("1", "1")}


def test_bencher_metric_format_follows_its_schema(facts: Facts) -> None:
    text = FORMATS["bencher"](facts)
    assert complaints("bencher", text) == []
    metrics = [metric for measures in json.loads(text).values() for metric in measures.values()]
    assert len(metrics) == len(facts.figures), "two figures have one name"


def test_github_action_benchmark_reads_both_files(facts: Facts) -> None:
    names = []
    for way, wanted in (("smaller", True), ("bigger", False)):
        text = FORMATS[f"benchmark-{way}"](facts)
        own = [figure for figure in facts.figures if figure.lower_is_better is wanted]
        # The action refuses a list without entries, which is what a command without such figures has.
        assert complaints("benchmark-action", text) == ([] if own else ["[] should be non-empty"])
        names += [entry["name"] for entry in json.loads(text)]
    assert len(set(names)) == len(names) == len(facts.figures)


def test_openmetrics_is_read_by_prometheus_parser(facts: Facts) -> None:
    samples = [
        one
        for family in text_string_to_metric_families(FORMATS["openmetrics"](facts))
        for one in family.samples
    ]
    ends = sum(end is not None for one in facts.figures for end in (one.low, one.high, one.least, one.most))
    assert len(samples) == len(facts.figures) + ends + (facts.passed is not None)


def test_only_what_measures_nothing_is_without_figures(every: dict[str, Facts]) -> None:
    assert [name for name in NAMES if not every[name].figures] == list(WITHOUT_FIGURES)


@pytest.mark.parametrize(
    ("schema", "wrong"),
    [
        ("bencher", {"a": {"m": {"lower_value": 1}}}),
        ("bencher", {"a": {"m": {"value": "1"}}}),
        ("bencher", {"a": {"m": {"value": 1, "lower_bound": 1}}}),
        ("bencher", {"a": {"m" * 65: {"value": 1}}}),
        ("benchmark-action", [{"name": "a", "value": 1}]),
        ("benchmark-action", [{"name": "a", "unit": "s", "value": 1, "range": 0.5}]),
        ("benchmark-action", {"name": "a", "unit": "s", "value": 1}),
    ],
)
def test_the_schemas_see_what_is_wrong(schema: str, wrong: Any) -> None:
    """Or they could not fail."""
    assert complaints(schema, json.dumps(wrong)) != []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (' errors="0"', ""),
        ("<system-out>", "<output>"),
        ("<testcase ", "<testcase file='x' "),
        ('time="0.000"', 'time="soon"'),
    ],
)
def test_jenkins_schema_sees_what_is_wrong(every: dict[str, Facts], old: str, new: str) -> None:
    """Or it could not fail."""
    text = FORMATS["junit"](every["compare"])
    assert old in text
    wrong = text.replace(old, new).replace(
        "</system-out>", f"</{new[1:-1]}>" if "output" in new else "</system-out>"
    )
    assert not JUNIT.is_valid(wrong)
