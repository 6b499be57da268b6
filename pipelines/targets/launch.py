"""How a server is started, and what it says when it fails; nothing of how it is talked to."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Launch:
    """One server's start. A container has no command line here: its image says what runs.

    Attributes:
        argv, env: the process; `env` is added to ours.
        cwd: its working directory.
        log: where its stdout and stderr go.
        cores: the only CPU cores it may run on; empty for all.
        failure_pattern: a log line that means it will never be ready; the first group says why.
        ready_limit_s: how long a start may take.
    """

    cwd: Path
    log: Path
    argv: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    cores: tuple[int, ...] = ()
    failure_pattern: str | None = None
    ready_limit_s: float = 120.0
