"""The smoke stage: bring both servers up, look at everything a deployment must do, take them down again."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import psutil

from models.spec import ModelSpec, load_model
from pipelines.artifacts.manifest import damage, export_command, read_manifest, require_manifest
from pipelines.errors import MachineError
from pipelines.export.stage import export, target_folder
from pipelines.files.atomic import disk_error, make_first, write_atomically
from pipelines.files.log_ends import copy_ends
from pipelines.machine.cores import Cores, split_cores
from pipelines.runners import docker_ownership as ownership
from pipelines.runners.choice import Choice, choose, clear
from pipelines.runners.docker_containers import DockerRunner
from pipelines.runners.docker_images import find_images
from pipelines.runners.docker_server import DockerServer
from pipelines.runners.local import LocalRunner
from pipelines.runners.server import Runner, Server
from pipelines.runners.url import RunningSide
from pipelines.serve import readiness
from pipelines.smoke import answers, deployed, endpoints, outputs
from pipelines.smoke.checklist import CheckError, Checklist, NotApplicableError, Outcome, require
from pipelines.smoke.load import load
from pipelines.smoke.subject import Subject
from pipelines.targets.presets import Preset
from pipelines.targets.registry import SERVED, USUALLY_SERVED, find_target
from pipelines.targets.server_plan import ServeRequest, make_environments
from pipelines.tasks.tasks import Progress
from pipelines.verify.stage import Verified, ensure_verified

# What is checked of every server that answers right: id, what it makes sure of, how.
CHECKS: tuple[tuple[str, str, Callable[[Subject], str]], ...] = (
    ("status", "the server says by its own word that it is up", answers.status),
    ("metadata", "name, version and signature are the artifact's", answers.metadata),
    ("rest-row", "REST in row format answers real samples right", answers.rest_row),
    ("rest-columnar", "REST in columnar format answers real samples right", answers.rest_columnar),
    ("grpc", "gRPC answers real samples right", answers.grpc),
    ("wrong-input", "wrong input gets status 400 and an error that says why", answers.wrong_input),
    ("unknown-model", "an unknown model gets status 404", answers.unknown_model),
    ("load", "a short load brings no error and no wrong answer", load),
)
# What is checked of every container that runs, whether it answers or not.
CONTAINER_CHECKS: tuple[tuple[str, str, Callable[[Subject], str]], ...] = (
    ("labels", "the image's labels name this model, this artifact and its versions", deployed.labels),
    ("user", "the container does not run as root", deployed.user),
    ("capabilities", "the container has no added capabilities and can gain none", deployed.capabilities),
    ("ports", "only inference ports are published, on loopback alone", deployed.ports),
)
# The engine first looks at a container's health after one interval: soon, or the test would wait for it.
HEALTH_INTERVAL = "5s"
HEALTH = ("health", "the container is healthy by its own health check", deployed.health)


@dataclass(frozen=True)
class SmokeRequest:
    """What to look at; `junit` and `summary` are where the results go besides the run's folder.

    `running` are running endpoints, `max_rate_per_s` what each of them gets at most.
    """

    model: str
    targets: tuple[str, ...] = USUALLY_SERVED
    runner: str = "docker"
    presets: Mapping[str, Preset] = field(default_factory=dict)
    artifacts: Path = Path("artifacts")
    runs: Path = Path("runs")
    junit: Path | None = None
    summary: Path | None = None
    cores: Cores = field(default_factory=split_cores)
    road: str | None = None
    running: tuple[RunningSide, ...] = ()
    max_rate_per_s: float | None = None


@dataclass(frozen=True)
class SmokeResult:
    """Every outcome, and the folder that holds smoke.xml, smoke.md and the servers' logs."""

    model: str
    runner: str
    outcomes: tuple[Outcome, ...]
    folder: Path
    elapsed_s: float

    @property
    def failures(self) -> list[Outcome]:
        """Failed checks, in the order they ran."""
        return [outcome for outcome in self.outcomes if outcome.state == "failed"]


@dataclass
class _Bench:
    """A smoke test on its way."""

    request: SmokeRequest
    spec: ModelSpec
    folder: Path
    checks: Checklist
    progress: Progress
    choice: Choice
    stack: ExitStack = field(default_factory=ExitStack)
    runners: dict[str, Runner] = field(default_factory=dict)
    servers: dict[str, Server] = field(default_factory=dict)
    verified: Verified | None = None

    def artifact_folder(self, target: str) -> Path:
        return target_folder(self.request.artifacts, self.spec.name, target)

    def subject(self, target: str) -> Subject:
        verified = self.verified
        assert verified is not None  # noqa: S101 - asked for only after the parity check passed
        server, folder = self.servers[target], self.artifact_folder(target)
        return Subject(
            target=target,
            spec=self.spec,
            folder=folder,
            manifest=require_manifest(folder, self.spec),
            server=server,
            generator_cores=self.request.cores.generator,
            expected=verified.expected,
            pool=readiness.payload_pool(
                self.spec,
                verified.expected,
                server.plan.endpoint.predict_path,
                protocol=find_target(target).protocols[0],
            ),
        )


def smoke(request: SmokeRequest, progress: Progress) -> SmokeResult:
    """Run every check and write what they found; a failed check is in the result, not an exception.

    Raises:
        ModelError, RequestError: something asked for does not exist.
        MachineError: there is no engine, or the results cannot be written.
    """
    spec = load_model(request.model)
    for target in request.targets:
        find_target(target, SERVED)
    with choose(request.runner, None, progress) as choice:
        return _smoke(request, spec, choice, progress)


def _smoke(request: SmokeRequest, spec: ModelSpec, choice: Choice, progress: Progress) -> SmokeResult:
    started, now = time.monotonic(), datetime.now(UTC)
    if choice.client is not None:
        clear(choice.client, progress)
    folder = _new_folder(request.runs, f"{now:%Y%m%d-%H%M%S}-{spec.name}-smoke")
    bench = _Bench(request, spec, folder, Checklist(progress), progress, choice)
    with bench.stack:
        _before(bench)
        for target in request.targets:
            _start(bench, target)
        for target in request.targets:
            _wait(bench, target)
        for target in request.targets:
            _look(bench, target)
        for side in request.running:
            endpoints.look(bench.checks, _endpoint(bench, side))
        if request.targets:
            _compare(bench)
        _down(bench)
    outcomes = tuple(bench.checks.outcomes)
    _write(request, folder, outcomes, f"{spec.name} on {choice.runner}", f"{now:%Y-%m-%dT%H:%M:%SZ}")
    return SmokeResult(spec.name, choice.runner, outcomes, folder, time.monotonic() - started)


def _endpoint(bench: _Bench, side: RunningSide) -> endpoints.Endpoint:
    def verified() -> Verified:
        assert bench.verified is not None  # noqa: S101 - asked for only after the parity check passed
        return bench.verified

    request = bench.request
    return endpoints.Endpoint(side, bench.spec, verified, request.cores.generator, request.max_rate_per_s)


def _new_folder(runs: Path, name: str) -> Path:
    for number in range(1, 100):
        folder = runs / (name if number == 1 else f"{name}-{number}")
        try:
            runs.mkdir(parents=True, exist_ok=True)
            if make_first(folder, "smoke.xml", ["logs"]):
                return folder
        except OSError as error:
            raise disk_error(folder, error) from error
    raise MachineError(f"{runs} is full of folders called {name}; remove some")


def _before(bench: _Bench) -> None:
    """Check that artifacts are whole, their parity, and that each has an image."""
    targets = bench.request.targets
    for target in targets:
        bench.checks.run(
            f"{target}.artifact",
            "the artifact is what its manifest says",
            lambda target=target: _artifact(bench, target),  # type: ignore[misc]
        )
    whole = [target for target in targets if bench.checks.passed(f"{target}.artifact")]
    needed = [f"{target}.artifact" for target in targets[:1]] if not whole else []
    bench.checks.run(
        "stack.parity",
        "every whole artifact gives the source model's outputs",
        lambda: _parity(bench, whole),
        needed,
    )
    for target in targets:
        bench.checks.run(
            f"{target}.image",
            "an image with this artifact is there, or can be built",
            lambda target=target: _image(bench, target),  # type: ignore[misc]
            [f"{target}.artifact", "stack.parity"],
        )


def _artifact(bench: _Bench, target: str) -> str:
    """Export what is missing or outdated; a file that was changed since is never quietly replaced."""
    folder = bench.artifact_folder(target)
    manifest = read_manifest(folder)
    # What the manifest does not list, the export refuses itself.
    damaged = damage(folder, manifest) if manifest is not None else None
    require(
        damaged is None,
        f"{damaged}; run `{export_command(bench.spec, folder)} --force` to make it again",
    )
    if bench.choice.runner == "local":
        make_environments([target], bench.progress)
    request = bench.request
    exported = export(request.model, request.artifacts, bench.progress, targets=[target], road=request.road)
    files = ", ".join(f"{a.path} {a.sha256[:12]}" for a in exported.manifests[target].artifacts)
    return f"{'exported now' if target in exported.exported else 'unchanged'}: {files}"


def _parity(bench: _Bench, targets: Sequence[str]) -> str:
    request = bench.request
    bench.verified = ensure_verified(request.model, request.artifacts, bench.progress, targets)
    count = sum(map(len, bench.verified.records.values()))
    summary = f"{count} artifacts agree on {len(bench.verified.expected)} held-out samples"
    return "; ".join((summary, *bench.verified.notes))


def _image(bench: _Bench, target: str) -> str:
    client, request = bench.choice.client, bench.request
    if client is None:
        bench.runners[target] = LocalRunner(bench.choice.reason)
        raise NotApplicableError("runner local has no image")
    images = find_images(client, [target], request.model, request.artifacts, bench.progress)
    bench.runners[target] = DockerRunner(
        client,
        images,
        "smoke",
        direct=False,
        health_checks=True,
        variables={"TANDEM_HEALTH_INTERVAL": HEALTH_INTERVAL},
    )
    image = images[target]
    return f"{image.record.reference}, {image.implementation} {image.version}"


def _start(bench: _Bench, target: str) -> None:
    sentence = "the server starts"
    needs = [f"{target}.artifact", "stack.parity"]
    if bench.choice.runner == "docker":
        needs.append(f"{target}.image")
    bench.checks.run(f"{target}.start", sentence, lambda: _enter(bench, target), needs)


def _enter(bench: _Bench, target: str) -> str:
    work = bench.stack.enter_context(readiness.work_folder())
    serve_request = ServeRequest(
        bench.spec,
        bench.artifact_folder(target),
        work,
        bench.request.presets.get(target, Preset()),
        cores=bench.request.cores.server,
        proven=bench.verified.manifests[target] if bench.verified else None,
    )
    context: AbstractContextManager[Server] = bench.runners[target].prepare(target, serve_request)
    server = bench.stack.enter_context(context)
    bench.stack.callback(_keep_log, server, bench.folder / "logs" / f"{target}.log")
    bench.servers[target] = bench.stack.enter_context(server)
    implementation = server.plan.implementation
    return f"{implementation.name} {implementation.version} at {server.plan.endpoint.base_url}"


def _keep_log(server: Server, path: Path) -> None:
    if server.plan.launch.log.is_file():
        try:
            copy_ends(server.plan.launch.log, path)
        except OSError as error:
            raise disk_error(path, error) from error


def _wait(bench: _Bench, target: str) -> None:
    bench.checks.run(
        f"{target}.ready",
        "the server becomes ready and answers a real sample right",
        lambda: _ready(bench.subject(target)),
        [f"{target}.start"],
    )


def _look(bench: _Bench, target: str) -> None:
    """Check everything about one running server."""
    checks = bench.checks

    def run(name: str, sentence: str, look: Callable[[Subject], str], need: str) -> None:
        checks.run(f"{target}.{name}", sentence, lambda: look(bench.subject(target)), [f"{target}.{need}"])

    for name, sentence, look in CONTAINER_CHECKS:
        run(name, sentence, look, "start")
    for name, sentence, look in CHECKS:
        run(name, sentence, look, "ready")
    run(*HEALTH, "start")


def _ready(subject: Subject) -> str:
    ready = readiness.wait_until_right(subject.server, subject.pool)
    # All servers start at the same time and are waited for in turn: no cold start is measured here.
    return f"ready and right {ready.first_right_answer_s:.1f} s after its start at the latest"


def _compare(bench: _Bench) -> None:
    targets = bench.request.targets
    bench.checks.run(
        "stack.limits",
        "all containers have the same cores, CPU time and memory",
        lambda: deployed.limits([bench.subject(target) for target in targets]),
        [f"{target}.start" for target in targets],
    )


def _down(bench: _Bench) -> None:
    """Take down everything that was started, whatever the checks found."""
    bench.checks.run("stack.down", "everything ends and nothing of it is left", lambda: _end(bench))


def _end(bench: _Bench) -> str:
    containers = [server for server in bench.servers.values() if isinstance(server, DockerServer)]
    pids = [server.pid for server in bench.servers.values()]
    bench.stack.close()
    left = [
        thing
        for server in containers
        for thing in ownership.remains(server.client, server.container.labels[ownership.PROJECT_LABEL])
    ]
    left += [f"process {pid}" for pid in pids if _runs(pid)]
    if left:
        raise CheckError(f"still there: {', '.join(left)}")
    return f"{len(bench.servers)} servers ended, nothing is left"


def _runs(pid: int) -> bool:
    try:
        return pid > 0 and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _write(
    request: SmokeRequest, folder: Path, outcomes: Sequence[Outcome], what: str, started_at_utc: str
) -> None:
    xml = outputs.junit(outcomes, "tandem.smoke", started_at_utc)
    text = outputs.markdown(outcomes, f"Smoke test of {what}")
    for path, content in (
        (folder / "smoke.xml", xml),
        (folder / "smoke.md", text),
        (request.junit, xml),
        (request.summary, text),
    ):
        if path is not None:
            write_atomically(path, content)
