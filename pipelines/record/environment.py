"""The machine and the versions, as run.json holds them."""

from pipelines.record.base import Record


class EnvironmentRecord(Record):
    """The machine and the versions that the figures belong to.

    `idle_cores` were left to nobody: hyper-threads of the load generator's physical core.
    """

    os: str
    kernel: str
    cpu_model: str
    cores_count: int
    memory_bytes: int
    server_cores: tuple[int, ...]
    generator_cores: tuple[int, ...]
    idle_cores: tuple[int, ...] = ()
    versions: dict[str, str]
    git_commit: str | None
