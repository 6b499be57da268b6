"""What `docker inspect` reports of one container, read into the words of the run record."""

from dataclasses import dataclass
from typing import Any

from pipelines.machine.cores import expand
from pipelines.record.implementation import GivenRecord

NANO = 1e9
GIBIBYTE = 2**30


def given(attributes: dict[str, Any]) -> GivenRecord:
    """Return the budget that the container really has, as the engine reports it.

    The server inside is asked for its configuration separately.
    """
    host = attributes["HostConfig"]
    return GivenRecord(
        cores=expand(host["CpusetCpus"]) if host.get("CpusetCpus") else (),
        workers_count=None,
        threads_per_worker=None,
        batch_max_size=None,
        memory_limit_bytes=host.get("Memory") or None,
        cpus=host["NanoCpus"] / NANO if host.get("NanoCpus") else None,
    )


@dataclass(frozen=True)
class Addresses:
    """Where one port of a container answers, as "host:port"; None where it does not."""

    bridge: str | None
    published: str | None


def addresses(attributes: dict[str, Any], port: int) -> Addresses:
    """Return the address on the container's own network, and the one published on this machine."""
    settings = attributes["NetworkSettings"]
    own = [network.get("IPAddress") for network in (settings.get("Networks") or {}).values()]
    bindings = (settings.get("Ports") or {}).get(f"{port}/tcp") or []
    first = next(filter(None, own), None)
    return Addresses(
        bridge=f"{first}:{port}" if first else None,
        published=next((f"{b['HostIp'] or '127.0.0.1'}:{b['HostPort']}" for b in bindings), None),
    )


def death(attributes: dict[str, Any], oom_kills: int) -> str | None:
    """Explain how the container ended, or lost a process to its memory limit; None if all is well."""
    state = attributes["State"]
    limit = attributes["HostConfig"].get("Memory")
    memory = f"its limit of {limit / GIBIBYTE:.3g} GiB" if limit else "no limit of its own"
    if state.get("OOMKilled") or oom_kills:
        return f"ran out of memory at {memory}; give it more with TANDEM_MEMORY"
    if state.get("Status") in {"running", "paused", "created", "restarting"}:
        return None
    code = state.get("ExitCode")
    killed = f", killed by signal {code - 128}" if isinstance(code, int) and code > 128 else ""  # noqa: PLR2004
    problem = f": {state['Error']}" if state.get("Error") else ""
    return f"died (exit code {code}{killed}){problem}"


def health(attributes: dict[str, Any]) -> tuple[str, str]:
    """Return the container's health ("healthy", "unhealthy", "starting", "none") and last check's output."""
    state = attributes["State"].get("Health") or {}
    log = state.get("Log") or []
    return state.get("Status") or "none", (log[-1].get("Output") or "").strip() if log else ""
