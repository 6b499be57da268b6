"""Who takes part in a run: compared targets, their A/A controls and the null server."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np

from loadtests.codecs import find_codec
from loadtests.payloads import PayloadPool
from models.spec import ModelSpec
from models.tensors import sample
from pipelines.config.profiles import Profile
from pipelines.config.settings import RunSettings
from pipelines.export.stage import target_folder
from pipelines.record.parity import ParityRecord
from pipelines.runners import url
from pipelines.runners.local import LocalServer
from pipelines.runners.server import Runner, Server
from pipelines.runners.url import RunningSide
from pipelines.serve import readiness
from pipelines.targets import null
from pipelines.targets.address import Address
from pipelines.targets.protocols import Protocol, Transport
from pipelines.targets.server_plan import ServeRequest
from pipelines.targets.side import SideSpec
from pipelines.units import BYTES_PER_MB
from pipelines.verify.stage import Verified

Role = Literal["compared", "control", "floor"]
NULL_NAME = "null"
NULL_PATH = "/null/Predict"


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
        folder: of its artifacts; None of the null server.
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
    folder: Path | None = None

    def takes_part(self, block: int) -> bool:
        """Return whether this block starts a server of it."""
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
    """Make the compared sides in their order, then the profile's controls and null servers.

    There is a null server for each protocol that a compared side has.

    Args:
        settings: with the sides that were asked for.
        verified: of the targets in the run's own artifacts.
        builds: of the sides that have a folder of their own, by name.
    """

    @cache
    def encoded(transport: Transport, codec: str, model: str) -> PayloadPool:
        """Encode the requests of all sides that are asked alike, which differ in their path alone."""
        limit_bytes = int(settings.pool_mb * BYTES_PER_MB)
        protocol = Protocol(transport, codec)
        return readiness.payload_pool(
            spec, verified.expected, "/", limit_bytes, protocol=protocol, rows=settings.rows, model=model
        )

    def pool_of(protocol: Protocol, address: Address | None = None) -> Callable[[str], PayloadPool]:
        # Over REST the path names the model, over gRPC every request does.
        named = address is not None and protocol.transport == "grpc"
        model = address.model if address is not None and named else spec.name
        return lambda path: replace(encoded(protocol.transport, protocol.codec, model), path=path)

    compared = [
        _running(settings, spec, verified, side, side.address, pool_of(side.protocol, side.address))
        if side.address is not None
        else _served(
            settings,
            spec,
            (builds or {}).get(side.name, verified),
            runner,
            side,
            pool_of(side.protocol),
        )
        for side in settings.sides
    ]
    sides = [*compared, *controls(compared, settings.profile)]
    if settings.profile.null:
        protocols = [replace(side.protocol, path=NULL_PATH) for side in settings.sides]
        for number, protocol in enumerate(dict.fromkeys(protocols)):
            name = NULL_NAME if number == 0 else f"{NULL_NAME}-{protocol.transport}-{protocol.codec}"
            sides.append(_null(settings, spec, verified, name, protocol, pool_of(protocol)))
    return sides


def controls(compared: Sequence[Side], profile: Profile) -> list[Side]:
    """Make a control of every compared side, in all blocks or in turn, as the profile says.

    In turn, block 0 has the control of the first side, block 1 that of the second, and so on from the start.
    `all first` has the controls of all sides in block 0, so that a comparison can be decided there.
    With fewer blocks than sides some blocks have several, so that no side is left without one.
    """
    if not profile.control:
        return []
    turns = 1 if profile.control_blocks == "all" else min(len(compared), profile.blocks)
    first = {0} if profile.control_blocks == "all first" else set()
    return [
        _control(side, frozenset(first | set(range(place % turns, profile.blocks, turns))))
        for place, side in enumerate(compared)
    ]


def _control(of: Side, blocks: frozenset[int]) -> Side:
    """Make a second server of the same target under another name: same machinery, same requests."""
    return replace(of, name=f"{of.name}-control", role="control", control_of=of.name, blocks=blocks)


def _served(
    settings: RunSettings,
    spec: ModelSpec,
    verified: Verified,
    runner: Runner,
    side: SideSpec,
    pool: Callable[[str], PayloadPool],
) -> Side:
    folder = target_folder(side.folder or settings.artifacts, spec.name, side.target)

    def prepare(work: Path) -> AbstractContextManager[Server]:
        request = ServeRequest(
            spec,
            folder,
            work,
            preset=side.preset,
            protocol=side.protocol,
            cores=settings.cores.server,
            proven=verified.manifests[side.target],
        )
        return runner.prepare(side.target, request)

    return Side(
        name=side.name,
        target=side.target,
        role="compared",
        control_of=None,
        prepare=prepare,
        pool=pool,
        prove=lambda server, pool: readiness.check_endpoint(server, pool, spec.samples().named, verified),
        verified=verified,
        folder=folder,
    )


def _running(
    settings: RunSettings,
    spec: ModelSpec,
    verified: Verified,
    side: SideSpec,
    address: Address,
    pool: Callable[[str], PayloadPool],
) -> Side:
    """Make the side of a running endpoint: the same server in every block, and its own control."""
    running = RunningSide(side.name, address, side.protocol, settings.accesses.of(side.name))
    return Side(
        name=side.name,
        target=side.target,
        role="compared",
        control_of=None,
        prepare=lambda work: url.running(running, spec, work),
        pool=pool,
        prove=lambda server, pool: readiness.check_endpoint(server, pool, spec.samples().named, verified),
        verified=verified,
    )


def _null(
    settings: RunSettings,
    spec: ModelSpec,
    verified: Verified,
    name: str,
    protocol: Protocol,
    pool: Callable[[str], PayloadPool],
) -> Side:
    """Make a null server, which gets the same requests and always answers the same: as the first sample.

    Always a local process: it shows what the harness costs, and no container belongs to that.
    """
    constant = {
        output: np.repeat(np.asarray(array)[None], settings.rows, axis=0)
        for output, array in sample(verified.expected.tensors, 0).items()
    }
    body = find_codec(protocol.codec).answer(constant)

    @contextmanager
    def prepare(work: Path) -> Iterator[Server]:
        request = ServeRequest(spec, work, work, cores=settings.cores.server)
        yield LocalServer(null.plan(request, protocol, body))

    def answered(path: str) -> PayloadPool:
        return replace(pool(path), expected=(constant,))

    return Side(name, NULL_NAME, "floor", None, prepare, answered, prove=None)
