"""The real MLServer with our runtime in it, several tensors, and the protocol as its documents have it."""

import ast
import json
import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
from test_both_roads import INPUTS, SPEC, expectations
from test_python_server import folder  # noqa: F401 - a fixture

from loadtests.protos import message
from models.tensors import sample
from pipelines.environments.known import find
from pipelines.errors import GateError, MachineError
from pipelines.http import fetch, fetch_json
from pipelines.processes.group import wait_until
from pipelines.runners.local import LocalServer
from pipelines.serve import readiness
from pipelines.smoke import answers
from pipelines.smoke.subject import Subject
from pipelines.targets import oip, oip_grpc
from pipelines.targets.mlserver import server
from pipelines.targets.mlserver.settings import MLServerSettings
from pipelines.targets.presets import Preset, resolve
from pipelines.targets.registry import find_target
from pipelines.targets.server_plan import ServeRequest, make_environments

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*torch.jit.*:FutureWarning"),
]
PROTOCOL = find_target("mlserver").protocols[0]
OWN_PROTOCOL = "lib/python3.11/site-packages/mlserver/grpc/dataplane_pb2.py"
SERIALIZED = re.compile(r"AddSerializedFile\(\s*(b(?:'.*'|\".*\"))\s*\)", re.DOTALL)


@pytest.fixture(scope="module")
def running(folder):  # noqa: F811 - the fixture
    make_environments(["mlserver"], lambda *_: None)
    asked = Preset(
        "one", MLServerSettings(parallel_workers=0, debug=False, torch_threads=1, max_batch_size=4)
    )
    with readiness.work_folder() as work:
        with LocalServer(server.plan(ServeRequest(SPEC, folder, work, preset=asked))) as started:
            started.wait_ready()
            started.read_configuration()
            family = [started.pid, *(p.pid for p in psutil.Process(started.pid).children(recursive=True))]
            yield started
        assert wait_until(lambda: not any(map(psutil.pid_exists, family)), limit_s=30)


@pytest.fixture(scope="module")
def subject(running, folder):  # noqa: F811 - the fixture
    path = running.plan.endpoint.predict_path
    pool = readiness.payload_pool(SPEC, expectations(), path, protocol=PROTOCOL)
    return Subject("mlserver", SPEC, folder, SimpleNamespace(), running, (), expectations(), pool)


@pytest.mark.parametrize("check", [answers.status, answers.metadata, answers.rest_row, answers.unknown_model])
def test_it_does_what_every_deployment_must(subject, check):
    assert check(subject)


def test_every_sample_is_right(subject):
    verified = SimpleNamespace(expected=subject.expected)
    record = readiness.check_endpoint(subject.server, subject.pool, SPEC.samples().named, verified)
    assert [one.output for one in record.outputs] == ["scores", "double", "large"]


def test_another_signature_is_seen_with_the_tensor(subject):
    inputs = (replace(SPEC.inputs[0], dtype="float64"), *SPEC.inputs[1:])
    with pytest.raises(GateError, match="'image' is FP32, expected FP64"):
        answers.metadata(replace(subject, spec=replace(SPEC, inputs=inputs)))


def test_its_configuration_is_its_own_word(running):
    given = running.plan.given
    assert (given.workers_count, given.threads_per_worker, given.batch_max_size) == (1, 1, 4)
    assert given.sources["threads_per_worker"] == "server"
    assert given.sources["batch_max_size"] == "flag"


def tensors(**changes):
    """A right request as an object, with some of its tensors changed, or left out where None."""
    one = {name: np.asarray(array)[None] for name, array in sample(SPEC.samples().named, 0).items()}
    named = {
        name: {
            "name": name,
            "shape": list(array.shape),
            "datatype": oip.NAMES[array.dtype.name],
            "data": array.ravel().tolist(),
        }
        for name, array in one.items()
    }
    changed = {name: tensor | (changes.get(name, {}) or {}) for name, tensor in named.items()}
    return {"inputs": [tensor for name, tensor in changed.items() if changes.get(name, {}) is not None]}


def post(running, body):
    status, answer = fetch(running.plan.endpoint.predict_url, json.dumps(body).encode())
    return status, json.loads(answer)


def test_an_answer_is_the_protocols(running):
    status, answer = post(running, tensors() | {"id": "seven"})
    assert status == 200
    assert (answer["model_name"], answer["id"]) == ("several", "seven")
    assert [one["name"] for one in answer["outputs"]] == ["scores", "double", "large"]
    assert {one["datatype"] for one in answer["outputs"]} == {"FP32", "INT64", "BOOL"}
    length = len(INPUTS["tokens"][0])
    assert [one["shape"] for one in answer["outputs"]] == [[1, 2], [1, length], [1, 2]]


def test_only_the_outputs_that_are_asked_for_come(running):
    _, answer = post(running, tensors() | {"outputs": [{"name": "large"}]})
    assert [one["name"] for one in answer["outputs"]] == ["large"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (tensors(image=None), "expected"),
        (tensors(image={"name": "other"}), "other"),
        (tensors(image={"datatype": "FP64"}), "'image' is FP64, expected FP32"),
        (tensors(image={"shape": [1, 6]}), "'image' has the shape"),
        (tensors(image={"data": [1.0]}), "'image'"),
        (tensors(pixel={"data": [1.5, 2.0]}), "'pixel' is UINT8, and holds other values"),
        (tensors(flag={"data": [1]}), "'flag' is BOOL"),
        (tensors() | {"outputs": [{"name": "none"}]}, "no output 'none'"),
    ],
)
def test_what_is_wrong_is_status_400_and_the_reason(running, body, said):
    status, answer = post(running, body)
    assert status == 400
    assert said in answer["error"]


def test_health_and_metadata_have_the_protocols_fields(running):
    base = running.plan.endpoint.base_url
    assert fetch(f"{base}/v2/health/live")[0] == fetch(f"{base}/v2/health/ready")[0] == 200
    _, told = fetch_json(f"{base}/v2")
    assert {"name", "version", "extensions"} <= told.keys()
    _, model = fetch_json(f"{base}/v2/models/several")
    assert {"name", "platform", "inputs", "outputs"} <= model.keys()
    assert fetch(f"{base}/v2/models/nobody/ready")[0] != 200


def test_over_grpc_it_says_and_answers_the_same(running, subject):
    address = f"grpc://{running.plan.endpoint.addresses['OIP gRPC']}"
    assert oip_grpc.status(address, "several") is None
    assert oip_grpc.server_metadata(address)["name"] == "mlserver"
    told = oip_grpc.metadata(address, "several")
    oip.require_signature(SPEC, told)
    assert {one["name"]: one["datatype"] for one in told["outputs"]} == {
        "scores": "FP32",
        "double": "INT64",
        "large": "BOOL",
    }
    pool = readiness.payload_pool(
        SPEC, expectations(), oip_grpc.PREDICT_PATH, protocol=find_target("mlserver").protocols[1]
    )
    endpoint = replace(running.plan.endpoint, base_url=address, predict_path=oip_grpc.PREDICT_PATH)
    asked = SimpleNamespace(plan=replace(running.plan, endpoint=endpoint))
    verified = SimpleNamespace(expected=subject.expected)
    record = readiness.check_endpoint(asked, pool, SPEC.samples().named, verified)
    assert [one.output for one in record.outputs] == ["scores", "double", "large"]


def test_over_grpc_a_model_that_is_not_there_is_said(running):
    address = f"grpc://{running.plan.endpoint.addresses['OIP gRPC']}"
    assert oip_grpc.status(address, "nobody").startswith("ModelReady ")
    with pytest.raises(GateError, match=r"grpc NOT_FOUND.*nobody"):
        oip_grpc.metadata(address, "nobody")


def test_its_messages_are_those_of_its_own_protocol_file():
    """Each field that we use has the number, kind and label that the server's own file gives it."""
    from google.protobuf import descriptor_pb2

    text = (find("mlserver").folder / OWN_PROTOCOL).read_text()
    own = descriptor_pb2.FileDescriptorProto.FromString(ast.literal_eval(SERIALIZED.search(text)[1]))
    assert own.package == "inference"
    methods = {one.name for one in own.service[0].method}
    assert {"ServerReady", "ModelReady", "ServerMetadata", "ModelMetadata", "ModelInfer"} <= methods
    theirs = {one.name: one for one in own.message_type}
    for name in ("ModelInferRequest", "ModelInferResponse", "ModelMetadataResponse", "InferTensorContents"):
        same_fields(message(f"inference.{name}").DESCRIPTOR, theirs[name])


def same_fields(ours, theirs):
    numbers = {one.name: (one.number, one.type, one.label) for one in theirs.field}
    for field in ours.fields:
        label = 3 if field.is_repeated else 1
        assert numbers[field.name] == (field.number, field.type, label), field.full_name
    nested = {one.name: one for one in theirs.nested_type}
    for one in ours.nested_types:
        same_fields(one, nested[one.name])


def test_a_model_that_is_not_there_is_said(running):
    with pytest.raises(GateError, match="answers 404"):
        oip.metadata(running.plan.endpoint.base_url, "nobody")


def test_as_the_vendor_ships_it_a_worker_process_answers_right(folder):  # noqa: F811 - the fixture
    make_environments(["mlserver"], lambda *_: None)
    with (
        readiness.work_folder() as work,
        LocalServer(server.plan(ServeRequest(SPEC, folder, work))) as started,
    ):
        path = started.plan.endpoint.predict_path
        pool = readiness.payload_pool(SPEC, expectations(), path, protocol=PROTOCOL)
        readiness.wait_until_right(started, pool)
        given = started.plan.given
        assert (given.workers_count, given.sources["workers_count"]) == (1, "rule")
        assert given.threads_per_worker is not None


def test_a_file_that_is_none_is_reported_with_the_reason(tmp_path):
    make_environments(["mlserver"], lambda *_: None)
    (tmp_path / "several.pt").write_bytes(b"PK and no more")
    asked = Preset("one", MLServerSettings(parallel_workers=0))
    with readiness.work_folder() as work:
        plan = server.plan(ServeRequest(SPEC, tmp_path, work, preset=asked))
        with LocalServer(plan) as started, pytest.raises(MachineError, match=r"mlserver .*Error: "):
            started.wait_ready()


def test_presets_are_files_of_the_server():
    settings = {name: resolve(name, ["mlserver"])["mlserver"].settings for name in ("default", "tuned")}
    assert settings["default"].server() == {}
    assert settings["tuned"].server() == {"parallel_workers": 0, "debug": False}
    model = MLServerSettings(max_batch_size=8, max_batch_time_ms=5).model(SPEC, "x.pt")
    assert (model["max_batch_size"], model["max_batch_time"]) == (8, 0.005)
