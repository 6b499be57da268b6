"""How a TensorFlow model server is configured: the flags it was started with, else its rule."""

import re
from collections.abc import Mapping, Sequence
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


def from_flags(argv: Sequence[str], cores_count: int | None, *, embedded: bool) -> Configuration:
    """Return GivenRecord's fields from a command line; `cores_count` cores may be used, None if unknown."""
    flags = _flags(argv)
    rest = None
    if cores_count is not None:
        rest = _embedded_threads(flags, cores_count) if embedded else REST_THREADS_PER_CORE * cores_count
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
        **_batching(flags),
    }
    known_pairs = {name: pair for name, pair in pairs.items() if pair[0] is not None}
    return {
        **{name: value for name, (value, _) in known_pairs.items()},
        "sources": {name: source for name, (_, source) in known_pairs.items()},
    }


def _embedded_threads(flags: Mapping[str, str], cores_count: int) -> int:
    """Return as many threads as the embedded server has: enough to gather a full batch, where it batches."""
    largest, _ = _batching(flags).get("batch_max_size", (None, ""))
    if flags.get("enable_batching", "false").lower() not in {"true", "1"} or largest is None:
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


def _batching(flags: Mapping[str, str]) -> Known:
    if flags.get("enable_batching", "false").lower() not in {"true", "1"}:
        return {"batch_max_size": (1, RULE)}
    named = flags.get("batching_parameters_file")
    if named is None:
        return _batching_of("")
    try:
        return _batching_of(Path(named).read_text())
    except OSError:
        return {}  # in a container, or gone: unknown


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
