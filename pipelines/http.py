"""One small request at a time, for readiness, canaries and endpoint checks; never for load."""

import http.client
import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import IO, Any

TIMEOUT_S = 10.0
Ask = Callable[[str, bytes | None], tuple[int, bytes]]
"""As `fetch`: from a URL and a body, or none, to status and body."""


@dataclass(frozen=True)
class Reply:
    """An answer: its status, its body, and its headers by name in lower case."""

    status: int
    body: bytes
    headers: Mapping[str, str]


def fetch(
    url: str,
    body: bytes | None = None,
    timeout_s: float = TIMEOUT_S,
    headers: Mapping[str, str] | None = None,
) -> tuple[int, bytes]:
    """Return status and body of a GET, or of a POST if there is a `body`; raise nothing for error statuses.

    A body is JSON unless `headers` say another Content-Type.

    `grpc://HOST:PORT/SERVICE/METHOD` is called with the message `body`; the status is the one of HTTP that
    stands for gRPC's code, and for other than 200 the body is the error's text.

    Raises:
        OSError: nothing listens, the connection broke, or no answer came within `timeout_s` seconds.
    """
    reply = fetch_once(url, body, timeout_s, headers, None, redirects=True)
    return reply.status, reply.body


def fetch_once(
    url: str,
    body: bytes | None,
    timeout_s: float,
    headers: Mapping[str, str] | None,
    tls: ssl.SSLContext | None,
    *,
    redirects: bool = False,
) -> Reply:
    """Fetch once, over https and grpcs too, which need `tls`; a redirect is an answer unless asked for.

    Raises:
        OSError: as `fetch`, or the encryption failed.
    """
    if url.startswith(("grpc://", "grpcs://")):
        return _call(url, body or b"", timeout_s, headers, tls)
    sent = ({"Content-Type": "application/json"} if body is not None else {}) | dict(headers or {})
    request = urllib.request.Request(url, data=body, headers=sent)  # noqa: S310 - http or https
    handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]
    if tls is not None:
        handlers.append(urllib.request.HTTPSHandler(context=tls))
    if not redirects:
        handlers.append(_Stay())
    try:
        with urllib.request.build_opener(*handlers).open(request, timeout=timeout_s) as response:
            return Reply(response.status, response.read(), _lower(response.headers))
    except urllib.error.HTTPError as error:
        with error:
            return Reply(error.code, error.read(), _lower(error.headers))
    except http.client.RemoteDisconnected as error:
        raise ConnectionError(f"{url} closed the connection without an answer") from error
    except http.client.HTTPException as error:
        raise ConnectionError(f"what answers at {url} does not speak HTTP: {error!r}") from error


class _Stay(urllib.request.HTTPRedirectHandler):
    """Follows no redirect, which would send headers to another server."""

    def redirect_request(
        self,
        req: urllib.request.Request,  # noqa: ARG002
        fp: IO[bytes],  # noqa: ARG002
        code: int,  # noqa: ARG002
        msg: str,  # noqa: ARG002
        headers: http.client.HTTPMessage,  # noqa: ARG002
        newurl: str,  # noqa: ARG002
    ) -> None:
        """Make no request of it."""
        return


def _lower(headers: Any) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _call(
    url: str, body: bytes, timeout_s: float, headers: Mapping[str, str] | None, tls: ssl.SSLContext | None
) -> Reply:
    from loadtests.grpc_client import PROTOCOL, NotGrpc, call_once

    if tls is not None:
        tls.set_alpn_protocols([PROTOCOL])
    try:
        answer = call_once(url, body, timeout_s, headers, tls)
    except NotGrpc as error:
        raise ConnectionError(f"what answers at {url} does not speak gRPC: {error}") from error
    content = f"{answer.failure.kind}: {answer.failure.example}".encode() if answer.failure else answer.body
    return Reply(answer.status, content, {})


def fetch_json(url: str, ask: Ask = fetch) -> tuple[int, Any]:
    """Return status and parsed JSON of a GET; None where the body is not JSON.

    Raises:
        OSError: as `fetch`.
    """
    status, body = ask(url, None)
    try:
        return status, json.loads(body)
    except ValueError:
        return status, None
