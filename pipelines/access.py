"""Access to running endpoints: headers, whose values stay secret, certificates, patience."""

import ctypes
import os
import re
import ssl
import time
import urllib.error
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from urllib.parse import urlsplit

from loadtests.private import blotted
from pipelines.errors import MachineError, RequestError
from pipelines.http import TIMEOUT_S, Reply, fetch_once

HEADER = re.compile(
    r"(?:(?P<side>[A-Za-z0-9][A-Za-z0-9._-]{0,39})=)?(?P<name>[A-Za-z0-9!#$%&'*+.^_`|~-]+):(?P<value>.*)",
    re.ASCII | re.DOTALL,
)
# What a server is told apart by, or what the load generator decides itself.
OURS = ("content-type", "content-length", "host", "transfer-encoding", "connection", "te", "user-agent")
PRIVATE = re.compile(r"auth|cookie|token|secret|key|password", re.IGNORECASE)
FROM_ENVIRONMENT, FROM_FILE = "env:", "file:"
SECRET_LIMIT_BYTES = 65_536
HOW = "write 'Authorization: Bearer env:VARIABLE' or 'Authorization: file:PATH'"
OK = 200
SHOWN_BYTES = 200
REDIRECTS = range(300, 400)
REFUSED = (401, 403)
BUSY = (429, 503)
TRIES = 3
LONGEST_WAIT_S = 10.0


@dataclass(frozen=True)
class Header:
    """One header for running endpoints; `side` is the only one that gets it, "" for all.

    `secret` is the part of its value that came from outside the command line, and `variable` what it came
    from, "" where that was no variable of the environment.
    """

    side: str
    name: str
    value: str = field(repr=False)
    secret: str = field(repr=False)
    variable: str = ""


@dataclass(frozen=True)
class Access:
    """Access to one running endpoint.

    Attributes:
        headers: sent with every request.
        secrets: what of them is blotted out wherever a server quotes it.
        ca_file: PEM file that vouches for it, beside none of the machine's own.
        insecure: whether its certificate is not looked at.
        timeout_s: how long it may stay silent, seconds.
    """

    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)
    ca_file: Path | None = None
    insecure: bool = False
    timeout_s: float = TIMEOUT_S

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        return tls_context(self.ca_file, insecure=self.insecure)

    def ask(
        self, url: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, bytes]:
        """Return status and body of one request, as `pipelines.http.fetch`; follow no redirects.

        Who answers that it is busy, and for how long, is asked again if that is short.

        Raises:
            RequestError: it refuses us, or sends us elsewhere.
            MachineError: encryption failed, or it stays busy.
            OSError: as `fetch`.
        """
        reply = self._patiently(url, body, {**(headers or {}), **self.headers})
        answer = reply.body
        if reply.status != OK:
            answer = blotted(answer.decode(errors="replace"), self.secrets).encode()
        self._require_welcome(url, reply, self.quoted(answer))
        return reply.status, answer

    def quoted(self, answer: bytes) -> str:
        """Return an answer's beginning as messages show it: a server may echo the headers it was sent."""
        return blotted(answer[:SHOWN_BYTES].decode(errors="replace"), self.secrets)

    def _patiently(self, url: str, body: bytes | None, headers: Mapping[str, str]) -> Reply:
        for _ in range(TRIES - 1):
            reply = self._once(url, body, headers)
            wait_s = retry_after_s(reply)
            if wait_s is None or wait_s > LONGEST_WAIT_S:
                return reply
            time.sleep(wait_s)
        return self._once(url, body, headers)

    def _once(self, url: str, body: bytes | None, headers: Mapping[str, str]) -> Reply:
        tls = self._tls if url.startswith(("https:", "grpcs:")) else None
        try:
            return fetch_once(url, body, self.timeout_s, headers, tls)
        except OSError as error:
            cause = error.reason if isinstance(error, urllib.error.URLError) else error
            if not isinstance(cause, ssl.SSLError):
                raise
            why = getattr(cause, "verify_message", "") or cause.reason or str(cause)
            raise MachineError(
                f"TLS with {urlsplit(url).netloc} failed: {why}; name who vouches for it with --ca-file "
                "FILE, or do not look with --insecure"
            ) from error

    def _require_welcome(self, url: str, reply: Reply, message: str) -> None:
        if reply.status in REFUSED:
            sent = "the headers it was given" if self.headers else "a request without credentials"
            raise RequestError(f"{url} answers {reply.status} to {sent}: {message!r}; {HOW} after --header")
        if reply.status in REDIRECTS:
            to = blotted(reply.headers.get("location", "nowhere"), self.secrets)
            raise RequestError(
                f"{url} redirects to {to[:200]} ({reply.status}); no redirect is followed, since it would be "
                "measured with the server: give the address it leads to"
            )
        wait_s = retry_after_s(reply)
        if wait_s is not None:
            raise MachineError(
                f"{url} answers {reply.status} and asks to come again after {wait_s:g} s: {message!r}; it is "
                "too busy to be measured now"
            )


@dataclass(frozen=True)
class Accesses:
    """Access to all running endpoints of a command."""

    headers: tuple[Header, ...] = field(default=(), repr=False)
    ca_file: Path | None = None
    insecure: bool = False
    timeout_s: float = TIMEOUT_S

    def of(self, side: str) -> Access:
        """Return how to reach the side called `side`."""
        own = [header for header in self.headers if header.side in ("", side)]
        return Access(
            headers={header.name: header.value for header in own},
            secrets=tuple(header.secret for header in own if header.secret),
            ca_file=self.ca_file,
            insecure=self.insecure,
            timeout_s=self.timeout_s,
        )

    def require_sides(self, names: Sequence[str]) -> None:
        """Raise RequestError if a header is for a side that is not a running endpoint."""
        for header in self.headers:
            if header.side and header.side not in names:
                endpoints = ", ".join(names) or "none"
                raise RequestError(
                    f"--header: {header.side}={header.name} is for no running endpoint; those are: "
                    f"{endpoints}"
                )


def read_accesses(
    headers: Sequence[str], ca_file: Path | None, *, insecure: bool, timeout_s: float = TIMEOUT_S
) -> Accesses:
    """Read the access options; forget variables that hold a secret, see `_forget`.

    Raises:
        RequestError: a header that is none, a variable or file that holds nothing, or a CA file that cannot
            be read; never shows a value.
    """
    tls_context(ca_file, insecure=insecure)
    parsed = tuple(map(_read, headers))
    for header in parsed:
        if header.variable:
            _forget(header.variable)
    return Accesses(parsed, ca_file, insecure, timeout_s)


def _forget(variable: str) -> None:
    """Remove a variable from what child processes inherit and from what the system reports of this one.

    The kernel shows the memory that a process was started with, which removing a variable leaves as it was.
    """
    with suppress(OSError):  # an interpreter without a C library to load, such as a static one
        c_library = ctypes.CDLL(None)
        c_library.getenv.restype = ctypes.c_void_p
        place = c_library.getenv(os.fsencode(variable))
        if place is not None:
            ctypes.memset(place, ord("*"), len(ctypes.string_at(place)))
    os.environ.pop(variable, None)


def tls_context(ca_file: Path | None, *, insecure: bool) -> ssl.SSLContext:
    """Return the TLS context that checks a server's certificate.

    Raises:
        RequestError: `ca_file` cannot be read.
    """
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        raise RequestError(
            f"--ca-file {ca_file} holds no certificates that can be read: {error.strerror or error}"
        ) from error
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def retry_after_s(reply: Reply) -> float | None:
    """Return the seconds that a busy server asks to wait; None if it is not busy or does not say."""
    delay = reply.headers.get("retry-after", "")
    return float(delay) if reply.status in BUSY and delay.isdecimal() else None


def hidden(arguments: Sequence[str]) -> list[str]:
    """Return a command line for the record, without the values of headers that were typed in it."""
    words: list[str] = []
    for word in arguments:
        if words and words[-1] == "--header":
            words.append(_hidden(word))
        elif word.startswith("--header="):
            words.append(f"--header={_hidden(word.removeprefix('--header='))}")
        else:
            words.append(word)
    return words


def _hidden(header: str) -> str:
    name, colon, value = header.partition(":")
    named = value.split() if colon else []
    if named and named[-1].startswith((FROM_ENVIRONMENT, FROM_FILE)):
        return header
    return f"{name}: ***"


def _read(text: str) -> Header:
    match = HEADER.fullmatch(text)
    if match is None:
        raise RequestError(
            "--header: what was given is no header; write 'Name: value', or 'SIDE=Name: value' for one "
            f"side; for what nobody may see {HOW}"
        )
    name, value = match["name"], match["value"].strip()
    if name.lower() in OURS:
        raise RequestError(f"--header: {name} is the load generator's own; leave it out")
    *words, last = value.split() or [""]
    if last.startswith((FROM_ENVIRONMENT, FROM_FILE)):
        secret = _secret(name, last)
        value = " ".join((*words, secret))
    elif PRIVATE.search(name):
        raise RequestError(
            f"--header: the value of {name} is on the command line, where everybody on this machine can read "
            f"it; {HOW}"
        )
    else:
        secret = ""
    if not value or not (value.isascii() and value.isprintable()):
        raise RequestError(f"--header: the value of {name} is empty, or holds what no header may hold")
    variable = last.removeprefix(FROM_ENVIRONMENT) if last.startswith(FROM_ENVIRONMENT) else ""
    return Header(match["side"] or "", name, value, secret, variable)


def _secret(name: str, source: str) -> str:
    if source.startswith(FROM_ENVIRONMENT):
        variable = source.removeprefix(FROM_ENVIRONMENT)
        secret = os.environ.get(variable, "").strip()
        if not secret:
            raise RequestError(f"--header: {name} is to come from the variable {variable}, which is not set")
        return secret
    path = Path(source.removeprefix(FROM_FILE))
    try:
        path = path.expanduser()
        with path.open("rb") as file:
            content = file.read(SECRET_LIMIT_BYTES + 1)
    except (OSError, RuntimeError) as error:
        why = getattr(error, "strerror", None) or "there is no such user, or it has no home folder"
        raise RequestError(f"--header: {name} is to come from {path}, which cannot be read: {why}") from error
    secret = content.decode(errors="replace").strip()
    if not secret or len(content) > SECRET_LIMIT_BYTES:
        raise RequestError(f"--header: {name} is to come from {path}, which is empty or too large")
    return secret
