"""A dry run of the locks: look up a wheel for every pin, for each supported Python on both machines.

The locks of environments of their own, roads/*.lock, are for the Pythons and machines that those have. It
reads index pages alone, so that it is cheap. Exit codes: 0 every pin has a wheel; 1 some have none; 3 an
index does not answer.
"""

import os
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

from environments import NEWEST_GLIBC_MINOR, WITHOUT_WHEEL, environments
from indexes import Offer, offers, settings
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import InvalidVersion
from requests import RequestException

from pipelines.environments.known import ENVIRONMENTS

HERE = Path(__file__).parent
TORCH = "torch"
STAND_IN = HERE / "torch-cuda.txt"
TORCH_INDEX_URL = os.environ.get("TORCH_INDEX_URL") or "https://download.pytorch.org/whl/cpu"
AT_ONCE = 8


def pins(paths: Iterable[Path], environment: dict[str, str]) -> dict[str, str]:
    """Name → version of the lines that apply to an environment."""
    lines = [line.strip() for path in paths for line in path.read_text().splitlines()]
    wanted = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {
        canonicalize_name(r.name): str(r.specifier).removeprefix("==")
        for r in wanted
        if r.marker is None or r.marker.evaluate(environment)
    }


def tags(python: str, machine: str) -> frozenset[Tag]:
    """Return the wheel tags that fit a Python on a machine with the oldest C library there is."""
    names = [f"manylinux_2_{minor}_{machine}" for minor in range(5, NEWEST_GLIBC_MINOR + 1)]
    platforms = [*names, *(f"manylinux{old}_{machine}" for old in ("1", "2010", "2014")), f"linux_{machine}"]
    major, minor = map(int, python.split("."))
    return frozenset(
        [
            *cpython_tags((major, minor), platforms=platforms),
            *compatible_tags((major, minor), f"cp{major}{minor}", platforms),
        ]
    )


def fits(offer: Offer, version: str, python: str, allowed: frozenset[Tag]) -> bool:
    """Return whether a file is a wheel of that version that this Python would take."""
    # An index page has hundreds of files, nearly all of other versions: their tags are not worth reading.
    _, _, rest = offer.filename.partition("-")
    if not _is_version(rest.partition("-")[0], version):
        return False
    try:
        _, _, _, its_tags = parse_wheel_filename(offer.filename)
    except InvalidWheelFilename:
        return False
    return not allowed.isdisjoint(its_tags) and Requirement(f"x{offer.requires_python}").specifier.contains(
        f"{python}.0"
    )


@cache
def _is_version(text: str, version: str) -> bool:
    try:
        return SpecifierSet(f"=={version}").contains(text, prereleases=True)
    except InvalidVersion:
        return False


def look_up(names: Iterable[str]) -> dict[str, list[Offer]]:
    """Look up all offers by name, several pages at a time; PyTorch's own index counts if it answers."""
    ordered = list(names)
    settings()  # threads that ask for them at the same time would start a pip each
    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = dict(zip(ordered, pool.map(offers, ordered), strict=True))
    try:
        found[TORCH] = offers(TORCH, (TORCH_INDEX_URL,))
    except RequestException:
        sys.stdout.write(
            f"{urlsplit(TORCH_INDEX_URL).hostname} does not answer: torch is looked up without it\n"
        )
    return found


def lacking(wanted: dict[str, str], found: dict[str, list[Offer]], python: str, machine: str) -> list[str]:
    """Return the pins that no wheel is offered for."""
    allowed = tags(python, machine)
    return [
        f"{name}=={version}"
        for name, version in wanted.items()
        if not any(fits(offer, version, python, allowed) for offer in found[name])
    ]


@dataclass(frozen=True)
class Dry:
    """What one Python on one machine is given.

    Attributes:
        road: of the environment of its own that it is for; empty for Tandem's.
        pins: name → version.
    """

    road: str
    python: str
    machine: str
    pins: dict[str, str]

    @property
    def name(self) -> str:
        """What its line begins with."""
        return f"{self.road} {self.python} {self.machine}".strip()

    @property
    def known_gaps(self) -> frozenset[str]:
        """The pins that are known to have no wheel here."""
        gaps = WITHOUT_WHEEL.get(self.road, {})
        return frozenset((*gaps.get(self.python, ()), *gaps.get(self.machine, ())))


def dry_runs() -> Iterator[Dry]:
    """Yield every combination: Tandem's own locks, then those of each environment of its own."""
    locks, every = sorted(HERE.glob("*.lock")), environments()
    for (python, machine), markers in every.items():
        yield Dry("", python, machine, pins(locks, markers))
    for road in ENVIRONMENTS.values():
        for (python, machine), markers in every.items():
            if python in road.pythons and road.processor in (None, machine):
                its = pins([HERE / "roads" / road.lock.name], markers)
                yield Dry(road.name, python, machine, its)


def _names(missing: Iterable[str]) -> set[str]:
    return {pin.partition("==")[0] for pin in missing}


def main() -> int:
    """Print a line for each environment."""
    wanted = list(dry_runs())
    stand_in = pins([STAND_IN], environments()["3.11", "x86_64"])
    try:
        found = look_up(sorted({name for some in (*(one.pins for one in wanted), stand_in) for name in some}))
    except RequestException as error:
        sys.stderr.write(f"an index does not answer, so nothing can be said of the locks: {error}\n")
        return 3
    bad = 0
    for one in wanted:
        missing, note = lacking(one.pins, found, one.python, one.machine), "every pin has a wheel"
        if _names(missing) == {TORCH}:
            missing = lacking(stand_in, found, one.python, one.machine)
            note = f"every pin has a wheel; torch by {STAND_IN.name}"
        elif missing and _names(missing) <= one.known_gaps:
            missing, note = [], f"no wheel for {', '.join(missing)}, as is known"
        bad += bool(missing)
        text = f"NO WHEEL for {', '.join(missing)}" if missing else note
        sys.stdout.write(f"{one.name}: {len(one.pins)} pins, {text}\n")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
