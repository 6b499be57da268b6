"""Load on fresh servers until they are steady, for tests of what a report shows of it."""

from collections.abc import Sequence
from typing import Literal

from report_fixture import make_run

from pipelines.record.conditioning import ConditioningRecord, DriftRecord, SecondRecord
from pipelines.record.run import RunRecord


def conditioning(
    block: int = 0,
    rates: Sequence[int] = (400, 600, 900, 1000, 1000),
    until: float | None = 3.0,
    state: Literal["steady", "climbing", "unsettled"] = "steady",
) -> ConditioningRecord:
    """Load on a fresh server that answered so many requests in each second."""
    return ConditioningRecord(
        block=block,
        load="closed:8",
        samples_files=(f"samples/conditioning-block{block}-torchserve-0-0.parquet",),
        state=state,
        until_steady_s=until,
        until_steady_requests_count=None if until is None else sum(rates[: int(until)]),
        duration_s=float(len(rates)),
        requests_count=sum(rates),
        errors_count=0,
        seconds=tuple(SecondRecord(requests_count=one, p50_ms=5.0, server_cpu_s=0.9) for one in rates),
    )


def run_with(*conditionings: ConditioningRecord, drifts: Sequence[DriftRecord] = ()) -> RunRecord:
    """The run in which TorchServe was conditioned so."""
    run = make_run()
    target = run.targets["torchserve"].model_copy(
        update={"conditionings": conditionings, "drifts": tuple(drifts)}
    )
    return run.model_copy(update={"targets": {**run.targets, "torchserve": target}})
