"""The embedded server's HTTP layer and model manager against stand-ins, without tensorflow."""

import asyncio
import shutil
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from pipelines.targets.tfserving.embedded import http_connection
from pipelines.targets.tfserving.embedded.budget import Budget
from pipelines.targets.tfserving.embedded.http_connection import Connection
from pipelines.targets.tfserving.embedded.http_server import HttpServer, Limits
from pipelines.targets.tfserving.embedded.manager import ModelManager, State
from pipelines.targets.tfserving.embedded.rest import JSON, Request, Response
from pipelines.targets.tfserving.embedded.status import Code, ServingError
from pipelines.targets.tfserving.embedded.versions import ModelSettings, VersionPolicy
from pipelines.targets.tfserving.embedded.workers import Workers

LIMITS = Limits(max_body_bytes=1000, max_connections=100, idle_timeout_s=50)
GET = b"GET /%b HTTP/1.1\r\nHost: x\r\n\r\n"


class Echo:
    """Answers with the path and the size of the body; a path with `slow` waits in a worker for `release`."""

    def __init__(self) -> None:
        self.release = threading.Event()

    def is_quick(self, request: Request) -> bool:
        return "slow" not in request.path

    def handle(self, request: Request, quick: bool = False) -> Response:
        if not quick:
            self.release.wait(10)
        return Response(200, JSON, f"{request.path} {len(request.body)};".encode())


Scenario = Callable[[HttpServer, Echo, int], Awaitable[None]]


def run(scenario: Scenario, limits: Limits = LIMITS, api: Echo | None = None) -> None:
    async def main() -> None:
        echo, workers = api or Echo(), Workers(3)
        http = HttpServer(echo, workers, limits, Budget(1 << 30, 1 << 30))
        server = await asyncio.get_running_loop().create_server(lambda: Connection(http), "127.0.0.1", 0)
        try:
            await asyncio.wait_for(scenario(http, echo, server.sockets[0].getsockname()[1]), 20)
        finally:
            echo.release.set()
            server.close()
            await http.drain(1)
            assert workers.stop(5)

    asyncio.run(main())


async def exchange(port: int, *parts: bytes) -> bytes:
    """What comes back until the server hangs up."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for part in parts:
        writer.write(part)
        await writer.drain()
        await asyncio.sleep(0.02)
    answer = await reader.read()
    writer.close()
    return answer


LAST = b"GET /last HTTP/1.1\r\nConnection: close\r\n\r\n"


def test_pipelined_requests_are_answered_in_order() -> None:
    async def scenario(http: HttpServer, echo: Echo, port: int) -> None:
        echo.release.set()
        answer = await exchange(port, GET % b"a" + GET % b"slow" + b"".join([GET % b"c"] * 200) + LAST)
        bodies = [part.rpartition(b"\n")[2] for part in answer.split(b";")[:-1]]
        assert bodies == [b"/a 0", b"/slow 0", *[b"/c 0"] * 200, b"/last 0"]

    run(scenario)


def test_a_slow_request_keeps_nobody_else_waiting() -> None:
    async def scenario(http: HttpServer, echo: Echo, port: int) -> None:
        slow = asyncio.create_task(exchange(port, GET % b"slow" + LAST))
        await asyncio.sleep(0.05)
        assert b"/last 0" in await exchange(port, LAST)
        assert not slow.done()
        echo.release.set()
        assert (await slow).count(b"200 OK") == 2

    run(scenario)


def test_a_body_in_pieces_and_one_byte_at_a_time() -> None:
    async def scenario(http: HttpServer, echo: Echo, port: int) -> None:
        request = b"POST /p HTTP/1.1\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello"
        assert b"/p 5" in await exchange(port, *[request[at : at + 9] for at in range(0, len(request), 9)])

    run(scenario)


def test_expect_100_continue() -> None:
    async def scenario(http: HttpServer, echo: Echo, port: int) -> None:
        head = b"POST /p HTTP/1.1\r\nContent-Length: 5\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n"
        answer = await exchange(port, head, b"hello")
        assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK")

    run(scenario)


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"POST /p HTTP/1.1\r\nContent-Length: 1001\r\n\r\n", b"413"),
        (b"POST /p HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n400\r\n" + b"x" * 1024 + b"\r\n", b"413"),
        (b"\x16\x03\x01 not http\r\n\r\n", b"501"),
        (b"GET /p HTTP/1.1\r\nbad header\r\n\r\n", b"400"),
        (b"GET /p HTTP/1.1\r\nX: " + b"x" * 300_000, b"400"),
        (b"FOO / HTTP/1.1\r\n\r\n", b"501"),
        (b"PROPFIND / HTTP/1.1\r\nConnection: close\r\n\r\n", b"501"),
        (b"GET http://host/p HTTP/1.1\r\nConnection: close\r\n\r\n", b"200"),
        (b"GET /p HTTP/1.0\r\n\r\n", b"200"),
        (b"GET /p HTTP/1.1\r\nConnection: Upgrade, close\r\nUpgrade: h2c\r\n\r\n", b"200"),
    ],
)
def test_what_is_refused_and_what_is_not(sent: bytes, status: bytes) -> None:
    async def scenario(http: HttpServer, echo: Echo, port: int) -> None:
        answer = await exchange(port, sent)
        assert answer.startswith(b"HTTP/1.1 " + status), answer
        assert b"/last 0" in await exchange(port, LAST)

    run(scenario)


@pytest.mark.slow
def test_a_client_that_reads_only_when_all_is_sent_learns_why_it_was_refused() -> None:
    async def scenario(http: HttpServer, echo: Echo, port: int) -> None:
        head, body = b"POST /p HTTP/1.1\r\nContent-Length: 20000000\r\n\r\n", b"x" * 1_000_000
        assert (await exchange(port, head, *[body] * 20)).startswith(b"HTTP/1.1 413")
        await asyncio.sleep(0.05)
        assert not http.connections

    run(scenario)


@pytest.mark.slow
def test_a_refused_client_that_never_hangs_up_is_hung_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(http: HttpServer, echo: Echo, port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"no request\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 501")
        writer.write(GET % b"a")  # is not answered any more
        await asyncio.sleep(0.05)
        assert len(http.connections) == 1
        await asyncio.sleep(0.4)
        assert not http.connections
        writer.close()

    monkeypatch.setattr(http_connection, "_LINGER_S", 0.3)
    run(scenario)


def test_a_client_that_goes_away_harms_nobody() -> None:
    async def scenario(http: HttpServer, echo: Echo, port: int) -> None:
        for sent in (
            b"",
            b"POST /p HTTP/1.1\r\nContent-Length: 50\r\n\r\nhal",
            GET % b"slow",
            GET % b"a" * 500,
        ):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(sent)
            await asyncio.sleep(0.02)
            writer.transport.abort()
        echo.release.set()
        await asyncio.sleep(0.1)
        assert not http.connections
        assert b"/last 0" in await exchange(port, LAST)

    run(scenario)


def test_draining_finishes_what_runs_and_refuses_the_rest() -> None:
    async def scenario(http: HttpServer, echo: Echo, port: int) -> None:
        idle = asyncio.create_task(exchange(port))
        busy = asyncio.create_task(exchange(port, GET % b"slow", GET % b"later"))
        await asyncio.sleep(0.1)
        drained = asyncio.create_task(http.drain(5))
        await asyncio.sleep(0.05)
        assert await idle == b""
        echo.release.set()
        assert await drained
        answer = await busy
        assert b"200 OK" in answer
        assert b"Connection: close" in answer
        assert b"/later" not in answer

    run(scenario)


def test_a_drain_ends_in_time() -> None:
    async def scenario(http: HttpServer, echo: Echo, port: int) -> None:
        busy = asyncio.create_task(exchange(port, GET % b"slow"))
        await asyncio.sleep(0.05)
        began = time.monotonic()
        assert not await http.drain(0.1)
        assert time.monotonic() - began < 20
        assert await busy == b""

    run(scenario)


class Recorder(Echo):
    """Notes the order of what it answers, a few milliseconds each on the event loop."""

    def __init__(self) -> None:
        super().__init__()
        self.paths: list[str] = []

    def handle(self, request: Request, quick: bool = False) -> Response:
        time.sleep(0.002)
        self.paths.append(request.path)
        return super().handle(request, quick)


@pytest.mark.slow
def test_one_client_that_pipelines_does_not_hold_up_the_others() -> None:
    recorder = Recorder()

    async def scenario(http: HttpServer, echo: Echo, port: int) -> None:
        greedy = asyncio.create_task(exchange(port, GET % b"greedy" * 1000 + LAST))
        while not recorder.paths:
            await asyncio.sleep(0.001)
        assert b"/modest 0" in await exchange(port, b"GET /modest HTTP/1.1\r\nConnection: close\r\n\r\n")
        assert recorder.paths.index("/modest") < 200
        assert (await greedy).count(b"/greedy 0") == 1000

    run(scenario, api=recorder)


@pytest.mark.slow
def test_answers_that_nobody_reads_stop_the_answering_and_end_with_the_drain() -> None:
    class Large(Recorder):
        def handle(self, request: Request, quick: bool = False) -> Response:
            super().handle(request, quick)
            return Response(200, JSON, b"x" * 4_000_000)

    large = Large()

    async def scenario(http: HttpServer, echo: Echo, port: int) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
        writer.write(GET % b"a" * 50)
        while not large.paths:
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.2)
        assert len(large.paths) < 10
        began = time.monotonic()
        assert not await http.drain(0.2)
        while http.connections:
            await asyncio.sleep(0.01)
        assert time.monotonic() - began < 5
        writer.transport.abort()

    run(scenario, api=large)


def test_a_client_that_ended_its_side_gets_its_answers() -> None:
    async def scenario(http: HttpServer, echo: Echo, port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(GET % b"slow" + GET % b"b")
        writer.write_eof()
        await asyncio.sleep(0.05)
        echo.release.set()
        assert (await reader.read()).count(b"200 OK") == 2
        writer.close()

    run(scenario)


@pytest.mark.parametrize(
    "body",
    [
        b"1\r\nx\r\n0\r\n" + b"Trailer-%d: y\r\n" * 100_000,
        b"1\r\nx\r\n0\r\nTrailer: " + b"y" * 3_000_000,
        b"1;" + b"extension" * 300_000,
    ],
)
def test_trailers_and_extensions_count_into_the_limit_of_a_head(body: bytes) -> None:
    async def scenario(http: HttpServer, echo: Echo, port: int) -> None:
        head = b"POST /p HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
        try:
            answer = await exchange(port, head + body)
        except ConnectionError:  # hung up with some of our bytes unread
            answer = b"HTTP/1.1 400"
        assert answer.startswith(b"HTTP/1.1 400")

    run(scenario)


OFFER = b"Connection: Upgrade, HTTP2-Settings, close\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"


@pytest.mark.parametrize("step", [1, 50, 10_000])
@pytest.mark.parametrize(
    ("framing", "body"),
    [
        (b"Content-Length: 5\r\n", b"hello"),
        (b"Transfer-Encoding: chunked\r\n", b"5\r\nhello\r\n0\r\n\r\n"),
        (b"Expect: 100-continue\r\nContent-Length: 5\r\n", b"hello"),
    ],
)
def test_an_offer_to_upgrade_is_not_taken_and_the_body_is_read(
    framing: bytes, body: bytes, step: int
) -> None:
    async def scenario(http: HttpServer, echo: Echo, port: int) -> None:
        first = GET % b"before"
        sent = first + b"POST /p?q HTTP/1.1\r\nHost: x\r\n" + OFFER + framing + b"\r\n" + body
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for at in range(0, len(sent), step):
            writer.write(sent[at : at + step])
            await writer.drain()
            await asyncio.sleep(0)
        answer = await reader.read()
        assert b"/before 0;" in answer
        assert answer.endswith(b"/p 5;")
        assert answer.count(b"100 Continue") == (b"Expect" in framing)
        writer.close()

    run(scenario)


SHORT = Limits(max_body_bytes=1000, max_connections=3, idle_timeout_s=0.3)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        (b"", b""),
        (GET % b"a", b"HTTP/1.1 200"),
        (b"GET /a HTTP/1.1\r\nHo", b"HTTP/1.1 408"),
        (b"POST /a HTTP/1.1\r\nContent-Length: 9\r\n\r\nhal", b"HTTP/1.1 408"),
        (b"POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nT", b"HTTP/1.1 408"),
    ],
)
def test_clients_that_stall_are_hung_up_on(sent: bytes, answer: bytes) -> None:
    async def scenario(http: HttpServer, echo: Echo, port: int) -> None:
        assert (await asyncio.wait_for(exchange(port, sent), 15)).startswith(answer)

    run(scenario, SHORT)


@pytest.mark.slow
def test_a_head_does_not_take_for_ever_by_coming_in_drops() -> None:
    async def scenario(http: HttpServer, echo: Echo, port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /a HTTP/1.1\r\nX: ")
        answer = asyncio.create_task(reader.read())
        while not answer.done():
            writer.write(b"x")
            await asyncio.sleep(0.02)
        assert (await answer).startswith(b"HTTP/1.1 408")
        writer.close()

    run(scenario, SHORT)


@pytest.mark.slow
def test_a_slow_answer_is_no_stall() -> None:
    async def scenario(http: HttpServer, echo: Echo, port: int) -> None:
        slow = asyncio.create_task(exchange(port, b"GET /slow HTTP/1.1\r\nConnection: close\r\n\r\n"))
        await asyncio.sleep(1)
        echo.release.set()
        assert b"200 OK" in await slow

    run(scenario, SHORT)


def test_connections_are_limited_and_the_idle_ones_make_room() -> None:
    limits = Limits(max_body_bytes=1000, max_connections=3, idle_timeout_s=50)

    async def scenario(http: HttpServer, echo: Echo, port: int) -> None:
        idle = [asyncio.create_task(exchange(port, GET % b"%d" % number)) for number in range(3)]
        while len(http.connections) < 3:
            await asyncio.sleep(0.01)
        slow = [asyncio.create_task(exchange(port, GET % b"slow" + LAST)) for _ in range(3)]
        done, _ = await asyncio.wait(idle, timeout=10)
        assert len(done) == 3
        while sum(connection.is_pending for connection in http.connections) < 3:
            await asyncio.sleep(0.01)
        assert (await exchange(port, GET % b"one-too-many")).startswith(b"HTTP/1.1 503")
        echo.release.set()
        for answer in slow:
            assert (await answer).count(b"200 OK") == 2

    run(scenario, limits)


# the model manager


class Fake:
    """A servable that is nothing but its name and version."""

    def __init__(self, name: str, version: int, folder: Path) -> None:
        if (folder / "saved_model.pb").exists() and (folder / "saved_model.pb").read_text() == "broken":
            raise ServingError(Code.DATA_LOSS, "broken")
        self.name, self.version, self.folder = name, version, folder


def manager() -> ModelManager:
    load: Any = Fake
    return ModelManager(load, 0)


def add(base: Path, *versions: int, text: str = "") -> None:
    for version in versions:
        (base / str(version)).mkdir(parents=True, exist_ok=True)
        (base / str(version) / "saved_model.pb").write_text(text)


def states(models: ModelManager, name: str = "m") -> list[tuple[int, State]]:
    return [(status.version, status.state) for status in models.status(name)]


@pytest.mark.slow
def test_the_highest_version_is_served_and_replaces_the_one_before(tmp_path: Path) -> None:
    models, settings = manager(), [ModelSettings("m", tmp_path)]
    models.apply(settings)
    with pytest.raises(ServingError, match="Could not find any versions of model m"):
        models.status("m")
    add(tmp_path, 1, 2)
    models.apply(settings)
    assert states(models) == [(2, State.AVAILABLE)]
    add(tmp_path, 10)
    models.apply(settings)
    assert states(models) == [(10, State.AVAILABLE), (2, State.END)]
    assert models.find("m").version == 10
    with pytest.raises(ServingError, match=r"Servable not found for request: Specific\(m, 2\)"):
        models.find("m", 2)


@pytest.mark.slow
def test_a_version_that_fails_is_reported_and_does_not_replace_a_good_one(tmp_path: Path) -> None:
    models, settings = manager(), [ModelSettings("m", tmp_path)]
    add(tmp_path, 1)
    models.apply(settings)
    add(tmp_path, 2, text="broken")
    models.apply(settings)
    assert states(models) == [(2, State.END), (1, State.AVAILABLE)]
    assert models.status("m", 2)[0].error.text == "DATA_LOSS: broken"
    assert models.find("m").version == 1
    add(tmp_path, 2, text="mended")
    models.apply(settings)
    assert states(models) == [(2, State.AVAILABLE), (1, State.END)]


@pytest.mark.slow
def test_labels_policies_and_models_that_are_dropped(tmp_path: Path) -> None:
    models = manager()
    add(tmp_path, 1, 2, 3)
    models.apply(
        [ModelSettings("m", tmp_path, VersionPolicy(specific=frozenset([1, 3])), {"stable": 1, "gone": 2})]
    )
    assert states(models) == [(3, State.AVAILABLE), (1, State.AVAILABLE)]
    assert models.find("m", label="stable").version == 1
    with pytest.raises(ServingError, match="Unrecognized servable version label: new"):
        models.find("m", label="new")
    with pytest.raises(ServingError, match=r"Specific\(m, 2\)"):
        models.find("m", label="gone")
    with pytest.raises(ServingError, match="ModelSpec has no name specified"):
        models.find("", label="stable")
    models.apply([])
    assert states(models) == [(3, State.END), (1, State.END)]
    with pytest.raises(ServingError, match=r"Latest\(m\)"):
        models.find("m")


def test_folders_are_polled(tmp_path: Path) -> None:
    load: Any = Fake
    models = ModelManager(load, 0.02)
    models.apply([ModelSettings("m", tmp_path / "later")])
    models.start()
    try:
        add(tmp_path / "later", 4)
        end = time.monotonic() + 5
        while not models.available() and time.monotonic() < end:
            time.sleep(0.01)
        assert models.available() == {"m": [4]}
    finally:
        models.stop()


@pytest.mark.slow
def test_a_folder_that_cannot_be_read_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models, settings = manager(), [ModelSettings("m", tmp_path / "m")]
    add(tmp_path / "m", 1)
    models.apply(settings)
    (tmp_path / "m").rename(tmp_path / "away")
    models.apply(settings)
    assert states(models) == [(1, State.AVAILABLE)]
    (tmp_path / "away").rename(tmp_path / "m")
    with monkeypatch.context() as patched:
        patched.setattr(Path, "iterdir", _refused)
        models.apply(settings)
    with monkeypatch.context() as patched:
        patched.setattr(Path, "is_dir", _refused)
        models.apply(settings)
    assert states(models) == [(1, State.AVAILABLE)]
    shutil.rmtree(tmp_path / "m/1")
    models.apply(settings)
    assert states(models) == [(1, State.END)]


def _refused(path: Path) -> Any:
    raise PermissionError(13, "Permission denied", str(path))


def test_a_version_that_failed_for_the_moment_is_tried_again_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s, failures = [1000.0], [2]

    def load(name: str, version: int, folder: Path) -> Any:
        if failures[0]:
            failures[0] -= 1
            raise ServingError(Code.RESOURCE_EXHAUSTED, "no memory")
        return Fake(name, version, folder)

    monkeypatch.setattr(time, "monotonic", lambda: now_s[0])
    models, settings = ModelManager(load, 0), [ModelSettings("m", tmp_path)]
    add(tmp_path, 1)
    for later_s, state in (
        (0, State.END),
        (30, State.END),
        (61, State.END),
        (100, State.END),
        (200, State.AVAILABLE),
    ):
        now_s[0] = 1000.0 + later_s
        models.apply(settings)
        assert states(models) == [(1, state)]
