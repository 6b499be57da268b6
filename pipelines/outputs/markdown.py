"""A Markdown summary for a step of CI or a comment on a pull request: short, whatever the command found."""

from collections import Counter
from collections.abc import Callable, Mapping

from pipelines.console import format as fmt
from pipelines.console.text import code_cell, escaped
from pipelines.outputs.facts import Check, Facts, Figure

ROWS_LIMIT = 12
MARKS = {"passed": "✓", "failed": "✗", "skipped": "?"}
SHOW: Mapping[str, Callable[[float], str]] = {
    "ms": fmt.milliseconds,
    "s": fmt.seconds,
    "bytes": lambda value: fmt.size(int(value)),
    "per_s": fmt.rate,
    "share": fmt.percent,
    "ratio": fmt.ratio,
    "price": fmt.significant,
    "number": fmt.scientific,
    "count": lambda value: fmt.count(int(value)),
}


def render(facts: Facts) -> str:
    """Render the result, what failed first, and the figures that were asked about most."""
    lines = [f"### {escaped(facts.title)}", "", f"{_word(facts)}{escaped(facts.headline)}", ""]
    lines += [f"- {escaped(line)}" for line in facts.lines]
    lines += [""] * bool(facts.lines)
    lines += _checks(facts.checks)
    lines += _figures(facts.figures)
    return "\n".join(lines).rstrip("\n") + "\n"


def _word(facts: Facts) -> str:
    if facts.passed is None:
        return ""
    return "**Passed**: " if facts.passed else "**Failed**: "


def _checks(checks: tuple[Check, ...]) -> list[str]:
    """List those that did not pass, the failed ones first, and how many passed."""
    if not checks:
        return []
    counts = Counter(check.state for check in checks)
    counted = (
        f"{counts['passed']} checks passed, {counts['failed']} failed, {counts['skipped']} were not decided"
    )
    others = sorted((c for c in checks if c.state != "passed"), key=lambda check: check.state)
    rows = [
        f"| {MARKS[check.state]} | {code_cell(f'{check.subject} {check.name}')} | {escaped(check.detail)} |"
        for check in others[:ROWS_LIMIT]
    ]
    head = ["| | check | found |", "|---|---|---|"] if rows else []
    return [counted + _more(others), "", *head, *rows, ""]


def _figures(figures: tuple[Figure, ...]) -> list[str]:
    if not figures:
        return []
    head = ["| | measure | value | 95 % interval or range |", "|---|---|---:|---:|"]
    return [
        *head,
        *map(_row, figures[:ROWS_LIMIT]),
        "",
        *([_more(figures).lstrip("; ")] * (len(figures) > ROWS_LIMIT)),
    ]


def _row(figure: Figure) -> str:
    show = SHOW[figure.unit]
    span = fmt.MISSING if figure.ends is None else fmt.span(figure.ends, show)
    if figure.ends is not None and not figure.has_interval:
        span = f"range {span}"
    return f"| {code_cell(figure.benchmark)} | {escaped(figure.measure)} | {show(figure.value)} | {span} |"


def _more(things: tuple[object, ...] | list[Check]) -> str:
    hidden = len(things) - ROWS_LIMIT
    return f"; {hidden} more {'is' if hidden == 1 else 'are'} not shown" if hidden > 0 else ""
