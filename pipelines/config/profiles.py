"""Profiles: how long and how often a run measures. Settings are strict and frozen."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from loadtests.arrivals import parse_load
from pipelines.errors import unknown

DAY_S = 86_400
ROUND_LEAST_S = 0.05
COUNT_LIMIT = 10_000


class Settings(BaseModel):
    """Base of all settings."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Profile(Settings):
    """How long and how often a comparison measures."""

    name: str
    blocks: int = Field(ge=1, le=COUNT_LIMIT, description="times that servers are started afresh")
    rounds: int = Field(ge=1, le=COUNT_LIMIT, description="measured stretches per block, load and target")
    warmup_limit_s: float = Field(
        ge=0,
        le=DAY_S,
        description="a warm-up that is not steady by then ends, seconds; a slow server may get half a minute",
    )
    conditioning_limit_s: float = Field(
        default=0,
        ge=0,
        le=DAY_S,
        description="load on a fresh server until it is steady, at most and in all; 0 for none, seconds",
    )
    conditioning_awaits_compilers: bool = Field(
        default=True,
        description="whether that load goes on while just-in-time compilers take the server's processor time",
    )
    round_s: float = Field(
        ge=ROUND_LEAST_S, le=DAY_S, description="least length of each measured stretch, seconds"
    )
    longest_round_s: float | None = Field(
        default=None,
        ge=ROUND_LEAST_S,
        le=DAY_S,
        description="so long a stretch may get where p50 wanders; None: as round_s, seconds",
    )
    loads: tuple[str, ...] = Field(min_length=1, description="closed:CONCURRENCY or open:RATE per second")
    control: bool = Field(description="also measure a second server of every side: its A/A control")
    control_blocks: Literal["all", "in turn", "all first"] = Field(
        default="all",
        description="every control in all blocks, or one after the other, block by block, or all in the "
        "first block and then one after the other",
    )
    null: bool = Field(description="also measure the null server: the harness's own floor")
    device_threads: Literal["one", "one and all"] = Field(
        default="one and all", description="threads that files for devices are timed with, if none is kept"
    )
    verdicts: bool = Field(default=True, description="whether it measures enough to say better or worse")
    slo_resolution: float = Field(
        default=0.05, gt=0, le=1, description="rates of an SLO search nearer to each other are not told apart"
    )
    slo_round_s: float | None = Field(
        default=None,
        ge=ROUND_LEAST_S,
        le=DAY_S,
        description="round_s of an SLO search; None: as round_s, seconds",
    )
    retries: int = Field(
        ge=0, description="invalid rounds that may be measured again, for every two compared sides"
    )

    @field_validator("loads")
    @classmethod
    def _loads_can_be_read(cls, loads: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(str(parse_load(load)) for load in loads)


PROFILES = {
    profile.name: profile
    for profile in (
        Profile(
            name="smoke",
            blocks=1,
            rounds=2,
            warmup_limit_s=3,
            round_s=2.5,
            loads=("closed:1", "closed:8"),
            control=False,
            null=False,
            verdicts=False,
            slo_resolution=0.1,
            retries=2,
        ),
        Profile(
            name="quick",
            blocks=2,
            rounds=3,
            warmup_limit_s=8,
            conditioning_limit_s=80,
            round_s=5,
            longest_round_s=6,
            loads=("closed:8",),
            control=True,
            control_blocks="in turn",
            null=False,
            device_threads="one",
            slo_resolution=0.1,
            slo_round_s=3,
            retries=8,
        ),
        Profile(
            name="full",
            blocks=4,
            rounds=6,
            warmup_limit_s=12,
            conditioning_limit_s=160,
            round_s=8,
            longest_round_s=20,
            loads=("closed:1", "closed:4", "closed:16"),
            control=True,
            null=True,
            retries=16,
        ),
    )
}


def find_profile(name: str) -> Profile:
    """Return the profile called `name`.

    Raises:
        RequestError: there is none, with the nearest one and all allowed.
    """
    if name not in PROFILES:
        raise unknown("profile", name, PROFILES)
    return PROFILES[name]
