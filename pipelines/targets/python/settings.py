"""The plain server's settings, by the names of its options."""

from typing import Annotated, Literal

from pydantic import Field

from models.spec import ModelSpec
from pipelines.targets.presets import ServerSettings

Count = Annotated[int, Field(ge=1, le=2**31 - 1)]


class PythonSettings(ServerSettings):
    """What a preset may set of the plain server; where it runs and what it serves is not among it."""

    access_log: bool | None = None
    backlog: Count | None = None
    max_body_bytes: Count | None = None
    pool_threads: Annotated[int, Field(ge=0, le=1024)] | None = None
    torch_interop_threads: Count | None = None
    torch_threads: Count | None = None
    workers: Count | Literal["cores"] | None = None

    def flags(self) -> list[str]:
        """Return the options, without those at the frameworks' defaults."""
        settings = self.given()
        flags = [] if settings.pop("access_log", True) else ["--no-access-log"]
        return [*flags, *(f"--{name.replace('_', '-')}={value}" for name, value in settings.items())]

    def files(self, spec: ModelSpec) -> dict[str, str]:  # noqa: ARG002 - nothing depends on the model
        """Write the options, one a line."""
        return {"flags": "".join(f"{flag}\n" for flag in self.flags())}

    def max_request_bytes(self, spec: ModelSpec) -> int | None:  # noqa: ARG002 - nothing depends on the model
        """Return the largest body that is taken; None if there is no limit."""
        return self.max_body_bytes
