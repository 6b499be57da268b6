"""What answered, and what it was given to work with, as run.json holds it."""

from pydantic import Field

from pipelines.record.base import Record


class ImageRecord(Record):
    """The image a container was made from. `compressed_bytes` is what a registry would send."""

    reference: str
    id: str
    size_bytes: int
    compressed_bytes: int | None


class ImplementationRecord(Record):
    """What really answered. `stand_in` is true when it is not the product the target is named after.

    `protocol` is what requests travelled over, `body` the codec of what they held. `settings` is what the
    preset set, by the server's own names. `image` is null where no container answered.
    """

    name: str
    version: str
    runner: str
    preset: str
    protocol: str
    body: str = "json-rows"
    stand_in: bool
    note: str | None
    image: ImageRecord | None = None
    settings: dict[str, bool | int | str | tuple[str | int, ...]] = Field(default_factory=dict)


class GivenRecord(Record):
    """What a target was given to work with, and how its server is configured to use that.

    The budget is `cores`, `cpus` (a limit on CPU time, in cores' worth of it) and `memory_limit_bytes`: the
    same on all sides, or the comparison is unfair. Everything else is the server's configuration as it really
    ran, null where it is unknown or where there is no such setting. `sources` says for every field of the
    configuration where it is from: `server` (asked of the running one), `flag` (passed at its start) or
    `rule` (what the runtime makes of no flag).
    """

    cores: tuple[int, ...]
    workers_count: int | None
    threads_per_worker: int | None
    batch_max_size: int | None
    memory_limit_bytes: int | None
    cpus: float | None = None
    max_request_bytes: int | None = None
    workers_max_count: int | None = None
    inter_op_threads_count: int | None = None
    rest_threads_count: int | None = None
    batch_delay_ms: float | None = None
    queue_max_count: int | None = None
    sources: dict[str, str] = Field(default_factory=dict)
