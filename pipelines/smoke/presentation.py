"""What the smoke test says on the terminal, and as JSON for programs."""

from dataclasses import asdict
from typing import Any

from rich.table import Table
from rich.text import Text

from pipelines.console.printing import print_table, say
from pipelines.console.text import one_line
from pipelines.smoke.outputs import MARKS
from pipelines.smoke.stage import SmokeResult

STYLES = {"passed": "green", "failed": "bold red", "skipped": "dim"}


def facts(result: SmokeResult) -> dict[str, Any]:
    """Return the verdict and every check for JSON."""
    return {
        "passed": not result.failures,
        "model": result.model,
        "runner": result.runner,
        "folder": str(result.folder),
        "elapsed_s": round(result.elapsed_s, 1),
        "checks": [asdict(outcome) for outcome in result.outcomes],
    }


def print_result(result: SmokeResult) -> None:
    """Print a table with a row per check, and where the files are."""
    table = Table(show_edge=False, pad_edge=False)
    for column in ("", "check", "found"):
        table.add_column(column, overflow="fold")
    table.add_column("s", justify="right")
    rows = [
        (
            Text(MARKS[outcome.state], style=STYLES[outcome.state]),
            Text(one_line(outcome.name), style=STYLES[outcome.state]),
            outcome.detail,
            f"{outcome.elapsed_s:.1f}",
        )
        for outcome in result.outcomes
    ]
    print_table(table, rows)
    passed = sum(outcome.state == "passed" for outcome in result.outcomes)
    say(
        f"{passed} of {len(result.outcomes)} checks passed in {result.elapsed_s:.0f} s; "
        f"JUnit XML, summary and logs: {result.folder}"
    )


def verdict(result: SmokeResult) -> str:
    """Write one line for a failed smoke test: its first failed check by name, and the names of the others."""
    first, *others = result.failures
    more = f"; and {len(others)} more failed: {', '.join(o.name for o in others)}" if others else ""
    return f"smoke test failed at {first.name} ({first.sentence}): {first.detail}{more}"
