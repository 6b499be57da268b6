"""One target as the smoke test looks at it: its artifacts, its running server, and the right answers."""

from dataclasses import dataclass
from pathlib import Path

from loadtests.payloads import PayloadPool
from models.spec import ModelSpec
from models.tensors import Tensors, count, take
from pipelines.artifacts.manifest import Manifest
from pipelines.parity import agreement as parity
from pipelines.parity.quality import Expectations
from pipelines.runners.docker_server import DockerServer
from pipelines.runners.server import Server
from pipelines.serve import readiness
from pipelines.smoke.checklist import NotApplicableError
from pipelines.targets.own_checks import Running


@dataclass(frozen=True)
class Subject:
    """A target whose server runs.

    Attributes:
        folder: the target's artifacts.
        generator_cores: those the load generator keeps to.
        expected: the source model's outputs of every held-out sample.
        pool: the same as REST requests with their answers.
    """

    target: str
    spec: ModelSpec
    folder: Path
    manifest: Manifest
    server: Server
    generator_cores: tuple[int, ...]
    expected: Expectations
    pool: PayloadPool

    @property
    def url(self) -> str:
        """Of the REST endpoint, without a trailing slash."""
        return self.server.plan.endpoint.base_url

    @property
    def container(self) -> DockerServer:
        """The server as a container.

        Raises:
            NotApplicableError: it is a local process.
        """
        if not isinstance(self.server, DockerServer):
            raise NotApplicableError("runner local has no container")
        return self.server

    @property
    def running(self) -> Running:
        """The same for the target's own checks."""
        execute = self.server.execute if isinstance(self.server, DockerServer) else None
        return Running(self.spec, self.folder, self.server.plan.endpoint, execute)

    def inputs(self, samples: int) -> Tensors:
        """Return the first held-out samples, at most `samples` of them."""
        return take(self.spec.samples().named, slice(0, samples))

    def require_right(self, got: Tensors, what: str) -> None:
        """Compare outputs of the first held-out samples with the source model's, as many as there are.

        Raises:
            GateError: an output is missing, of another shape, or outside the model's tolerance.
        """
        expected = self.expected.first(count(got))
        typed = readiness.typed(got, expected.tensors)
        record = parity.compare_all(f"{self.target}: {what}", typed, expected)
        parity.require(record, expected.primary.reference)
