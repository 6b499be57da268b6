"""Bencher Metric Format: by benchmark and measure a value with the ends of its interval, or of its range.

https://bencher.dev/docs/reference/bencher-metric-format/
"""

import json
import re

from pipelines.outputs.facts import Facts

SLUG_LIMIT = 64
ENDS = ("lower_value", "upper_value")


def render(facts: Facts) -> str:
    """Render the figures; ends are left out where there are none."""
    benchmarks: dict[str, dict[str, dict[str, float]]] = {}
    for figure in facts.figures:
        metric = {"value": figure.value, **dict(zip(ENDS, figure.ends or (), strict=False))}
        benchmarks.setdefault(figure.benchmark, {})[slug(f"{figure.measure}-{figure.unit}")] = metric
    return json.dumps(benchmarks, indent=2) + "\n"


def slug(text: str) -> str:
    """Return a measure's name as Bencher takes it: small letters, digits and single hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:SLUG_LIMIT].strip("-")
