"""A realistic record of `tandem mobile`: both roads, a broken int8, one that cannot run, two not exported."""

from typing import Any

from report_fixture import make_run
from report_parts import ENVIRONMENT, artifact

from pipelines.record.artifact import NotExportedRecord
from pipelines.record.fairness import FairnessRecord
from pipelines.record.mobile import (
    MobileArtifactRecord,
    MobileGateRecord,
    MobileRecord,
    RuntimeLibraryRecord,
    TimingRecord,
)
from pipelines.record.reason import ReasonRecord, reason
from pipelines.record.run import RunRecord

SOURCE_ACCURACY = 0.98611
SAMPLES = 360
CRASHED = "the process ended with signal 11 while it loaded the file"
TOO_FEW = reason("too_few_calls", percentile=95, needed_count=130, calls_count=9)
NO_LITE = "this build of torch cannot write a lite interpreter file: XNNPACK is missing"
CHOSEN = reason("smallest", passed_count=8, artifacts_count=10)
BROKEN = (reason("accuracy_drop", accuracy=0.10556, accuracy_drop=0.88055, limit=0.01),)
RUNTIMES = {
    "ai-edge-litert": RuntimeLibraryRecord(
        name="ai-edge-litert",
        version="2.3.0",
        size_bytes=9_812_440,
        source="ai_edge_litert/_pywrap_litert_interpreter_wrapper.so of the installed package",
    ),
    "executorch": RuntimeLibraryRecord(
        name="executorch",
        version="1.5.1",
        size_bytes=5_217_096,
        source="executorch/extension/pybindings/_portable_lib.so of the installed package",
    ),
    "onnxruntime": RuntimeLibraryRecord(
        name="onnxruntime",
        version="1.27.0",
        size_bytes=18_214_912,
        source="onnxruntime/capi/onnxruntime_pybind11_state.so of the installed package",
    ),
}
LIBRARIES = {"tflite": "ai-edge-litert", "executorch": "executorch", "onnx": "onnxruntime"}
FORMATS = {"tflite": "tflite", "executorch": "pte", "onnx": "onnx"}


def timing(threads: int, p50_ms: float, **changes: Any) -> TimingRecord:
    """Calls with that many threads, with any field changed."""
    fields: dict[str, Any] = {
        "threads_count": threads,
        "load_ms": 1.312,
        "first_inference_ms": p50_ms * 4.1,
        "warmup_runs_count": 57,
        "runs_count": 4812,
        "elapsed_s": 1.02,
        "p50_ms": p50_ms,
        "p95_ms": p50_ms * 1.23,
        "reasons": {},
        "peak_memory_bytes": 1_402_880,
        "samples_file": f"samples/{threads}-threads-{p50_ms}.npz",
        "cpu_steal_share": 0.012,
        "foreign_cpu_share": 0.031,
    }
    return TimingRecord(**(fields | changes))


def mobile_artifact(
    target: str, precision: str, size: int, accuracy: float | None, p50_ms: float, **changes: Any
) -> MobileArtifactRecord:
    """An artifact that passes, with any field changed."""
    variant = changes.get("variant")
    path = "_".join(part for part in ("digits_cnn", precision, variant) if part)
    fields: dict[str, Any] = {
        "target": target,
        "path": f"{path}.{FORMATS[target]}",
        "format": FORMATS[target],
        "precision": precision,
        "variant": None,
        "size_bytes": size,
        "gzip_bytes": size * 9 // 10,
        "zstd_bytes": size * 89 // 100,
        "sha256": f"{size:064x}"[::-1],
        "parameters_count": 23_946,
        "ops_count": 11,
        "delegated_ops_count": 9,
        "delegate": "XNNPACK",
        "samples_count": SAMPLES,
        "accuracy": accuracy,
        "accuracy_drop": None if accuracy is None else SOURCE_ACCURACY - accuracy,
        "top1_agreement": None if accuracy is None else 1 - (SOURCE_ACCURACY - accuracy),
        "max_abs_error": None if accuracy is None else 0.0021,
        "timings": (timing(1, p50_ms), timing(2, round(p50_ms * 0.7, 4))),
        "runtime_library": LIBRARIES[target],
        "on_pareto_front": False,
        "passed": True,
        "failures": (),
        "error": None,
        "rmse": None if accuracy is None else 0.0007,
        "output_error": None if accuracy is None else 0.0123,
        "max_output_error": None if precision == "float32" else 0.2,
    }
    return MobileArtifactRecord(**(fields | changes))


def mobile_artifacts() -> tuple[MobileArtifactRecord, ...]:
    """Both roads: good ones, an int8 of a broken calibration, and one that crashes."""
    one_core = {"timings": (timing(1, 0.2191, p95_ms=None, runs_count=9, reasons={"p95_ms": TOO_FEW}),)}
    nothing = dict.fromkeys(("parameters_count", "ops_count", "delegated_ops_count", "delegate"))
    return (
        mobile_artifact("tflite", "float32", 98_004, 0.98611, 0.0712, max_abs_error=1.9e-06),
        mobile_artifact("tflite", "float16", 51_432, 0.98611, 0.0731, on_pareto_front=True),
        mobile_artifact("tflite", "dynamic-int8", 29_880, 0.98333, 0.1042, on_pareto_front=True),
        mobile_artifact("tflite", "int8", 29_112, 0.98056, 0.0419, on_pareto_front=True),
        mobile_artifact("tflite", "int16x8", 33_816, 0.98333, 0.8113),
        mobile_artifact("executorch", "float32", 97_544, 0.98611, 0.3127, variant="portable", **one_core),
        mobile_artifact("executorch", "float32", 98_912, 0.98611, 0.0811, variant="xnnpack"),
        mobile_artifact(
            "executorch",
            "int8",
            28_704,
            0.10556,
            0.0462,
            variant="xnnpack",
            passed=False,
            failures=BROKEN,
            on_pareto_front=True,
        ),
        mobile_artifact(
            "executorch",
            "int8",
            31_008,
            None,
            1.0,
            variant="portable",
            timings=(),
            passed=False,
            failures=(reason("not_run", error=CRASHED),),
            error=CRASHED,
            **nothing,
        ),
        mobile_artifact("onnx", "float32", 97_120, 0.98611, 0.0651, **nothing),
    )


def make_mobile(**changes: Any) -> MobileRecord:
    """The result, with any field of `MobileRecord` changed."""
    artifacts = mobile_artifacts()
    fields: dict[str, Any] = {
        "measured_at_utc": "2026-11-20T14:22:35Z",
        "memory_source": "VmHWM of the process",
        "source_accuracy": SOURCE_ACCURACY,
        "artifacts": artifacts,
        "not_exported": (
            NotExportedRecord(
                target="torchscript", format="ptl", precision="float32", variant=None, reason=NO_LITE
            ),
        ),
        "runtimes": RUNTIMES,
        "gate": gate(artifacts[3].path, CHOSEN),
    }
    return MobileRecord(**(fields | changes))


def gate(chosen: str | None, reason: ReasonRecord, **changes: Any) -> MobileGateRecord:
    """The gate's answer, with any field changed."""
    fields = {"max_accuracy_drop": 0.01, "max_bytes": None, "chosen": chosen, "reason": reason}
    return MobileGateRecord(**(fields | changes))


def make_mobile_run(mobile: MobileRecord | None = None, **changes: Any) -> RunRecord:
    """A run of the mobile command: no target, no round, no profile, no payload."""
    shown = mobile or make_mobile()
    fields: dict[str, Any] = {
        "kind": "mobile",
        "run_id": "20261120-142235-digits_cnn-mobile",
        "command": ("tandem", "mobile", "digits_cnn", "--max-accuracy-drop", "0.01"),
        "profile": None,
        "payload": None,
        "artifacts": (artifact("tflite", "tflite", "float32", 98_004),),
        "targets": {},
        "environment": ENVIRONMENT.model_copy(update={"server_cores": (), "generator_cores": ()}),
        "fairness": FairnessRecord(checked={}, asymmetries=()),
        "controls": (),
        "comparisons": (),
        "warnings": (),
        "mobile": shown,
    }
    return make_run(**(fields | changes))


def without_winner() -> MobileRecord:
    """The same artifacts with a limit that none keeps."""
    failures = (reason("too_large", size_bytes=90_000, limit_bytes=20_000),)
    failing = tuple(
        one.model_copy(update={"passed": False, "failures": (*one.failures, *failures)})
        for one in mobile_artifacts()
    )
    return make_mobile(
        artifacts=failing,
        gate=gate(None, reason("none_passes", passed_count=0, artifacts_count=10), max_bytes=20_000),
    )
