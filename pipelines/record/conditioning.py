"""Load on fresh servers until they are steady, as run.json holds it."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import model_validator

from pipelines.record.base import Record


class SecondRecord(Record):
    """One second of conditioning: successful requests, their p50, and the server's CPU seconds.

    `resumed` is whether the server was paused just before it; such a second is not judged. `compilers_cpu_s`
    is what just-in-time compilers used of the CPU seconds; null where that could not be read.
    """

    requests_count: int
    p50_ms: float | None
    server_cpu_s: float | None
    resumed: bool = False
    compilers_cpu_s: float | None = None


class ConditioningRecord(Record):
    """Load on a fresh server, or on one whose rounds still drifted, until it stopped getting faster.

    `state` is `steady`; `climbing` when the budget ended while it still got faster; `unsettled` when nothing
    was shown either way. `until_steady_s` is seconds of this load until the steady stretch began,
    `until_steady_requests_count` the requests until then; null unless steady. The load comes in turns with
    pauses between them, each with its file of samples.
    """

    block: int
    load: str
    samples_files: tuple[str, ...]
    state: Literal["steady", "climbing", "unsettled"]
    until_steady_s: float | None
    until_steady_requests_count: int | None
    duration_s: float
    requests_count: int
    errors_count: int
    seconds: tuple[SecondRecord, ...]

    @model_validator(mode="before")
    @classmethod
    def _with_all_files(cls, given: Any) -> Any:
        """Read runs of before there were turns: they have one file."""
        if not isinstance(given, Mapping) or "samples_file" not in given:
            return given
        rest = {key: value for key, value in given.items() if key != "samples_file"}
        return {"samples_files": (given["samples_file"],), **rest}


class DriftRecord(Record):
    """The rounds of one block under one load still changed in one direction.

    `change` is the speed of the last over that of the first, less 1. `resolved` is whether the rounds were
    set aside and measured again after more conditioning; a climb that was not leaves no verdict.
    """

    block: int
    load: str
    change: float
    resolved: bool
