"""What an artifact does in process, and the efficiency of its server against that."""

import numpy as np
import pytest
from report_fixture import make_round

from pipelines.judge.efficiency import judge_efficiency
from pipelines.measure import in_process
from pipelines.record.in_process import InProcessRecord

STRETCHES = (990.0, 1000.0, 1010.0, 1000.0)


def limit(rates=STRETCHES, rows=1):
    return InProcessRecord(
        path="m.pt",
        format="torchscript",
        cores=(0,),
        threads_count=1,
        rows=rows,
        calls_count=100,
        elapsed_s=1.5,
        call_p50_ms=1.0,
        rows_per_s=1000.0,
        stretches_rows_per_s=rates,
    )


def rounds(*rates, block=1):
    return [
        make_round([1.0], index=n, target="torchserve", load="closed:8", throughput_per_s=rate, block=block)
        for n, rate in enumerate(rates)
    ]


def test_efficiency_is_served_rows_over_those_in_process_and_its_interval_is_of_both_spreads():
    found = judge_efficiency(rounds(490.0, 500.0, 510.0), 1, limit(), 7)
    assert found.ratio == pytest.approx(0.5, rel=0.01)
    assert found.low < found.ratio < found.high
    wider = judge_efficiency(rounds(490.0, 500.0, 510.0), 1, limit((700.0, 1000.0, 1400.0, 1000.0)), 7)
    assert wider.high - wider.low > 2 * (found.high - found.low)


def test_rows_of_a_request_count():
    assert judge_efficiency(rounds(99.0, 101.0), 8, limit(), 7).ratio == pytest.approx(0.8, rel=0.01)


def test_invalid_rounds_and_what_was_not_timed_give_none():
    spoilt = [one.model_copy(update={"valid": False}) for one in rounds(1.0, 2.0)]
    assert judge_efficiency([*spoilt, *rounds(500.0)], 1, limit(), 7) is None
    assert judge_efficiency(rounds(490.0, 510.0), 1, None, 7) is None


def test_blocks_are_the_higher_level():
    apart = [*rounds(400.0, 401.0, block=1), *rounds(600.0, 601.0, block=2)]
    within = rounds(400.0, 401.0, 600.0, 601.0)
    wide, narrow = (judge_efficiency(own, 1, limit(), 7) for own in (apart, within))
    assert wide.high / wide.low > narrow.high / narrow.low


def test_batches_are_full_and_of_one_shape():
    ragged = np.empty(3, object)
    ragged[:] = [np.zeros(4), np.ones(4), np.full(6, 2.0)]
    found = list(in_process.full_batches({"x": ragged}, 5))
    assert sorted(batch["x"].shape for batch in found) == [(5, 4), (5, 6)]
    assert all(batch["x"].flags.c_contiguous and batch["x"].dtype == float for batch in found)


def test_figures_are_of_all_calls_and_stretches_share_them():
    found = in_process.figures([1_000_000] * 50 + [3_000_000] * 50, rows=4)
    assert found["rows_per_s"] == pytest.approx(2000)
    assert found["calls_count"] == 100
    assert found["elapsed_s"] == pytest.approx(0.2)
    assert found["stretches_rows_per_s"] == pytest.approx([4000] * 5 + [4000 / 3] * 5)


def test_what_lies_between_two_calls_is_timed_as_well(monkeypatch):
    """A server has no pause between two batches that it could leave out."""
    ticks = iter(range(0, 10**12, 10**8))
    monkeypatch.setattr(in_process.time, "perf_counter_ns", lambda: next(ticks))
    calls = in_process.timed(lambda _: None, [{}])
    assert set(calls) == {10**8}
    assert sum(calls) >= in_process.MEASURED_S * 1e9
