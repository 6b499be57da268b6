"""The result of one round, beside its samples: written by the generator, read by its parent process."""

from dataclasses import asdict, dataclass, fields
from pathlib import Path

from loadtests.errors import LoadTestError
from loadtests.files import read_object, write_json


class ResultError(LoadTestError):
    """A result file is missing or is not one."""


@dataclass(frozen=True)
class ErrorGroup:
    """Failed requests of one kind, with the words of the first of them."""

    kind: str
    count: int
    example: str


@dataclass(frozen=True)
class GeneratorUse:
    """What the generator itself used in the measured window.

    Attributes:
        cpu_s: processor seconds, user and system, that it worked.
        cpu_share: cpu_s / window_s: of one core, as much as its one thread can use; None without a window.
        polled_s: processor seconds beside `cpu_s` in which it only waited, awake, for the next arrival.
        cores: the CPU numbers it was allowed to run on.
        realtime: whether it had those cores before any ordinary process.
        waited_share: of the window, how long it was ready to run and had to wait for its core; None where the
            kernel does not say.
    """

    cpu_s: float
    cpu_share: float | None
    polled_s: float
    cores: tuple[int, ...]
    realtime: bool
    waited_share: float | None


@dataclass(frozen=True)
class RoundResult:
    """One round. Counts are of requests sent in the window, which are exactly those in the samples file.

    Attributes:
        started_at_utc: beginning of the warm-up, ISO 8601.
        window_start_ns: monotonic nanoseconds; None when the round ended during warm-up.
        window_s: length of the window, shorter than planned when the round ended early.
        warmup_s: how long the warm-up really took.
        steady: whether the warm-up ended in a steady state and not at its limit; None without a warm-up.
        warmup_requests_count: requests sent before the window.
        requests_count, errors_count: all, and those that failed (see statistics.succeeded).
        checked_count, wrong_count: answers looked into, and those that were wrong.
        errors: the failed requests by kind, the most frequent first.
        bytes_received: response bodies.
        generator: what the generator itself used.
        server_gone: the round ended early because nothing answered any more.
        interrupted: the round ended early on a signal, or because the parent process was gone.
        capped_share: of the requests of a closed load, sent later because of `max_rate_per_s`; None without.
    """

    started_at_utc: str
    window_start_ns: int | None
    window_s: float
    warmup_s: float
    steady: bool | None
    warmup_requests_count: int
    requests_count: int
    errors_count: int
    checked_count: int
    wrong_count: int
    errors: tuple[ErrorGroup, ...]
    bytes_received: int
    generator: GeneratorUse
    server_gone: bool
    interrupted: bool
    capped_share: float | None = None

    def save(self, path: Path) -> None:
        """Write the result as JSON, atomically."""
        write_json(path, asdict(self))

    @classmethod
    def load(cls, path: Path) -> "RoundResult":
        """Read what `save` wrote.

        Raises:
            ResultError: unreadable, or with an unknown or missing key.
        """
        value = read_object(path, [field.name for field in fields(cls)], ResultError)
        generator = value["generator"]
        value["errors"] = tuple(ErrorGroup(**error) for error in value["errors"])
        value["generator"] = GeneratorUse(**generator | {"cores": tuple(generator["cores"])})
        return cls(**value)
