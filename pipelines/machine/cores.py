"""Which CPU cores serve and which one generates load, on any machine and with any hyper-threads."""

import os
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from pipelines.errors import RequestError

TOPOLOGY = Path("/sys/devices/system/cpu")
PART = re.compile(r"(\d{1,6})(?:-(\d{1,6}))?", re.ASCII)
# Given a core, all hardware threads of its physical core, itself among them.
Siblings = Callable[[int], tuple[int, ...]]


class Cores(BaseModel):
    """Which CPU cores do what. By default they never overlap where there are two."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    server: tuple[int, ...] = Field(description="the server under test may use only these")
    generator: tuple[int, ...] = Field(description="the load generator may use only these")
    idle: tuple[int, ...] = Field(default=(), description="left to nobody: hyper-threads of the generator's")
    coupled: tuple[int, ...] = Field(
        default=(), description="of the server, but hyper-threads of the generator's physical core"
    )

    @property
    def shared(self) -> bool:
        """Whether server and generator disturb each other."""
        return bool(set(self.server) & set(self.generator))


def thread_siblings(core: int, topology: Path = TOPOLOGY) -> tuple[int, ...]:
    """Return the hardware threads of `core`'s physical core, as the kernel lists them; else `core` alone."""
    try:
        text = (topology / f"cpu{core}" / "topology" / "thread_siblings_list").read_text()
        return tuple(sorted({core, *expand(text)}))
    except (OSError, ValueError):
        return (core,)


def split_cores(
    usable: Iterable[int] | None = None,
    *,
    server: Sequence[int] = (),
    generator: int | None = None,
    siblings: Siblings = thread_siblings,
) -> Cores:
    """Give one core to the generator, whose one thread needs no more, and the others to the server.

    What was not asked for is chosen: for the generator the last core among those with the fewest
    hyper-threads beside it, which stay idle unless nothing else is left to serve.

    Args:
        usable: core numbers; None for those this process may use.
        server, generator: asked for; empty and None to choose.
        siblings: given a core, all hardware threads of its physical core.
    """
    allowed = tuple(sorted(os.sched_getaffinity(0) if usable is None else usable))
    chosen = _generator_core(allowed, server, siblings) if generator is None else generator
    beside = set(siblings(chosen)) - {chosen}
    rest = [core for core in allowed if core != chosen]
    serving = tuple(server or [core for core in rest if core not in beside] or rest or allowed)
    return Cores(
        server=serving,
        generator=(chosen,),
        idle=tuple(core for core in rest if core in beside and core not in serving),
        coupled=tuple(core for core in serving if core in beside),
    )


def _generator_core(allowed: Sequence[int], server: Sequence[int], siblings: Siblings) -> int:
    """Choose the last core of those that cost the fewest others; share one only if no other is left."""
    taken = set(server)
    free = [core for core in allowed if core not in taken] or allowed
    return max(free, key=lambda core: (-len(set(siblings(core)) & (taken or set(allowed))), core))


def asked_cores(
    server: str | None,
    generator: str | None = None,
    *,
    usable: Iterable[int] | None = None,
    siblings: Siblings = thread_siblings,
) -> Cores:
    """Return the split that --server-cores and --generator-core ask for; None leaves it to `split_cores`.

    Raises:
        RequestError: a list that cannot be read, or a core that this process may not use.
    """
    allowed = tuple(sorted(os.sched_getaffinity(0) if usable is None else usable))
    serving = () if server is None else read_cores("--server-cores", server, allowed)
    chosen = None if generator is None else read_cores("--generator-core", generator, allowed)
    if chosen is not None and len(chosen) > 1:
        raise RequestError(
            f"--generator-core is {generator!r}, {len(chosen)} cores; the load generator has one thread: "
            f"name one of {listed(allowed)}"
        )
    return split_cores(allowed, server=serving, generator=chosen[0] if chosen else None, siblings=siblings)


def read_cores(option: str, text: str, allowed: Sequence[int]) -> tuple[int, ...]:
    """Return the cores of a list such as 0,2-3, in order.

    Raises:
        RequestError: names the option, what was given and the cores that are allowed.
    """
    try:
        cores = expand(text, limit=max(allowed))
    except ValueError as error:
        raise RequestError(
            f"{option} is {text!r}: {error}; allowed: cores {listed(allowed)}, written like 0 or 0,2-3"
        ) from error
    barred = [core for core in cores if core not in allowed]
    if barred:
        raise RequestError(
            f"{option} is {text!r}: this process may not use core {listed(barred)}, as taskset or a container"
            f" decided; allowed: cores {listed(allowed)}"
        )
    return cores


def expand(text: str, limit: int | None = None) -> tuple[int, ...]:
    """Parse "0,2-4" as (0, 2, 3, 4), the way the kernel, Docker and taskset write lists of cores.

    Raises:
        ValueError: nothing, no list of cores, a range that runs backwards, or a core above `limit`.
    """
    cores: set[int] = set()
    for part in text.strip().split(","):
        match = PART.fullmatch(part.strip())
        if match is None:
            raise ValueError(
                f"{part.strip()!r} is no core or range of cores" if text.strip() else "it is empty"
            )
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise ValueError(f"the range {first}-{last} runs backwards")
        if limit is not None and last > limit:
            raise ValueError(f"core {last} is unknown here")
        cores.update(range(first, last + 1))
    return tuple(sorted(cores))


def listed(cores: Iterable[int]) -> str:
    """Format (0, 1, 2, 5) as "0-2,5"; the reverse of `expand`."""
    parts: list[list[int]] = []
    for core in sorted(cores):
        if parts and core == parts[-1][-1] + 1:
            parts[-1].append(core)
        else:
            parts.append([core])
    return ",".join(str(part[0]) if len(part) == 1 else f"{part[0]}-{part[-1]}" for part in parts)
