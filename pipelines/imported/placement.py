"""Imported files in the folders of their targets, with the model's own names where a server goes by them.

A file is copied as it is wherever it can be: its record says so, and says what was added or renamed.
"""

import time
from collections.abc import Callable
from pathlib import Path
from pkgutil import resolve_name

from models.errors import ModelError
from models.given import GivenFile
from models.spec import ModelSpec
from pipelines.targets.exported import Exported, NotExported
from pipelines.targets.registry import TARGETS

SOURCE = Path(__file__)
Written = list[Exported | NotExported]


def files_for(spec: ModelSpec, target: str) -> tuple[GivenFile, ...]:
    """Return the imported files that a target is made of; none if it has to be exported from a program."""
    given = spec.given
    if given is None:
        return ()
    files = [file for kind, _ in TARGETS[target].imports if (file := given.find(kind))]
    if TARGETS[target].archives:
        return tuple(files)
    return tuple(file for file in files if file.kind != "mar" or file.program)[:1]


def is_exported(spec: ModelSpec, target: str) -> bool:
    """Return whether a target is traced from a program, as of any model, and not made of an imported file."""
    return not files_for(spec, target) and (spec.given is None or spec.given.program is not None)


def place(spec: ModelSpec, target: str, folder: Path, progress: Callable[[str], None]) -> Written:
    """Write into `folder` what the target is made of.

    Raises:
        ModelError: no file of that kind was imported, and there is no program to make one of.
        MachineError: the disk refused.
    """
    given, files = spec.given, files_for(spec, target)
    if given is None or not files:
        options = " or ".join(f"--{kind.replace('_', '-')}" for kind, _ in TARGETS[target].imports)
        with_file = f"a file for it ({options}), or " if options else ""
        raise ModelError(
            f"{spec.name} was imported as {', '.join(f.kind for f in given.files) if given else 'nothing'}; "
            f"import {with_file}a program to make one of (--torchscript, --pt2 or --mar)"
        )
    progress("taking over what was imported")
    started = time.monotonic()
    written: Written = []
    place_one = _placer(target)
    for file in files:
        exported = place_one(spec, file, folder)
        now = time.monotonic()
        written += [_timed(each, now - started) for each in exported]
        started = now
    return _once(written)


def _placer(target: str) -> Callable[[ModelSpec, GivenFile, Path], list[Exported]]:
    dotted = TARGETS[target].place
    if dotted is None:
        raise TypeError(f"the target {target} names imported files that it is made of, and no `place`")
    placer: Callable[[ModelSpec, GivenFile, Path], list[Exported]] = resolve_name(dotted)
    return placer


def _timed(exported: Exported, took_s: float) -> Exported:
    return Exported(
        exported.path, exported.format, exported.precision, took_s, exported.variant, exported.road
    )


def _once(written: Written) -> Written:
    """Keep the given archive and the given program where both were given; pack neither again."""
    by_path: dict[str, Exported | NotExported] = {}
    for entry in written:
        if isinstance(entry, Exported):
            by_path.setdefault(entry.path, entry)
    return list(by_path.values())
