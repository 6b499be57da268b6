"""What `--sides` names: a target with a preset and a protocol, read and checked before any work.

    [NAME=]TARGET[:PRESET][:rest|:grpc][:BODY]

such as `torchserve`, `torchserve:tuned`, `tfserving:grpc`, `torchserve:mine.toml:grpc`, `a=torchserve:npy`;
or a running endpoint, see `pipelines.targets.address`:

    [NAME=]API+SCHEME://HOST[:PORT]/…MODEL[#BODY]
"""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from models.spec import ModelSpec
from pipelines.errors import RequestError, unknown
from pipelines.targets.address import URL, Address, is_address, read_address
from pipelines.targets.presets import DEFAULT, SHIPPED, SUFFIX, Preset, resolve
from pipelines.targets.protocols import BODIES, TRANSPORTS, Protocol, Transport
from pipelines.targets.registry import SERVED, find_target

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}", re.ASCII)
RESERVED = ("null", "control")


@dataclass(frozen=True)
class SideSpec:
    """One side of a command; `name` is unique among them, also as part of a file's name.

    `folder` holds its artifacts, where it is a build with a folder of its own. `address` is where it runs,
    for a running endpoint; its target is `URL` then, and its preset says nothing.
    """

    name: str
    target: str
    preset: Preset
    protocol: Protocol
    folder: Path | None = None
    address: Address | None = None


def file_stem(side: str) -> str:
    """Return a side's name as part of a file's name."""
    return side.replace(":", "-")


def require_readable(sides: Iterable[SideSpec], spec: ModelSpec) -> None:
    """Refuse sides that are asked in a way in which their server cannot read or write the model's tensors.

    Raises:
        RequestError: naming the first tensor that is refused.
    """
    for side in sides:
        for kind, does, tensors in (("input", "reads", spec.inputs), ("output", "writes", spec.outputs)):
            for tensor in tensors:
                if tensor.dtype in side.protocol.refused_dtypes:
                    raise RequestError(
                        f"{side.target} {does} no {tensor.dtype} in JSON, which {spec.name}'s {kind} "
                        f"{tensor.name!r} is: ask it over gRPC (--sides {side.target}:grpc)"
                    )


def parse_sides(text: str, preset: str = DEFAULT) -> tuple[SideSpec, ...]:
    """Read the sides in `text`, in their order; `preset` is for those that name none.

    A side without a name of its own is called what was typed; one that is there twice is an A/A test, and its
    second name is NAME-2.

    Raises:
        RequestError: an unknown target, preset, protocol or kind of body, two of a kind in one side, a name
            that is taken or cannot be part of a file's name; one line.
    """
    named = [_name_and_rest(part.strip()) for part in text.split(",")]
    names = _unique(
        [own_name or typed for own_name, typed in named], [bool(own_name) for own_name, _ in named]
    )
    sides = tuple(_side(name, typed, preset) for name, (_, typed) in zip(names, named, strict=True))
    stems = Counter(file_stem(side.name) for side in sides)
    twice = next((side.name for side in sides if stems[file_stem(side.name)] > 1), None)
    if twice:
        raise RequestError(f"--sides: two sides are called {twice!r}, or alike in file names; rename one")
    return sides


def _name_and_rest(part: str) -> tuple[str, str]:
    """Split a side into its given name, "" for none, and what it is."""
    name, equals, rest = part.partition("=")
    if not equals:
        return "", part
    name = name.strip()
    if not NAME.fullmatch(name):
        raise RequestError(
            f"--sides: a side is called {name[:60]!r}; letters, digits and . _ - are allowed, 40 at most"
        )
    if name in RESERVED or name.endswith("-control"):
        raise RequestError(f"--sides: {name!r} is what Tandem calls a side of its own; choose another name")
    return name, rest.strip()


def _unique(names: list[str], are_given: list[bool]) -> list[str]:
    """Return names as they are recorded; only a name that nobody chose gets a number."""
    names = [name if is_given else _short(name) for name, is_given in zip(names, are_given, strict=True)]
    chosen = Counter(name for name, is_given in zip(names, are_given, strict=True) if is_given)
    counts: Counter[str] = Counter()
    unique: list[str] = []
    for name, is_given in zip(names, are_given, strict=True):
        if is_given and (chosen[name] > 1 or name in set(unique)):
            raise RequestError(f"--sides: two sides are called {name!r}; give each a name of its own")
        counts[name] += 1
        unique.append(name if is_given or counts[name] == 1 else f"{name}-{counts[name]}")
    return unique


def _short(typed: str) -> str:
    """Shorten what was typed: a preset's file to its bare name, an address to its API, host and port."""
    if is_address(typed):
        address, _ = read_address(typed)
        return re.sub(r"[^A-Za-z0-9.]+", "-", f"{address.api}-{address.host}-{address.port}").strip("-")
    return ":".join(Path(word).stem if _is_file(word) else word.strip() for word in typed.split(":"))


def _is_file(word: str) -> bool:
    return word.endswith(SUFFIX) or "/" in word


def _side(name: str, typed: str, preset: str) -> SideSpec:
    if is_address(typed):
        address, way = read_address(typed)
        return SideSpec(name, URL, Preset(), way, address=address)
    target_name, *words = (word.strip() for word in typed.split(":"))
    target = find_target(target_name, SERVED)
    where = f"--sides: {typed[:80]!r}: "
    presets = [word for word in words if word in SHIPPED or _is_file(word)]
    transports = [word for word in words if word in TRANSPORTS]
    bodies = [word for word in words if word in BODIES]
    for word in words:
        if word not in (*presets, *transports, *bodies):
            raise unknown(
                "preset, protocol or kind of body",
                word[:60],
                (*SHIPPED, *TRANSPORTS, *BODIES),
                where=where,
                or_else=f"the path of a {SUFFIX} file",
            )
    for what, same_kind in (("presets", presets), ("protocols", transports), ("kinds of body", bodies)):
        if len(same_kind) > 1:
            raise RequestError(
                f"{where}it names {len(same_kind)} {what}, {' and '.join(same_kind)}; one is allowed"
            )
    protocol = _protocol(
        target.protocols,
        TRANSPORTS[transports[0]] if transports else None,
        BODIES[bodies[0]] if bodies else None,
    )
    if protocol is None:
        ways = ", ".join(f"{offered.name.lower()} {offered.body}" for offered in target.protocols)
        wanted = " ".join((*transports, *bodies))
        raise RequestError(f"{where}{target_name} cannot be asked by {wanted}; allowed: {ways}")
    chosen = resolve(presets[0] if presets else preset, (target_name,))[target_name]
    return SideSpec(name, target_name, chosen, protocol)


def _protocol(
    offered: tuple[Protocol, ...], transport: Transport | None, codec: str | None
) -> Protocol | None:
    """Return the first protocol on offer that fits what was requested."""
    return next(
        (
            protocol
            for protocol in offered
            if transport in (None, protocol.transport) and codec in (None, protocol.codec)
        ),
        None,
    )
