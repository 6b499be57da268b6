"""Settings of a run from what was typed, and whether a running endpoint may be loaded at all."""

import re
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from loadtests.arrivals import REQUESTS_LIMIT, parse_load
from loadtests.errors import LoadError
from pipelines.access import Accesses, read_accesses
from pipelines.builds import is_build, read_builds
from pipelines.config.profiles import DAY_S, Profile, find_profile
from pipelines.config.settings import BUDGET, MeasureSettings, RunSettings
from pipelines.errors import MachineError, RequestError, unknown
from pipelines.machine.cores import asked_cores
from pipelines.machine.listening import is_here
from pipelines.targets.address import Address
from pipelines.targets.changes import apply_changes
from pipelines.targets.presets import DEFAULT, resolve
from pipelines.targets.registry import find_target
from pipelines.targets.side import SideSpec, parse_sides

MOST_BLOCKS = 200
"""Of a comparison that ends when it is decided, or when its time is up."""
LEAST_DECIDE_S = 60
DURATION_UNITS = {"s": 1, "m": 60, "min": 60, "h": 3600}


def run_settings(*, profile: str, sides: str, **typed: Any) -> RunSettings:
    """Build settings from the options given; None means that an option was not given.

    Raises:
        RequestError: an unknown profile or target, a wrong side or preset, cores that may not be used, or a
            value out of range; one line.
    """
    changed = typed.pop("changes", ())
    specs = apply_changes(_sides(sides, typed), changed)
    cores = asked_cores(typed.pop("server_cores", None), typed.pop("generator_core", None))
    for field in typed.get("allowed_asymmetries") or ():
        if field not in BUDGET:
            raise unknown("field", field, BUDGET, where="--allow-asymmetry: ")
    typed["accesses"] = accesses_of(specs, typed)
    if all(side.address is not None for side in specs):
        typed["mobile"] = False
    named = {key: value for key, value in typed.items() if value is not None}
    changes: dict[str, Any] = {
        key: named.pop(key) for key in ("blocks", "rounds", "round_s", "loads") if key in named
    }
    if (within := named.pop("decide_within", None)) is not None:
        named["decide_within_s"] = parse_duration(within)
        changes |= _open_ended(changes, find_profile(profile), len(specs))
    if named.get("primary") == "throughput":
        named["primary"] = "throughput_per_s"
    if "round_s" in changes:
        changes |= dict.fromkeys(("longest_round_s", "slo_round_s"))
    if "loads" in changes:
        changes["loads"] = _split(changes["loads"])
    try:
        chosen = Profile.model_validate(find_profile(profile).model_dump() | changes)
        _require_within(chosen.loads, named.get("max_rate_per_s"))
        _require_readable(chosen)
        settings = RunSettings(profile=chosen, sides=specs, cores=cores, **named)
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(map(str, problem["loc"]))
        raise RequestError(f"{place}: {problem['msg']}, given {problem['input']!r}") from error
    except LoadError as error:
        raise RequestError(str(error)) from error
    _require_rows(specs, settings.rows)
    return settings


def _require_rows(sides: Sequence[SideSpec], rows: int) -> None:
    """Raise RequestError if a side's server is configured for smaller requests."""
    for side in sides:
        most = side.preset.settings.most_rows
        if most is not None and rows > most:
            raise RequestError(
                f"--rows is {rows}, and {side.name} takes {most} at most, the size of its batches; lower it, "
                f"or give --set {side.name}.max_batch_size={rows}"
            )


def accesses_of(sides: Sequence[SideSpec], typed: dict[str, Any]) -> Accesses:
    """Return the access to running endpoints, and check that they may be loaded at all.

    Takes out of `typed` what is about that, all but the highest rate and the time-out.

    Raises:
        RequestError: options for running endpoints without one, a header that is none, or an address outside
            this machine that nobody confirmed.
    """
    headers, ca_file = tuple(typed.pop("headers", ())), typed.pop("ca_file", None)
    insecure, confirmed = typed.pop("insecure", False), typed.pop("yes", False)
    running = [side for side in sides if side.address is not None]
    max_rate_per_s = typed.get("max_rate_per_s")
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
    timeout_s = typed.get("timeout_s") or MeasureSettings.model_fields["timeout_s"].default
    accesses = read_accesses(headers, ca_file, insecure=insecure, timeout_s=timeout_s)
    accesses.require_sides([side.name for side in running])
    require_confirmed([side.address for side in running if side.address], max_rate_per_s, confirmed=confirmed)
    return accesses


def _require_within(loads: Sequence[str], max_rate_per_s: float | None) -> None:
    """Raise RequestError if an open load is above the highest rate allowed."""
    for load in map(parse_load, loads):
        if max_rate_per_s is not None and load.is_open and load.value > max_rate_per_s:
            raise RequestError(f"{load} is more than --max-rate {max_rate_per_s:g} allows; lower it")


def _require_readable(profile: Profile) -> None:
    """Raise RequestError if a round of an open load would have more requests than can be read again."""
    for load in map(parse_load, profile.loads):
        if load.is_open and load.value * profile.round_s > REQUESTS_LIMIT:
            raise RequestError(
                f"{load} for {profile.round_s:g} s is more than {REQUESTS_LIMIT:,} requests in one round; "
                "make rounds shorter with --round-s"
            )


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
            for option, value in (("--max-rate REQUESTS_PER_S", max_rate_per_s), ("--yes", confirmed))
            if not value
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
    match = re.fullmatch(r"(\d+(?:\.\d+)?) ?(s|min|m|h)", text.strip(), re.ASCII)
    seconds = float(match[1]) * DURATION_UNITS[match[2]] if match else 0
    if not LEAST_DECIDE_S <= seconds <= DAY_S:
        raise RequestError(
            f"{option} is {text[:40]!r}; a number with s, min or h is allowed, from 1min to 24h, such "
            "as 20min"
        )
    return seconds


def _open_ended(changes: dict[str, Any], profile: Profile, sides_count: int) -> dict[str, Any]:
    """Return the changes for blocks until a decision.

    Where controls take turns, two sides have theirs by the second block, and the first may be decided with
    one. Of more sides all have theirs in the first.
    """
    if "blocks" in changes:
        raise RequestError("--decide-within adds blocks until it is decided; leave --blocks out")
    if not profile.verdicts:
        raise RequestError(
            f"--decide-within needs a profile that gives verdicts, and {profile.name} gives none; use quick "
            "or full"
        )
    changed: dict[str, Any] = {"blocks": MOST_BLOCKS}
    if profile.control_blocks == "in turn" and sides_count > 2:  # noqa: PLR2004 - said above
        changed["control_blocks"] = "all first"
    return changed


def _sides(text: str, typed: dict[str, Any]) -> tuple[SideSpec, ...]:
    """Parse the sides in `text`; `auto` puts builds on this machine."""
    preset, parts = typed.pop("preset", DEFAULT), _split(text)
    if not any(is_build(part) for part in parts):
        return parse_sides(text, preset)
    if typed.get("runner") == "docker":
        raise RequestError(
            "--runner docker serves images, and a side NAME=DIR is a folder; use --runner local"
        )
    typed["runner"] = "local"
    builds = read_builds(parts, typed["model"])
    presets = resolve(preset, [build.target for build in builds])
    return tuple(
        SideSpec(
            build.name,
            build.target,
            presets[build.target],
            find_target(build.target).protocols[0],
            build.folder,
        )
        for build in builds
    )


def _split(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(","))
