"""The benchmark of a long run's report, small: its run is read, its limits are judged."""

import random
import sys
from pathlib import Path

import pytest
from report_fixture import make_run
from report_parts import LOADS, comparison
from report_slo_fixture import make_slo_run

from pipelines.record.conditioning import ConditioningRecord, SecondRecord
from pipelines.record.reading import read_run
from pipelines.record.run import RunRecord
from pipelines.record.target import ColdStartRecord
from pipelines.report import html
from pipelines.report.html import LIMIT_BYTES, render_html
from pipelines.run.several import Several, render_several

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from large_report import LIMIT_S, Cost, measure, write_large_run


@pytest.mark.slow
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
    assert 'id="figure-curves"' in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")


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


SIDES = ("torchserve", "tfserving", "third", "fourth", "fifth")
BLOCKS, SECONDS = 200, 40


def conditioned(block: int, chance: random.Random) -> ConditioningRecord:
    seconds = tuple(
        SecondRecord(
            requests_count=chance.randrange(200, 2000),
            p50_ms=chance.uniform(1, 9),
            server_cpu_s=chance.uniform(0.5, 1),
        )
        for _ in range(SECONDS)
    )
    return ConditioningRecord(
        block=block,
        load="closed:8",
        samples_files=(f"samples/conditioning-{block}.parquet",),
        state="steady",
        until_steady_s=float(block % SECONDS),
        until_steady_requests_count=block,
        duration_s=float(SECONDS),
        requests_count=sum(second.requests_count for second in seconds),
        errors_count=0,
        seconds=seconds,
    )


def many_blocks() -> RunRecord:
    """What `--decide-within` may leave: 200 blocks of five sides, 40 s of load on every fresh server."""
    run, chance = make_run(), random.Random(1)  # noqa: S311
    targets = {}
    for name in SIDES:
        of = run.targets["torchserve" if name != "tfserving" else name]
        targets[name] = of.model_copy(
            update={
                "conditionings": tuple(conditioned(block, chance) for block in range(BLOCKS)),
                "cold_starts": tuple(
                    ColdStartRecord(block=block, ready_s=1.1, first_right_answer_s=2.2)
                    for block in range(BLOCKS)
                ),
                "rounds": tuple(
                    of.rounds[block % len(of.rounds)].model_copy(
                        update={
                            "target": name,
                            "index": len(SIDES) * block + SIDES.index(name),
                            "block": block,
                        }
                    )
                    for block in range(BLOCKS)
                ),
            }
        )
    return make_run(targets=targets)


@pytest.mark.slow
def test_a_run_of_many_blocks_has_a_bounded_page_with_its_curves() -> None:
    page = render_html(many_blocks())
    assert len(page.encode()) <= LIMIT_BYTES
    assert 'id="figure-curves"' in page
    assert f"of {BLOCKS}; one line per start" in page
    assert f"of {BLOCKS * len(SIDES)} rows; run.json has all of them" in page


@pytest.mark.slow
def test_a_search_of_any_length_has_a_bounded_page_that_names_what_is_left_out() -> None:
    """Its curve has a mark for every measurement, so a long one makes the figure too large."""
    run = make_slo_run()
    assert run.slo
    one = run.slo.targets["torchserve"]
    points = tuple(
        one.points[number % len(one.points)].model_copy(update={"round_index": number})
        for number in range(8000)
    )
    long = make_slo_run(targets=run.slo.targets | {"torchserve": one.model_copy(update={"points": points})})
    page = render_html(long)
    assert len(page.encode()) <= LIMIT_BYTES
    assert 'id="figure-rates"' not in page
    assert "Left out, so that this page stays small: p99 against rate" in page
    assert 'id="figure-rates"' in render_html(run)


@pytest.mark.slow
def test_whatever_is_long_has_a_bounded_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the last of the limits a page holds what does not grow with a run, and no false word of it."""
    monkeypatch.setattr(html, "LIMITS", html.LIMITS[-1:])
    page = render_html(many_blocks())
    assert len(page.encode()) < 150_000
    assert "<figure" not in page
    assert "No load was measured" not in page
    assert "Left out, so that this page stays small" in page


@pytest.mark.slow
def test_the_page_of_many_runs_is_bounded() -> None:
    rows = tuple(comparison(load=f"{load}{number}") for load in LOADS for number in range(150))
    runs = tuple(make_run(run_id=f"run-{number}", comparisons=rows) for number in range(60))
    page = render_several(Several(tuple(Path(f"runs/{run.run_id}") for run in runs), runs))
    assert len(page.encode()) <= LIMIT_BYTES
    assert "rows; run.json has all of them" in page
