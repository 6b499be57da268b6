"""The embedded server as a process: requests nobody recorded, versions, warm-up, faults and its end."""

import gzip
import http.client
import importlib
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from embedded_fixture import Server, free_port, started, written_models

pytestmark = pytest.mark.slow

NAMES = ("types", "conv", "slow", "features", "warm", "coldfeet", "toomany", "empty", "corrupt", "rolling")
METRICS = "/metrics"


def until(happened: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def folder() -> Path:
    made = written_models()
    (made / "corrupt/1").mkdir(parents=True)
    (made / "corrupt/1/saved_model.pb").write_bytes(b"this is no protobuf")
    (made / "rolling").mkdir()
    shutil.copytree(made / "spare/1", made / "rolling/1")
    return made


@pytest.fixture(scope="module")
def server(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    config = tmp_path_factory.mktemp("config")
    entries = "\n".join(
        f'config {{ name: "{name}" base_path: "{folder / name}" model_platform: "tensorflow" }}'
        for name in NAMES
    )
    (config / "models").write_text(f"model_config_list {{ {entries} }}")
    (config / "monitoring").write_text(f'prometheus_config {{ enable: true path: "{METRICS}" }}')
    flags = (
        f"--model_config_file={config / 'models'}",
        f"--monitoring_config_file={config / 'monitoring'}",
        "--file_system_poll_wait_seconds=0.2",
        "--rest_api_enable_cors_support",
        "--rest_api_max_body_bytes=3000000",
        "--rest_api_timeout_in_ms=1500",
    )
    with started(*flags) as process:
        yield process.wait_until_listening()


def state(server: Server, model: str) -> tuple[str, str, str]:
    status, answer = server.ask("GET", f"/v1/models/{model}")
    assert status == 200, answer
    newest = answer["model_version_status"][0]
    return newest["state"], newest["status"]["error_code"], newest["status"]["error_message"]


# requests


@pytest.mark.parametrize("name", ["int8", "int16", "int32", "uint32", "uint64"])
def test_integer_types(server: Server, name: str) -> None:
    assert server.predict("types", {"signature_name": name, "instances": [1, 2]}) == (
        200,
        {"predictions": [1, 2]},
    )


@pytest.mark.parametrize(
    ("name", "text"), [("float16", "half"), ("uint16", "uint16"), ("complex64", "complex64")]
)
def test_types_that_json_cannot_bring(server: Server, name: str, text: str) -> None:
    problem = f"Conversion of JSON Value: 1 to type: {text}"
    assert server.predict("types", {"signature_name": name, "inputs": [1]}) == (501, {"error": problem})
    wrapped = f"Failed to process element: 0 of 'instances' list. Error: UNIMPLEMENTED: {problem}"
    assert server.predict("types", {"signature_name": name, "instances": [1]}) == (400, {"error": wrapped})


def test_outputs_of_different_batch_sizes(server: Server) -> None:
    body = {"signature_name": "two", "instances": [1, 2]}
    status, answer = server.predict("types", body)
    assert (status, answer) == (400, {"error": "Tensor name: y has inconsistent batch size: 2 expecting: 1"})
    body = {"signature_name": "two", "inputs": [1, 2]}
    assert server.predict("types", body) == (200, {"outputs": {"y": [1.0, 2.0], "total": [3.0]}})


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (
            {"signature_name": "two", "inputs": [1], "instances": [1]},
            '"inputs": [1],\n    "instances": [1]\n} Not formatted correctly expecting only one of',
        ),
        ({"signature_name": 3}, 'JSON Value: {\n    "signature_name": 3\n} not formatted correctly.'),
        ({"signature_name": "no"}, 'Serving signature name: "no" not found in signature def'),
        ({"instances": [1]}, 'Serving signature name: "serving_default" not found in signature def'),
        ({"signature_name": "two", "instances": [True]}, "Type: True is not of expected type: float"),
    ],
)
def test_wrong_bodies(server: Server, body: Any, problem: str) -> None:
    status, answer = server.predict("types", body)
    assert status == 400
    assert problem in answer["error"]


def test_a_wrong_rank_does_not_end_the_process(server: Server) -> None:
    status, answer = server.predict("conv", {"instances": [[1, 2]]})
    assert (status, answer["error"][:48]) == (400, "Input x must have 4 dimension(s) as in [-1, 8, 8")
    image = [[[[1.0]] * 8] * 8]
    assert server.predict("conv", {"instances": image})[0] == 200


@pytest.mark.parametrize(
    ("verb", "body", "status", "answer"),
    [
        ("regress", {"examples": [{"i": 3, "f": 0.5, "b": "x"}, {"i": True}]}, 200, {"results": [3.5, 1.0]}),
        ("regress", {"context": {"i": 4}, "examples": [{"f": 0.5}, {}]}, 200, {"results": [4.5, 4.0]}),
        ("regress", {"signature_name": "flat", "examples": [{"f": [0.5]}]}, 200, {"results": [0.5]}),
        (
            "classify",
            {"signature_name": "labels", "examples": [{"f": 0.5, "b": {"b64": "aGk="}}]},
            200,
            {"results": [[["hi", 0.5]]]},
        ),
        (
            "classify",
            {"signature_name": "only_labels", "examples": [{"b": "x"}]},
            200,
            {"results": [[["x", 0.0]]]},
        ),
        (
            "regress",
            {"signature_name": "wide", "examples": [{}]},
            400,
            {
                "error": "Expected output Tensor shape to be either [batch_size] or "
                "[batch_size, 1] but got [1,2]"
            },
        ),
        ("regress", {"examples": [1]}, 400, {"error": "Example must be JSON object but got JSON Number"}),
        (
            "regress",
            {"examples": [{"i": 2**63}]},
            400,
            {"error": "Feature: i has uint64 element. Only int64 is supported."},
        ),
        (
            "classify",
            {"examples": []},
            400,
            {"error": "JSON Value: {\n    \"examples\": []\n} 'examples' value is an empty array"},
        ),
    ],
)
def test_examples(server: Server, verb: str, body: Any, status: int, answer: Any) -> None:
    assert server.ask("POST", f"/v1/models/features:{verb}", body) == (status, answer)


def test_deep_nesting_bad_text_and_large_bodies_are_just_errors(server: Server) -> None:
    deep = '{"signature_name": "two", "instances": ' + "[" * 100_000
    for body in (
        deep,
        '{"signature_name": "two", "instances": ' + "[" * 900 + "]" * 900 + "}",
        b'{"a": "\xff"}',
    ):
        assert server.predict("types", body)[0] == 400
    bomb = gzip.compress(b" " * 4_000_000)
    assert server.ask("POST", "/v1/models/types:predict", bomb, Content_Encoding="gzip")[0] == 413
    with pytest.raises((ConnectionError, AssertionError)):
        assert server.predict("types", b" " * 3_000_001)[0] != 413
    assert server.predict("types", {"signature_name": "int8", "instances": [1]})[0] == 200


def test_cors_headers_when_asked_for(server: Server) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.rest)
    connection.request("OPTIONS", "/v1/models/types:predict", headers={"Origin": "http://a.com"})
    response = connection.getresponse()
    assert (response.status, response.headers["Access-Control-Allow-Origin"]) == (200, "*")
    connection.close()


def test_others_are_answered_while_a_slow_request_runs(server: Server) -> None:
    server.predict("slow", {"instances": [1]})
    slow = threading.Thread(target=server.predict, args=("slow", {"instances": [1000]}))
    slow.start()
    answered_meanwhile = 0
    while slow.is_alive():
        assert server.ask("GET", "/v1/models/slow")[0] == 200
        assert server.predict("types", {"signature_name": "int8", "instances": [1]})[0] == 200
        answered_meanwhile += slow.is_alive()
    assert answered_meanwhile >= 2


def test_a_time_limit_ends_a_request(server: Server) -> None:
    status, answer = server.predict("slow", {"instances": [10000]})
    assert status == 504, answer


def test_metrics(server: Server) -> None:
    server.predict("warm", {"instances": [1]})
    status, page = server.ask("GET", METRICS)
    assert status == 200
    assert ':tensorflow:serving:request_count{model_name="warm",status="OK"} ' in page
    assert ":tensorflow:serving:request_latency_bucket{" in page


# models


def test_warm_up_and_what_makes_a_load_fail(server: Server) -> None:
    assert state(server, "warm") == ("AVAILABLE", "OK", "")
    assert "replayed 3 warm-up requests" in server.log.read_text()
    assert state(server, "coldfeet")[:2] == ("END", "INVALID_ARGUMENT")
    assert "exceeds the maximum (1000)" in state(server, "toomany")[2]
    assert state(server, "corrupt")[:2] == ("END", "DATA_LOSS")
    assert server.predict("corrupt", {"instances": [1]})[0] == 404
    answer = server.ask("GET", "/v1/models/empty")
    assert answer == (404, {"error": "Could not find any versions of model empty"})


def test_a_new_version_replaces_the_old_one_without_a_gap(server: Server, folder: Path) -> None:
    stop = threading.Event()
    seen: list[Any] = []

    def keep_asking() -> None:
        while not stop.is_set():
            seen.append(server.predict("rolling", {"instances": [1]}))

    asking = threading.Thread(target=keep_asking)
    asking.start()
    try:
        shutil.copytree(folder / "spare/2", folder / "copy")
        (folder / "copy").rename(folder / "rolling/2")
        until(lambda: server.predict("rolling", {"instances": [1]}) == (200, {"predictions": [2.0]}))
    finally:
        stop.set()
        asking.join()
    assert {status for status, _ in seen} == {200}
    until(
        lambda: (
            server.ask("GET", "/v1/models/rolling/versions/1")[1]["model_version_status"][0]["state"] == "END"
        )
    )
    assert server.ask("POST", "/v1/models/rolling/versions/1:predict", {"instances": [1]})[0] == 404


# gRPC


API_MODULES = (
    "grpc",
    "google.protobuf.text_format",
    "tensorflow.core.framework.tensor_pb2",
    "tensorflow_serving.apis.classification_pb2",
    "tensorflow_serving.apis.inference_pb2",
    "tensorflow_serving.apis.model_management_pb2",
    "tensorflow_serving.apis.model_service_pb2_grpc",
    "tensorflow_serving.apis.predict_pb2",
    "tensorflow_serving.apis.prediction_service_pb2_grpc",
    "tensorflow_serving.apis.regression_pb2",
)


@pytest.fixture(scope="module")
def api() -> dict[str, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # importing tensorflow warns about its own future
        return {name.rpartition(".")[2]: importlib.import_module(name) for name in API_MODULES}


@pytest.fixture(scope="module")
def stub(api: Any, server: Server) -> Iterator[Any]:
    with api["grpc"].insecure_channel(f"127.0.0.1:{server.grpc}") as channel:
        yield api["prediction_service_pb2_grpc"].PredictionServiceStub(channel)


def failure(api: Any, call: Callable[[], Any]) -> tuple[str, str]:
    with pytest.raises(api["grpc"].RpcError) as caught:
        call()
    return caught.value.code().name, caught.value.details()


def predict_request(api: Any, model: str, text: str) -> Any:
    request = f'model_spec {{ name: "{model}" }} {text}'
    return api["text_format"].Parse(request, api["predict_pb2"].PredictRequest())


@pytest.mark.parametrize(
    ("signature", "tensor", "values"),
    [
        ("float16", "dtype: DT_HALF half_val: 15360", "half_val: 15360"),
        (
            "complex64",
            "dtype: DT_COMPLEX64 scomplex_val: 1 scomplex_val: 2",
            "scomplex_val: 1 scomplex_val: 2",
        ),
        ("uint16", "dtype: DT_UINT16 int_val: 65535", "int_val: 65535"),
        ("uint64", "dtype: DT_UINT64 uint64_val: 18446744073709551615", "uint64_val: 18446744073709551615"),
        ("int8", 'dtype: DT_INT8 tensor_content: "\\377"', "int_val: -1"),
        ("int32", "dtype: DT_INT32", "int_val: 0"),
    ],
)
def test_grpc_types(api: Any, stub: Any, signature: str, tensor: str, values: str) -> None:
    shape = "tensor_shape { dim { size: 1 } }"
    request = predict_request(api, "types", f'inputs {{ key: "x" value {{ {tensor} {shape} }} }}')
    request.model_spec.signature_name = signature
    answer = stub.Predict(request).outputs["y"]
    dtype = tensor.split()[1]
    assert answer == api["text_format"].Parse(
        f"dtype: {dtype} {shape} {values}", api["tensor_pb2"].TensorProto()
    )


@pytest.mark.parametrize(
    ("model", "text", "code", "details"),
    [
        ("warm", "dtype: DT_DOUBLE double_val: 1 tensor_shape { dim { size: 1 } }", "INVALID_ARGUMENT",
         "Expects arg[0] to be float but double is provided"),
        ("warm", 'dtype: DT_FLOAT tensor_content: "abc" tensor_shape { dim { size: 1 } }', "INVALID_ARGUMENT",
         "tensor parsing error: x"),
        ("warm", "dtype: DT_FLOAT tensor_shape { dim { size: -1 } }", "INVALID_ARGUMENT",
         "tensor parsing error: x"),
        ("conv", "dtype: DT_FLOAT tensor_shape { dim { size: 2 } }", "INVALID_ARGUMENT",
         "Input x must have 4 dimension(s) as in [-1, 8, 8, 1], where -1 is any size, but its shape is [2]"),
        ("corrupt", "dtype: DT_FLOAT", "NOT_FOUND", "Servable not found for request: Latest(corrupt)"),
    ],
)  # fmt: skip
def test_grpc_wrong_tensors(api: Any, stub: Any, model: str, text: str, code: str, details: str) -> None:
    request = predict_request(api, model, f'inputs {{ key: "x" value {{ {text} }} }}')
    assert failure(api, lambda: stub.Predict(request)) == (code, details)


def test_grpc_classify_regress_and_both(api: Any, stub: Any) -> None:
    examples = (
        "input { example_list_with_context { "
        'context { features { feature { key: "i" value { int64_list { value: 2 } } } } }'
        ' examples { features { feature { key: "b" value { bytes_list { value: "hi" } } } } } } }'
    )
    parse = api["text_format"].Parse
    spec = 'model_spec { name: "features" signature_name: "labels" }'
    classified = stub.Classify(parse(spec + examples, api["classification_pb2"].ClassificationRequest()))
    assert [(found.label, found.score) for found in classified.result.classifications[0].classes] == [
        ("hi", 2.0)
    ]
    regressed = stub.Regress(
        parse('model_spec { name: "features" }' + examples, api["regression_pb2"].RegressionRequest())
    )
    assert [found.value for found in regressed.result.regressions] == [2.0]
    assert regressed.model_spec.signature_name == "serving_default"
    tasks = (
        'tasks { model_spec { name: "features" } method_name: "tensorflow/serving/regress" }'
        f'tasks {{ {spec} method_name: "tensorflow/serving/classify" }}'
    )
    both = stub.MultiInference(parse(tasks + examples, api["inference_pb2"].MultiInferenceRequest()))
    assert both.results[0].regression_result.regressions[0].value == 2.0
    assert both.results[1].classification_result.classifications[0].classes[0].label == "hi"
    empty = parse('model_spec { name: "features" }', api["regression_pb2"].RegressionRequest())
    assert failure(api, lambda: stub.Regress(empty)) == ("INVALID_ARGUMENT", "Input is empty.")


def test_grpc_messages_may_be_large(api: Any, server: Server) -> None:
    values = np.ones(3_000_000, np.float32)
    request = predict_request(api, "warm", 'inputs { key: "x" value { dtype: DT_FLOAT } }')
    request.inputs["x"].tensor_shape.dim.add().size = values.size
    request.inputs["x"].tensor_content = values.tobytes()
    unlimited = [("grpc.max_receive_message_length", -1)]
    with api["grpc"].insecure_channel(f"127.0.0.1:{server.grpc}", unlimited) as channel:
        answer = api["prediction_service_pb2_grpc"].PredictionServiceStub(channel).Predict(request)
    assert len(answer.outputs["y"].float_val) == values.size


# starting and ending


def test_reload_labels_drain_and_a_clean_end(api: Any, folder: Path) -> None:
    """One server of its own, because it gets new models and is ended."""
    flags = (
        "--model_name=slow",
        f"--model_base_path={folder / 'slow'}",
        "--drain_s=20",
        "--enable_reload_config",
    )
    with started(*flags) as process:
        server = process.wait_until_listening()
        check_reload(api, server, folder)
        answers: list[Any] = []
        asked = threading.Thread(target=lambda: answers.append(server.predict("slow", {"instances": [800]})))
        asked.start()
        time.sleep(0.3)
        process.process.send_signal(signal.SIGTERM)
        asked.join()
        assert process.process.wait(20) == 0, server.log.read_text()
        assert answers == [(200, {"predictions": [800.0]})]
        assert "Traceback" not in server.log.read_text()


def check_reload(api: Any, server: Server, folder: Path) -> None:
    entry = 'config {{ name: "{0}" base_path: "{1}" model_platform: "tensorflow" {2} }}'
    slow = entry.format("slow", folder / "slow", "")
    both = "model_version_policy { specific { versions: 1 versions: 2 } } "
    with api["grpc"].insecure_channel(f"127.0.0.1:{server.grpc}") as channel:
        models = api["model_service_pb2_grpc"].ModelServiceStub(channel)

        def reload(*entries: str) -> Any:
            text = f"config {{ model_config_list {{ {' '.join(entries)} }} }}"
            return models.HandleReloadConfigRequest(
                api["text_format"].Parse(text, api["model_management_pb2"].ReloadConfigRequest())
            )

        assert reload(slow, entry.format("m", folder / "spare", both)).status.error_code == 0
        labelled = entry.format("m", folder / "spare", both + 'version_labels { key: "old" value: 1 }')
        reload(slow, labelled)
        answer = server.ask("POST", "/v1/models/m/labels/old:predict", {"instances": [1]})
        assert answer == (200, {"predictions": [1.0]})
        wrong = entry.format("m", folder / "spare", 'version_labels { key: "new" value: 9 }')
        code, details = failure(api, lambda: reload(slow, wrong))
        assert code == "FAILED_PRECONDITION"
        assert "Request to assign label to version 9 of model m" in details
        assert failure(api, lambda: reload(slow, slow))[0] == "INVALID_ARGUMENT"
        assert failure(api, lambda: reload(slow, entry.format("x", folder / "corrupt", "")))[0] == "UNKNOWN"
        reload(slow)
        assert server.predict("m", {"instances": [1]})[0] == 404


@pytest.mark.parametrize("which", ["rest", "grpc"])
def test_a_taken_port_is_one_clear_line(tmp_path: Path, which: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ports = (port, free_port()) if which == "rest" else (free_port(), port)
        with started(f"--model_base_path={tmp_path}", ports=ports) as process:
            assert process.process.wait(30) == 3
            (line,) = process.log.read_text().splitlines()
    assert f"Cannot listen on 127.0.0.1:{port}" in line


def test_a_config_that_cannot_be_read_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "models").write_text("model_config_list { bogus: 1 }")
    with started(f"--model_config_file={tmp_path / 'models'}") as process:
        assert process.process.wait(60) == 2
        last = process.log.read_text().splitlines()[-1]
    assert "is not a ModelServerConfig in text format" in last


def test_batched_requests_keep_their_own_answers_also_when_some_are_bad(tmp_path):
    """Over REST, with metrics that show it; two of them are refused."""
    from concurrent.futures import ThreadPoolExecutor

    from pipelines.targets.tfserving.server import METRICS_PATH, metric_counts

    (tmp_path / "batching").write_text(
        "max_batch_size { value: 16 } batch_timeout_micros { value: 100000 } num_batch_threads { value: 1 }"
    )
    (tmp_path / "monitoring").write_text("prometheus_config { enable: true }")
    flags = (
        *("--model_name=half_plus_two", f"--model_base_path={written_models() / 'half_plus_two'}"),
        *("--enable_batching", f"--batching_parameters_file={tmp_path / 'batching'}"),
        f"--monitoring_config_file={tmp_path / 'monitoring'}",
    )
    bodies = [{"instances": [float(number)]} for number in range(32)]
    bodies[5], bodies[20] = {"instances": ["x"]}, {"instances": [1.0] * 17}
    with started(*flags) as server:
        server.wait_until_listening()
        with ThreadPoolExecutor(32) as pool:
            answers = list(pool.map(lambda body: server.predict("half_plus_two", body), bodies))
        _, page = server.ask("GET", METRICS_PATH)
    for number, (status, answer) in enumerate(answers):
        if number in (5, 20):
            assert status == 400
        else:
            assert (status, answer) == (200, {"predictions": [number / 2 + 2]})
    assert "larger than maximum input batch size 16" in answers[20][1]["error"]
    requests, runs = metric_counts(page)
    assert requests == 30
    assert 2 <= runs <= 10, "they were run together"


def test_parameters_of_batching_without_batching_are_refused(tmp_path):
    (tmp_path / "batching").write_text("")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pipelines.targets.tfserving.embedded", "--model_base_path=x"),
            f"--batching_parameters_file={tmp_path / 'batching'}",
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "needs --enable_batching" in done.stderr
