"""What a target needs of this machine, for `tandem doctor`; each target's own is in its doctor.py."""

import importlib
from collections.abc import Iterable
from dataclasses import dataclass

from pipelines.artifacts.manifest import versions
from pipelines.targets.target import Target


@dataclass(frozen=True)
class Check:
    """One thing looked at. `required` ones must be `ok` for `make demo`; no `remedy` when all is well."""

    name: str
    ok: bool
    required: bool
    found: str
    remedy: str | None


def package(name: str) -> Check:
    """Look for an installed distribution without which nothing goes."""
    version = versions([name]).get(name)
    remedy = None if version else "run `make setup`"
    return Check(name, bool(version), required=True, found=version or "not installed", remedy=remedy)


def checks_of(targets: Iterable[Target]) -> list[Check]:
    """Look at what each target asks for, in their order; what two of them ask for is looked at once."""
    by_name: dict[str, Check] = {}
    for module in dict.fromkeys(target.doctor for target in targets):
        if module is not None:
            for check in importlib.import_module(module).checks():
                by_name.setdefault(check.name, check)
    return list(by_name.values())
