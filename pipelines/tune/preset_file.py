"""The file of a search: a preset that people can read and copy, each line with what was found of it."""

from collections.abc import Mapping
from pathlib import Path

from pipelines.console.format import one_line
from pipelines.errors import RequestError
from pipelines.record.tune import TuneClaimRecord, TuneRecord, TuneSideRecord, TuneTrialRecord
from pipelines.targets.presets import SUFFIX, Preset, as_toml


def require_writable(path: Path, *, force: bool) -> None:
    """Refuse a file that would not be a preset, or that is there already.

    Raises:
        RequestError: its name, its folder, or that it exists.
    """
    if path.suffix != SUFFIX:
        raise RequestError(f"--write is {str(path)!r:.80}; a preset's file ends in {SUFFIX}")
    if not path.parent.is_dir():
        raise RequestError(f"--write is {str(path)!r:.80}; its folder is not there, make it first")
    if path.is_dir() or (path.exists() and not force):
        raise RequestError(f"{path} exists already; name another with --write, or replace it with --force")


def preset_text(tune: TuneRecord, winners: Mapping[str, Preset], about: str) -> str:
    """Write the preset's file: a table for every target with a winner.

    Args:
        winners: by the name of the side.
        about: the model, the machine and the run, for the head of the file.
    """
    head = [
        f"# Found by `tandem tune`: {one_line(about)}",
        f"# Limit: p99 of at most {tune.p99_limit_ms:g} ms. Of that model on such a machine, of no other.",
    ]
    tables = [_table(tune.sides[name], preset) for name, preset in winners.items()]
    return "\n".join([*head, *tables]) + "\n"


def _table(side: TuneSideRecord, winner: Preset) -> str:
    best = next(trial for trial in side.trials if trial.number == side.winner)
    lines = [f"\n# {text}" if not place else f"# {text}" for place, text in enumerate(_evidence(side, best))]
    lines.append(f"[{side.target}]")
    axis_of = {axis.setting: axis for axis in side.axes}
    for key, value in winner.settings.given().items():
        axis = axis_of.get(key)
        if axis is not None and axis.name in best.levels:
            lines.append(f"# {axis.name}: {_tried(side, axis.name)}")
        lines.append(f"{key} = {as_toml(value)}")
    return "\n".join(lines)


def _evidence(side: TuneSideRecord, best: TuneTrialRecord) -> list[str]:
    tried = f"{len(side.trials)} configurations were tried, from the preset {side.base}"
    lines = [f"{tried}; this one kept the limit up to {best.rate_per_s or 0:.0f}/s while searching."]
    return [*lines, *(f"Fresh servers: {text}." for claim in side.claims if (text := _claim(claim)))]


def _claim(claim: TuneClaimRecord) -> str:
    """Write the claim in figures; empty if there is none."""
    if claim.ratio is not None:
        within = (
            f" (95 % interval {claim.interval[0]:.2f} to {claim.interval[1]:.2f})" if claim.interval else ""
        )
        return f"{claim.ratio:.2f} times the highest rate of {one_line(claim.against)}{within}"
    if claim.ratio_at_least is not None:
        return f"at least {claim.ratio_at_least:.2f} times the highest rate of {one_line(claim.against)}"
    if claim.ratio_at_most is not None:
        return f"at most {claim.ratio_at_most:.2f} times the highest rate of {one_line(claim.against)}"
    return ""


def _tried(side: TuneSideRecord, axis: str) -> str:
    """Write the best rate at every level of an axis that was tried, over all settings of the other axes."""
    best: dict[str, float] = {}
    for trial in side.trials:
        if axis in trial.levels:
            level = trial.levels[axis]
            best[level] = max(best.get(level, 0.0), trial.rate_per_s or 0.0)
    order = next(varied.levels for varied in side.axes if varied.name == axis)
    rates = [f"{level}: {_rate(best[level])}" for level in order if level in best]
    return f"highest rate at each level that was tried, {', '.join(rates)}"


def _rate(value: float) -> str:
    return f"{value:.0f}/s" if value else "none"
