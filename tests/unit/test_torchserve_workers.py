"""What several workers of TorchServe count, of whom the server asks whichever it likes."""

import itertools
import json
import random

import pytest

from pipelines.measure import blocks
from pipelines.targets.torchserve import server
from pipelines.targets.torchserve.workers import WorkerCounts

NAMES = ("requests_count", "passes_count")


class Workers:
    """Workers by process, each with its own counts; `order` says who is asked next."""

    def __init__(self, *pids, order=None):
        self.counts = {pid: dict.fromkeys(NAMES, 0) for pid in pids}
        self.order = order or itertools.cycle(pids)
        self.asked = 0

    def answer(self, pid, requests, passes):
        """Let a worker answer requests in so many passes."""
        counts = self.counts[pid]
        self.counts[pid] = {
            "requests_count": counts["requests_count"] + requests,
            "passes_count": counts["passes_count"] + passes,
        }

    def describe(self):
        self.asked += 1
        pid = next(self.order)
        told = json.dumps({"pid": pid, **self.counts[pid]})
        return [{"workers": [{}] * len(self.counts), "customizedMetadata": told}]


def grown(workers, counts, change):
    """By how much the sums grow while `change` happens."""
    before = counts()
    change(workers)
    after = counts()
    return {name: after[name] - before[name] for name in after}


def test_the_counts_of_one_worker_are_never_subtracted_from_anothers():
    workers = Workers(7, 8, order=itertools.chain([7] * 6, itertools.repeat(8)))
    workers.answer(7, 1000, 100)
    workers.answer(8, 10, 10)
    assert set(grown(workers, WorkerCounts(workers.describe, NAMES), lambda _: None).values()) == {0}


def test_the_sums_are_of_all_workers_where_all_are_met():
    workers = Workers(7, 8, 9)
    counts = WorkerCounts(workers.describe, NAMES)

    def load(them):
        them.answer(7, 30, 2)
        them.answer(9, 10, 3)

    assert grown(workers, counts, load) == {"requests_count": 40, "passes_count": 5}
    assert workers.asked == 6  # each once in each read
    assert grown(workers, counts, load) == {"requests_count": 40, "passes_count": 5}


def test_a_worker_that_began_in_between_counts_from_then_on():
    workers = Workers(7, 8)
    counts = WorkerCounts(workers.describe, NAMES)

    def restart(them):
        del them.counts[8]
        them.counts[11] = {"requests_count": 500, "passes_count": 500}
        them.order = itertools.cycle((7, 11))
        them.answer(7, 4, 2)

    assert grown(workers, counts, restart) == {"requests_count": 4, "passes_count": 2}
    assert grown(workers, counts, lambda them: them.answer(11, 6, 3)) == {
        "requests_count": 6,
        "passes_count": 3,
    }


def test_of_many_workers_drawn_at_random_most_are_met_in_both_reads():
    pids = range(100, 164)
    draw = random.Random(1)  # noqa: S311 - no secret
    workers = Workers(*pids, order=(draw.choice(pids) for _ in itertools.count()))

    def load(them):
        for pid in pids:
            them.answer(pid, 32, 1)

    found = grown(workers, WorkerCounts(workers.describe, NAMES), load)
    assert found["passes_count"] > 0.8 * len(pids)
    assert found["requests_count"] == 32 * found["passes_count"]
    assert workers.asked <= 6 * len(pids)


@pytest.mark.parametrize(
    "answer",
    [
        *(None, [], [{}], [{"customizedMetadata": "x"}]),
        [{"customizedMetadata": {"passes_count": 1, "pid": 7}}],
        [{"customizedMetadata": {"passes_count": 1, "requests_count": 1}}],
    ],
)
def test_who_does_not_tell_has_no_sums_and_no_batches(answer, monkeypatch):
    assert WorkerCounts(lambda: answer, NAMES)() == {}
    monkeypatch.setattr(server, "fetch_json", lambda _: (200, answer))
    with pytest.raises(OSError, match="does not tell of batches"):
        server._batching("http://127.0.0.1:1", "m")()


def test_a_rounds_requests_per_run_are_of_the_workers_that_told_before_and_after(monkeypatch):
    workers = Workers(7, 8)
    workers.answer(7, 9999, 1)
    monkeypatch.setattr(server, "fetch_json", lambda _: (200, workers.describe()))
    ask = server._batching("http://127.0.0.1:1", "m")
    before = ask()
    workers.answer(7, 30, 2)
    workers.answer(8, 10, 3)
    after = ask()
    assert (after[0] - before[0]) / (after[1] - before[1]) == 8
    assert blocks._with_batches("unchanged", after, ask()) == "unchanged"  # nobody was asked
