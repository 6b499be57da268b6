"""One small request at a time, for readiness, canaries and endpoint checks; never for load."""

import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any

TIMEOUT_S = 10.0
Ask = Callable[[str, bytes | None], tuple[int, bytes]]
"""As `fetch`: from a URL and a body, or none, to status and body."""


def fetch(
    url: str,
    body: bytes | None = None,
    timeout_s: float = TIMEOUT_S,
    headers: Mapping[str, str] | None = None,
) -> tuple[int, bytes]:
    """Status and body of a GET, or of a POST if there is a `body`. An error status is no exception.

    A body is JSON unless `headers` say another Content-Type.

    `grpc://HOST:PORT/SERVICE/METHOD` is called with the message `body`; the status is the one of HTTP that
    stands for gRPC's code, and for other than 200 the body is the error's text.

    Raises:
        OSError: nothing listens, the connection broke, or no answer came within `timeout_s` seconds.
    """
    if url.startswith("grpc://"):
        return _call(url, body or b"", timeout_s)
    said = ({"Content-Type": "application/json"} if body is not None else {}) | dict(headers or {})
    request = urllib.request.Request(url, data=body, headers=said)  # noqa: S310 - always http
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=timeout_s) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()
    except http.client.HTTPException as error:
        raise ConnectionError(f"what answers at {url} does not speak HTTP: {error!r}") from error


def _call(url: str, body: bytes, timeout_s: float) -> tuple[int, bytes]:
    from loadtests.grpc_client import NotGrpc, call_once

    try:
        answer = call_once(url, body, timeout_s)
    except NotGrpc as error:
        raise ConnectionError(f"what answers at {url} does not speak gRPC: {error}") from error
    said = f"{answer.failure.kind}: {answer.failure.example}".encode() if answer.failure else answer.body
    return answer.status, said


def fetch_json(url: str, ask: Ask = fetch) -> tuple[int, Any]:
    """Status and parsed JSON of a GET; None where the body is not JSON.

    Raises:
        OSError: as `fetch`.
    """
    status, body = ask(url, None)
    try:
        return status, json.loads(body)
    except ValueError:
        return status, None
