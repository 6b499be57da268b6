"""The outcomes of a smoke test for CI (JUnit XML) and for people (Markdown)."""

import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Sequence

from pipelines.smoke.checklist import Outcome

MARKS = {"passed": "✓", "failed": "✗", "skipped": "-"}
# What XML 1.0 cannot hold, such as the escape of a coloured log line.
ALLOWED_CONTROLS = "\t\n\r"


def junit(outcomes: Sequence[Outcome], suite: str, started_at_utc: str) -> str:
    """One test case per check, the passed ones too."""
    counts = Counter(outcome.state for outcome in outcomes)
    facts = {
        "name": suite,
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
    case = ET.Element("testcase", classname=f"{suite}.{subject}", name=check, time=f"{outcome.elapsed_s:.3f}")
    told = _printable(f"{outcome.sentence}: {outcome.detail}")
    if outcome.state == "failed":
        ET.SubElement(case, "failure", message=_printable(f"{outcome.name}: {outcome.detail}")).text = told
    elif outcome.state == "skipped":
        ET.SubElement(case, "skipped", message=_printable(outcome.detail))
    else:
        ET.SubElement(case, "system-out").text = told
    return case


def _printable(text: str) -> str:
    return "".join(c for c in text if c >= " " or c in ALLOWED_CONTROLS)


def markdown(outcomes: Sequence[Outcome], title: str) -> str:
    """A verdict, and a table with a row per check."""
    counts = Counter(outcome.state for outcome in outcomes)
    failed = [outcome for outcome in outcomes if outcome.state == "failed"]
    verdict = (
        f"**Failed**: {', '.join(f'`{outcome.name}`' for outcome in failed)}" if failed else "**Passed**"
    )
    lines = [
        f"# {title}",
        "",
        f"{verdict}: {counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped, "
        f"{sum(outcome.elapsed_s for outcome in outcomes):.0f} s",
        "",
        "| | check | makes sure that | found | s |",
        "|---|---|---|---|---:|",
    ]
    lines += [
        f"| {MARKS[outcome.state]} | `{outcome.name}` | {_cell(outcome.sentence)} | {_cell(outcome.detail)} "
        f"| {outcome.elapsed_s:.1f} |"
        for outcome in outcomes
    ]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    """One table cell: a bar would end it, and angle brackets would be markup."""
    escaped = _printable(" ".join(text.split())).replace("|", "\\|")
    return escaped.replace("<", "&lt;").replace(">", "&gt;")
