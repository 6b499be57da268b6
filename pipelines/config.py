"""Settings: strict and frozen; an unknown key is an error, every field says its unit."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from loadtests.arrivals import parse_load
from loadtests.errors import LoadError
from pipelines.access import Accesses, read_accesses
from pipelines.builds import is_build, read_builds
from pipelines.errors import MachineError, RequestError, unknown
from pipelines.machine.cores import Cores, asked_cores, split_cores
from pipelines.machine.listening import is_here
from pipelines.targets.address import Address
from pipelines.targets.changes import apply_changes
from pipelines.targets.presets import DEFAULT, resolve
from pipelines.targets.registry import IN_PROCESS, find_target
from pipelines.targets.side import SideSpec, parse_sides

DEFAULT_SEED = 20
DAY_S = 86_400
ROUND_LEAST_S = 0.05
COUNT_LIMIT = 10_000
ROWS_LIMIT = 4096
SIZE_LIMIT = 2**60
POOL_LIMIT_MB = 4096
MOST_BLOCKS = 200
"""Of a comparison that ends when it is decided, or when its time is up."""
LEAST_DECIDE_S = 60
DURATION_UNITS = {"s": 1, "m": 60, "min": 60, "h": 3600}
BYTE_UNITS = {
    "": 1,
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "kib": 2**10,
    "mib": 2**20,
    "gib": 2**30,
}


class Settings(BaseModel):
    """Base of all settings."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Profile(Settings):
    """How long and how often a comparison measures."""

    name: str
    blocks: int = Field(ge=1, le=COUNT_LIMIT, description="times that servers are started afresh")
    rounds: int = Field(ge=1, le=COUNT_LIMIT, description="measured stretches per block, load and target")
    warmup_limit_s: float = Field(
        ge=0, le=DAY_S, description="a warm-up that is not steady by then ends, seconds"
    )
    conditioning_limit_s: float = Field(
        default=0,
        ge=0,
        le=DAY_S,
        description="load on a fresh server until it is steady, at most and in all; 0 for none, seconds",
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
    retries: int = Field(ge=0, description="invalid rounds that may be measured again, in the whole run")

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
            retries=2,
        ),
        Profile(
            name="quick",
            blocks=2,
            rounds=3,
            warmup_limit_s=8,
            conditioning_limit_s=80,
            round_s=3,
            longest_round_s=4,
            loads=("closed:8",),
            control=True,
            control_blocks="in turn",
            null=False,
            device_threads="one",
            retries=4,
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


class MeasureSettings(Settings):
    """How rounds are measured, for any sides."""

    profile: Profile
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


class MobileLimits(Settings):
    """What an artifact must keep to ship."""

    max_accuracy_drop: float = Field(
        default=0.01, ge=0, le=1, description="accuracy it may lose against the source model, 0 to 1"
    )
    max_bytes: int | None = Field(default=None, gt=0, description="the largest file; None not to ask")


class MobileSettings(Settings):
    """What `tandem mobile` measures."""

    model: str = Field(description="name of a model, or path of a file that defines one")
    limits: MobileLimits = MobileLimits()
    targets: tuple[str, ...] = Field(
        default=IN_PROCESS, min_length=1, description="targets that run in process"
    )
    force: bool = Field(default=False, description="export again even if nothing changed")
    road: str | None = Field(default=None, description="into TensorFlow's formats; None: as last exported")
    artifacts: Path = Path("artifacts")
    runs: Path = Path("runs")


def mobile_limits(max_accuracy_drop: float, max_bytes: str | None) -> MobileLimits:
    """Parse the limits given as options.

    Raises:
        RequestError: a value out of range, or a size that cannot be read.
    """
    if not 0 <= max_accuracy_drop <= 1:
        raise RequestError(
            f"--max-accuracy-drop is {max_accuracy_drop:g}; a share from 0 to 1 is allowed, such as 0.01"
        )
    size = None if max_bytes is None else parse_bytes(max_bytes)
    return MobileLimits(max_accuracy_drop=max_accuracy_drop, max_bytes=size)


def parse_bytes(text: str) -> int:
    """Parse a size such as 4MB (4,000,000), 4MiB (4,194,304), 500kB or 4000000 into whole bytes.

    Raises:
        RequestError: it is no such size, or less than one byte.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?([a-z]*)", text.strip(), re.IGNORECASE | re.ASCII)
    factor = BYTE_UNITS.get(found[2].lower()) if found else None
    size = float(found[1]) * factor if found and factor else 0
    if not 1 <= size <= SIZE_LIMIT:
        raise RequestError(
            f"--max-bytes is {text[:80]!r}; allowed: a number from 1 to 10^18, alone or with B, kB, MB, GB "
            "(thousands) or KiB, MiB, GiB (1,024s), such as 4MB"
        )
    return int(size)


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
    primary: Literal["p50", "p95", "p99", "throughput_per_s"] = Field(
        default="p99", description="the metric that is judged by itself; the others are one family"
    )
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


def run_settings(*, profile: str, sides: str, **given: Any) -> RunSettings:
    """Build settings from the options given; None means that an option was not given.

    Raises:
        RequestError: an unknown profile or target, a wrong side or preset, cores that may not be used, or a
            value out of range; one line.
    """
    changed = given.pop("changes", ())
    specs = apply_changes(_sides(sides, given), changed)
    cores = asked_cores(given.pop("server_cores", None), given.pop("generator_core", None))
    given["accesses"] = accesses_of(specs, given)
    if all(side.address is not None for side in specs):
        given["mobile"] = False
    named = {key: value for key, value in given.items() if value is not None}
    changes: dict[str, Any] = {
        key: named.pop(key) for key in ("blocks", "rounds", "round_s", "loads") if key in named
    }
    if (within := named.pop("decide_within", None)) is not None:
        named["decide_within_s"] = parse_duration(within)
        changes |= _open_ended(changes, find_profile(profile))
    if named.get("primary") == "throughput":
        named["primary"] = "throughput_per_s"
    if "round_s" in changes:
        changes["longest_round_s"] = None
    if "loads" in changes:
        changes["loads"] = _split(changes["loads"])
    try:
        chosen = Profile.model_validate(find_profile(profile).model_dump() | changes)
        _require_within(chosen.loads, named.get("max_rate_per_s"))
        return RunSettings(profile=chosen, sides=specs, cores=cores, **named)
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(map(str, problem["loc"]))
        raise RequestError(f"{place}: {problem['msg']}, given {problem['input']!r}") from error
    except LoadError as error:
        raise RequestError(str(error)) from error


def accesses_of(sides: Sequence[SideSpec], given: dict[str, Any]) -> Accesses:
    """Return the access to running endpoints, and check that they may be loaded at all.

    Takes out of `given` what was typed of that, all but the highest rate and the time-out.

    Raises:
        RequestError: options for running endpoints without one, a header that is none, or an address outside
            this machine that nobody confirmed.
    """
    headers, ca_file = tuple(given.pop("headers", ())), given.pop("ca_file", None)
    insecure, confirmed = given.pop("insecure", False), given.pop("yes", False)
    running = [side for side in sides if side.address is not None]
    max_rate_per_s = given.get("max_rate_per_s")
    options = {
        "--header": headers,
        "--ca-file": ca_file,
        "--insecure": insecure,
        "--max-rate": max_rate_per_s,
    }
    named = [option for option, value in options.items() if value]
    if not running:
        if named:
            raise RequestError(
                f"{named[0]} is for running endpoints, and --sides names none; such as name=tfserving+"
                "http://HOST:8501/v1/models/MODEL"
            )
        return Accesses()
    timeout_s = given.get("timeout_s") or MeasureSettings.model_fields["timeout_s"].default
    found = read_accesses(headers, ca_file, insecure=insecure, timeout_s=timeout_s)
    found.require_sides([side.name for side in running])
    require_confirmed([side.address for side in running if side.address], max_rate_per_s, confirmed=confirmed)
    return found


def _require_within(loads: Sequence[str], max_rate_per_s: float | None) -> None:
    """Raise RequestError if an open load is above the highest rate allowed."""
    for load in map(parse_load, loads):
        if max_rate_per_s is not None and load.is_open and load.value > max_rate_per_s:
            raise RequestError(f"{load} is more than --max-rate {max_rate_per_s:g} allows; lower it")


def require_confirmed(addresses: Sequence[Address], max_rate_per_s: float | None, *, confirmed: bool) -> None:
    """Let no load out of this machine that nobody has limited and confirmed.

    Raises:
        RequestError: it is not.
        MachineError: there is no such host.
    """
    for address in addresses:
        try:
            outside = not is_here(address.host, address.port)
        except OSError as error:
            raise MachineError(
                f"{address}: there is no host {address.host!r}: {error.strerror or error}"
            ) from error
        missing = [
            option
            for option, given in (("--max-rate REQUESTS_PER_S", max_rate_per_s), ("--yes", confirmed))
            if not given
        ]
        if outside and missing:
            raise RequestError(
                f"{address} is outside this machine, and a load can take a server down: load it only where "
                f"you may, and say so with {' and '.join(missing)}"
            )


def parse_duration(text: str, option: str = "--decide-within") -> float:
    """Parse a duration such as 20min, 90s or 1h into seconds.

    Raises:
        RequestError: it is none, or not from a minute to a day.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?(s|min|m|h)", text.strip(), re.ASCII)
    seconds = float(found[1]) * DURATION_UNITS[found[2]] if found else 0
    if not LEAST_DECIDE_S <= seconds <= DAY_S:
        raise RequestError(
            f"{option} is {text[:40]!r}; a number with s, min or h is allowed, from 1min to 24h, such "
            "as 20min"
        )
    return seconds


def _open_ended(changes: dict[str, Any], profile: Profile) -> dict[str, Any]:
    """Return the changes for blocks until a decision: all controls first, so that it may come soon."""
    if "blocks" in changes:
        raise RequestError("--decide-within adds blocks until it is decided; leave --blocks out")
    if not profile.verdicts:
        raise RequestError(
            f"--decide-within needs a profile that gives verdicts, and {profile.name} gives none; use quick "
            "or full"
        )
    turns = {"control_blocks": "all first"} if profile.control_blocks == "in turn" else {}
    return {"blocks": MOST_BLOCKS} | turns


def _sides(text: str, given: dict[str, Any]) -> tuple[SideSpec, ...]:
    """Parse the sides in `text`; `auto` puts builds on this machine."""
    preset, parts = given.pop("preset", DEFAULT), _split(text)
    if not any(is_build(part) for part in parts):
        return parse_sides(text, preset)
    if given.get("runner") == "docker":
        raise RequestError(
            "--runner docker serves images, and a side NAME=DIR is a folder; use --runner local"
        )
    given["runner"] = "local"
    builds = read_builds(parts, given["model"])
    presets = resolve(preset, [one.target for one in builds])
    return tuple(
        SideSpec(one.name, one.target, presets[one.target], find_target(one.target).protocols[0], one.folder)
        for one in builds
    )


def _split(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(","))
