"""Peak memory of this process above a moment of its own choosing (Linux)."""

import resource
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

BYTES_PER_KB = 1024
# Writing this number sets the kernel's high-water mark of resident memory back to what is resident now.
RESET_PEAK = "5"
EXACT = "VmHWM, set back through /proc/self/clear_refs before the model was loaded"
GROWTH = "the growth of ru_maxrss, which cannot be set back on this machine: a lower bound"


@dataclass(frozen=True)
class MemoryMark:
    """A moment: what was resident then, in bytes, and how the peak after it can be read."""

    resident_bytes: int
    source: str


def mark() -> MemoryMark:
    """Start from here."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text(RESET_PEAK)
        return MemoryMark(_status_bytes("VmRSS"), EXACT)
    return MemoryMark(_max_resident_bytes(), GROWTH)


def peak_above_bytes(start: MemoryMark) -> int:
    """Return the largest resident set since `start`, above what was resident then."""
    peak = _status_bytes("VmHWM") if start.source == EXACT else _max_resident_bytes()
    return max(0, peak - start.resident_bytes)


def _status_bytes(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0]) * BYTES_PER_KB
    raise OSError(f"/proc/self/status says nothing of {field}")


def _max_resident_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * BYTES_PER_KB
