"""OpenMetrics text: a gauge per measure, and one for each end of its interval or of its range.

https://github.com/prometheus/OpenMetrics/blob/main/specification/OpenMetrics.md
"""

import re
from collections.abc import Iterable, Iterator

from pipelines.console.text import visible
from pipelines.outputs.facts import UNITS, Facts, Figure

ENDS_MEAN = {
    "low": "lower end of the 95 % interval",
    "high": "upper end of the 95 % interval",
    "least": "the least of its rounds or servers",
    "most": "the most of its rounds or servers",
}


def render(facts: Facts) -> str:
    """Render the figures; ends are left out where there are none."""
    families: dict[tuple[str, str], list[Figure]] = {}
    for figure in facts.figures:
        families.setdefault((_name(figure.measure), figure.unit), []).append(figure)
    lines = [line for key, figures in families.items() for line in _families(*key, figures)]
    passed = [] if facts.passed is None else [_passed(facts)]
    return "\n".join((*lines, *passed, "# EOF\n"))


def _families(name: str, unit: str, figures: list[Figure]) -> Iterator[str]:
    unit_name = UNITS[unit]
    what = f"{figures[0].measure} of a tandem run"
    yield _family(f"tandem_{name}", unit_name, what, ((figure, figure.value) for figure in figures))
    for end, meaning in ENDS_MEAN.items():
        ends = [(figure, value) for figure in figures if (value := getattr(figure, end)) is not None]
        if ends:
            yield _family(f"tandem_{name}_{end}", unit_name, f"{what}, {meaning}", ends)


def _family(name: str, unit: str, what: str, samples: Iterable[tuple[Figure, float]]) -> str:
    full = f"{name}_{unit}" if unit else name
    head = [
        f"# TYPE {full} gauge",
        *[f"# UNIT {full} {unit}"][: len(unit)],
        f"# HELP {full} {_escaped(what)}",
    ]
    return "\n".join((*head, *(f"{full}{_labels(figure)} {value!r}" for figure, value in samples)))


def _passed(facts: Facts) -> str:
    name, label = "tandem_passed", f'{{command="{facts.command}",model="{_escaped(facts.model)}"}}'
    what = "1 where the command's own check held, 0 where it did not."
    return f"# TYPE {name} gauge\n# HELP {name} {what}\n{name}{label} {int(bool(facts.passed))}"


def _labels(figure: Figure) -> str:
    return "{" + ",".join(f'{_name(key)}="{_escaped(text)}"' for key, text in figure.labels.items()) + "}"


def _name(text: str) -> str:
    return re.sub(r"[^a-zA-Z0-9_]+", "_", text).strip("_").lower()


def _escaped(text: str) -> str:
    return visible(text).replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
