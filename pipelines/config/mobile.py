"""What `tandem mobile` measures, and what an artifact must keep to ship."""

import re
from pathlib import Path

from pydantic import Field

from pipelines.config.profiles import Settings
from pipelines.errors import RequestError
from pipelines.targets.registry import IN_PROCESS

SIZE_LIMIT = 2**60
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
    match = re.fullmatch(r"(\d+(?:\.\d+)?) ?([a-z]*)", text.strip(), re.IGNORECASE | re.ASCII)
    factor = BYTE_UNITS.get(match[2].lower()) if match else None
    size = float(match[1]) * factor if match and factor else 0
    if not 1 <= size <= SIZE_LIMIT:
        raise RequestError(
            f"--max-bytes is {text[:80]!r}; allowed: a number from 1 to 10^18, alone or with B, kB, MB, GB "
            "(thousands) or KiB, MiB, GiB (1,024s), such as 4MB"
        )
    return int(size)
