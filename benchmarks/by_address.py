"""Servers that Tandem starts against the same servers given by their addresses: are the verdicts the same?

    python benchmarks/by_address.py digits_cnn
    python benchmarks/by_address.py --from runs/STARTED --from runs/BY_ADDRESS

Compares all servers as `tandem compare` starts them, and then those that `tandem serve` keeps running, under
the same load, one comparison after the other. Prints both ratios with their intervals for every pair and
metric, and counts the verdicts that are the same, those that contradict one another, and the intervals that
overlap. Ends with 1 where one contradicts another. With --from nothing is measured.
"""

import argparse
import itertools
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from pipelines.machine.cores import listed, split_cores  # noqa: E402
from pipelines.record.comparison import ComparisonRecord  # noqa: E402
from pipelines.record.reading import read_run  # noqa: E402
from pipelines.record.run import RunRecord  # noqa: E402

SIDES = "torchserve,triton,mlserver,python,tfserving"
APIS = {
    "torchserve": "torchserve",
    "triton": "oip",
    "mlserver": "oip",
    "python": "plain",
    "tfserving": "tfserving",
}
OF_OIP = "/infer"
"""What the address of a prediction ends with, and that of its model does not."""
TANDEM = (sys.executable, "-m", "pipelines.cli")
NONE = "\N{EN DASH}"


@dataclass(frozen=True)
class Pair:
    """One pair of servers and one metric, judged in both comparisons."""

    started: ComparisonRecord
    by_address: ComparisonRecord

    @property
    def same(self) -> bool:
        """Whether both verdicts are the same one."""
        return self.started.verdict == self.by_address.verdict

    @property
    def contradicts(self) -> bool:
        """Whether both decide, and differently."""
        decided = {self.started.verdict, self.by_address.verdict} - {"inconclusive", None}
        return len(decided) > 1

    @property
    def overlaps(self) -> bool | None:
        """Whether the intervals have a ratio in common; None without one of them."""
        one, other = self.started.interval, self.by_address.interval
        return None if one is None or other is None else one[0] <= other[1] and other[0] <= one[1]


def pairs(started: RunRecord, by_address: RunRecord) -> list[Pair]:
    """Pair the comparisons of both runs by their servers, load and metric."""
    others = {_key(one): one for one in by_address.comparisons}
    return [Pair(one, others[_key(one)]) for one in started.comparisons if _key(one) in others]


def _key(one: ComparisonRecord) -> tuple[str, ...]:
    return one.candidate, one.baseline, one.load, one.metric


def table(found: Sequence[Pair]) -> str:
    """Render a Markdown table, and under it what is counted."""
    head = ("the first over the second", "metric", "started", "verdict", "by address", "verdict")
    lines = [head, ("---",) * len(head)]
    for pair in found:
        one, other = pair.started, pair.by_address
        names = f"{one.candidate} / {one.baseline}"
        lines.append((names, one.metric, _ratio(one), _verdict(one), _ratio(other), _verdict(other)))
    counts = (
        f"{len(found)} verdicts: {sum(pair.same for pair in found)} the same, "
        f"{sum(pair.contradicts for pair in found)} contradict one another; "
        f"{sum(pair.overlaps is True for pair in found)} intervals overlap"
    )
    return "".join(f"| {' | '.join(line)} |\n" for line in lines) + f"\n{counts}\n"


def _ratio(one: ComparisonRecord) -> str:
    if one.ratio is None or one.interval is None:
        return NONE
    return f"{one.ratio:.2f} ({one.interval[0]:.2f} to {one.interval[1]:.2f})"


def _verdict(one: ComparisonRecord) -> str:
    return one.verdict or NONE


@contextmanager
def standing(model: str, sides: Sequence[str]) -> Iterator[str]:
    """Keep a server of every side running, on cores as `compare` gives its own; yield their addresses."""
    servers: list[subprocess.Popen[str]] = []
    cores = ("--server-cores", listed(split_cores().server))
    try:
        for side in sides:
            command = [*TANDEM, "serve", side, "--model", model, "--runner", "local", *cores, "--json"]
            servers.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        yield ",".join(itertools.starmap(_by_address, zip(sides, servers, strict=True)))
    finally:
        for server in servers:
            server.terminate()
        for server in servers:
            server.wait()


def _by_address(side: str, server: "subprocess.Popen[str]") -> str:
    assert server.stdout is not None
    line = server.stdout.readline()
    if not line:
        raise SystemExit(f"{side} does not run; its own last words are above")
    address = json.loads(line)["predict_url"].removesuffix(OF_OIP).removesuffix(":predict")
    return f"{side}={APIS[side]}+{address}"


def compare(model: str, sides: str, options: Sequence[str]) -> Path:
    """Compare; return the folder of the run.

    Raises:
        SystemExit: the comparison failed, with its exit code.
    """
    done = subprocess.run([*TANDEM, "compare", model, "--sides", sides, *options], check=False)
    if done.returncode:
        raise SystemExit(done.returncode)
    return Path("runs/latest").resolve()


def measure(given: argparse.Namespace) -> tuple[Path, Path]:
    """Compare the servers both ways; return the folders of both runs."""
    options = ("--profile", given.profile, "--primary", given.primary, "--no-mobile")
    started = compare(given.model, given.sides, options)
    with standing(given.model, given.sides.split(",")) as addresses:
        return started, compare(given.model, addresses, options)


def main() -> None:
    """Measure, or read, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", nargs="?", default="digits_cnn")
    parser.add_argument("--sides", default=SIDES)
    parser.add_argument("--profile", default="quick")
    parser.add_argument("--primary", default="throughput")
    parser.add_argument("--from", dest="folders", action="append", type=Path, default=[])
    given = parser.parse_args()
    if len(given.folders) not in {0, 2}:
        parser.error("--from is given twice: the run with started servers, and the one by address")
    if unknown := set(given.sides.split(",")) - APIS.keys():
        parser.error(f"no address is known of {', '.join(sorted(unknown))}; known: {', '.join(APIS)}")
    started, by_address = map(read_run, given.folders or measure(given))
    found = pairs(started, by_address)
    sys.stdout.write(table(found))
    raise SystemExit(any(pair.contradicts for pair in found))


if __name__ == "__main__":
    main()
