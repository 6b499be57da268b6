"""What a run measures, once it is settled; every field says its unit."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from pipelines.access import Accesses
from pipelines.config.profiles import DAY_S, Profile, Settings
from pipelines.machine.cores import Cores, split_cores
from pipelines.targets.side import SideSpec

DEFAULT_SEED = 20
ROWS_LIMIT = 4096
BUDGET = (
    *("cores", "cpus", "memory_limit_bytes", "runner", "preset", "protocol", "body"),
    *("payload_rows", "payload_bytes", "model_digest"),
)
"""What compared sides are given alike, by the names that --allow-asymmetry takes."""
POOL_LIMIT_MB = 4096


class MeasureSettings(Settings):
    """How rounds are measured, for any sides."""

    profile: Profile
    primary: Literal["p50", "p95", "p99", "throughput_per_s"] = Field(
        default="p99", description="the metric that is judged by itself; the others are one family"
    )
    seed: int = Field(default=DEFAULT_SEED, ge=0, description="of payloads, checks, schedules and intervals")
    check_share: float = Field(default=1.0, ge=0.01, le=1, description="share of answers checked, 0.01 to 1")
    timeout_s: float = Field(
        default=10, gt=0, le=DAY_S, description="a request without an answer by then failed, seconds"
    )
    max_rate_per_s: float | None = Field(
        default=None,
        gt=0,
        le=10**7,
        description="requests per second that a running endpoint gets at most; None: as many as a load makes",
    )
    cores: Cores = Field(default_factory=split_cores)


class RunSettings(MeasureSettings):
    """What one run measures."""

    model: str = Field(description="name of a model, or path of a file that defines one")
    sides: tuple[SideSpec, ...] = Field(
        min_length=1, description="what is compared, the first is the candidate"
    )
    rows: int = Field(default=1, ge=1, le=ROWS_LIMIT, description="samples that every request asks about")
    road: str | None = Field(default=None, description="into TensorFlow's formats; None: as last exported")
    runner: str = Field(default="local", description="where servers live: local, docker or auto")
    runner_reason: str | None = Field(default=None, description="why that runner, once auto is settled")
    margin: float = Field(default=0.05, gt=0, lt=1, description="differences within this are equivalent")
    decide_within_s: float | None = Field(
        default=None,
        gt=0,
        le=DAY_S,
        description="blocks are added until the primary metric is decided, at most so long; None: as many as "
        "the profile says; seconds",
    )
    allowed_asymmetries: tuple[str, ...] = Field(default=(), description="fields that may differ, by name")
    pool_mb: float = Field(
        default=16,
        gt=0,
        le=POOL_LIMIT_MB,
        description="different requests and their answers hold as much at most, MB",
    )
    accesses: Accesses = Field(
        default_factory=Accesses, repr=False, description="access to running endpoints"
    )
    mobile: bool = Field(default=True, description="whether artifacts for devices are part of a comparison")
    artifacts: Path = Path("artifacts")
    runs: Path = Path("runs")

    @property
    def targets(self) -> tuple[str, ...]:
        """Whose servers are started and take part, each once."""
        return tuple(dict.fromkeys(side.target for side in self.sides if side.address is None))

    @property
    def running(self) -> tuple[SideSpec, ...]:
        """The running endpoints among the sides."""
        return tuple(side for side in self.sides if side.address is not None)

    @property
    def folders(self) -> dict[str, Path]:
        """Artifacts of sides that are builds, by name."""
        return {side.name: side.folder for side in self.sides if side.folder is not None}
