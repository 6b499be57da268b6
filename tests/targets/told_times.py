"""What a server tells of its requests' time, against what their client saw."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pipelines.processes.group import wait_until
from pipelines.targets.timings import parts_ms


@dataclass(frozen=True)
class Told:
    """Means in ms by part, and the client's own mean; `counts` is how many requests each total grew by."""

    parts: dict[str, float]
    client_ms: float
    counts: dict[str, int]


def told(server, requests: Sequence[Callable[[], object]]) -> Told:
    """Make the requests one after another, and return what the server tells of them.

    An answer may be there before it is counted.
    """
    ask = server.plan.endpoint.timings
    before = ask()
    client_s = sum(map(_seconds, requests))
    wait_until(lambda: set(_counts(before, ask()).values()) == {len(requests)}, limit_s=5)
    after = ask()
    return Told(parts_ms(before, after), 1000 * client_s / len(requests), _counts(before, after))


def require_within(found: Told, count: int, parts: set[str]) -> None:
    """Check that it counts those requests, tells those parts, and no more than their client saw."""
    assert set(found.counts.values()) == {count}
    assert found.parts.keys() == parts
    assert all(value > 0 for value in found.parts.values()), found
    assert sum(found.parts.values()) <= found.client_ms


def _seconds(request: Callable[[], object]) -> float:
    began = time.perf_counter()
    request()
    return time.perf_counter() - began


def _counts(before, after) -> dict[str, int]:
    totals = {**after.totals, "whole": after.whole}
    earlier = {**before.totals, "whole": before.whole}
    return {part: total[1] - (earlier.get(part) or (0, 0))[1] for part, total in totals.items() if total}
