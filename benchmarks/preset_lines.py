"""What every line of a preset is worth: the preset against itself without that line, in one comparison.

    python benchmarks/preset_lines.py torchserve
    python benchmarks/preset_lines.py tfserving --model mobilenet_v2 --protocol grpc --load closed:8
    python benchmarks/preset_lines.py torchserve --from runs/A

The sides are `tuned` and, for each of its lines, a preset file that leaves it out, so that the vendor's own
value holds; the lines that batching needs go together. Rounds are interleaved as in every comparison. What is
printed is the Markdown table of docs/presets.md: each figure of `tuned` over the one without the line, with
its 95 % interval. Such intervals are not corrected for how many lines there are: of twenty lines that do
nothing, one will look as if it did. With --from nothing is measured.
"""

import argparse
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from pipelines.record.reading import read_run  # noqa: E402
from pipelines.record.run import RunRecord  # noqa: E402
from pipelines.targets.presets import as_toml, resolve  # noqa: E402
from pipelines.targets.target import TARGETS_FOLDER  # noqa: E402

WHOLE = "tuned"
BATCHING = "batching"
METRICS = {"rows/s": "throughput_per_s", "p50": "p50", "p99": "p99"}
NONE = "\N{EN DASH}"


def without_each(target: str) -> dict[str, dict[str, Any]]:
    """Return the settings of `tuned` without each of its lines, by that line's name."""
    text = (TARGETS_FOLDER / target / "presets" / f"{WHOLE}.toml").read_text(encoding="utf-8")
    table = tomllib.loads(text)[target]
    batching = set(type(resolve(WHOLE, [target])[target].settings).batching_settings) & set(table)
    groups = {name: {name} for name in table if name not in batching} | (
        {BATCHING: batching} if batching else {}
    )
    return {
        name: {key: value for key, value in table.items() if key not in group}
        for name, group in groups.items()
    }


def preset_text(target: str, settings: Mapping[str, Any]) -> str:
    """Write settings of `target` as a preset's file."""
    lines = [f"{key} = {as_toml(value)}" for key, value in settings.items()]
    return "\n".join((f"[{target}]", *lines, ""))


def measure(target: str, given: argparse.Namespace) -> Path:
    """Compare `tuned` with its variants; return the folder of the run.

    Raises:
        SystemExit: the comparison failed, with its exit code.
    """
    suffix = f":{given.protocol}" if given.protocol else ""
    with tempfile.TemporaryDirectory(prefix="tandem-presets-") as folder:
        sides = [f"{WHOLE}={target}:{WHOLE}{suffix}"]
        for name, settings in without_each(target).items():
            file = Path(folder) / f"without_{name}.toml"
            file.write_text(preset_text(target, settings), encoding="utf-8")
            sides.append(f"{name}={target}:{file}{suffix}")
        command = [sys.executable, "-m", "pipelines.cli", "compare", given.model, "--sides", ",".join(sides)]
        options = [
            "--loads",
            given.load,
            "--primary",
            "throughput",
            "--profile",
            given.profile,
            "--no-mobile",
        ]
        done = subprocess.run([*command, *options], check=False)
    if done.returncode:
        raise SystemExit(done.returncode)
    return Path("runs/latest").resolve()


def table(run: RunRecord) -> str:
    """Render the table: a row per line of the preset, in the preset's order."""
    names = [name for name, side in run.targets.items() if side.role == "compared" and name != WHOLE]
    head = ("line", *(f"{title}, times" for title in METRICS))
    rows = [head, ("---",) * len(head), *((f"`{name}`", *_factors(run, name)) for name in names)]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _factors(run: RunRecord, name: str) -> Sequence[str]:
    by_metric: Mapping[str, str] = {
        one.metric: _factor(one.ratio, one.interval, inverse=one.baseline == WHOLE)
        for one in run.comparisons
        if {one.baseline, one.candidate} == {WHOLE, name}
    }
    return [by_metric.get(metric, NONE) for metric in METRICS.values()]


def _factor(ratio: float | None, interval: tuple[float, float] | None, *, inverse: bool) -> str:
    if ratio is None or interval is None:
        return NONE
    low, high = (1 / interval[1], 1 / interval[0]) if inverse else interval
    return f"{1 / ratio if inverse else ratio:.2f} ({low:.2f} to {high:.2f})"


def main() -> None:
    """Measure, or read, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("target")
    parser.add_argument("--model", default="digits_cnn")
    parser.add_argument("--protocol", choices=("rest", "grpc"))
    parser.add_argument("--load", default="closed:32")
    parser.add_argument("--profile", default="quick")
    parser.add_argument("--from", dest="folder", type=Path)
    given = parser.parse_args()
    sys.stdout.write(table(read_run(given.folder or measure(given.target, given))))


if __name__ == "__main__":
    main()
