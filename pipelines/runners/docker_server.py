"""A server as a container of the compose file: created with its limits, started, frozen, thawed, removed."""

import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pipelines.errors import MachineError
from pipelines.files.atomic import disk_error
from pipelines.package.engine import engine_errors
from pipelines.runners import docker_facts
from pipelines.runners.cgroup import ControlGroup, Usage, lines_of
from pipelines.runners.docker_start import StartedServer
from pipelines.runners.docker_trouble import why
from pipelines.targets.container import Contained, Inside
from pipelines.targets.endpoint import Configuration, Endpoint
from pipelines.targets.server_plan import ServerPlan

if TYPE_CHECKING:
    from docker.models.containers import Container

    from docker import DockerClient


STOP_GRACE_S = 10
REACH_LIMIT_S = 1.0
RECENT_LINES = 60


class DockerServer(StartedServer):
    """A container that exists already; leaving it stops it, removing it is left to its creator.

    Attributes:
        plan: what is running; its addresses are real once it is started.
        started: monotonic seconds when the engine was told to start it.
    """

    # Asking may run a program inside the container.
    poll_s = 0.2
    # An engine that stops gives its containers 15 s.
    dying_limit_s = 20.0

    def __init__(
        self, container: "Container", plan: ServerPlan, contained: Contained, *, direct: bool
    ) -> None:
        self.container = container
        self.plan = plan
        self._contained = contained
        self._direct = direct
        self._group: ControlGroup | None = None
        self._paused = False
        self._stopped = False

    def start(self) -> None:
        """Start the container and find out where it answers; returns before it is ready.

        Raises:
            MachineError: the engine refuses, such as for a port that is taken.
        """
        self.started = time.monotonic()
        try:
            self.container.start()
        except engine_errors() as error:
            raise _start_error(self.plan.target, error) from error
        attributes = self._inspect()
        self.require_alive("at start")
        with suppress(OSError):
            self._group = ControlGroup.of(self._engine_pid, self._id)
        if self.cpu_s() is None:
            self.place = "hidden"
        budget = docker_facts.given(attributes)
        # Part of its configuration: not in the engine's description of the container.
        budget = budget.model_copy(update={"max_request_bytes": self.plan.given.max_request_bytes})
        self.plan = replace(self.plan, given=budget, endpoint=self._endpoint(attributes))

    def _endpoint(self, attributes: dict[str, Any]) -> Endpoint:
        """Return the planned endpoint with the addresses that the running container has."""
        rest = docker_facts.addresses(attributes, self._contained.rest_port)
        direct = self._direct and rest.bridge is not None and _reachable(rest.bridge)
        chosen = rest.bridge if direct else rest.published
        if chosen is None:
            raise MachineError(
                f"the container of {self.plan.target} has no address this machine reaches; "
                "docker/compose.yaml publishes its ports on 127.0.0.1"
            )
        rest_url, grpc_address = f"http://{chosen}", self._grpc_address(attributes, direct=direct)
        planned = self.plan.endpoint
        over_grpc = planned.base_url.startswith("grpc://")
        if over_grpc and not grpc_address:
            raise MachineError(
                f"the container of {self.plan.target} does not publish port {self._contained.grpc_port}, its "
                "gRPC; docker/compose.yaml publishes it on 127.0.0.1"
            )
        return replace(
            planned,
            base_url=f"grpc://{grpc_address}" if over_grpc else rest_url,
            status=lambda: self._contained.status(rest_url, planned.model, self.execute),
            configuration=self._configuration,
            addresses={
                "REST": rest_url,
                **(
                    {}
                    if self._contained.grpc_port is None
                    else {self._contained.grpc_name: grpc_address or "not published"}
                ),
            },
        )

    def _grpc_address(self, attributes: dict[str, Any], *, direct: bool) -> str | None:
        if self._contained.grpc_port is None:
            return None
        grpc = docker_facts.addresses(attributes, self._contained.grpc_port)
        return grpc.bridge if direct else grpc.published

    def _configuration(self) -> Configuration:
        """Ask the server inside how it is configured.

        Raises:
            OSError: the container does not answer.
        """
        from docker.errors import APIError

        try:
            commands = [process[-1].split() for process in self.container.top().get("Processes") or []]
        except APIError as error:
            raise ConnectionError(f"its processes cannot be listed: {error.explanation}") from error
        cores_count = len(self.plan.given.cores) or None
        inside = Inside(self.execute, commands, cores_count)
        return self._contained.configuration(self.plan.endpoint.model, inside)

    def _inspect(self) -> dict[str, Any]:
        """Return the engine's current description of the container."""
        self.container.reload()
        return self.container.attrs

    def execute(self, command: list[str]) -> tuple[int, str]:
        """Run `command` inside the container: exit code and output."""
        from docker.errors import APIError

        try:
            code, output = self.container.exec_run(command)
        except APIError as error:
            raise ConnectionError(f"nothing can be run inside: {error.explanation}") from error
        return code or 0, b"".join([output] if isinstance(output, bytes) else output).decode(errors="replace")

    def _watch_unready(self) -> None:
        """Look for a failure in the log; asking the engine for it costs too much to do at every look."""
        self._require_no_failure()

    def require_alive(self, when: str) -> None:
        """Raise MachineError if the container ended, or a process in it was killed at its memory limit."""
        try:
            cause = docker_facts.death(self._inspect(), self.usage().oom_kills or 0)
        except engine_errors() as error:
            raise MachineError(f"the container of {self.plan.target} is gone {when}: {why(error)}") from error
        if cause:
            raise MachineError(
                f"{self.plan.target} {when}: its container {cause}; its last log lines: "
                f"{self._last_lines() or 'none'}"
            )

    def _recent_log(self) -> str:
        with suppress(*engine_errors()):
            return self.container.logs(tail=RECENT_LINES).decode(errors="replace")
        return ""

    def _last_lines(self, count: int = 5) -> str:
        lines = [line.strip() for line in self._recent_log().splitlines() if line.strip()]
        return " | ".join(lines[-count:])

    @property
    def client(self) -> "DockerClient":
        """The engine it lives on."""
        assert self.container.client is not None  # noqa: S101 - it came from a client
        return self.container.client

    @property
    def inference_ports(self) -> tuple[int, ...]:
        """The container's own ports for inference, which alone are published."""
        return self._contained.ports

    @property
    def pid(self) -> int:
        """Process id of the container's first process; 0 where this machine does not see it."""
        try:
            lines_of(self._engine_pid, self._id)
        except OSError:
            return 0
        return self._engine_pid

    @property
    def _engine_pid(self) -> int:
        """The same where the engine is, which may be another machine."""
        return int(self.container.attrs["State"]["Pid"])

    @property
    def _id(self) -> str:
        return str(self.container.id)

    def pause(self) -> None:
        """Freeze the container."""
        if not self._paused:
            self._tell(self.container.pause)
            self._paused = True

    def resume(self) -> None:
        """Thaw the container."""
        if self._paused:
            self._tell(self.container.unpause)
            self._paused = False

    def _tell(self, order: Callable[[], None]) -> None:
        """Give an order; a container or engine that died meanwhile is found by the next `require_alive`."""
        with suppress(*engine_errors()):
            order()

    def usage(self) -> Usage:
        """Return what the kernel has counted for the container so far."""
        return self._group.read() if self._group is not None else Usage(None, None, None, None)

    def memory_bytes(self) -> int | None:
        """Return the memory that the container holds now, without file pages that could be dropped."""
        return self.usage().memory_bytes

    def peak_bytes(self) -> int | None:
        """Return the container's peak memory, file pages included; None if the kernel does not count it."""
        return self.usage().peak_bytes

    def cpu_s(self) -> float | None:
        """Return the CPU seconds of the container so far, ended processes too; None if not known."""
        return self.usage().cpu_s

    def stop(self) -> None:
        """Stop the container gracefully, and keep its log; harmless if it has ended."""
        from docker.errors import APIError, NotFound
        from requests.exceptions import RequestException

        if self._stopped:
            return
        self._stopped = True
        try:
            self.resume()
            with suppress(NotFound):
                self.container.stop(timeout=STOP_GRACE_S)
        except APIError as error:
            raise MachineError(f"cannot stop {self.plan.target}: {why(error)}") from error
        except RequestException:  # the engine is gone; what follows finds that out
            return
        finally:
            with suppress(*engine_errors()):
                self._keep_log()

    def _keep_log(self) -> None:
        """Copy all that the container wrote into the plan's log, as far as the engine still has it."""
        from requests.exceptions import RequestException

        try:
            with self.plan.launch.log.open("wb") as file:
                for part in self.container.logs(stream=True, follow=False):
                    file.write(part)
        except RequestException:  # which is an OSError, and nothing of our disk's
            raise
        except OSError as error:
            raise disk_error(self.plan.launch.log, error) from error


def _reachable(address: str) -> bool:
    """Return whether packets reach a host, even if nothing listens there yet."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=REACH_LIMIT_S):
            return True
    except ConnectionRefusedError:
        return True
    except OSError:
        return False


def _start_error(target: str, error: Any) -> MachineError:
    message = " ".join(why(error).split())
    if "port is already allocated" in message or "address already in use" in message:
        return MachineError(
            f"the container of {target} was given a port that is taken ({message}); choose another with "
            "--port, or 0 for a free one"
        )
    return MachineError(f"the engine cannot start the container of {target}: {message}")
