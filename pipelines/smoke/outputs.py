"""The outcomes of a smoke test for CI (JUnit XML) and for people (Markdown)."""

from collections import Counter
from collections.abc import Sequence

from pipelines.console.text import code, code_cell, escaped
from pipelines.outputs import junit as xml
from pipelines.outputs.facts import Check
from pipelines.smoke.checklist import Outcome

MARKS = {"passed": "✓", "failed": "✗", "skipped": "-"}


def junit(outcomes: Sequence[Outcome], suite: str, started_at_utc: str) -> str:
    """Write one test case per check, the passed ones too."""
    return xml.junit(tuple(map(_check, outcomes)), suite, started_at_utc)


def _check(outcome: Outcome) -> Check:
    subject, _, name = outcome.name.partition(".")
    return Check(subject, name, outcome.sentence, outcome.state, outcome.detail, outcome.elapsed_s)


def markdown(outcomes: Sequence[Outcome], title: str) -> str:
    """Write the verdict, and a table with a row per check."""
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
