"""The export stage: every target's artifacts, one process per framework, all at the same time."""

import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from models.spec import ModelSpec, load_model
from pipelines.artifacts import contents
from pipelines.artifacts import manifest as artifact
from pipelines.artifacts.manifest import Manifest
from pipelines.artifacts.owner import claim
from pipelines.errors import GateError, MachineError, ProcessDiedError
from pipelines.export.work import ExportOutcome, empty_folder, export_here
from pipelines.files.atomic import locked, new_folder
from pipelines.imported import placement
from pipelines.record.artifact import ArtifactRecord, NotExportedRecord
from pipelines.roads.known import AUTO, KERAS, TWIN, Asked, chosen, require_road, shared_tools
from pipelines.roads.known import sources as road_sources
from pipelines.targets.exported import Exported
from pipelines.targets.registry import ORDINARY, TARGETS, find_target
from pipelines.targets.target import Target
from pipelines.tasks.tasks import Progress, Task, run_tasks, task_of

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
    """Return where one target's artifacts of one model live."""
    return artifacts / model / target


def export(
    model: str,
    artifacts: Path,
    progress: Progress,
    *,
    targets: Sequence[str] = ORDINARY,
    force: bool = False,
    road: str | None = None,
) -> ExportResult:
    """Export what is missing, outdated or damaged (all of it with `force`) below `artifacts`.

    A target fails alone: its manifest then says why (`artifacts.manifest.require_exported` asks for it), and
    it is not tried again until something changes, unless the machine was at fault.

    Args:
        model: a model's name, or the path of a file that defines one.
        targets: names of targets; if nothing is said, all but those that are exported on request.
        road: the way into another framework for the targets that know it; "auto": the best one that is there;
            None: what was asked for when a target was exported last, else the best one.

    Raises:
        RequestError: there is no such road.
        ModelError: the model or its checkpoint is not usable.
        MachineError: something unforeseen happened, or the disk refused; or a process died that was to
            replace (`force`) artifacts which are whole and up to date, and which are then kept.
    """
    started = time.monotonic()
    require_road(road)
    spec = load_model(model)
    root = artifacts / spec.name
    with locked(root / ".lock", lambda: progress("export", f"waiting for another export in {root}")):
        claim(root, spec)
        roads = {name: _forced(root / name, road) for name in targets}
        reasons = _reasons(spec, root, roads, force)
        pipeline_s = _export_targets(model, spec, root, list(reasons), roads, progress) if reasons else {}
    manifests = {name: artifact.require_manifest(root / name, spec) for name in targets}
    return ExportResult(manifests, tuple(reasons), reasons, pipeline_s, time.monotonic() - started)


def chosen_targets(text: str | None, among: Sequence[str] = tuple(TARGETS)) -> tuple[str, ...]:
    """Parse target names from a comma-separated list; for None take all of `among` that need no request.

    Raises:
        RequestError: there is no such target.
    """
    if text is None:
        return tuple(name for name in among if not TARGETS[name].on_request)
    return tuple(dict.fromkeys(find_target(name.strip(), among).name for name in text.split(",")))


def current(model: str, artifacts: Path, targets: Sequence[str]) -> dict[str, Manifest]:
    """Return the manifests of those `targets` that an export would leave as they are; export nothing."""
    spec = load_model(model)
    root = artifacts / spec.name
    stale = _reasons(spec, root, {name: _forced(root / name, None) for name in targets}, force=False)
    return {name: artifact.require_manifest(root / name, spec) for name in targets if name not in stale}


def _forced(folder: Path, road: str | None) -> str | None:
    """Return the road a target is held to: the one asked for now, else the last one; None for any."""
    if road is not None:
        return None if road == AUTO else road
    try:
        manifest = artifact.read_manifest(folder)
    except GateError:
        return None  # it is exported again, and its export says why
    return None if manifest is None else manifest.road


def _reasons(spec: ModelSpec, root: Path, roads: Mapping[str, str | None], force: bool) -> dict[str, str]:
    reasons = {name: _reason(spec, root / name, TARGETS[name], force, road) for name, road in roads.items()}
    return {name: reason for name, reason in reasons.items() if reason}


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
    # Replacing the folder would delete what others put there.
    artifact.require_only_listed(folder, manifest, spec)
    if manifest.key == artifact.TRY_AGAIN:
        return "the last export of it failed on this machine"
    if manifest.key != _key(spec, target, road):
        return "the model, the exporter, the road or a tool's version changed"
    return artifact.damage(folder, manifest)


def _key(spec: ModelSpec, target: Target, road: str | None = None) -> str:
    """Return the export's key; without a twin, a forced road and the roads' files and tools count too."""
    toolchain, sources = artifact.versions(target.toolchain), target.sources
    if spec.whole:  # Keras is the source, whatever it is exported to
        toolchain |= artifact.versions((KERAS,))
    if not placement.is_exported(spec, target.name):
        sources = [*sources, *target.placing_sources, placement.SOURCE]
    elif target.roads and chosen(spec, target.roads, road) != (TWIN,):
        toolchain |= {**artifact.versions(shared_tools(target.roads)), "road": road or "any"}
        sources = [*sources, *road_sources(target.roads)]
    return artifact.export_key(spec, toolchain, sources)


def _export_targets(
    model: str,
    spec: ModelSpec,
    root: Path,
    names: list[str],
    roads: Mapping[str, str | None],
    progress: Progress,
) -> dict[str, float]:
    kept_reasons: dict[str, str] = {}
    with ExitStack() as folders:
        paths = {name: folders.enter_context(new_folder(root / name)) for name in names}
        outcomes = {name: failed for name in names if (failed := _impossible(spec, TARGETS[name]))}
        left = {name: path for name, path in paths.items() if name not in outcomes}
        requests = {name: Asked(model, roads[name]) for name in left}
        written, pipeline_s = _run(requests, spec, left, progress)
        outcomes |= written
        for name, outcome in outcomes.items():
            if outcome.again and _is_whole(spec, root / name, TARGETS[name], roads[name]):
                kept_reasons[name] = outcome.failure or ""
                shutil.rmtree(paths[name])
            else:
                _finish(spec, TARGETS[name], paths[name], outcome, roads[name])
    if kept_reasons:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in kept_reasons.items())
        raise MachineError(f"could not be exported again, the artifacts from before are kept: {reasons}")
    return pipeline_s


def _impossible(spec: ModelSpec, target: Target) -> ExportOutcome | None:
    """Return the failure of a target that no such model can be exported to; None if it may be tried."""
    if not spec.text_tensors or target.strings:
        return None
    able = ", ".join(other.name for other in TARGETS.values() if other.strings)
    reason = (
        f"{spec.name} has strings at {', '.join(map(repr, spec.text_tensors))}, and {target.name} takes "
        f"and gives none; {able} does"
    )
    return ExportOutcome(failure=reason)


def _is_whole(spec: ModelSpec, folder: Path, target: Target, road: str | None) -> bool:
    """Return whether there are artifacts that an export without `force` would leave as they are."""
    try:
        manifest = artifact.read_manifest(folder)
        return bool(manifest and manifest.artifacts) and _reason(spec, folder, target, False, road) is None
    except GateError:
        return False


def _run(
    requests: dict[str, Asked], spec: ModelSpec, paths: dict[str, Path], progress: Progress
) -> tuple[dict[str, ExportOutcome], dict[str, float]]:
    """Run the exporters; return their results by target, and the seconds each framework took.

    A process that dies fails its own target alone.

    Raises:
        ModelError: the source model itself is at fault.
        MachineError: a process raised something unforeseen.
    """
    named: dict[str, list[str]] = {}
    for name in paths:
        named.setdefault(TARGETS[name].framework, []).append(name)
    frameworks = sorted(named)
    # One process examines the source model for all; what it finds ends the others.
    examining = [framework for framework in frameworks if _traces(spec, named[framework])][-1:]
    tasks = [
        _task(requests, spec.digest, framework, named[framework], paths, framework in examining)
        for framework in frameworks
    ]
    results: dict[str, ExportOutcome] = {}
    try:
        outcomes = run_tasks(tasks, progress)
    except ProcessDiedError:
        seconds = dict.fromkeys(frameworks, 0.0)
        for name, path in paths.items():
            empty_folder(path)
            started = time.monotonic()
            try:
                examine = _traces(spec, [name])
                (outcome,) = run_tasks([_task(requests, spec.digest, name, [name], paths, examine)], progress)
                results |= outcome.result
            except ProcessDiedError as error:
                empty_folder(path)
                results[name] = ExportOutcome(failure=str(error), again=True)
            seconds[TARGETS[name].framework] += time.monotonic() - started
        return results, seconds
    for outcome in outcomes:
        results |= outcome.result
    return results, {f: outcome.elapsed_s for f, outcome in zip(frameworks, outcomes, strict=True)}


def _traces(spec: ModelSpec, names: list[str]) -> bool:
    """Say whether an exporter of these targets traces the source model."""
    return any(TARGETS[name].traces and placement.is_exported(spec, name) for name in names)


def _task(
    requests: dict[str, Asked],
    digest: str,
    title: str,
    names: list[str],
    paths: dict[str, Path],
    examine: bool,
) -> Task[dict[str, ExportOutcome]]:
    return task_of(
        title,
        EXPORT_LIMIT_S,
        export_here,
        model=requests[names[0]].model,
        roads={name: requests[name].road for name in names},
        digest=digest,
        examine=examine,
        folders={name: paths[name] for name in names},
    )


def _finish(spec: ModelSpec, target: Target, folder: Path, outcome: ExportOutcome, road: str | None) -> None:
    toolchain = artifact.versions(target.toolchain)
    artifacts = tuple(_describe(target.name, folder, one, toolchain) for one in outcome.exported)
    refused = tuple(NotExportedRecord(target=target.name, **asdict(one)) for one in outcome.refused)
    if not artifacts and not refused:
        failure = outcome.failure or "its exporter wrote no artifact and gave no reason"
        refused = (
            NotExportedRecord(target=target.name, format="", precision="", variant=None, reason=failure),
        )
    manifest = Manifest(
        key=artifact.TRY_AGAIN if outcome.again else _key(spec, target, road),
        model=spec.name,
        model_digest=spec.digest,
        target=target.name,
        artifacts=artifacts,
        not_exported=refused,
        files=contents.file_digests(folder, [a.path for a in artifacts]),
        warnings=outcome.warnings,
        road=road,
    )
    artifact.write_manifest(folder, manifest)


def _describe(target: str, folder: Path, entry: Exported, toolchain: dict[str, str]) -> ArtifactRecord:
    path = folder / entry.path
    return ArtifactRecord(
        target=target,
        path=entry.path,
        format=entry.format,
        precision=entry.precision,
        variant=entry.variant,
        size_bytes=contents.size_bytes(path),
        gzip_bytes=contents.gzip_bytes(path),
        sha256=contents.sha256(path),
        export_s=round(entry.export_s, 3),
        toolchain={**toolchain, **entry.tools},
        road=entry.road,
    )
