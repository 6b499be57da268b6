"""How a server for a SavedModel is planned; nothing is started but stand-ins for the binary."""

import http.server
import json
import threading
from contextlib import contextmanager, nullcontext
from dataclasses import replace

import pytest

from models.digits_cnn import MODEL
from models.spec import TensorSpec
from pipelines.errors import MachineError
from pipelines.export import stage as exporting
from pipelines.processes.children import child_environment, python_module
from pipelines.processes.group import free_ports
from pipelines.runners.local import LocalServer
from pipelines.serve import readiness
from pipelines.targets.contained import CONTAINED
from pipelines.targets.presets import changed, resolve
from pipelines.targets.server_plan import ServeRequest
from pipelines.targets.tfserving.embedded.flags import parse_flags
from pipelines.targets.tfserving.export import WARMUP_BATCHES
from pipelines.targets.tfserving.server import BINARY, EMBEDDED_NAME, find_implementation, plan
from pipelines.targets.tfserving.settings import TFServingSettings
from pipelines.targets.tuning import axes_of

VERSION = "TensorFlow ModelServer: 2.19.1-rc0\\nTensorFlow Library: 2.19.1\\n"


@pytest.fixture
def request_for(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    return lambda **changes: ServeRequest(MODEL, tmp_path / "artifacts", tmp_path, **changes)


def put_binary(folder, script):
    (folder / BINARY).write_text(f"#!/bin/sh\n{script}\n")
    (folder / BINARY).chmod(0o755)


def flag(made, name):
    (value,) = [
        argument.split("=", 1)[1] for argument in made.launch.argv if argument.startswith(f"--{name}=")
    ]
    return value


def test_the_binary_on_path_comes_first(request_for, tmp_path):
    put_binary(tmp_path, f"printf '{VERSION}'")
    made = plan(request_for())
    assert made.launch.argv[0] == str(tmp_path / BINARY)
    assert (made.implementation.name, made.implementation.version) == (BINARY, "2.19.1-rc0")
    assert made.implementation.stand_in is False
    assert not [argument for argument in made.launch.argv if argument.startswith("--host")]


@pytest.mark.parametrize("script", ["exit 127", "echo something else", "exec /no/such/interpreter"])
def test_a_binary_that_does_not_answer_is_passed_over(request_for, tmp_path, script):
    put_binary(tmp_path, script)
    assert find_implementation().stand_in


def test_without_the_binary_the_embedded_server_says_what_it_is(request_for):
    made = plan(request_for())
    command = tuple(python_module("pipelines.targets.tfserving.embedded"))
    assert made.launch.argv[: len(command)] == command
    assert made.implementation.name == EMBEDDED_NAME
    assert made.implementation.stand_in is True
    assert made.implementation.note.startswith("not TensorFlow Serving: ")
    assert "TensorFlow Serving" not in made.implementation.name


def test_the_flags_are_tensorflow_servings_own(request_for, tmp_path):
    (port,) = free_ports(1)
    made = plan(request_for(rest_port=port, cores=(0,)))
    assert flag(made, "rest_api_port") == str(port)
    assert flag(made, "port") not in (str(port), "0")
    assert flag(made, "model_name") == "digits_cnn"
    assert flag(made, "model_base_path") == str((tmp_path / "artifacts/digits_cnn").resolve())
    assert flag(made, "host") == "127.0.0.1"
    assert made.endpoint.base_url == f"http://127.0.0.1:{port}"
    assert made.endpoint.predict_path == "/v1/models/digits_cnn:predict"
    assert made.given.cores == (0,)
    assert child_environment(made.launch.env)["CUDA_VISIBLE_DEVICES"] == ""


def test_tuning_adds_flags_and_nothing_else(request_for):
    presets = [resolve(name, ["tfserving"])["tfserving"] for name in ("default", "tuned")]
    default, tuned = ({a.split("=")[0] for a in plan(request_for(preset=p)).launch.argv} for p in presets)
    assert default < tuned


def test_a_model_that_cannot_be_batched_is_served_and_recorded_without_it(tmp_path, request_for):
    preset = resolve("tuned", ["tfserving"])["tfserving"]
    varying = replace(MODEL, inputs=(TensorSpec("x", "float32", (None, None, 8)),))
    request = ServeRequest(varying, tmp_path / "artifacts", tmp_path, preset=preset)
    for made, batched in ((plan(request_for(preset=preset)), True), (plan(request), False)):
        assert made.implementation.preset == "tuned"
        assert ("enable_batching" in made.implementation.settings) is batched
        assert ("--enable_batching=true" in made.launch.argv) is batched
        assert "--rest_api_num_threads=32" in made.launch.argv


@contextmanager
def answering(port, status, value):
    """Something at `port` that answers every GET like this."""

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            body = value if isinstance(value, bytes) else json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with http.server.HTTPServer(("127.0.0.1", port), Answer) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield
        finally:
            server.shutdown()


def versions(*states):
    return {"model_version_status": [{"version": str(n), "state": s} for n, s in enumerate(states)]}


@pytest.mark.parametrize(
    ("status", "value", "said"),
    [
        (200, versions("AVAILABLE"), None),
        (200, versions("END", "AVAILABLE"), None),
        (200, versions("LOADING"), "versions: LOADING"),
        (200, versions("END", "START"), "versions: END, START"),
        (200, versions(), "versions: none"),
        (404, {"error": "no such model"}, "the model status API answers 404"),
        (200, b"hello", "the model status API answers 200"),
    ],
)
def test_ready_is_a_version_that_is_available(request_for, status, value, said):
    made = plan(request_for())
    with answering(int(flag(made, "rest_api_port")), status, value):
        assert made.endpoint.status() == said


@pytest.mark.parametrize("runner", ["local", "docker"])
def test_a_server_that_gave_every_version_up_is_not_waited_for(request_for, runner):
    made = plan(request_for())
    gone = versions("END", "END")
    gone["model_version_status"][0]["status"] = {"error_code": "INVALID_ARGUMENT", "error_message": "no room"}
    base_url, name = made.endpoint.base_url, MODEL.name
    ask = {
        "local": made.endpoint.status,
        "docker": lambda: CONTAINED["tfserving"].status(base_url, name, lambda _: (1, "")),
    }[runner]
    served = answering(int(flag(made, "rest_api_port")), 200, gone)
    with served, pytest.raises(MachineError, match="tfserving cannot serve the model: no room"):
        ask()


@pytest.mark.parametrize(
    ("changes", "warms_up"),
    [
        ({"max_batch_size": 7}, False),
        ({"max_batch_size": 8}, True),
        ({"max_batch_size": 4, "enable_model_warmup": True}, True),
        ({"enable_batching": False}, True),
    ],
)
def test_records_that_no_batch_holds_are_not_replayed(request_for, changes, warms_up):
    tuned = resolve("tuned", ["tfserving"])["tfserving"]
    made = plan(request_for(preset=changed(tuned, "tfserving", changes, "--set")))
    argv = made.launch.argv
    start = next(place for place, word in enumerate(argv) if word.startswith("--host"))
    assert parse_flags(argv[start:]).enable_model_warmup is warms_up
    assert made.implementation.settings.get("enable_model_warmup", True) is warms_up


@pytest.mark.slow
def test_a_batch_of_two_rows_starts_with_an_artifact_whose_records_have_more(tmp_path):
    exporting.export("digits_cnn", tmp_path, lambda *_: None, targets=("tfserving",))
    folder = exporting.target_folder(tmp_path, "digits_cnn", "tfserving")
    tuned = resolve("tuned", ["tfserving"])["tfserving"]
    for changes, given_up in (({}, None), ({"enable_model_warmup": True}, "Task size 8 is larger")):
        preset = changed(tuned, "tfserving", {"max_batch_size": 2, **changes}, "--set")
        with readiness.work_folder() as work:
            made = plan(ServeRequest(MODEL, folder, work, preset=preset))
            with LocalServer(made) as running, ends_with(given_up):
                assert running.wait_ready() < made.launch.ready_limit_s / 2


def ends_with(reason):
    return pytest.raises(MachineError, match=reason) if reason else nullcontext()


def test_the_largest_record_fits_wherever_a_search_has_warm_up_on():
    for level in next(axis for axis in axes_of("tfserving", 2, 20) if axis.name == "batch").levels:
        settings = TFServingSettings.model_validate(level.settings)
        off = "--enable_model_warmup=false" in settings.flags()
        assert off == bool(settings.most_rows and settings.most_rows < max(WARMUP_BATCHES))


def test_nothing_listening_is_an_os_error(request_for):
    with pytest.raises(OSError, match="refused"):
        plan(request_for()).endpoint.status()


def test_the_binary_is_told_to_compile_what_holds_a_program_for_xla(request_for, tmp_path):
    put_binary(tmp_path, f"printf '{VERSION}'")
    file = tmp_path / "artifacts" / "digits_cnn" / "1" / "saved_model.pb"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"\x0a\x0dMatMul")
    assert not any("xla" in word for word in plan(request_for()).launch.argv)
    file.write_bytes(b"\x0a\x0dXlaCallModule")
    made = plan(request_for())
    assert flag(made, "xla_cpu_compilation_enabled") == "true"
    assert made.implementation.settings["xla_cpu_compilation_enabled"] is True
    assert "once for each shape" in made.implementation.note


def test_the_embedded_server_is_not_told_but_the_reader_is(request_for, tmp_path):
    file = tmp_path / "artifacts" / "digits_cnn" / "1" / "saved_model.pb"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"XlaCallModule")
    made = plan(request_for())
    assert not any("xla" in word for word in made.launch.argv)
    assert "XLA compiles" in made.implementation.note
