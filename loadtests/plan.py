"""The plan of one round: written by the comparison, read strictly by the generator."""

import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from loadtests.arrivals import Load, parse_load
from loadtests.errors import LoadError, PlanError
from loadtests.files import read_object, write_json

SLOWEST_WARMUP_S = 30.0
"""How long a slow server may take for the few requests without which nothing can be told of it."""
SCHEMES = ("http", "https", "grpc", "grpcs")


@dataclass(frozen=True)
class RoundPlan:
    """One measured stretch of one load on one endpoint.

    Attributes:
        url_base: `http://HOST:PORT`, in front of the pool's path, or `grpc://HOST:PORT` for its methods;
            `https` and `grpcs` are the same, encrypted.
        load: `closed:USERS` or `open:RATE`.
        warmup_limit_s: the same load goes before the window until it is steady (see warmup.py), for at most
            so many seconds; 0 for no warm-up. Its requests go to a file of their own.
        duration_s: seconds of the measured window.
        pool_file: a payload pool.
        samples_file: Parquet file to write; the warm-up's name is derived from it.
        result_file: JSON file to write.
        check_share: share of answers to look into, 0 to 1. Ignored when the pool has no expected answers.
        seed: decides the order of payloads, the answers to check and the open load's schedule.
        timeout_s: seconds a server may stay silent before a request counts as failed.
        cores: CPU numbers to run on; empty to stay where the process was started.
        cores_shared: whether the server runs on some of them too, so that the generator may not go first.
        reports_seconds: whether the generator says every second of the window when it is over (reports.py).
        ca_file: PEM file that vouches for an encrypted server; empty for the machine's own.
        insecure: whether its certificate is not looked at.
        private_headers: whether a JSON object of further headers comes on stdin, so that no file and no
            process list has them.
        max_rate_per_s: requests that are sent per second at most, under closed load too; 0 for no limit.
    """

    url_base: str
    load: str
    warmup_limit_s: float
    duration_s: float
    pool_file: Path
    samples_file: Path
    result_file: Path
    check_share: float
    seed: int
    timeout_s: float
    cores: tuple[int, ...]
    cores_shared: bool = False
    reports_seconds: bool = False
    ca_file: str = ""
    insecure: bool = False
    private_headers: bool = False
    max_rate_per_s: float = 0.0

    @property
    def longest_warmup_s(self) -> float:
        """Seconds that the warm-up takes at most, with a server too slow for `warmup_limit_s`."""
        return max(self.warmup_limit_s, SLOWEST_WARMUP_S) if self.warmup_limit_s else 0.0

    def __post_init__(self) -> None:
        _require(
            _is_base(self.url_base), f"url_base {self.url_base!r} is not http://HOST:PORT or grpc://HOST:PORT"
        )
        _require(
            0 <= self.warmup_limit_s < math.inf,
            f"warmup_limit_s is {self.warmup_limit_s}, must be 0 or more",
        )
        _require(0 < self.duration_s < math.inf, f"duration_s is {self.duration_s}, must be above 0")
        _require(0 < self.timeout_s < math.inf, f"timeout_s is {self.timeout_s}, must be above 0")
        _require(
            0 <= self.max_rate_per_s < math.inf,
            f"max_rate_per_s is {self.max_rate_per_s}, must be 0 or more",
        )
        _require(0 <= self.check_share <= 1, f"check_share is {self.check_share}, must be from 0 to 1")
        try:
            parse_load(self.load)
        except LoadError as problem:
            raise PlanError(str(problem)) from problem

    @property
    def parsed_load(self) -> Load:
        """The load, as a kind and a number."""
        return parse_load(self.load)

    @property
    def warmup_file(self) -> Path:
        """Where the warm-up's requests go: `NAME-warmup.parquet` beside `NAME.parquet`."""
        return warmup_path(self.samples_file)

    def save(self, path: Path) -> None:
        """Write the plan as JSON, atomically."""
        write_json(path, {key: _plain(value) for key, value in asdict(self).items()})

    @classmethod
    def load_file(cls, path: Path) -> "RoundPlan":
        """Read what `save` wrote and make sure that it can be carried out on this machine.

        Raises:
            PlanError: unreadable, an unknown or missing key, a value of the wrong kind or out of range, a
                file or folder that is not there, or a core this process may not use.
        """
        value = read_object(path, [field.name for field in fields(cls)], PlanError)
        plan = cls(
            **{field.name: _convert(field.name, field.type, value[field.name]) for field in fields(cls)}
        )
        _require_surroundings(plan)
        return plan


def warmup_path(samples_file: Path) -> Path:
    """Return where the requests before the window of `samples_file` are."""
    return samples_file.with_name(f"{samples_file.stem}-warmup{samples_file.suffix}")


def _require_surroundings(plan: RoundPlan) -> None:
    _require(plan.pool_file.is_file(), f"pool_file {plan.pool_file} does not exist")
    for file in (plan.samples_file, plan.result_file):
        _require(file.parent.is_dir(), f"folder {file.parent} of {file.name} does not exist")
    foreign = sorted(set(plan.cores) - os.sched_getaffinity(0))
    allowed = sorted(os.sched_getaffinity(0))
    _require(not foreign, f"cores {foreign} are not this process's to use, which are {allowed}")


def _is_base(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in SCHEMES and bool(parts.hostname) and parts.port is not None and not parts.query
    except ValueError:
        return False


def _convert(name: str, kind: Any, value: Any) -> Any:
    """Turn a JSON value into what field `name`, declared as `kind`, holds."""
    if kind is float and _is_number(value):
        return float(value)
    if kind is Path and isinstance(value, str):
        return Path(value)
    if kind in (str, int, bool) and type(value) is kind:
        return value
    if name == "cores" and isinstance(value, list) and all(type(core) is int for core in value):
        return tuple(value)
    raise PlanError(f"{name} is {value!r}, expected {getattr(kind, '__name__', kind)}")


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    return str(value) if isinstance(value, Path) else value


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise PlanError(message)
