"""The two JSON files of github-action-benchmark: `customSmallerIsBetter` and `customBiggerIsBetter`.

https://github.com/benchmark-action/github-action-benchmark#examples
"""

import json
from collections.abc import Callable

from pipelines.outputs.facts import Facts, Figure


def smaller(facts: Facts) -> str:
    """Render the figures of which less is better."""
    return _render(facts, lambda figure: figure.lower_is_better)


def bigger(facts: Facts) -> str:
    """Render the figures of which more is better."""
    return _render(facts, lambda figure: not figure.lower_is_better)


def _render(facts: Facts, wanted: Callable[[Figure], bool]) -> str:
    return json.dumps([_entry(figure) for figure in facts.figures if wanted(figure)], indent=2) + "\n"


def _entry(figure: Figure) -> dict[str, str | float]:
    entry: dict[str, str | float] = {
        "name": f"{figure.benchmark} {figure.measure}",
        "unit": figure.unit,
        "value": figure.value,
    }
    if figure.ends is not None:
        low, high = figure.ends
        entry["range"] = f"{low!r} to {high!r}"
        entry["extra"] = "95 % interval" if figure.has_interval else "least and most of its rounds or servers"
    return entry
