"""A measurement on its way: who takes part, what is measured of each so far, and how long the rest takes."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from loadtests.payloads import PayloadPool
from pipelines.config.settings import MeasureSettings
from pipelines.measure.generator import Generator
from pipelines.measure.machine_speed import MachineSpeed
from pipelines.measure.sides import Side
from pipelines.record.conditioning import ConditioningRecord, DriftRecord
from pipelines.record.in_process import InProcessRecord
from pipelines.record.parity import ParityRecord
from pipelines.record.rounds import RoundRecord
from pipelines.record.target import BlockPeakRecord, ColdStartRecord, MemoryRecord
from pipelines.runners.server import Place, Server
from pipelines.targets.server_plan import ServerPlan
from pipelines.tasks.tasks import Progress

# Rough figures for the time shown beforehand: what comes before and after each round and each server.
ROUND_OVERHEAD_S = 0.5
USUAL_WARMUP_S = 1.6
SERVER_START_S = 7.0
USUAL_CONDITIONING_S = 20.0
PAIR = 2


@dataclass
class Measured:
    """What has been measured of one side so far."""

    plan: ServerPlan | None = None
    place: Place = "cores"
    pool: PayloadPool | None = None
    endpoint_parity: ParityRecord | None = None
    idle_bytes: int | None = None
    peaks_bytes: dict[int, int] = field(default_factory=dict)
    memory_source: str | None = None
    cold_starts: list[ColdStartRecord] = field(default_factory=list)
    rounds: list[RoundRecord] = field(default_factory=list)
    conditionings: list[ConditioningRecord] = field(default_factory=list)
    drifts: list[DriftRecord] = field(default_factory=list)
    in_process: InProcessRecord | None = None

    def pool_of(self, side: Side) -> PayloadPool:
        """Return the side's requests and expected answers, encoded once; its server has to be planned."""
        if self.pool is None:
            assert self.plan is not None  # noqa: S101 - the caller has planned the server
            self.pool = side.pool(self.plan.endpoint.predict_path)
        return self.pool

    def conditioned_s(self, block: int) -> float:
        """Return the seconds of conditioning that its server of this block has had."""
        return sum(
            conditioning.duration_s for conditioning in self.conditionings if conditioning.block == block
        )

    def note_memory(self, server: Server, block: int) -> None:
        """Keep the block's largest: the kernel's own peak where it counts that, else of the samples."""
        peak = server.peak_bytes()
        size_bytes = server.memory_bytes() if peak is None else peak
        if size_bytes is not None:
            self.peaks_bytes[block] = max(size_bytes, self.peaks_bytes.get(block, 0))
            self.memory_source = "pss" if server.plan.implementation.runner == "local" else "cgroup"

    @property
    def memory(self) -> MemoryRecord:
        """The samples taken, as run.json holds them."""
        peaks = tuple(BlockPeakRecord(block=block, peak_bytes=n) for block, n in self.peaks_bytes.items())
        return MemoryRecord(
            idle_bytes=self.idle_bytes,
            peak_bytes=max(self.peaks_bytes.values(), default=None),
            source=self.memory_source,
            block_peaks=peaks,
        )


def nobody_listens() -> None:
    """Ignore that something happened in a session."""


@dataclass
class Session:
    """A run on its way.

    Attributes:
        folder: runs/ID; has the folders samples and logs.
        on_plans: called when all servers of the first block are planned and none is started, and again when
            they run and say what they were given.
        on_round: called after every measured round.
        on_measured: called when the rounds of the first block are measured and its servers are all paused.
        counted: whether it is known beforehand how many rounds there will be.
        retries_left: how many more invalid rounds may be measured again.
        round_s: how long rounds are, from the profile's least to its most; set by the first conditionings.
        measured: by side, in their order.
        generator: sends the load of every round; its process lives as long as the servers of a block.
        machine_speed: whether the machine is as fast as usual.
    """

    settings: MeasureSettings
    sides: Sequence[Side]
    folder: Path
    progress: Progress
    on_plans: Callable[[], None] = nobody_listens
    on_round: Callable[[], None] = nobody_listens
    on_measured: Callable[[], None] = nobody_listens
    counted: bool = True
    retries_left: int = 0
    round_s: float = 0.0
    rounds_count: int = 0
    planned_count: int = 0
    measured: dict[str, Measured] = field(default_factory=dict)
    generator: Generator = field(default_factory=Generator)
    machine_speed: MachineSpeed = field(default_factory=MachineSpeed)

    def __post_init__(self) -> None:
        self.measured = {side.name: Measured() for side in self.sides}
        self.allow_retries()
        self.round_s = self.settings.profile.round_s
        if self.counted:
            self.planned_count = planned_rounds(self.settings, self.sides)

    def allow_retries(self) -> None:
        """Let as many more invalid rounds be measured again as the profile allows so many sides."""
        compared = sum(side.role == "compared" for side in self.sides)
        self.retries_left = math.ceil(self.settings.profile.retries * max(compared, PAIR) / PAIR)

    def of_block(self, block: int) -> list[Side]:
        """Return the sides that take part in that block."""
        return [side for side in self.sides if side.takes_part(block)]

    def say(self, text: str) -> None:
        """Show where the run is."""
        done = f"{self.rounds_count} rounds"
        if self.counted:
            done = f"{self.rounds_count}/{self.planned_count} rounds, about {self.left_s():.0f} s left"
        self.progress("measure", f"[{done}] {text}")

    def left_s(self) -> float:
        """Estimate how long the rest takes, in seconds."""
        left = max(0, self.planned_count - self.rounds_count)
        starts_count = sum(len(self.of_block(block)) for block in range(self.settings.profile.blocks))
        starts_left = left / max(1, self.planned_count) * starts_count
        start_s = SERVER_START_S + min(USUAL_CONDITIONING_S, self.settings.profile.conditioning_limit_s)
        return left * (round_s(self.settings, self.round_s)) + starts_left * start_s


def planned_rounds(settings: MeasureSettings, sides: Sequence[Side]) -> int:
    """Count the rounds of a whole comparison, without any that have to be measured again."""
    profile = settings.profile
    servers_count = sum(side.takes_part(block) for block in range(profile.blocks) for side in sides)
    return servers_count * profile.rounds * len(profile.loads)


def round_s(settings: MeasureSettings, window_s: float | None = None) -> float:
    """Estimate the seconds of one round, with a window of `window_s` or as the profile says."""
    profile = settings.profile
    return min(USUAL_WARMUP_S, profile.warmup_limit_s) + (window_s or profile.round_s) + ROUND_OVERHEAD_S
