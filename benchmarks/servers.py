"""All servers on one machine for one or more models, as the Markdown table of docs/successors.md.

    python benchmarks/servers.py digits_cnn mobilenet_v2 --p99-ms 50
    python benchmarks/servers.py --from runs/A --from runs/B

Measures each model with `tandem compare` and `tandem slo` under the profile given, one after the other, and
prints what run.json holds. With --from nothing is measured: the table is made of runs that are there. A
figure without valid rounds is a dash, never a guess.
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


def measure(model: str, arguments: argparse.Namespace) -> list[Path]:
    """Compare and search `model`; return the folders of both runs.

    Raises:
        SystemExit: a command failed, with its exit code.
    """
    sides, profile, runner = arguments.sides, arguments.profile, arguments.runner
    common = ["--sides", sides, "--profile", profile, "--runner", runner]
    folders = []
    for command in (["compare", model], ["slo", model, "--p99-ms", str(arguments.p99_ms)]):
        done = subprocess.run([sys.executable, "-m", "pipelines.cli", *command, *common], check=False)
        if done.returncode:
            raise SystemExit(done.returncode)
        folders.append(Path("runs/latest").resolve())
    return folders


def main() -> None:
    """Measure, or read, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="*")
    parser.add_argument("--sides", default=SIDES)
    parser.add_argument("--profile", default="full")
    parser.add_argument("--runner", default="local")
    parser.add_argument("--p99-ms", type=float, default=50.0)
    parser.add_argument("--from", dest="folders", action="append", type=Path, default=[])
    arguments = parser.parse_args()
    if bool(arguments.models) == bool(arguments.folders):
        parser.error("name models to measure, or runs with --from")
    folders = arguments.folders or [one for model in arguments.models for one in measure(model, arguments)]
    sys.stdout.write(table(rows(map(read_run, folders))))


if __name__ == "__main__":
    main()
