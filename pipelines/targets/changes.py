"""`--set [SIDE.]KEY=VALUE`: one setting of a side, read and checked before any work.

A value is one of TOML, such as `2`, `true`, `[1, 8]` or `"log"`; what is none is a string as it was typed.
"""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pipelines.errors import RequestError, unknown
from pipelines.targets.presets import Preset, changed
from pipelines.targets.side import SideSpec

FORM = "[SIDE.]KEY=VALUE, such as torchserve.default_workers_per_model=2"


def apply_changes(sides: Sequence[SideSpec], texts: Sequence[str]) -> tuple[SideSpec, ...]:
    """Apply `--set` to the sides; the settings of one side are checked together.

    Raises:
        RequestError: a text of another form, an unknown side or setting, one set twice, a value that is not
            allowed, or no side where there are several; one line.
    """
    for side in sides:
        if side.address is not None and (mine := [t for t in texts if t.startswith(f"{side.name}.")]):
            raise RequestError(
                f"--set: {mine[0][:80]!r}: {side.name} runs elsewhere, and nothing of it can be set"
            )
    targets = {side.name: side.target for side in sides}
    presets = change_presets({side.name: side.preset for side in sides}, targets, texts)
    return tuple(replace(side, preset=presets[side.name]) for side in sides)


def change_presets(
    presets: Mapping[str, Preset], targets: Mapping[str, str], texts: Sequence[str]
) -> dict[str, Preset]:
    """Return presets by the name of their side, with the changes of `--set`.

    Args:
        targets: whose settings they are, by the same names.

    Raises:
        RequestError: as `apply_changes`.
    """
    changes: dict[str, dict[str, Any]] = {}
    for text in texts:
        side, key, value = _read(text, list(presets))
        of_side = changes.setdefault(side, {})
        if key in of_side:
            raise RequestError(f"--set: {key} of {side} is set twice; leave one out")
        of_side[key] = value
    return {
        name: changed(preset, targets[name], changes[name], f"--set: {name}") if name in changes else preset
        for name, preset in presets.items()
    }


def change_targets(presets: Mapping[str, Preset], texts: Sequence[str]) -> dict[str, Preset]:
    """Apply changes as `change_presets`, to presets by target: `TARGET.KEY=VALUE`.

    Raises:
        RequestError: as `apply_changes`.
    """
    return change_presets(presets, {name: name for name in presets}, texts)


def _read(text: str, names: Sequence[str]) -> tuple[str, str, Any]:
    """Read the side, the setting and its value; a setting has no dot in its name, a side may have some."""
    left, equals, value = text.partition("=")
    # A side may be called by a path, whose name holds no equals sign either.
    side, dot, key = left.strip().rpartition(".")
    if not equals or not key or (dot and not side):
        raise RequestError(f"--set is {text[:80]!r}; allowed: {FORM}")
    if not names:
        raise RequestError(f"--set is {text[:80]!r}, and no side is a server that we start")
    if not dot and len(names) > 1:
        raise RequestError(
            f"--set: {text[:80]!r} names no side of {len(names)}; write {names[0]}.{text[:80]}; sides: "
            f"{', '.join(names)}"
        )
    if dot and side not in names:
        raise unknown("side", side[:60], names, where="--set: ")
    return side or names[0], key, read_value(value)


def read_value(text: str) -> Any:
    """Read a value as TOML, else as the text itself."""
    try:
        table: Mapping[str, Any] = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text.strip()
    return table["value"] if len(table) == 1 else text.strip()
