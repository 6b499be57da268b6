"""What a reader should know before the figures: imports, exporters, targets without files, cores."""

from collections.abc import Mapping

from models.spec import ModelSpec
from pipelines.config.settings import RunSettings
from pipelines.export.stage import ExportResult
from pipelines.machine.cores import Cores, listed
from pipelines.record.reason import ReasonRecord, reason
from pipelines.record.target import TargetRecord
from pipelines.runners.url import cores_seen


def import_warnings(spec: ModelSpec) -> tuple[ReasonRecord, ...]:
    """Name the reference of a model without a source, and say if its samples are random numbers."""
    if spec.given is None:
        return ()
    reference = spec.given.referred
    warning = reason("imported", reference=reference.kind, source=reference.source)
    return (warning, reason("random_samples")) if spec.given.random else (warning,)


def exporter_warnings(exported: ExportResult) -> tuple[ReasonRecord, ...]:
    """Repeat what exporters warned of."""
    return tuple(reason("exporter", text=line) for line in exported.warnings)


def run_warnings(settings: RunSettings, served: Mapping[str, TargetRecord]) -> tuple[ReasonRecord, ...]:
    """Warn of servers that only stand in for the product, and of shared cores."""
    stand_ins = [
        reason(
            "stand_in",
            target=name,
            implementation=t.implementation.name,
            version=t.implementation.version,
            note=t.implementation.note or "",
        )
        for name, t in served.items()
        if t.implementation.stand_in and t.role == "compared"
    ]
    return (*stand_ins, *_core_warnings(settings.cores))


def endpoint_warnings(settings: RunSettings) -> tuple[ReasonRecord, ...]:
    """Warn of running endpoints whose processes may use the core on which their load is generated.

    Raises:
        MachineError: there is no such host.
    """
    if settings.cores.shared:
        return ()
    generator = settings.cores.generator
    seen = {side.name: cores_seen(side.address) for side in settings.running if side.address is not None}
    return tuple(
        reason(
            "endpoint_shares_core",
            side=name,
            generator_cores=listed(generator),
            server_cores=listed(settings.cores.server),
        )
        for name, cores in seen.items()
        if cores.intersection(generator)
    )


def empty_exports(exported: ExportResult, model: str) -> tuple[ReasonRecord, ...]:
    """Warn of targets for devices of which nothing could be exported: they stand in no table."""
    return tuple(
        reason(
            "nothing_exported",
            target=name,
            model=model,
            reasons=tuple(omission.reason for omission in manifest.not_exported),
        )
        for name, manifest in exported.manifests.items()
        if not manifest.artifacts
    )


def _core_warnings(cores: Cores) -> tuple[ReasonRecord, ...]:
    """Warn of what the choice of cores costs."""
    generator = listed(cores.generator)
    if cores.shared:
        alone = cores.server == cores.generator
        return (reason("only_core" if alone else "shared_core", generator_cores=generator),)
    if cores.coupled:
        return (reason("hyper_threads", server_cores=listed(cores.coupled), generator_cores=generator),)
    return ()
