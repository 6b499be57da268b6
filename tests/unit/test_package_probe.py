"""The health probe, compiled and run against servers that answer right, wrong or not at all."""

import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "docker" / "healthcheck" / "tandem-probe.c"
EXPECTED = "predictions 0.001 0.01 2\n1.0 -2.5\n"
SEVERAL = (
    "predictions>u 0.001 0.01 2\n1.0 -2.5\npredictions>flags 0.0 0.0 3\ntrue false true\n"
    "predictions>n 0.0 0.0 1\n7\npredictions>none 0.0 0.0 0\n\n"
)
OIP = "outputs>u>data 0.001 0.01 2\n1.0 -2.5\noutputs>v>data 0.0 0.0 1\ntrue\n"
RIGHT = b'{"predictions": [[1.0, -2.5]]}'


@pytest.fixture(scope="module")
def probe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not shutil.which("gcc"):
        pytest.skip("needs gcc; the container tests run the probe where it is built")
    binary = tmp_path_factory.mktemp("probe") / "tandem-probe"
    subprocess.run(["gcc", "-Wall", "-Wextra", "-Werror", "-o", binary, SOURCE, "-lm"], check=True)
    return binary


@contextmanager
def answering(answer: bytes, *, close: bool = True) -> Iterator[tuple[int, Callable[[], bytes]]]:
    """A server for one connection: its port, and what it was sent."""
    received: list[bytes] = []
    done = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                received.append(connection.recv(65536))
                connection.sendall(answer)
                if not close:
                    done.wait(30)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1], lambda: received[0]
        done.set()
        thread.join(5)


def response(body: bytes, status: str = "200 OK") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def check(probe: Path, folder: Path, port: int, expected: str = EXPECTED) -> subprocess.CompletedProcess[str]:
    (folder / "request.http").write_bytes(b"POST /p HTTP/1.0\r\nContent-Length: 2\r\n\r\n{}")
    (folder / "expected.txt").write_text(expected)
    return subprocess.run(
        [probe, "check", str(port), str(folder)], capture_output=True, text=True, check=False
    )


def test_a_right_answer_is_healthy(probe, tmp_path):
    with answering(response(RIGHT)) as (port, received):
        done = check(probe, tmp_path, port)
        assert (done.returncode, done.stderr) == (0, "")
        assert received() == b"POST /p HTTP/1.0\r\nContent-Length: 2\r\n\r\n{}"


@pytest.mark.parametrize(("value", "code"), [("-2.5", 0), ("-2.6", 1)])
def test_tensors_that_are_named_beside_their_data_are_found(probe, tmp_path, value, code):
    body = (
        '{"model_name":"u","outputs":[{"name":"v","shape":[1],"data":[true]},'
        f'{{"name":"u","datatype":"FP32","shape":[1,2],"data":[1.0,{value}]}}]}}'
    )
    with answering(response(body.encode())) as (port, _):
        assert check(probe, tmp_path, port, OIP).returncode == code


def test_a_server_that_keeps_the_connection_open_is_not_waited_for(probe, tmp_path):
    with answering(response(RIGHT), close=False) as (port, _):
        assert check(probe, tmp_path, port).returncode == 0


def test_an_answer_without_length_ends_with_the_connection(probe, tmp_path):
    with answering(b"HTTP/1.0 200 OK\r\n\r\n" + RIGHT) as (port, _):
        assert check(probe, tmp_path, port).returncode == 0


@pytest.mark.parametrize(
    "body",
    [
        b'{"predictions": [[1.0109, -2.5259]]}',
        b'{"predictions": [1.0, -2.5]}',
        b'{\n "predictions": [[\n1e0,-25e-1]\n]\n}\n',
    ],
)
def test_within_tolerance_and_in_any_layout_is_right(probe, tmp_path, body):
    with answering(response(body)) as (port, _):
        assert check(probe, tmp_path, port).returncode == 0


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"predictions": [[1.0, -2.6]]}', "value 1 is -2.6"),
        (b'{"predictions": [[1.02, -2.5]]}', "value 0 is 1.02"),
        (b'{"predictions": [[1.0]]}', "value 1"),
        (b'{"predictions": [[1.0, -2.5, 3.0]]}', "value 2: more than expected"),
        (b'{"predictions": []}', "value 0"),
        (b'{"predictions": [[NaN, -2.5]]}', "value 0"),
        (b'{"predictions": [[1.0, null]]}', "value 1"),
        (b'{"predictions": [[1.0, -2.5]', "value 2"),
        (b'{"error": "no"}', "no predictions"),
        (b"", "no predictions"),
    ],
)
def test_a_wrong_answer_is_unhealthy_and_says_why(probe, tmp_path, body, said):
    with answering(response(body)) as (port, _):
        done = check(probe, tmp_path, port)
    assert done.returncode == 1
    assert said in done.stderr


@pytest.mark.parametrize(
    "row",
    [
        '{"u": [1.0, -2.5], "flags": [true, false, true], "n": 7, "none": []}',
        '{"none": [], "n": 7, "flags": [true,false,true],\n "u": [1.0009, -2.5]\n}',
    ],
)
def test_several_outputs_are_found_by_name_in_any_order(probe, tmp_path, row):
    with answering(response(f'{{"predictions": [{row}]}}'.encode())) as (port, _):
        done = check(probe, tmp_path, port, SEVERAL)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ('{"u": [1.0, -2.5], "flags": [true, true, true], "n": 7, "none": []}', "flags, value 1 is 1"),
        ('{"u": [1.0, -2.5], "flags": [true, false], "n": 7, "none": []}', "flags, value 2: missing"),
        ('{"u": [1.0, -2.5], "flags": [true, false, true], "n": 8, "none": []}', "n, value 0 is 8"),
        ('{"u": [1.0, -2.5], "flags": [true, false, true], "n": 7, "none": [0]}', "none, value 0: more"),
        ('{"u": [1.0, -2.5], "flags": [true, false, true], "none": []}', "no n in"),
        ("[1.0, -2.5]", "no u in"),
    ],
)
def test_one_wrong_output_of_several_is_unhealthy(probe, tmp_path, row, said):
    with answering(response(f'{{"predictions": [{row}]}}'.encode())) as (port, _):
        done = check(probe, tmp_path, port, SEVERAL)
    assert done.returncode == 1
    assert said in done.stderr


def test_an_error_status_is_unhealthy_even_with_the_right_numbers(probe, tmp_path):
    with answering(response(RIGHT, "503 Service Unavailable")) as (port, _):
        done = check(probe, tmp_path, port)
    assert done.returncode == 1
    assert "status 503" in done.stderr


def test_something_that_is_no_http_is_unhealthy(probe, tmp_path):
    with answering(b"SSH-2.0-x\r\n") as (port, _):
        done = check(probe, tmp_path, port)
    assert done.returncode == 1
    assert "does not speak HTTP" in done.stderr


def test_nothing_listening_is_unhealthy(probe, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    done = check(probe, tmp_path, port)
    assert done.returncode == 1
    assert "nothing listens" in done.stderr


def test_get_prints_the_body(probe):
    with answering(response(b'[{"workers": []}]')) as (port, received):
        done = subprocess.run(
            [probe, "get", str(port), "/models/m"], capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stdout) == (0, '[{"workers": []}]\n')
        assert received().startswith(b"GET /models/m HTTP/1.0\r\n")


def test_a_wrong_call_is_told_from_a_wrong_answer(probe, tmp_path):
    for words in ([], ["check", "1"], ["ask", "1", "2"], ["check", "1", str(tmp_path / "missing")]):
        done = subprocess.run([probe, *words], capture_output=True, text=True, check=False)
        assert done.returncode == 2
