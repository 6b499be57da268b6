"""Parity of an artifact or an endpoint, as run.json holds it."""

from pipelines.record.base import Record
from pipelines.record.reason import ReasonRecord


class ParityRecord(Record):
    """Outputs of an artifact, or of a live endpoint, against the source model's on the held-out samples.

    What computes in float32 must stay within the two tolerances. A reduced precision cannot; then they are
    null, and its `output_error`, the root mean square error in standard deviations of the source model's
    outputs, must stay within `max_output_error`, and the accuracy it loses, if it chooses classes, within
    `max_accuracy_drop`. `rmse` is against the source model's outputs, `target_rmse` against the targets. Of a
    regression `spread_error` is the largest error as a share of the range of the targets. `failures` are why
    it did not pass, each with its figures; empty in an older record.

    Of several outputs `outputs` has each one's own, by `output` and with its `task`. Then the errors above it
    are the worst, accuracy and choices are of the first output that has them, and all of them must pass.
    """

    subject: str
    passed: bool
    samples_count: int
    max_abs_error: float
    max_rel_error: float
    absolute_tolerance: float | None
    relative_tolerance: float | None
    max_accuracy_drop: float | None
    top1_agreement: float | None
    accuracy: float | None
    rmse: float | None = None
    output_error: float | None = None
    max_output_error: float | None = None
    target_rmse: float | None = None
    output: str | None = None
    task: str | None = None
    accuracy_drop: float | None = None
    spread_error: float | None = None
    max_spread_error: float | None = None
    failures: tuple[ReasonRecord, ...] = ()
    outputs: tuple["ParityRecord", ...] = ()
