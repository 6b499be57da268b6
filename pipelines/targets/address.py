"""Running endpoints as sides: an API at an address, `API+SCHEME://HOST:PORT/…MODEL[#BODY]`.

The API `plain` is what many teams' own servers have: some path takes rows, answers rows, and names no model.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from pipelines.errors import RequestError, unknown
from pipelines.hosts import HOST_NAME, url_host
from pipelines.targets.protocols import (
    BODIES,
    OIP_METHOD,
    OIP_PATH,
    TFSERVING_METHOD,
    TFSERVING_PATH,
    TORCHSERVE_METHOD,
    TORCHSERVE_PATH,
    Protocol,
    Transport,
)

URL = "url"
"""The name that a running endpoint has in the place of a target, and of a runner."""

SCHEMES: dict[str, tuple[Transport, int | None]] = {
    "http": ("http", 80),
    "https": ("http", 443),
    "grpc": ("grpc", None),
    "grpcs": ("grpc", None),
}
"""By name the transport, and the port that goes without saying."""

EXAMPLE = "tfserving+http://HOST:8501/v1/models/MODEL"
LONGEST = 400
PART = re.compile(r"[A-Za-z0-9._~@:-]+", re.ASCII)
NUMBER = "NUMBER"
"""Stands for a version that is a whole number of 64 bits."""

DIGITS = re.compile(r"[0-9]{1,18}", re.ASCII)


@dataclass(frozen=True)
class Api:
    """One API that servers have.

    Attributes:
        marker: what precedes a model's name in a path of its REST API; None where any path may answer, and
            names no model.
        more: the word that may follow the name, and what comes after it; the same over gRPC.
        rest: path of a prediction, with the model's name and what follows it.
        bodies: codecs of the REST API, the usual one first.
        method, codec: of a prediction over gRPC; empty where the API has none.
    """

    marker: str | None
    more: Mapping[str, str]
    rest: str
    bodies: tuple[str, ...]
    method: str = ""
    codec: str = ""

    def protocols(self, model: str) -> tuple[Protocol, ...]:
        """Return the ways to ask about `model`."""
        rest = (Protocol("http", body, self.rest.format(model=model)) for body in self.bodies)
        return (*rest, *((Protocol("grpc", self.codec, self.method),) if self.method else ()))


APIS = {
    "tfserving": Api(
        "/v1/models/",
        {"versions": NUMBER, "labels": "LABEL"},
        TFSERVING_PATH,
        ("json-rows", "json-columns"),
        TFSERVING_METHOD,
        "tensor-proto",
    ),
    "torchserve": Api(
        "/predictions/",
        {"": "VERSION"},
        TORCHSERVE_PATH,
        ("json-rows", "json-columns", "npy", "raw"),
        TORCHSERVE_METHOD,
        "tensor-map",
    ),
    "oip": Api(
        "/v2/models/",
        {"versions": "VERSION"},
        OIP_PATH,
        ("oip-json", "oip-binary"),
        OIP_METHOD,
        "oip-grpc",
    ),
    "plain": Api(None, {}, "/{model}", ("json-rows",)),
}


@dataclass(frozen=True)
class Address:
    """Where a running server is, and how to talk to it.

    Attributes:
        api: a name of `APIS`.
        scheme: a name of `SCHEMES`.
        prefix: path in front of the API's own.
        name: what it serves the model under; the last part of the path where the API has no names.
        version: what follows the name, such as `/versions/3`; empty for the server's own choice.
    """

    api: str
    scheme: str
    host: str
    port: int
    prefix: str
    name: str
    version: str = ""

    @property
    def base_url(self) -> str:
        """What precedes the API's own paths."""
        return f"{self.scheme}://{url_host(self.host)}:{self.port}{self.prefix}"

    @property
    def transport(self) -> Transport:
        """What requests travel over."""
        return SCHEMES[self.scheme][0]

    @property
    def served(self) -> str:
        """Name and version of the model, as the paths of a REST API have them."""
        return self.name + self.version

    @property
    def model(self) -> str:
        """What a request's body says of the model: over gRPC the version too, which REST has in the path."""
        return self.served if self.transport == "grpc" else self.name

    def __str__(self) -> str:
        marker = "/" if self.transport == "grpc" else APIS[self.api].marker or "/"
        return f"{self.api}+{self.base_url}{marker}{self.served}"


def is_address(text: str) -> bool:
    """Return whether a side is written as an address, even if it lacks a scheme or a part of `://`."""
    return "://" in text or re.match(r"[^/]*:\d{2,5}(/|$)|[a-z]+\+[a-z]+:?/", text) is not None


def read_address(text: str) -> tuple[Address, Protocol]:
    """Read the address in `text`, and how to ask it.

    Raises:
        RequestError: no API or scheme, or an unknown one; no host, port or model; what an address may not
            have; or a body that its API has not.
    """
    where = f"--sides: {_shown(text)!r}: "
    front, separator, rest = text.partition("://")
    if not separator:
        raise RequestError(f"{where}it has no scheme; an address is written such as {EXAMPLE}")
    api, plus, scheme = front.rpartition("+")
    if not plus:
        raise RequestError(f"{where}it names no API; write one of {', '.join(APIS)} and +, such as {EXAMPLE}")
    if api not in APIS:
        raise unknown("API", _shown(api)[:40], APIS, where=where)
    if scheme not in SCHEMES:
        raise unknown("scheme", scheme[:40], SCHEMES, where=where)
    try:
        url = urlsplit(f"{scheme}://{rest}")
        host, port = url.hostname or "", url.port
    except ValueError as error:
        raise RequestError(f"{where}it cannot be read: {error!s:.160}") from error
    _require_plain(where, url, host)
    transport, usual_port = SCHEMES[scheme]
    if transport == "grpc" and not APIS[api].method:
        raise RequestError(f"{where}the API {api} has no gRPC; allowed are http and https")
    port = port or usual_port
    if port is None:
        raise RequestError(f"{where}it has no port; write {scheme}://{host}:PORT/MODEL")
    prefix, model, version = _parts(where, APIS[api], transport, url.path)
    address = Address(api, scheme, host, port, prefix, model, version)
    return address, _protocol(where, address, url.fragment)


def _shown(text: str) -> str:
    """Return the address without what may be a password."""
    return re.sub(r"\A([a-z]*\+[a-z]*:?/*)?.*@", r"\1…@", text, flags=re.DOTALL)[:120].partition("?")[0]


def _require_plain(where: str, url: SplitResult, host: str) -> None:
    if url.username is not None or url.password is not None:
        raise RequestError(
            f"{where}it holds a user's name or password, which would be on record; give credentials with "
            "--header 'Authorization: Basic env:VARIABLE'"
        )
    if url.query:
        raise RequestError(f"{where}it has a query; leave out ? and what follows, or give it as a --header")
    if not host or not (HOST_NAME.fullmatch(host) or ":" in host) or len(url.path) > LONGEST:
        raise RequestError(f"{where}it has no host that can be read; an address is written such as {EXAMPLE}")


def _parts(where: str, api: Api, transport: Transport, path: str) -> tuple[str, str, str]:
    """Return prefix, model and version of a path."""
    path = path.rstrip("/")
    if api.marker is None:
        return _whole_path(where, path)
    prefix, marker, named = f"{path}/".partition(api.marker)
    if not marker or transport == "grpc":
        prefix, named = "", path.removeprefix("/")
    model, *more = named.rstrip("/").split("/")
    if not PART.fullmatch(model) or not all(map(PART.fullmatch, more)):
        usual = "/MODEL" if transport == "grpc" else f"{api.marker}MODEL or /MODEL"
        raise RequestError(
            f"{where}it does not say which model; its path is {usual}, given {_blotted(path)!r}"
        )
    if not more:
        return prefix, model, ""
    # Over gRPC the path is the model's alone; what looks like that of a REST API is another mistake.
    if not _is_version(api, more) or bool(marker) == (transport == "grpc"):
        begin, over = ("/", "gRPC") if transport == "grpc" else (api.marker, "REST")
        allowed = " or ".join(f"{begin}MODEL/{'/'.join(filter(None, pair))}" for pair in api.more.items())
        raise RequestError(
            f"{where}{'/'.join(more)!r} follows the model's name; allowed over {over}: {allowed}"
        )
    return prefix, model, "/" + "/".join(more)


def _is_version(api: Api, more: list[str]) -> bool:
    """Return whether what follows the model's name says which version."""
    *words, version = more
    kind = api.more.get("/".join(words))
    return kind is not None and (kind != NUMBER or DIGITS.fullmatch(version) is not None)


def _whole_path(where: str, path: str) -> tuple[str, str, str]:
    prefix, _, last = path.rpartition("/")
    if not PART.fullmatch(last):
        raise RequestError(
            f"{where}it has no path that takes rows, such as /predict, given {_blotted(path)!r}"
        )
    return prefix, last, ""


def _blotted(path: str) -> str:
    """Return the path without what may be a password."""
    return re.sub(r".*@", "…@", path, flags=re.DOTALL) or "/"


def _protocol(where: str, address: Address, word: str) -> Protocol:
    """Return the first way to ask that fits what was requested."""
    offered = [
        protocol
        for protocol in APIS[address.api].protocols(address.served)
        if protocol.transport == address.transport
    ]
    if not word:
        return offered[0]
    protocol = next((protocol for protocol in offered if protocol.codec == BODIES.get(word)), None)
    if protocol is None:
        raise unknown("kind of body", word[:60], [protocol.body for protocol in offered], where=where)
    return protocol
