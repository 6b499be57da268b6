"""Putting together the record of a run from its parts."""

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib import metadata
from typing import Literal

from loadtests.payloads import PayloadPool
from loadtests.statistics import PERCENTILE_METHOD
from models.spec import ModelSpec, TensorSpec
from models.weights import read_checkpoint
from pipelines.config.settings import RunSettings
from pipelines.export.stage import ExportResult
from pipelines.machine.cores import Cores
from pipelines.measure.environment import describe
from pipelines.measure.fairness import NOT_APPLICABLE, NOT_KNOWN, Given
from pipelines.measure.session import Measured, Session
from pipelines.measure.sides import Side
from pipelines.record.artifact import ArtifactRecord
from pipelines.record.fairness import FairnessRecord
from pipelines.record.implementation import GivenRecord, ImplementationRecord
from pipelines.record.mobile import MobileRecord
from pipelines.record.model import ModelRecord, TensorRecord
from pipelines.record.parity import ParityRecord
from pipelines.record.reason import ReasonRecord, reason
from pipelines.record.run import ProfileRecord, RunRecord
from pipelines.record.slo import SloRecord
from pipelines.record.target import MemoryRecord, PayloadRecord, TargetRecord
from pipelines.run.warnings import empty_exports, exporter_warnings, import_warnings, run_warnings
from pipelines.targets.address import URL
from pipelines.targets.libraries import installed_library
from pipelines.targets.registry import SERVED
from pipelines.targets.side import file_stem
from pipelines.verify.stage import Verified

# Of a body with an image, more says nothing and would be written after every round.
EXAMPLE_BYTES = 2000
NOT_KNOWN_OF_RUNNING = ("cores", "cpus", "memory_limit_bytes", "preset")
# What is known of a server only to the one who started it.
NOT_STARTED_HERE = ("cores", "memory", "configuration", "cold_start", "until_steady")


@dataclass(frozen=True)
class RunFacts:
    """What is known of a run beside its settings, model, artifacts and measurements."""

    kind: Literal["compare", "slo", "mobile", "tune"]
    run_id: str
    command: tuple[str, ...]
    started: datetime
    ended: datetime | None
    status: Literal["complete", "interrupted", "failed"]
    status_reason: str | None
    payloads: Mapping[str, PayloadRecord]
    fairness: FairnessRecord
    slo: SloRecord | None
    mobile: MobileRecord | None
    warnings: tuple[ReasonRecord, ...]


def build_record(
    settings: RunSettings,
    spec: ModelSpec,
    exported: ExportResult,
    verified: Verified,
    session: Session,
    facts: RunFacts,
) -> RunRecord:
    """Build the whole record; summaries, controls and comparisons come from the raw files afterwards."""
    served = {
        side.name: _served(side, session.measured[side.name]).model_copy(
            update={"payload": facts.payloads.get(side.control_of or side.name)}
        )
        for side in session.sides
        if session.measured[side.name].plan is not None
    }
    in_process = {
        name: _in_process(exported, verified, name)
        for name, manifest in exported.manifests.items()
        if name not in SERVED and manifest.artifacts
    }
    profile = ProfileRecord(
        **settings.profile.model_dump(),
        seed=settings.seed,
        check_share=settings.check_share,
        margin=settings.margin,
        primary=settings.primary,
    )
    return run_record(spec, exported, verified, settings.cores, facts).model_copy(
        update={
            "profile": profile,
            "targets": {**served, **in_process},
            "warnings": (
                *run_warnings(settings, served),
                *import_warnings(spec),
                *exporter_warnings(exported),
                *empty_exports(exported, settings.model),
                *facts.warnings,
            ),
        }
    )


def run_record(
    spec: ModelSpec, exported: ExportResult, verified: Verified, cores: Cores, facts: RunFacts
) -> RunRecord:
    """Build the record of a run without servers: model, machine, artifacts and what `facts` says."""
    return RunRecord(
        kind=facts.kind,
        run_id=facts.run_id,
        tandem_version=metadata.version("tandem-serving"),
        command=facts.command,
        started_at_utc=utc(facts.started),
        ended_at_utc=utc(facts.ended) if facts.ended else None,
        status=facts.status,
        status_reason=facts.status_reason,
        percentile_method=PERCENTILE_METHOD,
        profile=None,
        model=_model(spec, verified),
        environment=describe(cores),
        payload=next(iter(facts.payloads.values()), None),
        artifacts=tuple(a for manifest in exported.manifests.values() for a in manifest.artifacts),
        targets={},
        fairness=facts.fairness,
        controls=(),
        comparisons=(),
        slo=facts.slo,
        mobile=facts.mobile,
        warnings=(*import_warnings(spec), *exporter_warnings(exported), *facts.warnings),
    )


def utc(moment: datetime) -> str:
    """Write a moment as records hold it."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _served(side: Side, measured: Measured) -> TargetRecord:
    assert measured.plan is not None  # noqa: S101 - the caller leaves out servers that were never planned
    is_running = side.target == URL
    verified = side.verified if side.role == "compared" and not is_running else None
    return TargetRecord(
        role=side.role,
        control_of=side.control_of,
        target=side.target,
        implementation=measured.plan.implementation,
        given=measured.plan.given,
        artifacts=verified.manifests[side.target].artifacts if verified else (),
        parity=_parity(verified, side.target) if verified else (),
        endpoint_parity=measured.endpoint_parity,
        cold_starts=tuple(measured.cold_starts),
        conditionings=tuple(measured.conditionings),
        drifts=tuple(measured.drifts),
        memory=measured.memory,
        summaries=(),
        rounds=tuple(measured.rounds),
        log_file=None if is_running else f"logs/{file_stem(side.name)}-block{side.first_block}.log",
        not_known=_not_known(measured) if is_running else _not_seen(measured),
        in_process=measured.in_process,
    )


def _not_known(measured: Measured) -> dict[str, ReasonRecord]:
    """List what cannot be known of a running endpoint, and why."""
    not_started, elsewhere = reason("not_started_here"), reason("another_machine")
    unseen, seen_s = reason("process_not_seen"), [record.server_cpu_s for record in measured.rounds]
    unknown = dict.fromkeys(NOT_STARTED_HERE, not_started)
    if not any(seen_s):
        unknown["cpu"] = elsewhere if measured.place == "elsewhere" else unseen
    if measured.place == "hidden":
        unknown["neighbours"] = unseen
    if measured.place == "elsewhere":
        unknown["neighbours_there"] = elsewhere
    return unknown


def _not_seen(measured: Measured) -> dict[str, ReasonRecord]:
    """List what cannot be known of a container whose processes this machine does not show, and why."""
    if measured.place != "hidden":
        return {}
    return dict.fromkeys(("memory", "cpu", "neighbours"), reason("container_not_seen"))


def _in_process(exported: ExportResult, verified: Verified, name: str) -> TargetRecord:
    """Record a target without a server: artifacts and parity; the mobile record has its costs."""
    library = installed_library(name, exported.manifests[name].artifacts[0].format)
    return TargetRecord(
        role="in-process",
        control_of=None,
        implementation=ImplementationRecord(
            name=library.name,
            version=library.version,
            runner="in-process",
            preset="default",
            protocol="in-process",
            stand_in=False,
            note="an in-process runtime for devices: never ranked beside servers",
        ),
        given=GivenRecord(
            cores=(), workers_count=None, threads_per_worker=1, batch_max_size=1, memory_limit_bytes=None
        ),
        artifacts=_artifacts(exported, name),
        parity=_parity(verified, name),
        endpoint_parity=None,
        cold_starts=(),
        memory=MemoryRecord(idle_bytes=None, peak_bytes=None),
        summaries=(),
        rounds=(),
        log_file=None,
    )


def _artifacts(exported: ExportResult, name: str) -> tuple[ArtifactRecord, ...]:
    return exported.manifests[name].artifacts


def _parity(verified: Verified, name: str) -> tuple[ParityRecord, ...]:
    return verified.records.get(name, ())


def _tensor(tensor: TensorSpec) -> TensorRecord:
    return TensorRecord(name=tensor.name, dtype=tensor.dtype, shape=tensor.shape)


def _model(spec: ModelSpec, verified: Verified) -> ModelRecord:
    return ModelRecord(
        name=spec.name,
        digest=spec.digest,
        checkpoint_sha256=spec.checkpoint_sha256,
        parameters_count=_parameters_count(spec),
        inputs=tuple(map(_tensor, spec.inputs)),
        outputs=tuple(map(_tensor, spec.outputs)),
        samples_count=len(verified.expected),
        accuracy=verified.accuracy,
    )


@cache
def _parameters_count(spec: ModelSpec) -> int:
    """Count the numbers in the checkpoint that inference uses: weights and normalisation statistics."""
    if spec.given is not None:
        return spec.given.parameters_count
    return sum(tensor.size for tensor in read_checkpoint(spec).values() if tensor.dtype.kind == "f")


def describe_payload(pool: PayloadPool) -> PayloadRecord:
    """Describe what every request carries, from the pool that all sides' requests are made from."""
    sizes = [len(body) for body in pool.bodies]
    is_text = pool.codec in {"json-rows", "json-columns"}
    return PayloadRecord(
        protocol="gRPC" if pool.transport == "grpc" else "REST",
        codec=pool.codec,
        rows=pool.rows_counts[0] or 1,
        bodies_count=len(sizes),
        body_bytes_min=min(sizes),
        body_bytes_max=max(sizes),
        body_example=pool.bodies[0][:EXAMPLE_BYTES].decode(errors="ignore")
        if is_text
        else b64encode(pool.bodies[0][:EXAMPLE_BYTES]).decode(),
    )


def given(session: Session, spec: ModelSpec) -> dict[str, Given]:
    """Return the budget of every compared target, for the fairness check."""
    return {
        side.name: _given(side, session.measured[side.name], spec)
        for side in session.sides
        if side.role == "compared"
    }


def _given(side: Side, measured: Measured, spec: ModelSpec) -> Given:
    plan = measured.plan
    assert plan is not None  # noqa: S101 - looked at when all servers are planned
    pool = measured.pool_of(side)
    fields: Mapping[str, object] = {
        "cores": ", ".join(map(str, plan.given.cores)) or None,
        "cpus": plan.given.cpus,
        "memory_limit_bytes": plan.given.memory_limit_bytes,
        "runner": plan.implementation.runner,
        "preset": plan.implementation.preset,
        "protocol": plan.implementation.protocol,
        "body": plan.implementation.body,
        "payload_rows": sum(count or 0 for count in pool.rows_counts),
        "payload_bytes": sum(map(len, pool.bodies)),
        "model_digest": f"{spec.digest[:12]}…",
        "implementation": f"{plan.implementation.name} {plan.implementation.version}",
    }
    unknown = NOT_KNOWN_OF_RUNNING if side.target == URL else ()
    texts = {name: NOT_APPLICABLE if value is None else str(value) for name, value in fields.items()}
    return Given(texts | dict.fromkeys(unknown, NOT_KNOWN))
