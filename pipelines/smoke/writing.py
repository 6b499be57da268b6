"""The outcomes of a smoke test for CI (JUnit XML) and for people (Markdown)."""

import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Sequence

from pipelines.console.text import code, code_cell, escaped, visible
from pipelines.smoke.checklist import Outcome

MARKS = {"passed": "✓", "failed": "✗", "skipped": "-"}


def junit(outcomes: Sequence[Outcome], suite: str, started_at_utc: str) -> str:
    """One test case per check, the passed ones too."""
    counts = Counter(outcome.state for outcome in outcomes)
    facts = {
        "name": visible(suite),
        "timestamp": started_at_utc.removesuffix("Z"),
        "tests": str(len(outcomes)),
        "failures": str(counts["failed"]),
        "skipped": str(counts["skipped"]),
        "errors": "0",
        "time": f"{sum(outcome.elapsed_s for outcome in outcomes):.3f}",
    }
    root = ET.Element("testsuites")
    tests = ET.SubElement(root, "testsuite", facts)
    for outcome in outcomes:
        tests.append(_case(outcome, suite))
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=False).join(
        ('<?xml version="1.0" encoding="utf-8"?>\n', "\n")
    )


def _case(outcome: Outcome, suite: str) -> ET.Element:
    subject, _, check = outcome.name.partition(".")
    case = ET.Element(
        "testcase",
        classname=visible(f"{suite}.{subject}"),
        name=visible(check),
        time=f"{outcome.elapsed_s:.3f}",
    )
    told = visible(f"{outcome.sentence}: {outcome.detail}")
    if outcome.state == "failed":
        ET.SubElement(case, "failure", message=visible(f"{outcome.name}: {outcome.detail}")).text = told
    elif outcome.state == "skipped":
        ET.SubElement(case, "skipped", message=visible(outcome.detail))
    else:
        ET.SubElement(case, "system-out").text = told
    return case


def markdown(outcomes: Sequence[Outcome], title: str) -> str:
    """A verdict, and a table with a row per check."""
    counts = Counter(outcome.state for outcome in outcomes)
    failed = [outcome for outcome in outcomes if outcome.state == "failed"]
    verdict = f"**Failed**: {', '.join(code(outcome.name) for outcome in failed)}" if failed else "**Passed**"
    lines = [
        f"# {escaped(title)}",
        "",
        f"{verdict}: {counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped, "
        f"{sum(outcome.elapsed_s for outcome in outcomes):.0f} s",
        "",
        "| | check | makes sure that | found | s |",
        "|---|---|---|---|---:|",
    ]
    lines += [
        f"| {MARKS[outcome.state]} | {code_cell(outcome.name)} | {escaped(outcome.sentence)} "
        f"| {escaped(outcome.detail)} | {outcome.elapsed_s:.1f} |"
        for outcome in outcomes
    ]
    return "\n".join(lines) + "\n"
