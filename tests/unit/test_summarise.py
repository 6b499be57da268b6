"""Figures against an independent computation: pyarrow, sorted lists and Python's own statistics.

Records are made without validation, with the fields that figures depend on and no others.
"""

import dataclasses
import math
import random
import statistics

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loadtests.intervals import estimate_ratio
from loadtests.recorder import Recorder, RequestRecord
from pipelines.errors import MachineError
from pipelines.judge.summarise import METRICS, summarise
from pipelines.measure.round import NOT_SUMMARISED
from pipelines.record.implementation import ImplementationRecord
from pipelines.record.reason import reason
from pipelines.record.rounds import GeneratorRecord, RoundRecord
from pipelines.record.run import ProfileRecord, RunRecord
from pipelines.record.sequential import LookRecord, SequentialRecord
from pipelines.record.target import ColdStartRecord, MemoryRecord, TargetRecord

NEEDED = {50: 11, 90: 64, 95: 130, 99: 662}


@dataclasses.dataclass
class Round:
    """What a round of the test is made of; `requests` are (latency_ns, status, correct)."""

    target: str
    requests: list
    block: int = 0
    repetition: int = 0
    load: str = "closed:1"
    valid: bool = True
    window_s: float = 2.0
    server_cpu_s: float | None = None


def fast(count, scale=1, seed=0):
    chance = random.Random(seed)  # noqa: S311 - reproducible, not secret
    return [(int(chance.lognormvariate(0, 0.5) * scale * 1e6), 200, None) for _ in range(count)]


def write(folder, index, planned):
    name = f"samples/{index:03d}.parquet"
    (folder / "samples").mkdir(exist_ok=True)
    with Recorder(folder / name) as recorder:
        for number, (latency, status, correct) in enumerate(planned.requests):
            scheduled = 10**9 + number * 1000
            sent = scheduled + (500 if planned.load.startswith("open") else 0)
            recorder.add(RequestRecord(scheduled, sent, sent + latency, status, 10, correct))
    failed = sum(status != 200 or correct is False for _, status, correct in planned.requests)
    return RoundRecord.model_construct(
        index=index,
        attempt=0,
        block=planned.block,
        repetition=planned.repetition,
        target=planned.target,
        load=planned.load,
        started_at_utc="2026-11-20T14:22:33Z",
        window_s=planned.window_s,
        warmup_s=1,
        warmup_requests_count=5,
        samples_file=name,
        requests_count=len(planned.requests),
        errors_count=failed,
        checked_count=0,
        wrong_count=0,
        errors=(),
        latency_ms=NOT_SUMMARISED,
        throughput_per_s=None,
        generator=GeneratorRecord(
            cpu_s=1, cpu_share=0.5, polled_s=0.0, cores=(1,), realtime=True, waited_share=0.0
        ),
        cpu_steal_share=0,
        foreign_cpu_share=0,
        valid=planned.valid,
        invalid_reasons=() if planned.valid else (reason("foreign_cores", cores=3.0, limit=0.2),),
        interrupted=False,
        server_cpu_s=planned.server_cpu_s,
    )


def run_of(folder, rounds, targets=("torchserve", "tfserving")):
    """The summarised run of these rounds, measured in this order."""
    records = [write(folder, index, planned) for index, planned in enumerate(rounds)]
    parts = {
        name: TargetRecord.model_construct(
            role="compared",
            control_of=None,
            rounds=tuple(one for one in records if one.target == name),
            summaries=(),
            memory=MemoryRecord(idle_bytes=None, peak_bytes=None),
            cold_starts=(),
            implementation=ImplementationRecord.model_construct(protocol="REST", image=None),
            endpoint_parity=None,
        )
        for name in targets
    }
    profile = ProfileRecord.model_construct(margin=0.05, seed=1)
    run = RunRecord.model_construct(kind="compare", profile=profile, targets=parts, slo=None, payload=None)
    return summarise(run, folder)


def test_trade_offs_of_a_run_that_ended_at_a_look_are_judged_at_its_looks(tmp_path):
    """The third block's servers started ten times as slowly, and nobody had looked at it."""
    plain = run_of(tmp_path, [Round("torchserve", fast(20)), Round("tfserving", fast(20))])
    seconds = {"torchserve": (2.0, 2.2, 30.0), "tfserving": (1.0, 1.0, 1.0)}
    targets = {
        name: target.model_copy(
            update={
                "cold_starts": tuple(
                    ColdStartRecord(block=block, ready_s=0.5, first_right_answer_s=each)
                    for block, each in enumerate(seconds[name])
                )
            }
        )
        for name, target in plain.targets.items()
    }
    looks = tuple(
        LookRecord(blocks_count=count, elapsed_s=60.0 * count, time_share=0.1 * count, decided=count == 2)
        for count in (1, 2)
    )
    sequential = SequentialRecord(decide_within_s=600.0, looks=looks)
    run = summarise(plain.model_copy(update={"targets": targets, "sequential": sequential}), tmp_path)
    (one,) = [off for off in run.trade_offs if off.measure == "cold_start_s"]
    assert (one.candidate_value, one.blocks_count) == (2.1, 2)
    fixed = estimate_ratio([[math.log(2.0)], [math.log(2.2)]], seed=1).interval()
    assert one.interval[0] < fixed.low < fixed.high < one.interval[1]


def read_ms(folder, record):
    """Latencies of successful requests in ms, read with nothing of ours."""
    start = "scheduled_ns" if record.load.startswith("open") else "sent_ns"
    rows = pq.read_table(folder / record.samples_file).to_pylist()
    return [(x["done_ns"] - x[start]) / 1e6 for x in rows if x["status"] == 200 and x["correct"] is not False]


def quantile(values, q):
    """Type 7 of Hyndman and Fan: linear between the two nearest ranks."""
    ordered, place = sorted(values), (len(values) - 1) * q / 100
    low = math.floor(place)
    return ordered[low] + (ordered[min(low + 1, len(ordered) - 1)] - ordered[low]) * (place - low)


def assert_latency(found, values):
    for q, needed in NEEDED.items():
        shown = getattr(found, f"p{q}")
        if len(values) < needed:
            assert shown is None
            figures = {"percentile": q, "needed_count": needed, "succeeded_count": len(values)}
            assert found.reasons[f"p{q}"] == reason("too_few_requests", **figures)
        else:
            assert shown == pytest.approx(quantile(values, q))
            assert f"p{q}" not in found.reasons
    if values:
        assert found.min == pytest.approx(min(values))
        assert found.max == pytest.approx(max(values))
        assert found.mean == pytest.approx(statistics.fmean(values))
    else:
        assert (found.min, found.max, found.mean) == (None, None, None)


def comparison(run, metric, load="closed:1"):
    (found,) = [c for c in run.comparisons if c.metric == metric and c.load == load]
    return found


requests = st.lists(
    st.tuples(
        st.integers(1, 10**9), st.sampled_from([200, 200, 200, 503, 0]), st.sampled_from([None, True, False])
    ),
    max_size=150,
)
rounds = st.lists(
    st.builds(
        Round,
        target=st.sampled_from(["torchserve", "tfserving"]),
        requests=requests,
        load=st.sampled_from(["closed:1", "closed:8", "open:100"]),
        valid=st.booleans(),
        window_s=st.floats(0.5, 20),
    ),
    min_size=1,
    max_size=6,
)


@pytest.mark.slow
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(planned=rounds)
def test_every_figure_is_what_independent_code_computes(tmp_path_factory, planned):
    folder = tmp_path_factory.mktemp("run")
    run = run_of(folder, planned)
    for target in run.targets.values():
        for one in target.rounds:
            values = read_ms(folder, one)
            assert_latency(one.latency_ms, values)
            assert one.throughput_per_s == pytest.approx(len(values) / one.window_s)
        assert [s.load for s in target.summaries] == list(dict.fromkeys(x.load for x in target.rounds))
        for summary in target.summaries:
            everyone = [x for x in target.rounds if x.load == summary.load]
            valid = [x for x in everyone if x.valid]
            pooled = [value for one in valid for value in read_ms(folder, one)]
            assert_latency(summary.latency_ms, pooled)
            assert summary.rounds_count == len(valid)
            assert summary.invalid_rounds_count == len(everyone) - len(valid)
            assert summary.requests_count == sum(len(pq.read_table(folder / x.samples_file)) for x in valid)
            assert summary.errors_count == summary.requests_count - len(pooled)
            if valid:
                window = sum(x.window_s for x in valid)
                assert summary.throughput_per_s == pytest.approx(len(pooled) / window)
            else:
                assert summary.throughput_per_s is None
            if pooled:
                check_ecdf(summary.ecdf, pooled)
            else:
                assert summary.ecdf is None


def check_ecdf(found, values):
    assert found.latency_ms[0] == pytest.approx(min(values))
    assert found.latency_ms[-1] == pytest.approx(max(values))
    assert found.share[-1] == 1
    ordered = sorted(values)
    for at, share in zip(found.latency_ms, found.share, strict=True):
        assert share == pytest.approx(sum(value <= at * (1 + 1e-12) for value in ordered) / len(ordered))


def test_percentiles_are_of_the_pool_and_no_average(tmp_path):
    run = run_of(tmp_path, [Round("torchserve", fast(900, 1)), Round("torchserve", fast(100, 50, seed=1))])
    (summary,) = run.targets["torchserve"].summaries
    pooled = [ns / 1e6 for ns, _, _ in fast(900, 1) + fast(100, 50, seed=1)]
    average = statistics.fmean(one.latency_ms.p50 for one in run.targets["torchserve"].rounds)
    assert summary.latency_ms.p50 == pytest.approx(quantile(pooled, 50))
    assert abs(summary.latency_ms.p50 - average) > 5


def test_failed_and_wrong_answers_are_in_no_figure(tmp_path):
    good = [(1_000_000, 200, None)] * 20
    bad = [(9_000_000, 503, None), (9_000_000, 0, None), (9_000_000, 200, False), (9_000_000, 404, True)]
    (summary,) = run_of(tmp_path, [Round("torchserve", good + bad)]).targets["torchserve"].summaries
    assert (summary.latency_ms.max, summary.throughput_per_s) == (1.0, 10.0)
    assert (summary.requests_count, summary.errors_count) == (24, 4)


def test_an_invalid_round_is_shown_and_feeds_no_summary_and_no_ratio(tmp_path):
    rounds = [
        Round("torchserve", fast(20, 2)),
        Round("tfserving", fast(20, 1)),
        Round("torchserve", fast(20, 200), repetition=1, valid=False),
        Round("tfserving", fast(20, 1), repetition=1),
        Round("torchserve", fast(20, 2), repetition=2),
        Round("tfserving", fast(20, 100), repetition=2, valid=False),
    ]
    run = run_of(tmp_path, rounds)
    assert run.targets["torchserve"].rounds[1].latency_ms.p50 > 100
    assert run.targets["torchserve"].summaries[0].round_range["p50"][1] < 10
    found = comparison(run, "p50")
    assert found.pairs_count == 1
    assert found.round_range == (pytest.approx(2), pytest.approx(2))
    assert found.pair_ratios == (pytest.approx(2),)


def test_only_invalid_rounds_give_nothing(tmp_path):
    run = run_of(tmp_path, [Round("torchserve", fast(20), valid=False), Round("tfserving", fast(20))])
    (summary,) = run.targets["torchserve"].summaries
    assert (summary.throughput_per_s, summary.ecdf, summary.round_range) == (None, None, {})
    found = comparison(run, "p50")
    assert (found.ratio, found.round_range, found.pairs_count) == (None, None, 0)
    assert found.verdict is None
    assert found.reason.code == "too_few_pairs"
    assert found.pair_ratios == ()


def test_ratios_pair_rounds_of_the_same_block_load_and_repetition(tmp_path):
    """The machine gets slower all the time; only true neighbours show the same ratio of two."""
    rounds = []
    for block in range(2):
        for repetition in range(3):
            drift = 10 ** (3 * block + repetition)
            order = [("torchserve", 2), ("tfserving", 1)]
            for target, factor in order if (block + repetition) % 2 else reversed(order):
                for load, share in (("closed:1", 1), ("closed:8", 3)):
                    requests = fast(20, factor * drift * (share if target == "tfserving" else 1))
                    rounds.append(Round(target, requests, block, repetition, load))
    run = run_of(tmp_path, rounds)
    for load, ratio in (("closed:1", 2), ("closed:8", 2 / 3)):
        found = comparison(run, "p50", load)
        assert (found.pairs_count, found.blocks_count) == (6, 2)
        assert found.ratio == pytest.approx(ratio, rel=1e-3)
        assert found.round_range == (pytest.approx(ratio, rel=1e-3), pytest.approx(ratio, rel=1e-3))


def test_a_ratio_is_candidate_over_baseline(tmp_path):
    planned = []
    for repetition in range(2):
        planned.append(Round("torchserve", fast(30, 3), repetition=repetition))
        planned.append(Round("tfserving", fast(30, 1), repetition=repetition, window_s=4))
    run = run_of(tmp_path, planned)
    assert {(c.candidate, c.baseline) for c in run.comparisons} == {("torchserve", "tfserving")}
    assert comparison(run, "p50").ratio == pytest.approx(3, rel=1e-5)
    assert comparison(run, "throughput_per_s").ratio == pytest.approx(2)
    assert [c.metric for c in run.comparisons] == ["p99", *(m for m in METRICS if m != "p99")]


def test_a_percentile_without_enough_samples_is_not_compared(tmp_path):
    counts = {"torchserve": 129, "tfserving": 130}
    rounds = [Round(t, fast(n), repetition=k) for k in range(2) for t, n in counts.items()]
    run = run_of(tmp_path, rounds)
    assert comparison(run, "p50").ratio is not None
    assert (comparison(run, "p95").ratio, comparison(run, "p95").pairs_count) == (None, 0)


def test_enough_samples_in_the_pool_give_a_percentile_no_single_round_has(tmp_path):
    planned = [Round(t, fast(70), repetition=n) for n in range(2) for t in ("torchserve", "tfserving")]
    run = run_of(tmp_path, planned)
    assert run.targets["torchserve"].summaries[0].latency_ms.p95 is not None
    assert "p95" not in run.targets["torchserve"].summaries[0].round_range
    assert (comparison(run, "p95").pairs_count, comparison(run, "p95").round_range) == (0, None)


def test_open_load_counts_from_the_schedule(tmp_path):
    planned = Round("torchserve", [(1_000_000, 200, None)] * 11, load="open:100")
    (summary,) = run_of(tmp_path, [planned]).targets["torchserve"].summaries
    assert summary.latency_ms.p50 == pytest.approx(1.0005)


def test_the_range_over_rounds_is_smallest_and_largest(tmp_path):
    planned = [Round("torchserve", fast(20, scale)) for scale in (5, 1, 3)]
    run = run_of(tmp_path, planned)
    values = [one.latency_ms.p50 for one in run.targets["torchserve"].rounds]
    assert run.targets["torchserve"].summaries[0].round_range["p50"] == (min(values), max(values))


def test_summarising_twice_changes_nothing(tmp_path):
    run = run_of(tmp_path, [Round("torchserve", fast(70)), Round("tfserving", fast(70))])
    assert summarise(run, tmp_path) == run


@pytest.mark.parametrize("damage", ["missing", "truncated", "empty"])
def test_a_raw_file_that_is_gone_or_damaged_is_named(tmp_path, damage):
    run = run_of(tmp_path, [Round("torchserve", fast(30))])
    path = tmp_path / "samples/000.parquet"
    content = path.read_bytes()
    path.unlink()
    if damage != "missing":
        path.write_bytes(content[: len(content) // 2 if damage == "truncated" else 0])
    with pytest.raises(MachineError, match=r"round cannot be summarised: .*000\.parquet"):
        summarise(run, tmp_path)


def test_the_servers_cpu_per_row_is_of_the_windows_alone(tmp_path):
    """Warm-ups have requests as well (five in each round here), whose CPU time is in no window."""
    planned = [
        Round("torchserve", fast(100), server_cpu_s=2.0),
        Round("torchserve", fast(300), server_cpu_s=1.0),
        Round("torchserve", fast(500), server_cpu_s=9.0, valid=False),
        Round("torchserve", fast(700)),
        Round("tfserving", fast(10)),
    ]
    targets = run_of(tmp_path, planned).targets
    assert targets["torchserve"].summaries[0].server_cpu_ms_per_row == pytest.approx(1000 * 3.0 / 400)
    assert targets["tfserving"].summaries[0].server_cpu_ms_per_row is None
