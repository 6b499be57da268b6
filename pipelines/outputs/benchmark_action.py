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
    if figure.low is not None and figure.high is not None:
        entry["range"] = f"{figure.low!r} to {figure.high!r}"
    return entry
