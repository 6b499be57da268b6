"""Checks of how a server is deployed: its labels, its rights, its ports, its limits and its health."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipelines.processes.group import wait_until
from pipelines.runners import docker_facts
from pipelines.runners.docker_images import label_versions
from pipelines.runners.docker_server import DockerServer
from pipelines.smoke.checklist import CheckError, NotApplicableError, require
from pipelines.smoke.subject import Subject
from pipelines.units import NS_PER_S

USUAL_INTERVAL_S = 30.0
HEALTH_MARGIN_S = 15.0
LOOK_S = 0.5


def labels(subject: Subject) -> str:
    """Check the image's labels against the model and the manifest of its artifacts."""
    image_labels = subject.container.container.image.labels if subject.container.container.image else {}
    for name, wanted in (
        ("io.tandem.target", subject.target),
        ("io.tandem.model", subject.spec.name),
        ("io.tandem.model.digest", subject.spec.digest),
    ):
        require(
            image_labels.get(name) == wanted,
            f"label {name} is {image_labels.get(name)!r}, expected {wanted!r}",
        )
    digests = {artifact.sha256: artifact for artifact in subject.manifest.artifacts}
    digest = image_labels.get("io.tandem.artifact.sha256", "")
    require(
        digest in digests,
        f"label io.tandem.artifact.sha256 is {digest[:12]!r}, the manifest has "
        f"{', '.join(sorted(listed[:12] for listed in digests))}",
    )
    versions = label_versions(image_labels)
    require(bool(versions), "label io.tandem.versions holds no versions")
    toolchain = digests[digest].toolchain
    for name in sorted(versions.keys() & toolchain.keys()):
        require(
            versions[name] == toolchain[name],
            f"label io.tandem.versions says {name} {versions[name]}, the artifact was exported with "
            f"{toolchain[name]}",
        )
    return f"model, artifact and {len(versions)} versions as exported"


def user(subject: Subject) -> str:
    """Check that no process in the container is root's."""
    server = subject.container
    named = server.container.attrs["Config"].get("User") or "root"
    require(named.split(":")[0] not in {"root", "0"}, f"it runs as {named}")
    uid = _proc_status(server)["Uid"].split()[0]
    require(uid != "0", f"its first process has user id {uid}")
    return f"user {named}, id {uid}"


def capabilities(subject: Subject) -> str:
    """Check that no capability was added and that none can be gained."""
    server = subject.container
    host = server.container.attrs["HostConfig"]
    require(not host.get("Privileged"), "it is privileged")
    require(not host.get("CapAdd"), f"capabilities were added: {host.get('CapAdd')}")
    status = _proc_status(server)
    require(int(status["CapEff"], 16) == 0, f"it has capabilities: {status['CapEff']}")
    require(status.get("NoNewPrivs") == "1", "it could gain privileges: no-new-privileges is not set")
    return "none, and none to be gained"


def _proc_status(server: DockerServer) -> dict[str, str]:
    try:
        # No process has the number 0, which stands for one that is not to be seen.
        lines = Path(f"/proc/{server.pid}/status").read_text().splitlines()
    except OSError as error:
        raise NotApplicableError("its processes cannot be seen from here") from error
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def ports(subject: Subject) -> str:
    """Check that only the inference ports are published, and only on loopback."""
    server = subject.container
    published = server.container.attrs["NetworkSettings"].get("Ports") or {}
    bound = {port: [b["HostIp"] for b in bindings] for port, bindings in published.items() if bindings}
    for port, addresses in bound.items():
        for address in addresses:
            require(address.startswith("127.") or address == "::1", f"port {port} is published on {address}")
    allowed = {f"{port}/tcp" for port in server.inference_ports}
    extra = sorted(bound.keys() - allowed)
    require(not extra, f"published beside inference: {', '.join(extra)}")
    return f"{', '.join(sorted(bound))} on loopback, nothing else"


def health(subject: Subject) -> str:
    """Check that the container's health check passes now, and that the engine, which runs it too, agrees."""
    server = subject.container
    described = server.container.attrs["Config"].get("Healthcheck") or {}
    test: list[str] = described.get("Test") or []
    require(bool(test) and test != ["NONE"], "the image has no health check")
    command = ["/bin/sh", "-c", test[1]] if test[0] == "CMD-SHELL" else test[1:]
    code, output = server.execute(command)
    require(code == 0, f"its health check exits with {code}: {output.strip()[-200:]}")
    limit_s = (described.get("Interval") or USUAL_INTERVAL_S * NS_PER_S) / NS_PER_S + HEALTH_MARGIN_S
    started = time.monotonic()
    wait_until(lambda: _health(server)[0] in {"healthy", "unhealthy"}, limit_s, LOOK_S)
    state, last = _health(server)
    if state != "healthy":
        raise CheckError(f"the engine says {state} after {time.monotonic() - started:.0f} s: {last[-200:]}")
    return "healthy by its own health check, which the engine runs"


def _health(server: DockerServer) -> tuple[str, str]:
    server.container.reload()
    return docker_facts.health(server.container.attrs)


def limits(subjects: Sequence[Subject]) -> str:
    """Check with `docker inspect` that all sides have the same cores, CPU time and memory."""
    by_target: dict[str, Any] = {}
    for subject in subjects:
        budget = subject.container.plan.given
        by_target[subject.target] = (budget.cores, budget.cpus, budget.memory_limit_bytes)
    for target, values in by_target.items():
        require(all(values), f"{target} lacks a limit: cores, CPU time and memory are {values}")
    require(len(set(by_target.values())) == 1, f"they differ: {by_target}")
    cores, cpus, memory = next(iter(by_target.values()))
    return f"cores {', '.join(map(str, cores))}, {cpus:g} CPUs, {memory / 2**30:.3g} GiB on all sides"
