"""What a search may vary of a target's server: axes of levels, declared in the target's own folder."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pkgutil import resolve_name
from typing import Any

from models.spec import ModelSpec
from pipelines.errors import RequestError
from pipelines.targets.presets import Preset
from pipelines.targets.registry import SERVED, find_target

Settings = Mapping[str, Any]


@dataclass(frozen=True)
class Level:
    """One place on an axis: what it is called, and the settings that make it; None unsets one."""

    label: str
    settings: Settings


@dataclass(frozen=True)
class Axis:
    """One thing that can be more or less of, its levels in order.

    Attributes:
        name: such as `workers`, for people and for records.
        key: the setting whose value says at which level a preset is.
        start: the level that a server has where `key` is not set.
        needs: the axis that has to be off its first level for this one to mean anything; None for none.
        switch: the setting without which the server is at the first level whatever `key` says; None for none.
        vendors: the value that `key` has where the switch is on and nobody set it.
    """

    name: str
    key: str
    levels: tuple[Level, ...]
    start: int
    needs: str | None = None
    switch: str | None = None
    vendors: int | None = None


def counted(
    name: str, key: str, counts: Iterable[int], vendors: int, *, unit: str = "", needs: str | None = None
) -> Axis:
    """Make an axis whose levels are numbers of one setting; `vendors` is the vendor's if it is not set."""
    numbers = sorted({*counts, vendors})
    levels = tuple(Level(f"{number}{unit}", {key: number}) for number in numbers)
    return Axis(name, key, levels, numbers.index(vendors), needs)


def doubling(most: int, least: int = 1) -> tuple[int, ...]:
    """Return `least`, twice that, … up to `most`, which is the last."""
    levels = [least]
    while levels[-1] * 2 < most:
        levels.append(levels[-1] * 2)
    return (*levels, most) if most > levels[-1] else tuple(levels)


def delays_ms(limit_ms: float, least_ms: int = 1) -> tuple[int, ...]:
    """Return delays in ms that leave half of a p99 limit to the server itself; always the least one."""
    usual = (1, 2, 5, 10, 20, 50, 100)
    return tuple(ms for ms in usual if ms == least_ms or least_ms < ms <= limit_ms / 2)


def axes_of(
    target: str, cores_count: int, limit_ms: float, spec: ModelSpec | None = None
) -> tuple[Axis, ...]:
    """Return what can be varied of `target` on so many cores under a p99 limit.

    Args:
        spec: the model; axes of batching are left out where its requests cannot share a run. None for any.

    Raises:
        RequestError: the target says of nothing that it could be varied.
    """
    entry = find_target(target, SERVED)
    if entry.tuning is None:
        able = [name for name in SERVED if find_target(name).tuning]
        raise RequestError(
            f"{target} has no settings to tune; allowed: {', '.join(able)}, or a target whose `tuning` names "
            "its axes"
        )
    make: Callable[[int, float], tuple[Axis, ...]] = resolve_name(entry.tuning)
    settings = Preset().settings_of(target)
    fixed = set(settings.batching_settings if spec and not settings.batches(spec) else ())
    # What another axis brings along is set with that, even if it has one level.
    return tuple(
        axis
        for axis in make(cores_count, limit_ms)
        if (len(axis.levels) > 1 or axis.needs)
        and fixed.isdisjoint(key for level in axis.levels for key in level.settings)
    )


def at_preset(axis: Axis, settings: Settings, cores_count: int) -> Axis:
    """Return the axis as it starts from a preset's settings; a number not among its levels becomes one."""
    if axis.switch and not settings.get(axis.switch):
        return replace(axis, start=0)
    value = cores_count if settings.get(axis.key) == "cores" else settings.get(axis.key, axis.vendors)
    numbers = [level.settings.get(axis.key) for level in axis.levels]
    if value in numbers:
        return replace(axis, start=axis.start if value is None else numbers.index(value))
    if not isinstance(value, int):
        return axis
    own = Level(str(value), {**axis.levels[-1].settings, axis.key: value})
    levels = sorted((*axis.levels, own), key=lambda level: level.settings.get(axis.key) or 0)
    return replace(axis, levels=tuple(levels), start=levels.index(own))
