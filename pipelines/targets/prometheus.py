"""Reads samples from metrics in Prometheus' text format."""

import re
from collections.abc import Mapping, Sequence
from typing import Any


def samples(text: str, name: str) -> Sequence[tuple[Mapping[str, str], float]]:
    """Return labels and value of each of a metric's samples; none of a text that is no metrics.

    Args:
        text: a whole page.
        name: of the samples, as they are: with `_total`, `_sum` or `_count` where they have that.
    """
    from prometheus_client.parser import text_string_to_metric_families

    # Lines of other metrics would be parsed for nothing, at the edges of a round; and by the lines that tell
    # a metric's type, the parser gives counters other names.
    lines = "\n".join(line for line in text.splitlines() if line.startswith(name))
    try:
        found: list[Any] = [one for family in text_string_to_metric_families(lines) for one in family.samples]
    except ValueError:
        return []
    return [(one.labels, float(one.value)) for one in found if one.name == name]


def metric_sum(text: str, name: str, **patterns: str) -> float | None:
    """Return the sum of the samples whose labels match `patterns` as a whole; None where there is none."""
    values = [
        value
        for labels, value in samples(text, name)
        if all(re.fullmatch(pattern, labels.get(label, "")) for label, pattern in patterns.items())
    ]
    return sum(values) if values else None
