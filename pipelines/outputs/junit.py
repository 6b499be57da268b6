"""JUnit XML: a test case per check, the passed ones too."""

import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Sequence

from pipelines.console.text import visible
from pipelines.outputs.facts import Check, Facts


def render(facts: Facts) -> str:
    """Render the checks of a command."""
    return junit(facts.checks, facts.title, facts.started_at_utc)


def junit(checks: Sequence[Check], suite: str, started_at_utc: str) -> str:
    """Render one suite with a test case per check."""
    counts = Counter(check.state for check in checks)
    facts = {
        "name": visible(suite),
        "timestamp": started_at_utc.removesuffix("Z"),
        "tests": str(len(checks)),
        "failures": str(counts["failed"]),
        "skipped": str(counts["skipped"]),
        "errors": "0",
        "time": f"{sum(check.elapsed_s for check in checks):.3f}",
    }
    root = ET.Element("testsuites")
    tests = ET.SubElement(root, "testsuite", facts)
    for check in checks:
        tests.append(_case(check, suite))
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=False).join(
        ('<?xml version="1.0" encoding="utf-8"?>\n', "\n")
    )


def _case(check: Check, suite: str) -> ET.Element:
    case = ET.Element(
        "testcase",
        classname=visible(f"{suite}.{check.subject}"),
        name=visible(check.name),
        time=f"{check.elapsed_s:.3f}",
    )
    text = visible(f"{check.sentence}: {check.detail}")
    if check.state == "failed":
        message = visible(f"{check.subject}.{check.name}: {check.detail}")
        ET.SubElement(case, "failure", message=message).text = text
    elif check.state == "skipped":
        ET.SubElement(case, "skipped", message=visible(check.detail))
    else:
        ET.SubElement(case, "system-out").text = text
    return case
