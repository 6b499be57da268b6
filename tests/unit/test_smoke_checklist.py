"""Checks run one by one, none hides another, and what they found is written for CI and for people."""

import xml.etree.ElementTree as ET

import pytest

from loadtests.errors import PayloadError
from pipelines.errors import GateError, MachineError
from pipelines.smoke.checklist import CheckError, Checklist, NotApplicableError, Outcome
from pipelines.smoke.outputs import junit, markdown
from pipelines.smoke.presentation import facts, verdict
from pipelines.smoke.stage import SmokeResult


def raising(error):
    def action():
        raise error

    return action


@pytest.fixture
def checks():
    made = Checklist(progress=lambda *_: None)
    made.run("a.start", "a starts", lambda: "at 1.2.3.4")
    made.run("b.start", "b starts", raising(MachineError("its <image> | is\x1b[31m broken")))
    made.run("a.answer", "a answers", raising(CheckError("0.1, expected 0.9")), ["a.start"])
    made.run("b.answer", "b answers", lambda: "never asked", ["b.start"])
    made.run("b.load", "b bears a load", lambda: "never asked", ["b.answer"])
    made.run("a.columnar", "a speaks columnar", raising(NotApplicableError("a has none")))
    made.run("stack.down", "nothing is left", lambda: "nothing")
    return made


def states(checks):
    return {outcome.name: outcome.state for outcome in checks.outcomes}


def test_every_check_has_an_outcome_whatever_failed_before_it(checks):
    assert states(checks) == {
        "a.start": "passed",
        "b.start": "failed",
        "a.answer": "failed",
        "b.answer": "skipped",
        "b.load": "skipped",
        "a.columnar": "skipped",
        "stack.down": "passed",
    }


def test_a_skipped_check_says_because_of_what(checks):
    details = {outcome.name: outcome.detail for outcome in checks.outcomes}
    assert details["b.answer"] == "because b.start did not pass"
    assert details["b.load"] == "because b.answer did not pass"
    assert details["a.columnar"] == "because a has none"


@pytest.mark.parametrize("error", [GateError("no"), OSError("gone"), ConnectionError("refused")])
def test_what_a_server_may_do_is_a_failed_check(error):
    made = Checklist(progress=lambda *_: None)
    assert not made.run("a.b", "it works", raising(error))
    assert made.failures[0].detail == str(error)


@pytest.mark.parametrize(
    "error", [KeyError("version"), IndexError("0"), TypeError("None"), PayloadError("odd")]
)
def test_an_answer_of_an_odd_form_is_a_failed_check(error):
    made = Checklist(progress=lambda *_: None)
    assert not made.run("a.b", "it works", raising(error))
    assert type(error).__name__ in made.failures[0].detail


def test_a_mistake_of_ours_is_no_failed_check():
    with pytest.raises(ZeroDivisionError):
        Checklist(progress=lambda *_: None).run("a.b", "it works", lambda: str(1 / 0))


def test_ctrl_c_is_no_failed_check():
    with pytest.raises(KeyboardInterrupt):
        Checklist(progress=lambda *_: None).run("a.b", "it works", raising(KeyboardInterrupt()))


def test_junit_names_every_check(checks):
    root = ET.fromstring(junit(checks.outcomes, "tandem.smoke", "2026-11-20T14:22:33Z"))  # noqa: S314 - our own
    (suite,) = root
    assert suite.attrib["tests"] == "7"
    assert suite.attrib["failures"] == "2"
    assert suite.attrib["skipped"] == "3"
    cases = {f"{case.attrib['classname']}.{case.attrib['name']}": case for case in suite}
    assert set(cases) == {f"tandem.smoke.{name}" for name in states(checks)}
    assert [child.tag for child in cases["tandem.smoke.a.start"]] == ["system-out"]
    failure = cases["tandem.smoke.b.start"].find("failure")
    assert failure is not None
    assert failure.attrib["message"] == "b.start: its <image> | is\\x1b[31m broken"


def test_the_summary_is_one_table_that_no_message_can_break(checks):
    text = markdown(checks.outcomes, "Smoke test of digits_cnn on docker")
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert len(rows) == 1 + len(checks.outcomes)
    assert "**Failed**: `b.start`, `a.answer`" in text
    assert "its &lt;image&gt; \\| is\\\\x1b\\[31m broken" in text


def result(tmp_path, *outcomes):
    return SmokeResult("digits_cnn", "docker", outcomes, tmp_path, 12.34)


def test_the_verdict_names_the_first_failed_check_and_the_others(checks, tmp_path):
    said = verdict(result(tmp_path, *checks.outcomes))
    assert said.startswith("smoke test failed at b.start (b starts): its <image>")
    assert said.endswith("1 more failed: a.answer")


def test_json_says_whether_it_passed(tmp_path):
    passed = Outcome("a.start", "a starts", "passed", "", 0.1)
    failed = Outcome("a.load", "a bears a load", "failed", "3 of 9 failed", 0.1)
    assert facts(result(tmp_path, passed))["passed"] is True
    assert facts(result(tmp_path, passed, failed))["passed"] is False
