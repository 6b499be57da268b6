"""How a TensorFlow model server is configured: the flags it was started with, else its rule."""

import re
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from pipelines.targets.endpoint import Configuration
from pipelines.targets.tfserving.embedded.batching_parameters import BatchingParameters
from pipelines.targets.tfserving.embedded.flags import default_threads
from pipelines.units import US_PER_MS

FLAG, RULE = "flag", "rule"
# Of its batch scheduler, where the parameters' file does not say.
LARGEST_BATCH, BATCH_DELAY_US, QUEUED_BATCHES = 1000, 0, 10
REST_THREADS_PER_CORE = 4
Known = dict[str, tuple[float | None, str]]
NO_BATCHING: Known = {"batch_max_size": (1, RULE)}
Read = Callable[[str], str | None]
"""The text of the file that a flag names, where the server runs; None where it cannot be read."""


def _read_here(path: str) -> str | None:
    try:
        return Path(path).read_text()
    except OSError:
        return None


def from_flags(
    argv: Sequence[str], cores_count: int | None, *, embedded: bool, read: Read = _read_here
) -> Configuration:
    """Return GivenRecord's fields from a command line.

    Args:
        cores_count: cores that may be used; None if that is unknown.
        embedded: whether it is Tandem's own server.
        read: the files that flags name.
    """
    flags = _flags(argv)
    batching = _batching(flags, read)
    rest = None
    if cores_count is not None:
        rest = _embedded_threads(batching, cores_count) if embedded else REST_THREADS_PER_CORE * cores_count
    session = "tensorflow_session_parallelism"
    pairs: Known = {
        "workers_count": (1, RULE),  # it is one process
        "threads_per_worker": _number(
            flags, ("tensorflow_intra_op_parallelism", session), default=cores_count
        ),
        "inter_op_threads_count": _number(
            flags, ("tensorflow_inter_op_parallelism", session), default=cores_count
        ),
        "rest_threads_count": _number(flags, ("rest_api_num_threads",), default=rest),
        **batching,
    }
    known_pairs = {name: pair for name, pair in pairs.items() if pair[0] is not None}
    return {
        **{name: value for name, (value, _) in known_pairs.items()},
        "sources": {name: source for name, (_, source) in known_pairs.items()},
    }


def _embedded_threads(batching: Known, cores_count: int) -> int | None:
    """Return as many threads as the embedded server has: enough to gather a full batch, where it batches.

    None where how it batches is unknown.
    """
    largest, _ = batching.get("batch_max_size", (None, ""))
    if largest is None:
        return None
    if batching == NO_BATCHING:
        return default_threads(cores_count)
    waiting = BatchingParameters(max_batch_size=int(largest)).waiting_threads
    return max(default_threads(cores_count), waiting)


def _flags(argv: Sequence[str]) -> dict[str, str]:
    """Read `--name=value`, `--name value` and `--name` by name; "true" where there is no value."""
    flags: dict[str, str] = {}
    for word, after in pairwise((*argv, "--")):
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            flags[name] = value if equals else ("true" if after.startswith("--") else after)
    return flags


def _number(flags: Mapping[str, str], names: Sequence[str], default: int | None) -> tuple[int | None, str]:
    """Return the first flag of `names` above 0, else the default, which stands for the rule."""
    for name in names:
        value = flags.get(name, "0")
        if value.isdecimal() and int(value) > 0:
            return int(value), FLAG
    return default, RULE


def _batching(flags: Mapping[str, str], read: Read) -> Known:
    if flags.get("enable_batching", "false").lower() not in {"true", "1"}:
        return NO_BATCHING
    named = flags.get("batching_parameters_file")
    text = "" if named is None else read(named)
    return {} if text is None else _batching_of(text)


def _batching_of(parameters: str) -> Known:
    """Read BatchingParameters from text format."""
    delay, source = _parameter(parameters, "batch_timeout_micros", BATCH_DELAY_US)
    return {
        "batch_max_size": _parameter(parameters, "max_batch_size", LARGEST_BATCH),
        "batch_delay_ms": (delay / US_PER_MS, source),
        "queue_max_count": _parameter(parameters, "max_enqueued_batches", QUEUED_BATCHES),
    }


def _parameter(parameters: str, name: str, default: int) -> tuple[int, str]:
    match = re.search(rf"\b{name}\s*:?\s*\{{\s*value\s*:\s*(\d+)", parameters)
    return (int(match[1]), FLAG) if match else (default, RULE)
