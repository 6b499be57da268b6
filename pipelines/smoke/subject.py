"""One target as the smoke test looks at it: its artifacts, its running server, and the right answers."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from loadtests.payloads import PayloadPool
from models.spec import FloatArray, ModelSpec
from pipelines.artifacts.manifest import Manifest
from pipelines.parity.quality import Expectations
from pipelines.runners.docker_server import DockerServer
from pipelines.runners.server import Server
from pipelines.smoke.checklist import CheckError, NotApplicableError


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

    def require_right(self, got: object, samples: int, said: str) -> None:
        """Compare answers of the first `samples` held-out samples with the source model's.

        Raises:
            CheckError: the shape differs, or a value is outside the model's tolerance.
        """
        wanted: FloatArray = self.expected.primary.outputs[:samples]
        try:
            found = np.asarray(got, np.float32)
        except (TypeError, ValueError) as error:
            raise CheckError(f"{said} are no numbers: {error}") from error
        if found.shape != wanted.shape:
            raise CheckError(f"{said} have shape {found.shape}, expected {wanted.shape}")
        tolerance = self.spec.tolerance_of(self.spec.output.name)
        allowed = tolerance.absolute + tolerance.relative * np.abs(wanted)
        # Written so that a NaN is wrong.
        wrong = ~(np.abs(found - wanted) <= allowed)
        if wrong.any():
            place = tuple(int(i) for i in np.argwhere(wrong)[0])
            raise CheckError(
                f"{said}: sample {place[0]} gives {found[place]:.6g}, expected {wanted[place]:.6g} "
                f"within {allowed[place]:.2g}; {int(wrong.any(axis=tuple(range(1, wrong.ndim))).sum())} of "
                f"{samples} samples are wrong"
            )
