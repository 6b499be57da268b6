"""Who takes part in a run: compared targets, their A/A controls and the null server."""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Literal

from loadtests.payloads import PayloadPool
from models.spec import ModelSpec
from models.tensors import sample
from pipelines.config import Profile, RunSettings
from pipelines.export.stage import target_folder
from pipelines.record.parity import ParityRecord
from pipelines.runners.local import LocalServer
from pipelines.runners.server import Runner, Server
from pipelines.serve import readiness
from pipelines.targets import null
from pipelines.targets.presets import Preset
from pipelines.targets.server_plan import ServeRequest
from pipelines.verify.stage import Verified

Role = Literal["compared", "control", "floor"]
NULL_NAME = "null"
BYTES_PER_MB = 10**6


@dataclass(frozen=True)
class Side:
    """One server that takes part in a run, started afresh in every block that it takes part in.

    Attributes:
        name: unique in the run, fit for file names.
        target: whose artifacts it serves.
        control_of: name of the side it repeats, for a control.
        prepare: given an empty folder, a server that is planned and not started.
        pool: given the server's prediction path, the requests and the answers they should get.
        prove: asks the running server every held-out sample; None where there is nothing to prove.
        blocks: the blocks it takes part in; None for all.
        verified: what was proven of its artifacts; None of the null server.
    """

    name: str
    target: str
    role: Role
    control_of: str | None
    prepare: Callable[[Path], AbstractContextManager[Server]]
    pool: Callable[[str], PayloadPool]
    prove: Callable[[Server, PayloadPool], ParityRecord] | None
    blocks: frozenset[int] | None = None
    verified: Verified | None = None

    def takes_part(self, block: int) -> bool:
        """Whether this block starts a server of it."""
        return self.blocks is None or block in self.blocks

    @property
    def first_block(self) -> int:
        """The first block it takes part in."""
        return 0 if self.blocks is None else min(self.blocks)


def make_sides(
    settings: RunSettings,
    spec: ModelSpec,
    verified: Verified,
    runner: Runner,
    builds: Mapping[str, Verified] | None = None,
) -> list[Side]:
    """The compared sides in their order, then the controls and the null server if the profile has them.

    Args:
        settings: whose names, where there are any, are those of the sides.
        verified: of the targets in the run's own artifacts.
        builds: of the sides that have a folder of their own, by name.
    """
    names = settings.names or unique_names(settings.targets)

    @cache
    def encoded() -> PayloadPool:
        """The requests of all sides, which differ in their path alone."""
        return readiness.payload_pool(spec, verified.expected, "/", int(settings.pool_mb * BYTES_PER_MB))

    def pool(path: str) -> PayloadPool:
        return replace(encoded(), path=path)

    compared = [
        _served(settings, spec, (builds or {}).get(name, verified), runner, name, target, pool)
        for name, target in zip(names, settings.targets, strict=True)
    ]
    found = [*compared, *controls(compared, settings.profile)]
    if settings.profile.null:
        found.append(_null(settings, spec, verified, pool))
    return found


def unique_names(targets: Sequence[str]) -> list[str]:
    """A target named twice is compared with itself: its second name is NAME-2."""
    seen: Counter[str] = Counter()
    names = []
    for target in targets:
        seen[target] += 1
        names.append(target if seen[target] == 1 else f"{target}-{seen[target]}")
    return names


def controls(compared: Sequence[Side], profile: Profile) -> list[Side]:
    """A control of every compared side, in all blocks or in turn, as the profile says.

    In turn, block 0 has the control of the first side, block 1 that of the second, and so on from the start.
    With fewer blocks than sides some blocks have several, so that no side is left without one.
    """
    if not profile.control:
        return []
    turns = 1 if profile.control_blocks == "all" else min(len(compared), profile.blocks)
    return [
        _control(side, frozenset(range(place % turns, profile.blocks, turns)))
        for place, side in enumerate(compared)
    ]


def _control(of: Side, blocks: frozenset[int]) -> Side:
    """The same target under a second name: a second server, same machinery, same requests."""
    return replace(of, name=f"{of.name}-control", role="control", control_of=of.name, blocks=blocks)


def _served(
    settings: RunSettings,
    spec: ModelSpec,
    verified: Verified,
    runner: Runner,
    name: str,
    target: str,
    pool: Callable[[str], PayloadPool],
) -> Side:
    folder = target_folder(settings.folders.get(name, settings.artifacts), spec.name, target)

    def prepare(work: Path) -> AbstractContextManager[Server]:
        request = ServeRequest(
            spec,
            folder,
            work,
            preset=settings.presets.get(target, Preset()),
            cores=settings.cores.server,
            proven=verified.manifests[target],
        )
        return runner.prepare(target, request)

    return Side(
        name=name,
        target=target,
        role="compared",
        control_of=None,
        prepare=prepare,
        pool=pool,
        prove=lambda server, pool: readiness.check_endpoint(server, pool, spec.samples().named, verified),
        verified=verified,
    )


def _null(
    settings: RunSettings, spec: ModelSpec, verified: Verified, pool: Callable[[str], PayloadPool]
) -> Side:
    """Gets the same requests; the right answer is always the constant, which is the first sample's.

    Always a local process: it shows what the harness costs, and no container belongs to that.
    """
    constant = sample(verified.expected.tensors, 0)
    row = {name: array.tolist() for name, array in constant.items()}
    prediction = row if len(row) > 1 else next(iter(row.values()))
    body = json.dumps({"predictions": [prediction]}).encode()

    @contextmanager
    def prepare(work: Path) -> Iterator[Server]:
        yield LocalServer(null.plan(ServeRequest(spec, work, work, cores=settings.cores.server), body))

    def answered(path: str) -> PayloadPool:
        return replace(pool(path), expected=(constant,))

    return Side(NULL_NAME, NULL_NAME, "floor", None, prepare, answered, prove=None)
