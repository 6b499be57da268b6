"""The facts of a round that passes every check."""

from typing import Any

from loadtests.validity import RoundFacts


def facts_of(**changes: Any) -> RoundFacts:
    """A clean round's facts with these changes."""
    fields: dict[str, Any] = {
        "requests_count": 10_000,
        "errors_count": 0,
        "wrong_count": 0,
        "generator_cpu_share": 0.5,
        "steal_share": 0.0,
        "foreign_cpu_share": 0.0,
        "interrupted": False,
    }
    return RoundFacts(**(fields | changes))
