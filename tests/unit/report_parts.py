"""The parts of a run record that need no measuring, for report_fixture and report_slo_fixture."""

import math
from collections.abc import Sequence
from typing import Any

from pipelines.record.artifact import ArtifactRecord
from pipelines.record.comparison import ComparisonRecord
from pipelines.record.environment import EnvironmentRecord
from pipelines.record.fairness import AsymmetryRecord, FairnessRecord
from pipelines.record.implementation import GivenRecord, ImplementationRecord
from pipelines.record.model import ModelRecord, TensorRecord
from pipelines.record.parity import ParityRecord
from pipelines.record.reason import ReasonRecord, reason
from pipelines.record.rounds import LatencyRecord
from pipelines.record.run import PayloadRecord, ProfileRecord
from pipelines.record.target import MemoryRecord, TargetRecord

LOADS = ("closed:1", "closed:8")
PROFILE = ProfileRecord(
    name="quick",
    blocks=2,
    rounds=2,
    warmup_limit_s=8.0,
    round_s=10.0,
    loads=LOADS,
    control=True,
    null=True,
    retries=4,
    seed=20261120,
    check_share=0.02,
    margin=0.05,
)
MODEL = ModelRecord(
    name="digits_cnn",
    digest="sha256:8c1f0ab2d45e",
    checkpoint_sha256="4be2" * 16,
    parameters_count=23946,
    inputs=(TensorRecord(name="image", dtype="float32", shape=(None, 1, 28, 28)),),
    outputs=(TensorRecord(name="logits", dtype="float32", shape=(None, 10)),),
    samples_count=360,
    accuracy=0.98611,
)
ENVIRONMENT = EnvironmentRecord(
    os="Debian GNU/Linux 12",
    kernel="6.1.0",
    cpu_model="AMD EPYC 7B13",
    cores_count=2,
    memory_bytes=8_322_318_336,
    server_cores=(0,),
    generator_cores=(1,),
    versions={"python": "3.11.9", "torch": "2.13.0", "tensorflow": "2.21.0", "locust": "2.47.0"},
    git_commit="cb3236c0d1e2f3a4b5c6d7e8f9a0b1c2d3e4f5a6",
)
PAYLOAD = PayloadRecord(
    protocol="rest",
    bodies_count=360,
    body_bytes_min=3911,
    body_bytes_max=5127,
    body_example='{"instances": [[[' + ", ".join(["0.0", "0.3125", "0.9375"] * 90) + "]]]}",
)
WARNINGS = (
    reason("only_core", generator_cores="0"),
    reason("text", text="the governor of the cores is not `performance`"),
)


def said(text: str | None) -> ReasonRecord | None:
    """A sentence as a reason, as records of version 1 have them."""
    return None if text is None else reason("text", text=text)


def both(torchserve: str, tfserving: str | None = None) -> dict[str, str]:
    """What each of the two compared targets was given; once for both when alike."""
    return {"torchserve": torchserve, "tfserving": tfserving or torchserve}


FAIRNESS = FairnessRecord(
    checked={
        "cores": both("0"),
        "workers": both("1", "none"),
        "threads per worker": both("1"),
        "largest batch": both("1"),
        "memory limit": both("none"),
        "protocol": both("rest"),
        "payload bytes": both("3911 to 5127"),
        "model digest": both("sha256:8c1f0ab2d45e"),
    },
    asymmetries=(),
)
ASYMMETRY = AsymmetryRecord(field="threads per worker", values=both("1", "2"), allowed=True)


def comparison(**changes: Any) -> ComparisonRecord:
    """TorchServe's p99 against tfserving's, clearly worse, with any field changed."""
    fields: dict[str, Any] = {
        "load": "closed:8",
        "metric": "p99",
        "baseline": "tfserving",
        "candidate": "torchserve",
        "ratio": 1.9,
        "interval": (1.71, 2.12),
        "round_range": (1.6, 2.2),
        "pairs_count": 6,
        "blocks_count": 2,
        "margin": 0.05,
        "noise_floor": 0.03,
        "verdict": "worse",
        "reason": None,
        "rounds_needed": None,
    }
    made = fields | changes
    if isinstance(made["reason"], str):
        made["reason"] = said(made["reason"])
    return ComparisonRecord(**made)


IMPLEMENTATIONS = {
    "torchserve": ("torchserve", "0.12.0", False, None),
    "tfserving": ("tandem embedded server", "0.1.0", True, "tensorflow_model_server is not on PATH."),
    "null": ("null", "0.1.0", False, "Answers a constant: the harness floor."),
    "tflite": ("ai-edge-litert", "2.3.0", False, "host CPU, not a phone"),
}


def implementation(name: str, runner: str, protocol: str) -> ImplementationRecord:
    """What answers for a target of that name."""
    product, version, stand_in, note = IMPLEMENTATIONS[name]
    return ImplementationRecord(
        name=product,
        version=version,
        runner=runner,
        preset="default",
        protocol=protocol,
        stand_in=stand_in,
        note=note,
    )


def parity(subject: str, **changes: Any) -> ParityRecord:
    """A check that passed, with any field changed."""
    fields: dict[str, Any] = {
        "subject": subject,
        "passed": True,
        "samples_count": 360,
        "max_abs_error": 1.9e-06,
        "max_rel_error": 3.1e-05,
        "absolute_tolerance": 1e-04,
        "relative_tolerance": 1e-03,
        "max_accuracy_drop": None,
        "top1_agreement": 1.0,
        "accuracy": 0.98611,
    }
    return ParityRecord(**(fields | changes))


def artifact(target: str, kind: str, precision: str, size: int, variant: str | None = None) -> ArtifactRecord:
    """An artifact with a digest of its own."""
    return ArtifactRecord(
        target=target,
        path=f"artifacts/digits_cnn/{target}-{precision}.{kind}",
        format=kind,
        precision=precision,
        variant=variant,
        size_bytes=size,
        gzip_bytes=size * 9 // 10,
        sha256=f"{size:064x}"[::-1],
        export_s=1.84,
        toolchain={"torch": "2.13.0"} if target == "torchserve" else {"tensorflow": "2.21.0"},
    )


def tflite() -> TargetRecord:
    """A target without a server."""
    loose = {
        "max_abs_error": 0.21,
        "absolute_tolerance": None,
        "relative_tolerance": None,
        "max_accuracy_drop": 0.01,
        "top1_agreement": 0.9972,
        "accuracy": 0.9833,
    }
    return TargetRecord(
        role="in-process",
        control_of=None,
        implementation=implementation("tflite", "in-process", "in-process"),
        given=GivenRecord(
            cores=(0, 1),
            workers_count=None,
            threads_per_worker=None,
            batch_max_size=None,
            memory_limit_bytes=None,
        ),
        artifacts=(
            artifact("tflite", "tflite", "float32", 98_004),
            artifact("tflite", "tflite", "int8", 29_112),
        ),
        parity=(parity("float32"), parity("int8", **loose)),
        endpoint_parity=None,
        cold_starts=(),
        memory=MemoryRecord(idle_bytes=None, peak_bytes=None),
        summaries=(),
        rounds=(),
        log_file=None,
    )


def latency(values: Sequence[float], **changes: Any) -> LatencyRecord:
    """Percentiles of sorted values by nearest rank, with intervals a little further out on each side."""
    at = {f"p{p}": _ranked(values, p / 100) for p in (50, 90, 95, 99)}
    ends = {"min": values[0], "max": values[-1], "mean": sum(values) / len(values)}
    intervals = {}
    for p in (50, 90, 95, 99):
        reach = 2 * (p * (100 - p) / len(values)) ** 0.5 / 100
        intervals[f"p{p}"] = (_ranked(values, p / 100 - reach), _ranked(values, p / 100 + reach))
    return LatencyRecord(**({**at, **ends, "reasons": {}, "intervals": intervals} | changes))


def _ranked(values: Sequence[float], share: float) -> float:
    return values[min(max(math.ceil(share * len(values)), 1), len(values)) - 1]


def no_latency(reason: str) -> LatencyRecord:
    """All null, for one reason."""
    names = ("p50", "p90", "p95", "p99", "min", "max", "mean")
    return LatencyRecord(**dict.fromkeys(names), reasons=dict.fromkeys(names, reason))
