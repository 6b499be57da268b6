"""All servers on one machine for one or more models, as the Markdown table of docs/successors.md.

    python benchmarks/servers.py digits_cnn=20 mobilenet_v2=200
    python benchmarks/servers.py --from runs/A --from runs/B

Measures each model with `tandem compare` and `tandem slo` under the profile given, one after the other, and
prints what run.json holds; behind `=` stands the limit of its p99, ms. Where a container engine answers, a
comparison of seconds comes first, for the sizes of the images alone. With --from nothing is measured: the
table is made of runs that are there. A figure without valid rounds is a dash, never a guess.
"""

import argparse
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from pipelines.record.reading import read_run  # noqa: E402
from pipelines.record.run import RunRecord  # noqa: E402
from pipelines.record.slo import SloTargetRecord  # noqa: E402
from pipelines.record.target import TargetRecord  # noqa: E402

SIDES = "torchserve,triton,mlserver,python,tfserving"
HEAD = (
    *("model", "server", "preset", "load", "p50 ms", "p99 ms", "requests/s", "requests/s at the SLO"),
    *("memory MB", "image MB", "first right answer s", "until steady s", "asked by"),
)
NONE = "\N{EN DASH}"
MEGA = 10**6
P99_MS = 50.0


@dataclass(frozen=True)
class Lent:
    """What other runs say of a model's server: its rate at the SLO, and the size of its image in bytes."""

    rate: str = NONE
    image_bytes: int | None = None


def rows(runs: Iterable[RunRecord]) -> list[tuple[str, ...]]:
    """Make a row per model, server and load of the comparisons.

    The rate at the SLO comes from the model's search, the size of an image from whichever run had it. A run
    that gave no verdicts says nothing about speed: beside one that did it lends its images alone.
    """
    known = list(runs)
    judged = {run.model.name for run in known if run.model and run.profile and run.profile.verdicts}
    return [
        row
        for run in known
        if run.kind == "compare" and run.model and run.profile
        if run.profile.verdicts or run.model.name not in judged
        for name, target in run.targets.items()
        if target.role == "compared"
        for row in _of_target(run.model.name, name, target, _lent(known, run.model.name, name))
    ]


def _lent(runs: Sequence[RunRecord], model: str, side: str) -> Lent:
    of_model = [run for run in runs if run.model is not None and run.model.name == model]
    rates = [run.slo.targets[side] for run in of_model if run.slo is not None and side in run.slo.targets]
    images = [
        image.size_bytes
        for run in of_model
        if side in run.targets and (image := run.targets[side].implementation.image) is not None
    ]
    return Lent(_rate(rates[-1]) if rates else NONE, images[-1] if images else None)


def _rate(found: SloTargetRecord) -> str:
    """Return the rate, or the bound that is known of it."""
    if found.rate_per_s is None and found.at_least_per_s is not None:
        return f"at least {_figure(found.at_least_per_s)}"
    return _figure(found.rate_per_s)


def _of_target(model: str, name: str, target: TargetRecord, lent: Lent) -> list[tuple[str, ...]]:
    implementation = target.implementation
    starts = [start.first_right_answer_s for start in target.cold_starts]
    steady = [one.until_steady_s for one in target.conditionings if one.until_steady_s is not None]
    after = (
        lent.rate,
        _figure(target.memory.peak_bytes and target.memory.peak_bytes / MEGA),
        _figure(lent.image_bytes and lent.image_bytes / MEGA),
        _figure(median(starts) if starts else None),
        _figure(median(steady) if steady else None),
        f"{implementation.protocol} {target.payload.codec if target.payload else ''}".strip(),
    )
    said = f"{name}: {implementation.name} {implementation.version}"
    return [
        (
            *(model, said, implementation.preset, one.load),
            *(_figure(one.latency_ms.p50), _figure(one.latency_ms.p99), _figure(one.throughput_per_s)),
            *after,
        )
        for one in target.summaries
    ]


def _figure(value: float | None) -> str:
    return NONE if value is None else f"{value:,.3g}" if value < 100 else f"{value:,.0f}"


def table(lines: Sequence[Sequence[str]]) -> str:
    """Render a Markdown table."""
    found = [HEAD, ("---",) * len(HEAD), *lines]
    return "".join(f"| {' | '.join(line)} |\n" for line in found)


def asked(text: str) -> tuple[str, float]:
    """Read MODEL or MODEL=P99_MS.

    Raises:
        ValueError: the limit is no number.
    """
    model, _, limit_ms = text.partition("=")
    return model, float(limit_ms or P99_MS)


def measure(model: str, limit_ms: float, given: argparse.Namespace, *, images: bool) -> list[Path]:
    """Compare and search `model`; return the folders of the runs.

    Raises:
        SystemExit: a command failed, with its exit code.
    """
    sides, full = ("--sides", given.sides), ("--profile", given.profile)
    rounds = () if given.round_s is None else ("--round-s", str(given.round_s))
    compare = ("compare", model, *sides, "--no-mobile")
    commands = [
        (*compare, *full, *rounds, "--primary", "throughput"),
        ("slo", model, *sides, *full, "--p99-ms", str(limit_ms)),
    ]
    if images:
        commands.insert(0, (*compare, "--profile", "smoke", "--rounds", "1", "--runner", "docker"))
    folders = []
    for command in commands:
        done = subprocess.run([sys.executable, "-m", "pipelines.cli", *command], check=False)
        if done.returncode:
            raise SystemExit(done.returncode)
        folders.append(Path("runs/latest").resolve())
    return folders


def engine_answers() -> bool:
    """Return whether a container engine answers; without one the table has no sizes of images."""
    try:
        found = subprocess.run(["docker", "version"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        found = False
    if not found:
        sys.stderr.write("no container engine answers: sizes of images stay unknown\n")
    return found


def main() -> None:
    """Measure, or read, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="*", type=asked, metavar="MODEL[=P99_MS]")
    parser.add_argument("--sides", default=SIDES)
    parser.add_argument("--profile", default="full")
    parser.add_argument("--round-s", type=float)
    parser.add_argument("--from", dest="folders", action="append", type=Path, default=[])
    given = parser.parse_args()
    if bool(given.models) == bool(given.folders):
        parser.error("name models to measure, or runs with --from")
    images = bool(given.models) and engine_answers()
    folders = given.folders or [
        folder
        for model, limit_ms in given.models
        for folder in measure(model, limit_ms, given, images=images)
    ]
    sys.stdout.write(table(rows(map(read_run, folders))))


if __name__ == "__main__":
    main()
