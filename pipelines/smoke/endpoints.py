"""Checks of running endpoints: those of a deployment that make sense without having made it."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from loadtests.codecs import find_codec, request_headers
from loadtests.payloads import PayloadPool
from models.spec import ModelSpec
from models.tensors import sample
from pipelines.config.asked import accesses_of
from pipelines.errors import RequestError
from pipelines.runners.server import Server
from pipelines.runners.url import RunningSide, running
from pipelines.serve import readiness
from pipelines.smoke.checklist import Checklist, NotApplicableError, require
from pipelines.smoke.load import short_load
from pipelines.targets.address import APIS, is_address
from pipelines.targets.side import parse_sides
from pipelines.verify.stage import Verified

ROWS = 4
NO_MODEL = "no_such_model"
OK = 200
REFUSALS = (400, 404)


def smoke_sides(text: str, options: dict[str, Any]) -> tuple[tuple[str, ...], tuple[RunningSide, ...]]:
    """Read targets and running endpoints from `text`; take the endpoints' access settings out of `options`.

    Raises:
        RequestError: a time-out without a running endpoint, and as `parse_sides` and `accesses_of`.
    """
    parts = [part.strip() for part in text.split(",")]
    addresses = [part for part in parts if is_address(part.partition("=")[2] or part)]
    sides = parse_sides(",".join(addresses)) if addresses else ()
    accesses = accesses_of(sides, options)
    if options.pop("timeout_s", None) is not None and not sides:
        raise RequestError(
            "--timeout-s is for running endpoints, and --sides names none; such as name=tfserving+"
            "http://HOST:8501/v1/models/MODEL"
        )
    running = tuple(
        RunningSide(side.name, side.address, side.protocol, accesses.of(side.name))
        for side in sides
        if side.address is not None
    )
    return tuple(dict.fromkeys(part for part in parts if part not in addresses)), running


@dataclass
class Endpoint:
    """One running endpoint as the smoke test looks at it.

    Attributes:
        verified: gives the source model's answers, once they are there.
        max_rate_per_s: requests per second that it gets at most; None for no limit.
    """

    side: RunningSide
    spec: ModelSpec
    verified: Callable[[], Verified]
    generator_cores: tuple[int, ...]
    max_rate_per_s: float | None = None
    stack: ExitStack = field(default_factory=ExitStack)
    _server: Server | None = None

    @property
    def server(self) -> Server:
        """What is asked; there once it was introduced."""
        assert self._server is not None  # noqa: S101 - checks that need it come after
        return self._server

    def pool(self, rows: int = 1) -> PayloadPool:
        """Encode the held-out samples as requests of `rows` each, with the expected outputs."""
        return readiness.payload_pool(
            self.spec,
            self.verified().expected,
            self.server.plan.endpoint.predict_path,
            protocol=self.side.protocol,
            rows=rows,
            model=self.side.address.model,
        )

    def introduced(self) -> str:
        """Check that the server is ready and that its metadata is the model's."""
        work = self.stack.enter_context(readiness.work_folder())
        server = self.stack.enter_context(running(self.side, self.spec, work))
        self._server = self.stack.enter_context(server)
        return f"{server.plan.implementation.name} at {self.side.address}"

    def right(self, rows: int) -> str:
        """Check that every held-out sample is answered correctly, `rows` a request."""
        try:
            pool = self.pool(rows)
        except RequestError as error:
            raise NotApplicableError(str(error)) from error
        record = readiness.check_endpoint(self.server, pool, self.spec.samples().named, self.verified())
        return f"{record.samples_count} samples right, {rows} a request"

    def unknown_model(self) -> str:
        """Check that an unknown model is refused and that the server goes on."""
        api = self.side.address.api
        if APIS[api].marker is None:
            raise NotApplicableError(f"requests of the API {api} name no model")
        endpoint, codec = self.server.plan.endpoint, find_codec(self.side.protocol.codec)
        body = codec.encode([sample(self.spec.samples().named, 0)], NO_MODEL)
        ways = APIS[api].protocols(NO_MODEL)
        path = next(protocol.path for protocol in ways if protocol.codec == self.side.protocol.codec)
        headers = {} if self.side.protocol.transport == "grpc" else request_headers(codec, body)
        code, answer = self.side.access.ask(endpoint.base_url + path, body, headers)
        text = self.side.access.quoted(answer)
        require(code in REFUSALS, f"it gets status {code}, expected 404: {text}")
        return f"status {code}: {text[:80]}"

    def load(self) -> str:
        """Check that a short load brings no error and no wrong answer."""
        return short_load(self.server, self.pool(), self.generator_cores, self.max_rate_per_s)


def look(checks: Checklist, endpoint: Endpoint) -> None:
    """Run every check of one endpoint; it is left as it was."""
    name = endpoint.side.name
    ready, right = f"{name}.ready", f"{name}.samples"
    with endpoint.stack:
        checks.run(ready, "the endpoint is ready, and its metadata is the model's", endpoint.introduced)
        checks.run(
            right,
            "every held-out sample is answered right",
            lambda: endpoint.right(1),
            [ready, "stack.parity"],
        )
        checks.run(
            f"{name}.rows",
            "several samples in one request are answered right",
            lambda: endpoint.right(ROWS),
            [right],
        )
        checks.run(f"{name}.unknown-model", "an unknown model is refused", endpoint.unknown_model, [ready])
        checks.run(f"{name}.load", "a short load brings no error and no wrong answer", endpoint.load, [right])
