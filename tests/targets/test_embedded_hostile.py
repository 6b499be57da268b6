"""The embedded server against requests made to end it, fill its memory or keep it busy."""

import gzip
import http.client
import resource
import shutil
import signal
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from embedded_fixture import Server, started, written_models
from embedded_grpc import call, predict_message, rpc_code

pytestmark = pytest.mark.slow

MB = 1 << 20
REQUEST_BYTES, TOTAL_BYTES = 150 * MB, 250 * MB
METRICS = "/metrics"


def until(happened: Callable[[], bool], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("odd") / "models"
    shutil.copytree(written_models() / "odd", base)
    return base


@pytest.fixture(scope="module")
def server(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    monitoring = tmp_path_factory.mktemp("config") / "monitoring"
    monitoring.write_text(f'prometheus_config {{ enable: true path: "{METRICS}" }}')
    flags = (
        "--model_name=odd",
        f"--model_base_path={folder}",
        f"--monitoring_config_file={monitoring}",
        "--file_system_poll_wait_seconds=0.1",
        f"--request_memory_bytes={REQUEST_BYTES}",
        f"--total_memory_bytes={TOTAL_BYTES}",
        "--drain_s=1",
    )
    with started(*flags) as process:
        yield process.wait_until_listening()


@pytest.fixture(autouse=True)
def is_still_right(server: Server) -> Iterator[None]:
    """Whatever a test did, the server lives and answers as before."""
    yield
    body = {"signature_name": "floats", "inputs": [1.5, 2.0]}
    assert server.predict("odd", body) == (200, {"outputs": [1.5, 2.0]})
    assert server.process.poll() is None


def memory_bytes(server: Server, field: str = "VmRSS") -> int:
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return 1024 * int(status.partition(f"{field}:")[2].split()[0])


# 33 dimensions and more


@pytest.mark.parametrize(("rank", "code"), [(32, "OK"), (33, "INVALID_ARGUMENT"), (200, "INVALID_ARGUMENT")])
def test_string_tensors_in_and_out_by_grpc(server: Server, rank: int, code: str) -> None:
    strings = predict_message("odd", "strings", x=("DT_STRING", [1] * rank, 'string_val: "a"'))
    assert rpc_code(server, "Predict", strings) == code
    ranked = predict_message("odd", "ranked", x=("DT_INT32", [rank], "int_val: 1"))
    assert rpc_code(server, "Predict", ranked) == code


@pytest.mark.parametrize(("rank", "status"), [(32, 200), (33, 400), (70, 400), (900, 400)])
def test_string_tensors_in_and_out_by_rest(server: Server, rank: int, status: int) -> None:
    nested = "[" * rank + '"a"' + "]" * rank
    for key in ("inputs", "instances"):
        body = f'{{"signature_name": "strings", "{key}": {nested}}}'
        assert server.predict("odd", body)[0] == status
    assert server.predict("odd", {"signature_name": "ranked", "inputs": [1] * rank})[0] == status


@pytest.mark.parametrize(
    ("rank", "code"), [(33, "OK"), (64, "OK"), (65, "INVALID_ARGUMENT"), (100_000, "INVALID_ARGUMENT")]
)
def test_float_tensors_of_many_dimensions(server: Server, rank: int, code: str) -> None:
    floats = predict_message("odd", "floats", x=("DT_FLOAT", [1] * rank, "float_val: 1"))
    assert rpc_code(server, "Predict", floats) == code


@pytest.mark.parametrize("shape", [[], [1, 8], [2, 2, 2], [5]])
def test_a_fed_bias_of_a_wrong_shape_is_just_an_error(server: Server, shape: list[int]) -> None:
    inputs = {"x": ("DT_FLOAT", [3, 4], "float_val: 1"), "b": ("DT_FLOAT", shape, "float_val: 1")}
    assert rpc_code(server, "Predict", predict_message("odd", "biased", **inputs)) == "INVALID_ARGUMENT"
    inputs["b"] = ("DT_FLOAT", [8], "float_val: 1")
    assert rpc_code(server, "Predict", predict_message("odd", "biased", **inputs)) == "OK"


# memory


def filled_floats() -> bytes:
    return predict_message("odd", "floats", x=("DT_FLOAT", [2**26], "float_val: 1"))


def filled_strings() -> bytes:
    return predict_message("odd", "strings", x=("DT_STRING", [300_000], f'string_val: "{"x" * 3000}"'))


GRPC_BOMBS = {
    "one float repeated": filled_floats,
    "one string repeated": filled_strings,
    "an impossible shape": lambda: predict_message("odd", "floats", x=("DT_FLOAT", [9 * 10**12], "")),
    "empty map entries": lambda: b"\x12\x00" * MB,
    "empty dimensions": lambda: _dimensions(4 * MB),
}


def _dimensions(count: int) -> bytes:
    """A tensor whose shape is `count` empty dimensions."""
    shape = _field(2, b"\x12\x00" * count)
    return _field(1, _field(1, b"odd")) + _field(2, _field(1, b"x") + _field(2, b"\x08\x01" + shape))


def _field(number: int, content: bytes) -> bytes:
    size, length = len(content), bytearray()
    while size >= 128:
        length.append(size & 127 | 128)
        size >>= 7
    return bytes([number << 3 | 2, *length, size]) + content


def nested(text: bytes, count: int) -> bytes:
    return b'{"signature_name": "floats", "inputs": [' + b",".join([text] * count) + b"]}"


REST_BOMBS = {
    "lists": lambda: nested(b"[]", 20 * MB),
    "numbers": lambda: nested(b"1.5", 16 * MB),
    "objects": lambda: nested(b"{}", 20 * MB),
    "spaces": lambda: b" " * (300 * MB),
}


def peak_growth_bytes(server: Server, work: Callable[[], Any]) -> int:
    """How far the most memory of a server rises above what it has now."""
    Path(f"/proc/{server.process.pid}/clear_refs").write_text("5")  # the peak starts again from here
    before = memory_bytes(server)
    work()
    return memory_bytes(server, "VmHWM") - before


@pytest.mark.parametrize("bomb", GRPC_BOMBS)
def test_small_messages_do_not_become_large(server: Server, bomb: str) -> None:
    message = GRPC_BOMBS[bomb]()

    def attack() -> None:
        with ThreadPoolExecutor(8) as threads:
            codes = set(threads.map(lambda _: rpc_code(server, "Predict", message), range(8)))
        assert codes == {"RESOURCE_EXHAUSTED"}

    assert peak_growth_bytes(server, attack) <= TOTAL_BYTES


def test_packed_messages_do_not_become_large(server: Server) -> None:
    def attack() -> None:
        assert rpc_code(server, "Predict", b"\0" * (400 * MB), packed=True) == "RESOURCE_EXHAUSTED"

    assert peak_growth_bytes(server, attack) <= TOTAL_BYTES


@pytest.mark.parametrize("bomb", REST_BOMBS)
def test_packed_bodies_do_not_become_large(server: Server, bomb: str) -> None:
    body = gzip.compress(REST_BOMBS[bomb](), 6)

    def ask() -> int:
        return server.ask("POST", "/v1/models/odd:predict", body, Content_Encoding="gzip")[0]

    def attack() -> None:
        with ThreadPoolExecutor(4) as threads:
            statuses = set(threads.map(lambda _: ask(), range(4)))
        assert statuses <= {413, 429}

    assert peak_growth_bytes(server, attack) <= TOTAL_BYTES


def test_bodies_that_arrive_together_share_the_budget(server: Server) -> None:
    """Four times 100 MB that never end: the last ones are refused while the first are still coming."""

    def send(connection: socket.socket) -> bytes:
        head = b"POST /v1/models/odd:predict HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % (100 * MB)
        try:
            connection.sendall(head + b" " * (70 * MB))
            connection.settimeout(1)
            return connection.recv(100)
        except TimeoutError:
            return b""
        except ConnectionError:
            return b"HTTP/1.1 429"

    def attack() -> None:
        with ThreadPoolExecutor(4) as threads:
            connections = [socket.create_connection(("127.0.0.1", server.rest)) for _ in range(4)]
            answers = list(threads.map(send, connections))
            for connection in connections:
                connection.close()
        assert any(answer.startswith(b"HTTP/1.1 429") for answer in answers)

    assert peak_growth_bytes(server, attack) <= TOTAL_BYTES


def test_what_fits_the_budget_is_answered(server: Server) -> None:
    size = predict_message("odd", "size", x=("DT_FLOAT", [2**24], "float_val: 1"))
    for _ in range(20):  # each gives its share back
        assert rpc_code(server, "Predict", size) == "OK"
    body = gzip.compress(nested(b"1.5", 100_000))
    status, answer = server.ask("POST", "/v1/models/odd:predict", body, Content_Encoding="gzip")
    assert (status, len(answer["outputs"])) == (200, 100_000)


def test_messages_that_are_no_protobuf_leave_nothing_behind(server: Server) -> None:
    def send(count: int) -> None:
        for _ in range(count):
            assert rpc_code(server, "Predict", b"\xff" * 200) == "INTERNAL"

    send(500)
    before = memory_bytes(server)
    send(2000)
    assert memory_bytes(server) - before < 12 * MB  # 15 kB each would be 30 MB


# texts


def test_errors_that_quote_bytes_keep_their_meaning(server: Server) -> None:
    message = predict_message("odd", "numbers", x=("DT_STRING", [1], r'string_val: "\377\376"'))
    code, details = call(server, "Predict", message)
    assert code == "INVALID_ARGUMENT"
    assert "could not correctly convert string" in details
    body = {"signature_name": "numbers", "instances": [{"b64": "//4="}]}
    status, answer = server.predict("odd", body)
    assert status == 400
    assert "could not correctly convert string" in answer["error"]


@pytest.mark.parametrize(
    "body",
    [
        '{"signature_name": {"a": [' + '{"b": "' * 10 + "x" * 200_000 + '"}' * 10 + "]}}",
        '{"signature_name": [' + '{"a":{"b":{"c":{"d":1}}}},' * 7000 + "1]}",
        '{"signature_name": ' + '{"a":' * 200 + "[" + "1," * 100_000 + "1]" + "}" * 200 + "}",
        '{"signature_name": "floats", "inputs": "' + "ä" * 90_000 + '"}',
    ],
)
def test_error_texts_have_an_end(server: Server, body: str) -> None:
    began = time.monotonic()
    status, answer = server.predict("odd", body)
    assert status == 400
    assert len(answer["error"]) < 20_000
    assert time.monotonic() - began < 5


def test_error_texts_reach_grpc_clients_whole_or_cut(server: Server) -> None:
    message = predict_message("ä" * 50_000, "", x=("DT_FLOAT", [1], "float_val: 1"))
    code, details = call(server, "Predict", message)
    assert (code, details[:40]) == ("NOT_FOUND", "Servable not found for request: Latest(ä")


def test_a_version_of_many_digits(server: Server) -> None:
    for digits in ("9" * 5000, "0" * 5000 + "7"):
        path = f"/v1/models/odd/versions/{digits}"
        assert server.ask("GET", path)[0] == (400 if digits[0] == "9" else 404)
        assert server.ask("POST", f"{path}:predict", {"inputs": [1]})[0] in (400, 404)


def test_unknown_models_are_no_labels(server: Server) -> None:
    for number in range(50):
        assert server.predict(f"nobody{number}", {"inputs": [1]})[0] == 404
        message = predict_message(f"none{number}", "", x=("DT_FLOAT", [1], ""))
        assert rpc_code(server, "Predict", message) == "NOT_FOUND"
    page = server.ask("GET", METRICS)[1]
    assert "nobody" not in page
    assert "none" not in page
    assert 'request_count{model_name="",status="NOT_FOUND"} ' in page


def test_classify_without_its_input_is_an_invalid_argument(server: Server) -> None:
    text = 'model_spec { name: "odd" signature_name: "floats" } input { example_list { examples {} } }'
    assert rpc_code(server, "Classify", text) == "INVALID_ARGUMENT"
    assert rpc_code(server, "Regress", text) == "INVALID_ARGUMENT"
    assert (
        rpc_code(server, "Classify", 'model_spec { name: "odd" signature_name: "floats" }')
        == "INVALID_ARGUMENT"
    )


def test_reloading_is_off_unless_asked_for(server: Server, folder: Path) -> None:
    entry = f'name: "evil" base_path: "{folder}" model_platform: "tensorflow"'
    text = f"config {{ model_config_list {{ config {{ {entry} }} }} }}"
    code, details = call(server, "HandleReloadConfigRequest", text)
    assert code == "UNIMPLEMENTED"
    assert "--enable_reload_config" in details
    assert server.ask("GET", "/v1/models/evil")[0] == 404


# the model's folder


def test_a_folder_that_is_away_for_a_moment_unloads_nothing(server: Server, folder: Path) -> None:
    away = folder.with_name("away")
    folder.rename(away)
    try:
        until(lambda: "model odd stays as it is" in server.log.read_text())
        assert server.predict("odd", {"signature_name": "floats", "inputs": [1.0]})[0] == 200
    finally:
        away.rename(folder)


def test_running_out_of_file_descriptors_unloads_nothing(server: Server) -> None:
    pid = server.process.pid
    connection = http.client.HTTPConnection("127.0.0.1", server.rest, timeout=30)
    connection.request("GET", "/v1/models/odd")
    connection.getresponse().read()  # only now has the server taken the connection
    limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, limits[1]))
    try:
        until(lambda: "Too many open files" in server.log.read_text())
        connection.request("POST", "/v1/models/odd:predict", '{"signature_name": "floats", "inputs": [1]}')
        assert connection.getresponse().status == 200
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
        connection.close()


# the end


def test_clients_that_never_read_do_not_delay_the_end(folder: Path) -> None:
    flags = ("--model_name=odd", f"--model_base_path={folder}", "--drain_s=1")
    with started(*flags) as process:
        server = process.wait_until_listening()
        body = nested(b"1.5", 300_000)
        head = b"POST /v1/models/odd:predict HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(body)
        clients = [socket.create_connection(("127.0.0.1", server.rest)) for _ in range(4)]
        for client in clients:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.sendall(head + body)
        for client in clients:
            assert client.recv(1) == b"H"  # the answer is on its way, and nobody reads on
        began = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(30) == 0
        assert time.monotonic() - began < 15
        for client in clients:
            client.close()
