"""The benchmark of a long run's report, small: its run is read, its limits are judged."""

import sys
from pathlib import Path

import pytest

from pipelines.record.reading import read_run
from pipelines.report.html import LIMIT_BYTES

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from large_report import LIMIT_S, Cost, measure, write_large_run


def test_a_small_one_has_every_request_and_a_bounded_page(tmp_path: Path) -> None:
    write_large_run(tmp_path / "run", requests_count=28_800, rounds_count=36)
    cost = measure(tmp_path / "run")
    run = read_run(tmp_path / "run")
    rounds = [one for target in run.targets.values() for one in target.rounds]
    assert sum(one.requests_count for one in rounds) == 28_800
    assert all(sum(part.requests_count for part in one.slices) == 800 for one in rounds)
    assert {one.verdict for one in run.comparisons} - {None} <= {"worse", "better", "inconclusive"}
    assert cost.page_bytes == (tmp_path / "run" / "report.html").stat().st_size <= LIMIT_BYTES
    assert cost.elapsed_s > 0


@pytest.mark.parametrize(
    ("cost", "kept"),
    [
        (Cost(LIMIT_S, 9.0, 1000.0, LIMIT_BYTES), True),
        (Cost(LIMIT_S + 1, 9.0, 100.0, 1), False),
        (Cost(1.0, 9.0, 1001.0, 1), False),
        (Cost(1.0, 9.0, 100.0, LIMIT_BYTES + 1), False),
    ],
)
def test_every_limit_is_judged(cost: Cost, kept: bool) -> None:
    assert cost.kept is kept
