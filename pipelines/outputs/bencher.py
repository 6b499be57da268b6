"""Bencher Metric Format: by benchmark and measure a value with the ends of its interval.

https://bencher.dev/docs/reference/bencher-metric-format/
"""

import json
import re

from pipelines.outputs.facts import Facts

SLUG_LIMIT = 64


def render(facts: Facts) -> str:
    """Render the figures; an end of an interval is left out where there is none."""
    benchmarks: dict[str, dict[str, dict[str, float]]] = {}
    for figure in facts.figures:
        ends = {"lower_value": figure.low, "upper_value": figure.high}
        metric = {"value": figure.value} | {name: end for name, end in ends.items() if end is not None}
        benchmarks.setdefault(figure.benchmark, {})[slug(f"{figure.measure}-{figure.unit}")] = metric
    return json.dumps(benchmarks, indent=2) + "\n"


def slug(text: str) -> str:
    """Return a measure's name as Bencher takes it: small letters, digits and single hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:SLUG_LIMIT].strip("-")
