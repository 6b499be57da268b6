"""Is the machine as fast as usual? Probes beside the rounds, and how much slower a window was."""

import mmap
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Literal

from pipelines.machine import speed_probe
from pipelines.machine.cores import Cores, Siblings, thread_siblings
from pipelines.machine.speed_probe import KEPT_S, Totals
from pipelines.processes.children import child_environment, python_module
from pipelines.processes.group import before_exec, end_group, interrupts_held
from pipelines.runners.server import Place
from pipelines.units import MS_PER_S

MOST_CORES = 8
"""Of one group, which a probe visits in turn: a dozen more would say the same, each of them less often."""
LEAST_SAMPLES = 10
LEAST_SECONDS = 10

Group = Literal["server", "generator"]


@dataclass
class MachineSpeed:
    """Probes of a run: they live as long as a block's servers, what was usual is remembered for all blocks.

    Usual is the median over the last minutes, conditioning included: where a machine stays slower, that is
    usual after some two minutes, and rounds are valid again.
    """

    _shared: dict[Group, mmap.mmap] = field(default_factory=dict)
    _earlier: dict[Group, tuple[float, ...]] = field(default_factory=dict)

    @contextmanager
    def probing(self, cores: Cores) -> Iterator[None]:
        """Time a computation on the servers' cores and on the generator's until the context ends."""
        with ExitStack() as stack:
            # A full disk, or too many open files: what is measured will fail by it, and say so better.
            with suppress(OSError):
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tandem-speed-")))
                for group, numbers in _groups(cores).items():
                    self._shared[group] = stack.enter_context(_probe(folder / group, _some(numbers)))
            try:
                yield
            finally:
                for group, totals in self.read().items():
                    self._earlier[group] = (*self._earlier.get(group, ()), *totals.seconds)[-KEPT_S:]
                self._shared.clear()

    def read(self) -> dict[Group, Totals]:
        """Read all probes; none where none runs."""
        return {group: speed_probe.read(shared) for group, shared in self._shared.items()}

    def slowdowns(
        self, before: Mapping[Group, Totals], after: Mapping[Group, Totals], place: Place
    ) -> dict[Group, float]:
        """Return how many times as long the computation took between two readings as it usually does.

        By group of cores; the generator's alone where the server is on another machine. A group with too few
        samples, or too few seconds to say what is usual, is left out.
        """
        looked_at = [group for group in before if place != "elsewhere" or group == "generator"]
        ratios = {
            group: _slowdown(before[group], after[group], self._earlier.get(group, ()))
            for group in looked_at
            if group in after
        }
        return {group: ratio for group, ratio in ratios.items() if ratio is not None}


def probe_ms(before: Mapping[Group, Totals], after: Mapping[Group, Totals], group: Group) -> float | None:
    """Return the mean CPU ms that the computation took between two readings; None with too few samples."""
    if group not in before or group not in after:
        return None
    mean_s = _mean_s(before[group], after[group])
    return None if mean_s is None else mean_s * MS_PER_S


def _slowdown(before: Totals, after: Totals, earlier: Sequence[float]) -> float | None:
    mean_s = _mean_s(before, after)
    # The window's own seconds are not among them: a long one would be compared with itself.
    seconds = (*earlier, *before.seconds)[-KEPT_S:]
    if mean_s is None or len(seconds) < LEAST_SECONDS:
        return None
    return mean_s / median(seconds)


def _mean_s(before: Totals, after: Totals) -> float | None:
    count = after.count - before.count
    return None if count < LEAST_SAMPLES else (after.total_s - before.total_s) / count


def _groups(cores: Cores, siblings: Siblings = thread_siblings) -> dict[Group, tuple[int, ...]]:
    """Return the cores of each group that can be judged.

    Where hardware threads of one physical core serve, a server slows the probe by its own load, and the one
    that uses more of them would look as if the machine had become slower. So would the generator's core
    beside a thread that serves.
    """
    groups: dict[Group, tuple[int, ...]] = {"server": cores.server, "generator": cores.generator}
    if cores.shared:
        groups = {"server": tuple(sorted({*cores.server, *cores.generator}))}
    serving = set(cores.server)
    if any(len(set(siblings(core)) & serving) > 1 for core in cores.server):
        del groups["server"]
    if any((set(siblings(core)) - {core}) & serving for core in cores.generator):
        return {}
    return groups


def _some(cores: Sequence[int]) -> Sequence[int]:
    """Choose at most `MOST_CORES`, spread evenly."""
    if len(cores) <= MOST_CORES:
        return cores
    return [cores[place * len(cores) // MOST_CORES] for place in range(MOST_CORES)]


@contextmanager
def _probe(file: Path, cores: Sequence[int]) -> Iterator[mmap.mmap]:
    """Run a probe that writes to `file`; one that cannot run writes nothing, and nothing is known then."""
    file.write_bytes(bytes(speed_probe.SIZE))
    command = [*python_module("pipelines.machine.speed_probe"), str(file), *map(str, cores)]
    with file.open("rb") as stream:
        shared = mmap.mmap(stream.fileno(), speed_probe.SIZE, access=mmap.ACCESS_READ)
    with shared:
        with interrupts_held():
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=child_environment(),
                start_new_session=True,
                preexec_fn=before_exec(),  # noqa: PLW1509 - system calls, no locks
            )
        try:
            yield shared
        finally:
            end_group(process)
