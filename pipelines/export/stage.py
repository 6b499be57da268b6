"""The export stage: every target's artifacts, one process per framework, all at the same time."""

import importlib
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from models.spec import ModelError, ModelSpec, load_model, load_unchanged
from pipelines.artifacts import manifest as artifact
from pipelines.artifacts.manifest import Manifest
from pipelines.artifacts.owner import claim
from pipelines.errors import GateError, MachineError, UserError
from pipelines.files.atomic import locked, new_folder
from pipelines.record.artifact import ArtifactRecord, NotExportedRecord
from pipelines.roads.known import TWIN, Asked, chosen, require_road
from pipelines.roads.known import sources as road_sources
from pipelines.targets.exported import Exported, NotExported
from pipelines.targets.registry import SERVED, TARGETS, find_target
from pipelines.targets.target import Target
from pipelines.tasks.tasks import Progress, Task, run_tasks
from pipelines.tasks.warned import collected

# An export that is not done by then is taken for hung.
EXPORT_LIMIT_S = 1800.0


@dataclass(frozen=True)
class ExportResult:
    """What an export did.

    Attributes:
        manifests: by target name, all that were asked for, fresh or not.
        exported: names of the targets that were exported now.
        reasons: why each of those was exported, by target name.
        pipeline_s: wall time of each framework's process, in seconds.
        elapsed_s: wall time of the whole export, in seconds.
    """

    manifests: dict[str, Manifest]
    exported: tuple[str, ...]
    reasons: dict[str, str]
    pipeline_s: dict[str, float]
    elapsed_s: float

    @property
    def warnings(self) -> tuple[str, ...]:
        """What exporters warned of when they wrote these artifacts, each with its target."""
        return tuple(f"{name}: {line}" for name, m in self.manifests.items() for line in m.warnings)


def target_folder(artifacts: Path, model: str, target: str) -> Path:
    """Where one target's artifacts of one model live."""
    return artifacts / model / target


def export(
    model: str,
    artifacts: Path,
    progress: Progress,
    *,
    targets: Sequence[str] = tuple(TARGETS),
    force: bool = False,
    road: str | None = None,
) -> ExportResult:
    """Export what is missing, outdated or damaged (all of it with `force`) below `artifacts`.

    Args:
        model: a model's name, or the path of a file that defines one.
        targets: names of targets; all of them if nothing is said.
        road: the way into another framework for the targets that know it; None: the best one that is there.

    Raises:
        RequestError: there is no such road.
        ModelError: the model or its checkpoint is not usable.
        MachineError: a process died, or the disk refused.
    """
    started = time.monotonic()
    require_road(road)
    spec = load_model(model)
    root = artifacts / spec.name
    asked = Asked(model, road)
    with locked(root / ".lock", lambda: progress("export", f"waiting for another export in {root}")):
        claim(root, spec)
        reasons = _reasons(spec, root, targets, force, road)
        pipeline_s = _export_targets(asked, spec, root, list(reasons), progress) if reasons else {}
    manifests = {name: artifact.require_manifest(root / name, spec) for name in targets}
    return ExportResult(manifests, tuple(reasons), reasons, pipeline_s, time.monotonic() - started)


def chosen_targets(text: str | None, among: Sequence[str] = tuple(TARGETS)) -> tuple[str, ...]:
    """Names of targets from a comma-separated list; all of `among` for None.

    Raises:
        RequestError: there is no such target.
    """
    if text is None:
        return tuple(among)
    return tuple(dict.fromkeys(find_target(name.strip(), among).name for name in text.split(",")))


def current(
    model: str, artifacts: Path, targets: Sequence[str], road: str | None = None
) -> dict[str, Manifest]:
    """Manifests of those `targets` that an export would leave as they are; nothing is exported."""
    spec = load_model(model)
    root = artifacts / spec.name
    stale = _reasons(spec, root, targets, force=False, road=road)
    return {name: artifact.require_manifest(root / name, spec) for name in targets if name not in stale}


def _reasons(
    spec: ModelSpec, root: Path, targets: Sequence[str], force: bool, road: str | None
) -> dict[str, str]:
    found = {name: _reason(spec, root / name, TARGETS[name], force, road) for name in targets}
    return {name: reason for name, reason in found.items() if reason}


def _reason(
    spec: ModelSpec, folder: Path, target: Target, force: bool, road: str | None = None
) -> str | None:
    try:
        manifest = artifact.read_manifest(folder)
    except GateError as error:
        return str(error)
    if manifest is None:
        return "not exported yet"
    if force:
        return "asked for with --force"
    # Replacing the folder would delete what somebody else put there.
    artifact.require_only_listed(folder, manifest, spec)
    if manifest.key != _key(spec, target, road):
        return "the model, the exporter, the road or a tool's version changed"
    return artifact.damage(folder, manifest)


def _key(spec: ModelSpec, target: Target, road: str | None = None) -> str:
    """Without a twin the roads' own files and locks decide as well, and so does the road that is forced."""
    toolchain, sources = artifact.versions(target.toolchain), target.sources
    if target.roads and chosen(spec, target.roads, road) != (TWIN,):
        toolchain = {**toolchain, "road": road or "any"}
        sources = [*sources, *road_sources(target.roads)]
    return artifact.export_key(spec, toolchain, sources)


def _export_targets(
    asked: Asked, spec: ModelSpec, root: Path, names: list[str], progress: Progress
) -> dict[str, float]:
    frameworks = sorted({TARGETS[name].framework for name in names})
    with ExitStack() as folders:
        paths = {name: folders.enter_context(new_folder(root / name)) for name in names}
        tasks = [_task(asked, spec.digest, framework, paths) for framework in frameworks]
        outcomes = run_tasks(tasks, progress)
        for outcome in outcomes:
            for name, said in outcome.result.items():
                _finish(spec, TARGETS[name], paths[name], said, asked.road)
    return {f: outcome.elapsed_s for f, outcome in zip(frameworks, outcomes, strict=True)}


def _task(asked: Asked, digest: str, framework: str, paths: dict[str, Path]) -> Task:
    folders = {name: str(path) for name, path in paths.items() if TARGETS[name].framework == framework}
    arguments = {"model": asked.model, "road": asked.road, "digest": digest, "folders": folders}
    return Task(framework, "pipelines.export.stage:export_here", arguments, EXPORT_LIMIT_S)


def export_here(
    model: str, road: str | None, digest: str, folders: dict[str, str], progress: Callable[[str], None]
) -> dict[str, dict[str, list[Any]]]:
    """The work of one framework's process: export each named target into its folder."""
    progress("loading the framework")
    spec = load_unchanged(model, digest)
    if any(TARGETS[name].traces for name in folders):
        from pipelines.parity.source import require_deployable

        progress("examining the source model")
        require_deployable(spec)
    asked = Asked(model, road)
    return {name: _export_one(spec, name, Path(folder), progress, asked) for name, folder in folders.items()}


def _export_one(
    spec: ModelSpec, name: str, folder: Path, progress: Callable[[str], None], asked: Asked
) -> dict[str, list[Any]]:
    """What one target's exporter wrote, or could not, and what it warned of.

    Raises:
        ModelError, UserError: the exporter's own, with what it warned of before.
    """
    module, function = TARGETS[name].export.split(":")
    exporter: Callable[..., list[Exported | NotExported]] = getattr(importlib.import_module(module), function)
    warned: list[str] = []
    try:
        with collected(warned):
            more = {"asked": asked} if TARGETS[name].roads else {}
            exported = exporter(spec, folder, progress, **more)
    except (ModelError, UserError) as error:
        raise type(error)(f"{error}{f'; its exporter warned: {warned[0]}' if warned else ''}") from error
    return {"exported": [asdict(one) for one in exported], "warnings": warned}


def _finish(
    spec: ModelSpec, target: Target, folder: Path, said: dict[str, list[Any]], road: str | None
) -> None:
    toolchain, exported = artifact.versions(target.toolchain), said["exported"]
    artifacts = tuple(
        _describe(target.name, folder, entry, toolchain) for entry in exported if "reason" not in entry
    )
    refused = tuple(NotExportedRecord(target=target.name, **entry) for entry in exported if "reason" in entry)
    _require_something(target.name, artifacts, refused)
    manifest = Manifest(
        key=_key(spec, target, road),
        model=spec.name,
        model_digest=spec.digest,
        target=target.name,
        artifacts=artifacts,
        not_exported=refused,
        files=artifact.file_digests(folder, [a.path for a in artifacts]),
        warnings=tuple(said["warnings"]),
    )
    artifact.write_manifest(folder, manifest)


def _require_something(
    target: str, artifacts: tuple[ArtifactRecord, ...], refused: tuple[NotExportedRecord, ...]
) -> None:
    """A device can do without a target that cannot be had, and is told why; a server cannot.

    Raises:
        MachineError: nothing was written, and no server can do without it or nobody said why.
    """
    if artifacts or (refused and target not in SERVED):
        return
    why = "; ".join(f"{one.format} {one.precision}: {one.reason}" for one in refused)
    raise MachineError(
        f"the export of {target} wrote no artifact ({why or 'and gave no reason'}); choose others with "
        "--targets, or mend the model"
    )


def _describe(target: str, folder: Path, entry: dict[str, Any], toolchain: dict[str, str]) -> ArtifactRecord:
    path = folder / entry["path"]
    return ArtifactRecord(
        target=target,
        path=entry["path"],
        format=entry["format"],
        precision=entry["precision"],
        variant=entry["variant"],
        size_bytes=artifact.size_bytes(path),
        gzip_bytes=artifact.gzip_bytes(path),
        sha256=artifact.sha256(path),
        export_s=round(entry["export_s"], 3),
        toolchain={**toolchain, **entry["tools"]},
        road=entry["road"],
    )
