"""Sides that are builds: `NAME=DIR` or `NAME=TARGET@DIR`, artifacts of another folder than the run's own."""

import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from models.spec import ModelSpec, load_model
from pipelines.artifacts.manifest import MANIFEST_NAME
from pipelines.errors import RequestError
from pipelines.targets.address import is_address
from pipelines.targets.registry import SERVED, find_target

BASE = "base"
NAME = r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}"
TAKEN = re.compile(r".*-control|null")


@dataclass(frozen=True)
class Build:
    """One target of one build.

    Attributes:
        name: of the side.
        folder: what `tandem export --artifacts` wrote, with a folder per model.
    """

    name: str
    target: str
    folder: Path


def is_build(side: str) -> bool:
    """Return whether a side is a build; an address has `=` too, and `://`, and so has NAME=TARGET."""
    _, equals, rest = side.partition("=")
    return bool(equals) and not is_address(rest.strip()) and rest.strip().split(":")[0] not in SERVED


def read_builds(sides: Sequence[str], model: str) -> tuple[Build, ...]:
    """Read the builds that were asked for, those called `base` last: the others are the candidates.

    A folder with several served targets gives a side per target, NAME-TARGET.

    Raises:
        RequestError: a side that is none, a name that is taken or cannot be one, or a folder without servers'
            artifacts of the model.
    """
    others = [side for side in sides if not is_build(side)]
    if others:
        raise RequestError(
            f"--sides has builds and {others[0]!r}; give every side as NAME=DIR, such as "
            "base=build/main,new=build/branch"
        )
    spec = load_model(model)
    builds = [build for side in sides for build in _read(side, spec)]
    _require_names([build.name for build in builds])
    return tuple(sorted(builds, key=_is_base))


def _is_base(build: Build) -> bool:
    return build.name == BASE or build.name.startswith(f"{BASE}-")


def _read(side: str, spec: ModelSpec) -> list[Build]:
    name, _, place = side.partition("=")
    if not re.fullmatch(NAME, name) or TAKEN.fullmatch(name) or name in SERVED:
        raise RequestError(
            f"--sides: {name[:80]!r} cannot name a side; letters, digits, - and _ can, up to 40, and no name "
            "of a target, of a control or of the null server"
        )
    target, at, rest = place.partition("@")
    if at and target in SERVED:
        return [Build(name, target, _folder(rest, spec, find_target(target, SERVED).name))]
    folder = Path(place)
    there = [target for target in SERVED if (folder / spec.name / target / MANIFEST_NAME).is_file()]
    if not there:
        _refuse(folder, spec, "no server's artifacts")
    several = len(there) > 1
    return [Build(f"{name}-{target}" if several else name, target, folder) for target in there]


def _folder(place: str, spec: ModelSpec, target: str) -> Path:
    if not (Path(place) / spec.name / target / MANIFEST_NAME).is_file():
        _refuse(Path(place), spec, f"no artifacts of {target}")
    return Path(place)


def _refuse(folder: Path, spec: ModelSpec, what: str) -> None:
    raise RequestError(
        f"--sides: {str(folder)!r} holds {what} for {spec.name}; write some there with "
        f"`tandem export {spec.argument} --artifacts {shlex.quote(str(folder))}`"
    )


def _require_names(names: Iterable[str]) -> None:
    taken: set[str] = set()
    for name in names:
        if name in taken:
            raise RequestError(f"--sides names {name!r} twice; each side needs a name of its own")
        taken.add(name)
