"""What running servers say of themselves over each API, before any load: who they are, and the tensors."""

import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import SimpleNamespace

import grpc as grpc_library
import pytest
from test_access import serving

from loadtests.codecs.oip_json import NAMES
from loadtests.protos import message
from models.spec import TensorSpec
from pipelines.access import Access
from pipelines.cli.exits import explain
from pipelines.errors import GateError, MachineError, RequestError, UserError
from pipelines.runners.url import RunningSide, running
from pipelines.targets import apis, oip
from pipelines.targets.address import read_address
from pipelines.targets.apis import introduce

SPEC = SimpleNamespace(
    name="digits",
    inputs=(TensorSpec("image", "float32", (None, 8, 8, 1)),),
    outputs=(TensorSpec("logits", "float32", (None, 10)),),
)
ACCESS = Access(timeout_s=5)
TYPES = {"FP32": "DT_FLOAT", "INT64": "DT_INT64"}


def tensors(image=("image", "FP32", [-1, 8, 8, 1]), logits=("logits", "FP32", [-1, 10])):
    return {"inputs": [image], "outputs": [logits]}


def told(api, found):
    """Status and metadata pages of a server of `api` that says `found` of its tensors, by path."""
    if api == "oip":
        named = {
            kind: [dict(zip(("name", "datatype", "shape"), one, strict=True)) for one in some]
            for kind, some in found.items()
        }
        return {
            "/v2": {"name": "triton", "version": "2.51.0", "extensions": []},
            "/v2/health/ready": {},
            "/v2/models/m": {"name": "m", "platform": "x", **named},
            "/v2/models/m/ready": {},
        }
    signature = {
        kind: {
            name: {"dtype": TYPES[kind_], "tensor_shape": {"dim": [{"size": str(n)} for n in shape]}}
            for name, kind_, shape in some
        }
        for kind, some in found.items()
    }
    return {
        "/v1/models/m": {"model_version_status": [{"state": "AVAILABLE"}]},
        "/v1/models/m/metadata": {
            "metadata": {"signature_def": {"signature_def": {"serving_default": signature}}}
        },
    }


def asked(api, pages, path="m"):
    """What `introduce` makes of a server with these pages; 404 for others."""

    def answer(at, _headers):
        found = pages.get(at)
        return (200, {}, json.dumps(found).encode()) if found is not None else (404, {}, b'{"error": "no"}')

    with serving(answer) as (url, _):
        return introduce("today", read_address(f"{api}+{url}/{path}")[0], ACCESS, SPEC)


@pytest.mark.parametrize(("api", "name"), [("oip", "triton"), ("tfserving", "tfserving API")])
def test_a_server_whose_tensors_are_the_models_is_taken(api, name):
    assert asked(api, told(api, tensors())).name == name


def test_an_only_tensor_may_have_another_name_where_requests_do_not_say_it():
    other = tensors(image=("conv2d_input", "FP32", [-1, 8, 8, 1]))
    assert asked("tfserving", told("tfserving", other)).tensors is not None
    with pytest.raises(
        GateError, match="today: the endpoint's metadata has no 'image' among its inputs: conv2d_"
    ):
        asked("oip", told("oip", other))


@pytest.mark.parametrize("api", ["oip", "tfserving"])
@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"image": ("image", "INT64", [-1, 8, 8, 1])}, "today: .*'image' is INT64, expected FP32"),
        ({"logits": ("logits", "FP32", [-1, 7])}, r"'logits' has the shape \[-1, 7\], expected \[-1, 10\]"),
    ],
)
def test_metadata_that_contradicts_the_signature_names_the_tensor(api, changed, said):
    with pytest.raises(GateError, match=said):
        asked(api, told(api, tensors(**changed)))


@pytest.mark.parametrize("ask", ["oip", "tfserving", "oip over gRPC", "tfserving over gRPC"])
def test_an_input_that_the_model_has_not_is_named_in_case_of_a_refusal_and_an_output_is_not(ask):
    """Metadata of most servers does not say which inputs may be left out."""
    api, _, over_grpc = ask.partition(" over ")

    def metadata(kind):
        more = tensors()
        more[kind].append(("mask", "INT64", [-1, 8]))
        if over_grpc:
            return grpc(api, (oip_answers if api == "oip" else tfserving_answers)(more=(kind, "mask")))
        return asked(api, told(api, more))

    more = metadata("outputs")
    assert {one["name"] for one in more.tensors["outputs"]} == {"logits", "mask"}
    assert oip.surplus_inputs(SPEC, more.tensors, named=more.named) == ""
    more = metadata("inputs")
    hint = oip.surplus_inputs(SPEC, more.tensors, named=more.named)
    assert "'mask' (INT64, shape [-1, 8])" in hint
    assert hint.endswith("expected image, found image, mask")


def test_what_a_stranger_calls_its_inputs_stays_one_short_line():
    more = {"inputs": [{"name": f"a\nb{number}" * 99, "shape": [-1]} for number in range(99)]}
    hint = oip.surplus_inputs(SPEC, more)
    assert len(hint.splitlines()) == 1
    assert len(hint) <= 500


@pytest.mark.parametrize("api", ["oip", "tfserving"])
def test_an_input_that_is_marked_as_one_to_leave_out_explains_no_refusal(api):
    more = tensors()
    more["inputs"].append(("mask", "INT64", [-1, 8]))
    pages = told(api, more)
    if api == "oip":
        pages["/v2/models/m"]["inputs"][1]["optional"] = True
    else:
        definition = pages["/v1/models/m/metadata"]["metadata"]["signature_def"]["signature_def"]
        definition["serving_default"]["defaults"] = {"mask": {"dtype": "DT_INT64"}}
    found = asked(api, pages)
    assert oip.surplus_inputs(SPEC, found.tensors, named=found.named) == ""


def test_the_inputs_that_requests_lack_go_along_with_a_running_server(tmp_path):
    more = tensors()
    more["inputs"].append(("mask", "INT64", [-1, 8]))
    pages = told("oip", more)

    def answer(at, _headers):
        return (200, {}, json.dumps(pages[at]).encode())

    with serving(answer) as (url, _):
        address, protocol = read_address(f"oip+{url}/m")
        with running(RunningSide("today", address, protocol, ACCESS), SPEC, tmp_path) as server:
            assert "'mask'" in server.plan.endpoint.hint


@pytest.mark.parametrize("api", ["oip", "tfserving"])
def test_a_model_that_is_not_there_is_a_wrong_request(api):
    with pytest.raises(RequestError, match=r"has no model 'other'; it answers 404: no"):
        asked(api, told(api, tensors()), path="other")


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_a_torchserve_without_the_model_is_found_out_by_the_first_prediction(scheme, tmp_path):
    def answer(path, _headers):
        known = path == "/ping"
        return (200, {}, b'{"status": "Healthy"}') if known else (404, {}, b'{"message": "no model m"}')

    healthy = message("org.pytorch.serve.grpc.inference.TorchServeHealthResponse")(
        health='{"status": "Healthy"}'
    )
    calls = {"Ping": lambda _: healthy.SerializeToString(), "Predictions": grpc_library.StatusCode.NOT_FOUND}
    with serving(answer) as (rest, _), answering_calls(calls) as called:
        url = rest if scheme == "http" else called
        address, protocol = read_address(f"torchserve+{url}/m")
        side = RunningSide("today", address, protocol, ACCESS)
        with (
            running(side, SPEC, tmp_path) as server,
            pytest.raises(RequestError, match=r"answers 404: .*no model m.*have a model 'm'") as caught,
        ):
            server.plan.endpoint.ask(b"", {})
    assert explain(caught.value)[1] == 2


def test_a_server_that_was_told_no_tensors_contradicts_nothing():
    assert asked("oip", told("oip", {"inputs": [], "outputs": []})).tensors is None
    assert asked("torchserve", {"/ping": {"status": "Healthy"}}).tensors is None


@pytest.mark.parametrize(
    ("api", "change", "said"),
    [
        (
            "tfserving",
            {"/v1/models/m": {"model_version_status": [{"state": "LOADING"}]}},
            "versions: LOADING",
        ),
        ("torchserve", {"/ping": {"status": "Unhealthy"}}, "/ping answers 200"),
        ("oip", {"/v2/models/m/ready": None}, "/v2/models/m/ready answers 404"),
        ("tfserving", {"/v1/models/m/metadata": {"metadata": {}}}, "without a model's metadata"),
        ("oip", {"/v2/models/m": [1]}, "without a model's metadata"),
    ],
)
def test_a_server_that_is_not_ready_or_another_one_is_an_environment_failure(api, change, said):
    with pytest.raises(MachineError, match=said):
        asked(api, told(api, tensors()) | change)


@pytest.mark.parametrize("code", [200, 404, 405])
def test_a_plain_server_is_taken_for_ready_whatever_its_route_says_to_a_get(code):
    with serving(lambda *_: (code, {}, b"{}")) as (url, asked_for):
        found = introduce("today", read_address(f"plain+{url}/team/predict")[0], ACCESS, SPEC)
    assert (found.name, found.tensors) == ("plain API", None)
    assert {path for path, _ in asked_for} == {"/team/predict"}


def test_a_plain_server_that_fails_is_not_ready():
    with (
        serving(lambda *_: (500, {}, b"")) as (url, _),
        pytest.raises(MachineError, match="predict answers 500"),
    ):
        introduce("today", read_address(f"plain+{url}/predict")[0], ACCESS, SPEC)


@pytest.mark.parametrize(
    "url", ["plain+http://127.0.0.1:9/predict", "oip+http://127.0.0.1:9/m", "tfserving+grpc://127.0.0.1:9/m"]
)
def test_nobody_there_is_an_environment_failure(url):
    with pytest.raises(MachineError, match=r"today: .*cannot be asked"):
        introduce("today", read_address(url)[0], ACCESS, SPEC)


def test_a_server_of_http_alone_is_said_over_grpc():
    with serving(lambda *_: (200, {}, b"")) as (url, _), pytest.raises(MachineError, match="cannot be asked"):
        introduce("today", read_address(f"oip+{url.replace('http', 'grpc')}/m")[0], ACCESS, SPEC)


@contextmanager
def answering_calls(answers):
    """A server of gRPC's own library: what it does with a call, by method; a code refuses it."""

    class Calls(grpc_library.GenericRpcHandler):
        def service(self, details):
            answer = answers.get(details.method.rpartition("/")[2], answers.get("*"))
            if isinstance(answer, grpc_library.StatusCode):
                return grpc_library.unary_unary_rpc_method_handler(
                    lambda _, context: context.abort(answer, f"no model m, {answer.name}")
                )
            return grpc_library.unary_unary_rpc_method_handler(lambda body, _: answer(body))

    server = grpc_library.server(ThreadPoolExecutor(2), handlers=(Calls(),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"grpc://127.0.0.1:{port}"
    finally:
        server.stop(0)


@pytest.mark.parametrize("api", ["oip", "tfserving", "torchserve"])
@pytest.mark.parametrize("code", ["UNAUTHENTICATED", "PERMISSION_DENIED"])
def test_who_is_refused_over_grpc_is_told_which_header_to_give(api, code):
    with (
        answering_calls({"*": grpc_library.StatusCode[code]}) as url,
        pytest.raises(RequestError) as caught,
    ):
        introduce("today", read_address(f"{api}+{url}/m")[0], ACCESS, SPEC)
    line, exit_code = explain(caught.value)
    assert exit_code == 2
    assert f"answers {401 if code == 'UNAUTHENTICATED' else 403}" in line
    assert "--header" in line
    assert code in line


@pytest.mark.parametrize("api", ["oip", "tfserving"])
@pytest.mark.parametrize(
    ("code", "exit_code"),
    [
        ("NOT_FOUND", 2),
        ("INVALID_ARGUMENT", 2),
        ("UNAVAILABLE", 3),
        ("INTERNAL", 3),
        ("UNIMPLEMENTED", 3),
        ("DEADLINE_EXCEEDED", 3),
    ],
)
def test_only_a_server_that_says_so_has_no_such_model(api, code, exit_code):
    answers = {"ServerMetadata": lambda _: b"", "*": grpc_library.StatusCode[code]}
    with answering_calls(answers) as url, pytest.raises(UserError) as caught:
        introduce("today", read_address(f"{api}+{url}/m")[0], ACCESS, SPEC)
    line, found = explain(caught.value)
    assert found == exit_code
    assert code in line
    assert ("the server has no model" in line) == (exit_code == 2)


class FakeGrpc:
    """Answers calls by the end of their URL."""

    def __init__(self, answers):
        self.answers = answers

    def ask(self, url, _body=None):
        code, answer = next(value for end, value in self.answers.items() if url.endswith(end))
        return code, answer if isinstance(answer, bytes) else answer.SerializeToString()


def grpc(api, answers):
    return introduce("today", read_address(f"{api}+grpc://127.0.0.1:9/m")[0], FakeGrpc(answers), SPEC)


def oip_answers(shape=(-1, 8, 8, 1), ready=True, more=None):
    metadata = message("inference.ModelMetadataResponse")(name="m")
    metadata.inputs.add(name="image", datatype=NAMES["float32"], shape=shape)
    metadata.outputs.add(name="logits", datatype="FP32", shape=(-1, 10))
    if more:
        getattr(metadata, more[0]).add(name=more[1], datatype="INT64", shape=(-1, 8))
    return {
        "/ServerMetadata": (200, message("inference.ServerMetadataResponse")(name="triton", version="2")),
        "/ModelMetadata": (200, metadata),
        "/ServerReady": (200, message("inference.ServerReadyResponse")(ready=True)),
        "/ModelReady": (200, message("inference.ModelReadyResponse")(ready=ready)),
    }


def test_oip_over_grpc_is_asked_the_same():
    found = grpc("oip", oip_answers())
    assert (found.name, found.version) == ("triton", "2")
    with pytest.raises(GateError, match=r"'image' has the shape \[-1, 9\]"):
        grpc("oip", oip_answers(shape=(-1, 9)))
    with pytest.raises(MachineError, match="ModelReady says that it is not ready"):
        grpc("oip", oip_answers(ready=False))
    with pytest.raises(RequestError, match=r"has no model 'm'.*grpc NOT_FOUND"):
        grpc("oip", oip_answers() | {"/ModelMetadata": (404, b"grpc NOT_FOUND: m")})
    with pytest.raises(MachineError, match="does not speak the protocol"):
        grpc("oip", oip_answers() | {"/ServerReady": (200, b"\xff\xff")})


def tfserving_answers(dtype=1, more=None):
    signatures = message("tensorflow.serving.SignatureDefMap")()
    signature = signatures.signature_def["serving_default"]
    tensors = [("inputs", "image", dtype, (-1, 8, 8, 1)), ("outputs", "logits", dtype, (-1, 10))]
    for kind, name, number, shape in [*tensors, *([(*more, 9, (-1, 8))] if more else [])]:
        one = getattr(signature, kind)[name]
        one.dtype = number
        for size in shape:
            one.tensor_shape.dim.add(size=size)
    metadata = message("tensorflow.serving.GetModelMetadataResponse")()
    metadata.metadata["signature_def"].value = signatures.SerializeToString()
    status = message("tensorflow.serving.GetModelStatusResponse")()
    status.model_version_status.add(version=1, state=apis.AVAILABLE)
    return {"GetModelMetadata": (200, metadata), "GetModelStatus": (200, status)}


def test_tensorflow_serving_over_grpc_is_asked_the_same():
    assert grpc("tfserving", tfserving_answers()).tensors["inputs"][0]["shape"] == [-1, 8, 8, 1]
    with pytest.raises(GateError, match="'image' is FP64, expected FP32"):
        grpc("tfserving", tfserving_answers(dtype=2))
    with pytest.raises(RequestError, match="has no model 'm'"):
        grpc("tfserving", tfserving_answers() | {"GetModelMetadata": (404, b"grpc NOT_FOUND")})
    loading = message("tensorflow.serving.GetModelStatusResponse")()
    loading.model_version_status.add(version=1, state=20)
    with pytest.raises(MachineError, match="states of its versions: 20"):
        grpc("tfserving", tfserving_answers() | {"GetModelStatus": (200, loading)})


@pytest.mark.parametrize(
    ("said", "fits"), [('{"status": "Healthy"}', True), ('{"status": "Unhealthy"}', False)]
)
def test_torchserve_over_grpc_says_that_it_is_healthy(said, fits):
    health = message("org.pytorch.serve.grpc.inference.TorchServeHealthResponse")(health=said)
    answers = {"/Ping": (200, health)}
    if fits:
        assert grpc("torchserve", answers).tensors is None
        return
    with pytest.raises(MachineError, match="Ping answers"):
        grpc("torchserve", answers)


def test_the_datatypes_of_tensorflow_have_the_protocols_names():
    known = {
        "DT_FLOAT": "FP32",
        "DT_DOUBLE": "FP64",
        "DT_HALF": "FP16",
        "DT_INT64": "INT64",
        "DT_BOOL": "BOOL",
        "DT_STRING": "BYTES",
    }
    assert {name: apis._of_tensorflow(name) for name in known} == known
    assert apis._of_tensorflow("DT_COMPLEX64") == "DT_COMPLEX64"
