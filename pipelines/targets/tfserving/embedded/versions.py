"""Which version folders of a model there are, and which of them should be served."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

_NUMBER = re.compile(r"\d{1,19}", re.ASCII)
_INT64_MAX = 2**63 - 1


@dataclass(frozen=True, slots=True)
class VersionPolicy:
    """Serve the `latest` so many versions, or the `specific` ones, or with neither every version there is."""

    latest: int = 0
    specific: frozenset[int] = frozenset()

    def choose(self, versions: Iterable[int]) -> set[int]:
        """Choose the versions to serve out of those that exist."""
        if self.specific:
            return set(versions) & self.specific
        ordered = sorted(versions)
        return set(ordered[-self.latest :] if self.latest else ordered)


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """One model to serve: where its version folders are, which of them, and labels that name versions."""

    name: str
    base_path: Path
    policy: VersionPolicy = VersionPolicy(latest=1)
    labels: Mapping[str, int] = field(default_factory=dict)


def version_folders(base_path: Path) -> dict[int, Path]:
    """Return every sub-folder with a number for a name, by that number.

    Raises OSError where the base path is missing or cannot be read: that says nothing about its versions.
    """
    children = sorted(base_path.iterdir())
    folders: dict[int, Path] = {}
    for child in children:
        if _NUMBER.fullmatch(child.name) and int(child.name) <= _INT64_MAX and child.is_dir():
            folders.setdefault(int(child.name), child)
    return folders


def fingerprint(folder: Path) -> tuple[tuple[int, int], ...]:
    """Return a mark that changes when a SavedModel is rewritten: time (ns) and size (bytes) of its files."""
    marks = []
    for path in (folder / "saved_model.pb", folder / "saved_model.pbtxt", folder / "variables"):
        try:
            status = path.stat()
        except OSError:
            continue
        marks.append((status.st_mtime_ns, status.st_size))
    return tuple(marks)
