"""The command line: `tensorflow_model_server`'s own flag names, so that one launcher can start either."""

import math
from collections.abc import Sequence
from dataclasses import MISSING, Field, dataclass, field, fields
from pathlib import Path
from typing import Any

from pipelines.errors import RequestError

from . import SERVER_NAME

_MAX_PORT = 65535
_WORDS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def _flag(default: Any, text: str) -> Any:
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True, slots=True, kw_only=True)
class Flags:
    """All settings of the server; every field is a flag of the same name."""

    port: int = _flag(8500, "gRPC port; 0 turns gRPC off")
    rest_api_port: int = _flag(0, "REST port; 0 turns REST off")
    model_name: str = _flag("default", "name of the model; not used with --model_config_file")
    model_base_path: str = _flag("", "folder with one numbered sub-folder per version; waited for if missing")
    model_config_file: str = _flag(
        "", "ModelServerConfig in text format, for several models, versions and labels"
    )
    tensorflow_intra_op_parallelism: int = _flag(0, "threads inside one operation; 0 lets TensorFlow choose")
    tensorflow_inter_op_parallelism: int = _flag(0, "threads between operations; 0 lets TensorFlow choose")
    rest_api_num_threads: int = _flag(
        0, "threads for REST requests that are not quick; 0 is 2 per core, at least 4"
    )
    rest_api_timeout_in_ms: int = _flag(30000, "time limit of one REST inference in ms; 0 is none")
    rest_api_enable_cors_support: bool = _flag(
        False, "send the CORS headers that let web pages call the REST API"
    )
    grpc_max_threads: int = _flag(0, "threads for gRPC requests; 0 is 2 per core, at least 4")
    enable_batching: bool = _flag(False, "run concurrent requests of one model together")
    batching_parameters_file: str = _flag(
        "", "BatchingParameters in text format; needs --enable_batching, default: the real server's defaults"
    )
    allow_version_labels_for_unavailable_models: bool = _flag(
        False, "accept labels for versions not yet loaded"
    )
    enable_model_warmup: bool = _flag(
        True, "replay assets.extra/tf_serving_warmup_requests before serving a version"
    )
    file_system_poll_wait_seconds: float = _flag(
        1.0, "pause between looks for new versions in s; 0 looks only once"
    )
    monitoring_config_file: str = _flag("", "MonitoringConfig in text format; turns Prometheus metrics on")
    host: str = _flag("127.0.0.1", "address to listen on (this server's own flag)")
    enable_reload_config: bool = _flag(
        False, "let any client of the gRPC port load any model folder (this server's own flag)"
    )
    drain_s: float = _flag(5.0, "longest wait for running requests at the end in s (this server's own flag)")
    rest_api_max_body_bytes: int = _flag(
        2**30, "largest REST body in bytes, also unpacked (this server's own flag)"
    )
    request_memory_bytes: int = _flag(
        2**30, "most memory of one request in bytes, as estimated; more is refused (this server's own flag)"
    )
    total_memory_bytes: int = _flag(
        2**31, "most memory of all running requests in bytes, as estimated (this server's own flag)"
    )
    max_connections: int = _flag(
        1024, "most REST connections, gRPC connections, and gRPC calls at a time (this server's own flag)"
    )
    rest_api_idle_timeout_s: float = _flag(
        50.0,
        "time in s after which a REST client that sends or reads nothing is hung up on; 0 is never "
        "(this server's own flag)",
    )
    version: bool = _flag(False, "print the version and exit")
    help: bool = _flag(False, "print this text and exit")


_FIELDS: dict[str, Field[Any]] = {item.name: item for item in fields(Flags)}


def default_threads(cores_count: int) -> int:
    """Return the threads for requests where no flag says how many, given the cores the server may use."""
    return max(4, 2 * cores_count)


def parse_flags(arguments: Sequence[str]) -> Flags:
    """Parse `--name=value` and `--name value`; booleans also as `--name` and `--noname`.

    Raises RequestError.
    """
    values: dict[str, Any] = {}
    rest = list(arguments)
    while rest:
        name, text = _split(rest.pop(0))
        if text is None:
            text = _implied(name, rest)
        values[name.removeprefix("no") if name not in _FIELDS else name] = _value(name, text)
    flags = Flags(**values)
    if not (flags.help or flags.version):
        _check(flags)
    return flags


def _split(argument: str) -> tuple[str, str | None]:
    """Name and value of one argument; the value is None when it is not part of it."""
    dashed, equals, text = argument.partition("=")
    name = dashed.removeprefix("--").replace("-", "_")
    negated = _FIELDS.get(name.removeprefix("no")) if name.startswith("no") else None
    is_known = name in _FIELDS or (negated is not None and negated.type is bool and not equals)
    if not dashed.startswith("--") or not is_known:
        raise RequestError(f"Unknown argument '{argument}'; --help lists what this server takes.")
    return name, text if equals else None


def _implied(name: str, rest: list[str]) -> str:
    """Return the value of a flag without `=`: true or false for a boolean, else the next argument."""
    if name not in _FIELDS:
        return "false"
    if _FIELDS[name].type is bool:
        return "true"
    if not rest:
        raise RequestError(f"--{name} needs a value: {_FIELDS[name].metadata['help']}.")
    return rest.pop(0)


def _value(name: str, text: str) -> Any:
    flag = _FIELDS.get(name)
    kind: Any = flag.type if flag else bool
    try:
        return _WORDS[text.lower()] if kind is bool else kind(text)
    except (KeyError, ValueError):
        expected = {bool: "true or false", int: "a whole number", float: "a number"}[kind]
        raise RequestError(f"--{name} must be {expected}, not '{text}'.") from None


def _check(flags: Flags) -> None:
    for name in ("port", "rest_api_port"):
        if not 0 <= getattr(flags, name) <= _MAX_PORT:
            raise RequestError(f"--{name} must be from 0 to {_MAX_PORT}, not {getattr(flags, name)}.")
    if flags.max_connections < 1:
        raise RequestError("--max_connections must be at least 1, not 0.")
    if flags.port == flags.rest_api_port:
        raise RequestError("--port and --rest_api_port must differ, and at most one of them may be 0.")
    for item in fields(flags):
        value = getattr(flags, item.name)
        if (
            item.type in (int, float)
            and item.name != "file_system_poll_wait_seconds"
            and not 0 <= value < math.inf
        ):
            raise RequestError(f"--{item.name} must not be negative or endless, but is {value}.")
    _check_paths(flags)


def _check_paths(flags: Flags) -> None:
    if not flags.model_config_file and not flags.model_base_path:
        raise RequestError(
            "Give --model_base_path=FOLDER or --model_config_file=FILE, so that there is a model to serve."
        )
    if not flags.model_config_file and not flags.model_name:
        raise RequestError("--model_name must not be empty.")
    if flags.batching_parameters_file and not flags.enable_batching:
        raise RequestError("--batching_parameters_file needs --enable_batching; set both or neither.")
    for name in ("model_config_file", "monitoring_config_file", "batching_parameters_file"):
        path = getattr(flags, name)
        if path and not Path(path).is_file():
            raise RequestError(f"--{name}={path}: there is no such file.")
    if not flags.model_config_file and Path(flags.model_base_path).is_file():
        raise RequestError(
            f"--model_base_path={flags.model_base_path} is a file; it must be a folder of versions."
        )


def help_text() -> str:
    """Write what --help prints."""
    lines = [
        f"{SERVER_NAME}: answers like a TensorFlow model server, on the TensorFlow runtime in Python.",
        "",
    ]
    lines += [
        "Usage: python -m pipelines.targets.tfserving.embedded --rest_api_port=8501 --model_base_path=DIR",
        "",
    ]
    for item in _FIELDS.values():
        default = "" if item.default in (MISSING, "", False) else f" (default {item.default})"
        lines.append(f"  --{item.name}\n        {item.metadata['help']}{default}")
    return "\n".join(lines) + "\n"
