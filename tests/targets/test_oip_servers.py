"""Every field and error of the Open Inference Protocol's documents, asked of the real Triton and MLServer."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
from oip_servers import post, served, tensors
from test_both_roads import INPUTS, OUTPUTS, SPEC, expectations
from test_python_server import folder  # noqa: F401 - a fixture
from told_times import require_within, told

from loadtests.codecs import find_codec, oip_binary, oip_json
from loadtests.protos import message
from models.tensors import sample
from pipelines.errors import GateError
from pipelines.files import leftovers
from pipelines.http import fetch, fetch_json
from pipelines.processes.group import wait_until
from pipelines.serve import readiness
from pipelines.smoke import answers
from pipelines.smoke.subject import Subject
from pipelines.targets import oip, oip_grpc
from pipelines.targets.registry import find_target

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*torch.jit.*:FutureWarning"),
]
INFER = "/v2/models/several/infer"
# The statuses of gRPC as HTTP has them.
INVALID, NOT_FOUND = 400, 404


@pytest.fixture(scope="module", params=["triton", "mlserver"])
def running(request, folder):  # noqa: F811 - the fixture
    """A server with its name; when it has ended, nothing of it is left."""
    with served(request.param, folder) as (started, work):
        family = [started.pid, *(p.pid for p in psutil.Process(started.pid).children(recursive=True))]
        yield started
    assert wait_until(lambda: not any(map(psutil.pid_exists, family)), limit_s=30)
    assert not work.exists()
    prefix = leftovers.shared_memory_prefix()
    assert not list(leftovers.shared_memory(prefix))


@pytest.fixture(scope="module")
def name(running):
    return running.plan.target


@pytest.fixture(scope="module")
def rest(running):
    return running.plan.endpoint.addresses["REST"]


@pytest.fixture(scope="module")
def grpc(running):
    return f"grpc://{running.plan.endpoint.addresses['OIP gRPC']}"


def pool(protocol):
    return readiness.payload_pool(SPEC, expectations(), protocol.path_of("several"), protocol=protocol)


@pytest.fixture(scope="module")
def subject(running, name, folder):  # noqa: F811 - the fixture
    first = pool(find_target(name).protocols[0])
    return Subject(name, SPEC, folder, SimpleNamespace(), running, (), expectations(), first)


@pytest.mark.parametrize(
    "check", [answers.status, answers.metadata, answers.rest_row, answers.grpc, answers.unknown_model]
)
def test_it_does_what_every_deployment_must(subject, check):
    assert check(subject)


def test_every_sample_is_right_however_it_is_asked(running, name, rest, grpc):
    verified = SimpleNamespace(expected=expectations())
    for protocol in find_target(name).protocols:
        endpoint = replace(
            running.plan.endpoint,
            base_url=grpc if protocol.transport == "grpc" else rest,
            predict_path=protocol.path_of("several"),
        )
        asked = SimpleNamespace(plan=replace(running.plan, endpoint=endpoint))
        record = readiness.check_endpoint(asked, pool(protocol), SPEC.samples().named, verified)
        assert [one.output for one in record.outputs] == ["scores", "double", "large"], protocol


def test_another_signature_is_seen_with_the_tensor(subject):
    inputs = (replace(SPEC.inputs[0], dtype="float64"), *SPEC.inputs[1:])
    with pytest.raises(GateError, match="'image' is FP32, expected FP64"):
        answers.metadata(replace(subject, spec=replace(SPEC, inputs=inputs)))


def test_its_configuration_is_its_own_word(running):
    given = running.plan.given
    assert (given.workers_count, given.threads_per_worker, given.batch_max_size) == (1, 1, 1)
    assert given.sources["threads_per_worker"] == "server"


# What a body of many rows makes longer.
BODIES = {"triton": "encode", "mlserver": "codec"}


@pytest.mark.parametrize("transport", ["http", "grpc"])
def test_where_the_time_of_its_requests_goes_is_its_own_count(running, name, rest, grpc, transport):
    protocol = next(one for one in find_target(name).protocols if one.transport == transport)
    path, headers = protocol.path_of("several"), pool(protocol).headers
    url = {"http": rest, "grpc": grpc}[transport] + path

    def asking(rows):
        body = find_codec(protocol.codec).encode([sample(SPEC.samples().named, 0)] * rows, "several")
        return lambda: require_right(fetch(url, body, headers=headers))

    parts = {"frontend", "inference", BODIES[name], *(["queue"] if name == "triton" else [])}
    usual = told(running, [asking(1)] * 5)
    require_within(usual, 5, parts)
    large = told(running, [asking(10_000)])
    require_within(large, 1, parts)
    if transport == "http":
        assert large.parts[BODIES[name]] > usual.parts[BODIES[name]]


def require_right(answer):
    assert answer[0] == 200, answer


# REST: health and metadata


@pytest.mark.parametrize(
    "path",
    [
        *("/v2/health/live", "/v2/health/ready"),
        *("/v2/models/several/ready", "/v2/models/several/versions/1/ready"),
    ],
)
def test_health_is_status_200(rest, path):
    assert fetch(rest + path)[0] == 200


def test_the_server_says_what_it_is(rest, running, name):
    status, told = fetch_json(f"{rest}/v2")
    assert status == 200
    assert (told["name"], told["version"]) == (name, running.plan.implementation.version)
    assert isinstance(told["extensions"], list)


@pytest.mark.parametrize("path", ["/v2/models/several", "/v2/models/several/versions/1"])
def test_the_model_says_its_tensors(rest, path):
    status, told = fetch_json(rest + path)
    assert status == 200
    assert {"name", "versions", "platform", "inputs", "outputs"} <= told.keys()
    assert (told["name"], told["versions"]) == ("several", ["1"])
    found = {one["name"]: (one["datatype"], one["shape"]) for one in (*told["inputs"], *told["outputs"])}
    assert found == {
        "image": ("FP32", [-1, 2, 3]),
        "tokens": ("INT64", [-1, -1]),
        "pixel": ("UINT8", [-1, 2]),
        "flag": ("BOOL", [-1]),
        "scores": ("FP32", [-1, 2]),
        "double": ("INT64", [-1, -1]),
        "large": ("BOOL", [-1, 2]),
    }


@pytest.mark.parametrize("path", ["/v2/models/nobody", "/v2/models/several/versions/7"])
def test_what_is_not_there_is_said(rest, path):
    status, told = fetch_json(rest + path)
    assert status == 404
    assert isinstance(told["error"], str)
    # Readiness of what is not there is status 400 in Triton.
    assert fetch(f"{rest}{path}/ready")[0] in (400, 404)


# REST: inference


def outputs(answer):
    return {one["name"]: oip_json.tensor_of(one) for one in answer["outputs"]}


def is_right(answer, names=("scores", "double", "large")):
    found = outputs(answer)
    assert set(found) == set(names)
    for output in names:
        np.testing.assert_allclose(found[output][0], OUTPUTS[0][output], rtol=1e-5)


def test_an_answer_has_the_protocols_fields(running):
    status, answer = post(running, tensors() | {"id": "seven", "parameters": {"n": 1, "t": "a", "b": True}})
    assert status == 200
    assert (answer["model_name"], answer["model_version"], answer["id"]) == ("several", "1", "seven")
    length = len(INPUTS["tokens"][0])
    assert {one["name"]: (one["datatype"], one["shape"]) for one in answer["outputs"]} == {
        "scores": ("FP32", [1, 2]),
        "double": ("INT64", [1, length]),
        "large": ("BOOL", [1, 2]),
    }
    is_right(answer)


def test_a_version_can_be_named(running):
    status, answer = post(running, tensors(), "/v2/models/several/versions/1/infer")
    assert (status, answer["model_version"]) == (200, "1")


def test_data_may_be_nested_inputs_in_any_order_and_tensors_may_have_parameters(running):
    image = tensors()["inputs"][0]
    nested = np.array(image["data"]).reshape(image["shape"]).tolist()
    body = tensors(image={"data": nested, "parameters": {"key": "value"}})
    status, answer = post(running, {"inputs": body["inputs"][::-1]})
    assert status == 200
    is_right(answer)


def test_only_the_outputs_that_are_asked_for_come(running):
    asked = [{"name": "large"}, {"name": "scores", "parameters": {"key": 1}}]
    status, answer = post(running, tensors() | {"outputs": asked})
    assert status == 200
    is_right(answer, ("large", "scores"))


def test_no_rows_are_no_rows(running):
    empty = {one["name"]: {"shape": [0, *one["shape"][1:]], "data": []} for one in tensors()["inputs"]}
    status, answer = post(running, tensors(**empty))
    assert status == 200
    assert {one["name"]: one["shape"][0] for one in answer["outputs"]} == dict.fromkeys(outputs(answer), 0)


def without(field):
    body = tensors()
    del body["inputs"][0][field]
    return body


# What Triton's parser refuses is status 500, and what MLServer's does is 422 without the protocol's "error".
UNREAD = {"triton": 500, "mlserver": 422}
# Triton reads data by the datatype; our runtime in MLServer does, after MLServer has.
DATA = {"triton": 500, "mlserver": 400}
WRONG = {"triton": 400, "mlserver": 400}


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (tensors(image=None), WRONG, "image"),
        ({"inputs": tensors()["inputs"] + tensors()["inputs"][:1]}, WRONG, "image"),
        ({"inputs": [*tensors()["inputs"], tensors()["inputs"][0] | {"name": "more"}]}, WRONG, "more"),
        (tensors(image={"name": "other"}), WRONG, "other"),
        (tensors(image={"datatype": "FP64"}), WRONG, "FP64"),
        (tensors(image={"datatype": "BYTES", "data": ["a"] * 6}), WRONG, "BYTES"),
        (tensors(image={"datatype": "FLOAT"}), UNREAD | {"triton": 400}, "datatype"),
        (tensors(image={"shape": [1, 6]}), WRONG, "image"),
        (tensors(image={"shape": [-1, 2, 3]}), DATA, "shape"),
        (tensors(image={"shape": "1"}), UNREAD, "shape"),
        (tensors(image={"data": [1.0]}), DATA, ""),
        (tensors(image={"data": [1.0] * 7}), DATA, ""),
        (tensors(image={"data": []}), DATA, ""),
        (tensors(image={"data": ["a"] * 6}), DATA, ""),
        (tensors(image={"data": [None] * 6}), DATA, ""),
        (tensors(pixel={"data": [1.5, 2.0]}), DATA, ""),
        (tensors(flag={"data": [1]}), DATA, ""),
        (tensors(flag={"shape": [2], "data": [True, False]}), WRONG, "rows"),
        (without("name"), UNREAD, "name"),
        (without("shape"), UNREAD, "shape"),
        (without("datatype"), UNREAD, "datatype"),
        (without("data"), UNREAD | {"triton": 400}, "data"),
        ({}, UNREAD, "inputs"),
        ({"inputs": []}, WRONG, "inputs"),
        ({"inputs": {}}, UNREAD, "inputs"),
        ([], UNREAD, ""),
        (b"{", UNREAD, ""),
        (b"", UNREAD | {"triton": 400}, ""),
        (tensors() | {"id": 7}, UNREAD, "id"),
        (tensors() | {"outputs": [{"name": "none"}]}, WRONG, "none"),
        (tensors() | {"outputs": [{}]}, UNREAD, "name"),
    ],
)
def test_what_is_wrong_has_its_status_and_the_reason(running, name, body, status, said):
    found, answer = post(running, body)
    assert found == status[name], answer
    # "detail" is MLServer's own, where it cannot read a body.
    assert said in json.dumps(answer["detail" if found == UNREAD["mlserver"] else "error"])


def test_a_string_does_not_give_its_length_to_every_number(running, name):
    family = [running.pid, *(p.pid for p in psutil.Process(running.pid).children(recursive=True))]
    before = list(map(peak_bytes, family))
    data = [1] * 2000 + ["x" * 50_000]  # 400 MB, if all were as long
    status, _ = post(running, tensors(tokens={"shape": [1, len(data)], "data": data}))
    assert status == DATA[name]
    grown = [after - own for after, own in zip(map(peak_bytes, family), before, strict=True)]
    assert max(grown) < 100_000_000


def peak_bytes(pid):
    """The most memory that a process has held so far."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


def test_a_message_over_grpc_is_not_held_to_four_megabytes(grpc, name):
    path = "/inference.GRPCInferenceService/ModelInfer"
    protocol = next(one for one in find_target(name).protocols if one.transport == "grpc")
    one = sample(SPEC.samples().named, 0)
    large = {**one, "tokens": np.resize(one["tokens"], 600_000)}
    body = find_codec(protocol.codec).encode([large], "several")
    assert len(body) > 4 * 2**20
    assert fetch(grpc + path, body, headers=pool(protocol).headers)[0] == 200


def test_a_number_beyond_its_datatype_is_refused_by_our_runtime_alone(running, name):
    status, answer = post(running, tensors(pixel={"data": [300, 2]}))
    if name == "triton":  # its parser takes 300 for 44, before the runtime
        assert status == 200
    else:
        assert (status, "holds 300" in answer["error"]) == (400, True)


@pytest.mark.parametrize("path", ["/v2/models/nobody/infer", "/v2/models/several/versions/7/infer"])
def test_another_model_or_version_is_status_404(running, path):
    status, answer = post(running, tensors(), path)
    assert status == 404
    assert isinstance(answer["error"], str)


def test_inference_is_a_post(rest):
    assert fetch(rest + INFER)[0] == 405


# REST with binary tensors: Triton's alone


@pytest.fixture(scope="module")
def binary(running, name):
    """A right request; MLServer does not take such."""
    body = oip_binary.encode([sample(SPEC.samples().named, 0)])
    if name == "mlserver":
        assert post(running, body, headers=oip_binary.headers(body))[0] == 500
        pytest.skip("MLServer takes JSON alone, which was seen")
    return body


def changed(body, old, new):
    assert old in body
    return body.replace(old, new)


SIZE = b'"binary_data_size":          24'


@pytest.mark.parametrize(
    ("change", "headers", "said"),
    [
        (lambda body: body[:-1], {}, "expecting 1 additional bytes"),
        (lambda body: body + b"x", {}, "unexpected additional input data"),
        (lambda body: changed(body, SIZE, SIZE[:-2] + b"20"), {}, "unexpected"),
        (lambda body: body, {oip_binary.HEADER: "99999"}, "header size"),
    ],
)
def test_binary_tensors_that_do_not_fit_are_refused(running, binary, change, headers, said):
    body = change(binary)
    status, answer = post(running, body, headers=oip_binary.headers(body) | headers)
    assert status == 400
    assert said in answer["error"]


def test_binary_in_and_json_out_and_the_other_way(running, rest, binary):
    body = changed(binary, b'"binary_data_output":true', b'"binary_data_output":false')
    status, answer = post(running, body, headers=oip_binary.headers(body))
    assert status == 200
    is_right(answer)
    asked = [{"name": "large", "parameters": {"binary_data": True}}, {"name": "scores"}]
    status, answer = fetch(rest + INFER, json.dumps(tensors() | {"outputs": asked}).encode())
    found = oip_binary.decode(answer)
    assert (status, set(found)) == (200, {"large", "scores"})
    np.testing.assert_array_equal(found["large"][0], OUTPUTS[0]["large"])


# gRPC


def call(grpc, method, request=None, **fields):
    """Status and answer of a call; the answer is text where the status is none of success."""
    request = request or message(f"inference.{method}Request")(**fields)
    status, body = fetch(f"{grpc}{oip_grpc.SERVICE}/{method}", request.SerializeToString())
    if status != 200:
        return status, body.decode()
    return status, message(f"inference.{method}Response").FromString(body)


CONTENTS = {
    "FP32": "fp32_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "BOOL": "bool_contents",
}


def typed(body=None, **fields):
    """A ModelInferRequest with typed contents, of a request as REST has it."""
    request = message("inference.ModelInferRequest")(model_name="several", **fields)
    for one in (body or tensors())["inputs"]:
        added = request.inputs.add(name=one["name"], datatype=one["datatype"], shape=one["shape"])
        getattr(added.contents, CONTENTS.get(one["datatype"], "fp64_contents")).extend(one["data"])
    return request


def test_over_grpc_health_and_metadata_are_the_same(grpc, name, running):
    assert call(grpc, "ServerLive")[1].live
    assert call(grpc, "ServerReady")[1].ready
    assert call(grpc, "ModelReady", name="several", version="1")[1].ready
    about = call(grpc, "ServerMetadata")[1]
    assert (about.name, about.version) == (name, running.plan.implementation.version)
    assert oip_grpc.status(grpc, "several") is None
    told = oip_grpc.metadata(grpc, "several")
    assert told["versions"] == ["1"]
    oip.require_signature(SPEC, told)


def test_over_grpc_typed_contents_id_parameters_version_and_outputs(grpc):
    request = typed(model_version="1", id="seven")
    request.parameters["n"].int64_param = 1
    request.outputs.add(name="large")
    request.outputs.add(name="scores").parameters["key"].string_param = "value"
    status, answer = call(grpc, "ModelInfer", request)
    assert status == 200, answer
    assert (answer.model_name, answer.model_version, answer.id) == ("several", "1", "seven")
    assert {one.name: (one.datatype, list(one.shape)) for one in answer.outputs} == {
        "scores": ("FP32", [1, 2]),
        "large": ("BOOL", [1, 2]),
    }


@pytest.mark.parametrize(
    "request_",
    [
        typed(tensors(image=None)),
        typed(tensors(image={"name": "other"})),
        typed(tensors(image={"datatype": "FP64"})),
        typed(tensors(image={"shape": [1, 6]})),
        typed(tensors(image={"data": [1.0]})),
        typed(outputs=[message("inference.ModelInferRequest.InferRequestedOutputTensor")(name="none")]),
    ],
)
def test_over_grpc_what_is_wrong_is_an_invalid_argument(grpc, request_):
    status, answer = call(grpc, "ModelInfer", request_)
    assert status == INVALID, answer


def test_over_grpc_typed_beside_raw_contents_is_refused_by_triton_alone(grpc, name):
    """The protocol forbids it; MLServer takes the raw ones that are there."""
    request = typed()
    request.raw_input_contents.append(b"\0" * 24)
    assert call(grpc, "ModelInfer", request)[0] == {"triton": INVALID, "mlserver": 200}[name]


@pytest.mark.parametrize("asked", [{"name": "nobody"}, {"name": "several", "version": "7"}])
def test_over_grpc_what_is_not_there_is_said(grpc, asked):
    assert call(grpc, "ModelMetadata", **asked)[0] == NOT_FOUND
    request = typed(model_version=asked.get("version", ""))
    request.model_name = asked["name"]
    assert call(grpc, "ModelInfer", request)[0] == NOT_FOUND
    status, answer = call(grpc, "ModelReady", **asked)
    assert status != 200 or not answer.ready  # MLServer's status is one of its own making
