"""Sums of what TorchServe's workers count: each counts for itself, and the server chooses who is asked."""

from collections.abc import Callable, Sequence
from typing import Any

from pipelines.targets.torchserve.configuration import described, workers_count

# Drawn at random, 19 of 20 workers are met so.
TRIES_PER_WORKER = 3


class WorkerCounts:
    """Asks one server; made anew for every server, as it remembers what was read.

    A sum grows by what those workers have counted that told both now and the last time: the difference of two
    sums is never of one worker's count and another's.
    """

    def __init__(self, ask: Callable[[], Any], names: Sequence[str]) -> None:
        """Take a way to get the model's description, and what to sum up of what our handler adds to it."""
        self._ask = ask
        self._sums = dict.fromkeys(names, 0)
        self._last: dict[int, dict[str, int]] = {}

    def __call__(self) -> dict[str, int]:
        """Return the sums by now, by name; empty if a worker does not tell.

        Raises:
            OSError: the server does not answer.
        """
        found = self._of_workers()
        for pid in found.keys() & self._last.keys():
            for name, count in found[pid].items():
                self._sums[name] += count - self._last[pid][name]
        self._last = found
        return dict(self._sums) if found else {}

    def _of_workers(self) -> dict[int, dict[str, int]]:
        """Return the counts of the workers that could be met, by process."""
        found: dict[int, dict[str, int]] = {}
        tries = 0
        while True:
            answer = self._ask()
            told, workers = described(answer), workers_count(answer) or 1
            if not {"pid", *self._sums} <= told.keys():
                return {}
            found[told["pid"]] = {name: int(told[name]) for name in self._sums}
            tries += 1
            if len(found) >= workers or tries >= TRIES_PER_WORKER * workers:
                return found
