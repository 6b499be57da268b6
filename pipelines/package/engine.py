"""Finding the container engine, and saying what to do where none answers."""

import os
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from pipelines.errors import MachineError
from pipelines.processes.children import tool_environment

if TYPE_CHECKING:
    from docker import DockerClient

DEFAULT_HOST = "unix:///var/run/docker.sock"
ANSWER_LIMIT_S = 60


def engine_host() -> str:
    """Return the address of the engine: of DOCKER_HOST, else the default socket's. No context decides it."""
    return os.environ.get("DOCKER_HOST") or DEFAULT_HOST


def engine_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment of docker and compose: their engine is ours, whatever `docker context` names."""
    environment = tool_environment({**(extra or {}), "DOCKER_HOST": engine_host()})
    environment.pop("DOCKER_CONTEXT", None)
    return environment


def engine_errors() -> tuple[type[Exception], ...]:
    """Return the exceptions of the engine's client: the engine refuses, cannot be reached, or breaks off."""
    from docker.errors import APIError
    from requests.exceptions import RequestException
    from urllib3.exceptions import HTTPError  # of an answer that is read in pieces

    return APIError, HTTPError, RequestException


def said(error: Exception) -> str:
    """Return what one of `engine_errors` says, on one line; the engine's own words where it gave some."""
    return " ".join(str(getattr(error, "explanation", None) or error).split())


def connect() -> "DockerClient":
    """Connect to the engine that DOCKER_HOST names, else to the default socket, and check that it answers.

    Raises:
        MachineError: there is no engine, this user may not talk to it, or it does not answer.
    """
    from docker.errors import DockerException
    from requests.exceptions import RequestException

    import docker

    client = None
    try:
        client = docker.from_env(timeout=ANSWER_LIMIT_S)
        client.ping()
    except (DockerException, RequestException, OSError) as error:
        if client is not None:
            client.close()
        raise MachineError(explain(engine_host(), error)) from error
    return client


@contextmanager
def engine() -> Iterator["DockerClient"]:
    """Yield a client of the engine, and close it.

    Raises:
        MachineError: there is no engine, or what it was asked for failed where nothing else says so.
    """
    with closing(connect()) as client:
        try:
            yield client
        except engine_errors() as error:
            raise MachineError(
                f"the container engine at {engine_host()} refused or broke off: {said(error)}; "
                "see that `docker version` answers and `docker system df` shows room, then run again"
            ) from error


def explain(host: str, error: Exception) -> str:
    """Explain on one line why the engine at `host` cannot be used, and how to fix that."""
    message = " ".join(str(error).split())
    if "Permission denied" in message or "PermissionError" in message:
        return (
            f"the container engine at {host} does not let this user in; add the user to the group `docker` "
            "and log in again, or use an engine of your own with DOCKER_HOST"
        )
    if any(hint in message for hint in ("No such file", "FileNotFoundError", "Connection refused")):
        return (
            f"no container engine is available at {host}; start one (Debian: apt install docker.io), or "
            "name it with DOCKER_HOST"
        )
    if "timed out" in message.lower():
        return f"the container engine at {host} does not answer within {ANSWER_LIMIT_S} s; restart it"
    return f"the container engine at {host} cannot be used: {message}; check DOCKER_HOST"
