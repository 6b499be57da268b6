"""The report of a long run: how long it takes, how much memory, and how large the page is.

    python benchmarks/large_report.py --requests 10000000

Writes a run of that many requests, two targets under three loads in rounds of the same length, with 40 s of
load on every fresh server, from the recorded run that the tests keep; then computes every figure from the raw
files and writes all pages, in a process of its own. Ends with 1 if that takes more than 20 s or 1 GB, or the
page is larger than 1.5 MB.
"""

import argparse
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from apart import run_apart

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from loadtests.recorder import SCHEMA  # noqa: E402
from pipelines.record.conditioning import ConditioningRecord, SecondRecord  # noqa: E402
from pipelines.record.reading import read_run  # noqa: E402
from pipelines.record.rounds import RoundRecord  # noqa: E402
from pipelines.record.run import RunRecord  # noqa: E402
from pipelines.report.html import LIMIT_BYTES  # noqa: E402
from pipelines.report.json import write_run  # noqa: E402

RECORDED = ROOT / "tests" / "unit" / "recorded" / "version_1"
LOADS = ("closed:1", "closed:8", "closed:16")
SIDES = {"torchserve": 6e6, "tfserving": 2e6}
"""Median latency in nanoseconds."""
BLOCKS = 4
CONDITIONED_S = 40
LIMIT_S, LIMIT_MB = 20.0, 1000.0
BYTES_A_MB = 1e6


@dataclass(frozen=True)
class Cost:
    """What one report cost."""

    elapsed_s: float
    cpu_s: float
    peak_mb: float
    page_bytes: int

    @property
    def kept(self) -> bool:
        """Whether every limit was."""
        return self.elapsed_s <= LIMIT_S and self.peak_mb <= LIMIT_MB and self.page_bytes <= LIMIT_BYTES


def write_large_run(folder: Path, requests_count: int, rounds_count: int, blocks_count: int = BLOCKS) -> None:
    """Write a run of so many requests in all, spread over `rounds_count` rounds in `blocks_count` blocks.

    Raises:
        OSError: the folder cannot be written.
    """
    recorded = read_run(RECORDED)
    template = next(one for one in recorded.targets["torchserve"].rounds)
    (folder / "samples").mkdir(parents=True)
    source, each = np.random.default_rng(1), max(1, requests_count // rounds_count)
    places = _places(rounds_count, blocks_count)
    made = [_round(folder, template, place, each, source) for place in places]
    curves = tuple(_conditioning(block, source) for block in range(blocks_count))
    write_run(_with_rounds(recorded, made, curves), folder)


def _conditioning(block: int, source: np.random.Generator) -> ConditioningRecord:
    """Return the load on a fresh server of one block, second by second."""
    counts = [int(count) for count in source.integers(500, 3000, CONDITIONED_S)]
    return ConditioningRecord(
        block=block,
        load=LOADS[0],
        samples_files=(),
        state="steady",
        until_steady_s=float(block % CONDITIONED_S),
        until_steady_requests_count=sum(counts[: block % CONDITIONED_S]),
        duration_s=float(CONDITIONED_S),
        requests_count=sum(counts),
        errors_count=0,
        seconds=tuple(SecondRecord(requests_count=count, p50_ms=2.5, server_cpu_s=0.9) for count in counts),
    )


def _places(rounds_count: int, blocks_count: int) -> Iterator[tuple[int, int, int, str, str]]:
    """Yield index, block, repetition, load and target of every round, in the order measured."""
    pairs = [(load, side) for load in LOADS for side in SIDES]
    for index in range(rounds_count):
        turn, place = divmod(index, len(pairs))
        block, repetition = turn % blocks_count, turn // blocks_count
        yield index, block, repetition, *pairs[place]


def _round(
    folder: Path,
    template: RoundRecord,
    place: tuple[int, int, int, str, str],
    count: int,
    source: np.random.Generator,
) -> RoundRecord:
    index, block, repetition, load, target = place
    latency = source.lognormal(np.log(SIDES[target]), 0.3, count).astype(np.int64)
    sent = np.cumsum(latency // int(load.partition(":")[2]))
    columns = {
        "scheduled_ns": sent,
        "sent_ns": sent,
        "done_ns": sent + latency,
        "status": np.full(count, 200, np.int16),
        "bytes": np.full(count, 120, np.int32),
        "correct": pa.nulls(count, pa.bool_()),
    }
    name = f"samples/{index:04d}.parquet"
    pq.write_table(pa.table(columns, schema=SCHEMA), folder / name)
    moment = f"2026-11-20T{index // 3600 % 24:02d}:{index // 60 % 60:02d}:{index % 60:02d}Z"
    changes = {
        "index": index,
        "block": block,
        "repetition": repetition,
        "attempt": 0,
        "target": target,
        "load": load,
        "started_at_utc": moment,
        "window_s": float(sent[-1]) / 1e9,
        "samples_file": name,
        "requests_count": count,
        "errors_count": 0,
        "errors": (),
        "valid": index % 17 != 0,
        "invalid_reasons": template.invalid_reasons if index % 17 == 0 else (),
    }
    return template.model_copy(update=changes)


def _with_rounds(
    recorded: RunRecord, made: list[RoundRecord], conditionings: tuple[ConditioningRecord, ...]
) -> RunRecord:
    targets = {
        name: recorded.targets[name].model_copy(
            update={
                "rounds": tuple(one for one in made if one.target == name),
                "conditionings": conditionings,
            }
        )
        for name in SIDES
    }
    assert recorded.profile
    profile = recorded.profile.model_copy(update={"loads": LOADS, "verdicts": True})
    return recorded.model_copy(update={"targets": targets, "profile": profile, "mobile": None})


def measure(folder: Path) -> Cost:
    """Rebuild the report of a run; memory is the most that this process ever held."""
    from pipelines.run.rebuild import rebuild

    began_s, began_cpu_s = time.perf_counter(), time.process_time()
    rebuild(folder)
    elapsed_s, cpu_s = time.perf_counter() - began_s, time.process_time() - began_cpu_s
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / BYTES_A_MB
    return Cost(elapsed_s, cpu_s, peak_mb, (folder / "report.html").stat().st_size)


def main() -> int:
    """Measure, print, and return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--requests", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, default=144)
    parser.add_argument("--blocks", type=int, default=BLOCKS)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tandem-large-report-") as name:
        write_large_run(Path(name) / "run", asked.requests, asked.rounds, asked.blocks)
        (cost,) = run_apart(measure, [(Path(name) / "run",)])
    print(
        f"{asked.requests:,} requests in {asked.rounds} rounds, {asked.blocks} blocks: "
        f"{cost.elapsed_s:.1f} s (limit {LIMIT_S:g}; "
        f"{cost.cpu_s:.1f} s of a processor), "
        f"{cost.peak_mb:.0f} MB (limit {LIMIT_MB:g}), page of {cost.page_bytes:,} bytes "
        f"(limit {LIMIT_BYTES:,})"
    )
    return 0 if cost.kept else 1


if __name__ == "__main__":
    sys.exit(main())
