"""Reading logs that others write: by their ends, and by what came since they were read last."""

import os
from pathlib import Path

# Of each part. TorchServe's default logging writes some 200 MB per block of a comparison.
KEPT_BYTES = 256 * 1024
# A line of so many bytes is read although it has not ended.
LONGEST_LINE_BYTES = 1024 * 1024


def copy_ends(source: Path, target: Path, kept_bytes: int = KEPT_BYTES) -> None:
    """Copy a log, or only its first and last `kept_bytes` with a line between that counts what is left out.

    Both parts are cut at ends of lines, where there are any: nothing stands there that nobody wrote.

    Raises:
        OSError: `source` cannot be read or `target` cannot be written.
    """
    with source.open("rb") as log:
        size = os.fstat(log.fileno()).st_size  # a server may still write: only this much is looked at
        if size <= 2 * kept_bytes:
            content = log.read(size)
        else:
            first = _whole_lines(log.read(kept_bytes))
            log.seek(size - kept_bytes - 1)
            last = _from_a_line(log.read(kept_bytes + 1))
            left_out = size - len(first) - len(last)
            line = f"[tandem: {left_out} bytes are left out here, of {size}]\n".encode()
            content = first + (b"" if first.endswith(b"\n") else b"\n") + line + last
    target.write_bytes(content)


def _whole_lines(part: bytes) -> bytes:
    """Drop an unfinished line at the end."""
    return part[: part.rfind(b"\n") + 1] or part


def _from_a_line(part: bytes) -> bytes:
    """Drop the first byte and its line, unless that is all there is."""
    end = part.find(b"\n")
    return part[max(end, 0) + 1 :] or part[1:]


def read_end(path: Path, kept_bytes: int = KEPT_BYTES) -> str:
    """Return the last part of a log as text, from the beginning of a line; "" if there is no such file."""
    if not path.is_file():
        return ""
    with path.open("rb") as log:
        size = os.fstat(log.fileno()).st_size
        if size <= kept_bytes:
            return log.read().decode(errors="replace")
        log.seek(size - kept_bytes - 1)
        return _from_a_line(log.read(kept_bytes + 1)).decode(errors="replace")


class NewLines:
    """The lines that a log has gained since they were asked for last; reads no byte twice.

    Begins behind what is there already: an earlier server may have written it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read_bytes = self._size()

    def read(self) -> str:
        """Return whole lines alone, as text; "" if there are none, or no such file."""
        size = self._size()
        if size < self._read_bytes:  # it was begun anew
            self._read_bytes = 0
        if size == self._read_bytes:
            return ""
        with self._path.open("rb") as log:
            log.seek(self._read_bytes)
            part = log.read(size - self._read_bytes)
        end = part.rfind(b"\n") + 1
        lines = part if len(part) - end > LONGEST_LINE_BYTES else part[:end]
        self._read_bytes += len(lines)
        return lines.decode(errors="replace")

    def _size(self) -> int:
        return self._path.stat().st_size if self._path.is_file() else 0
