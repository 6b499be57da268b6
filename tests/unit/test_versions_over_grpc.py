"""A version of a model over gRPC: asked for by address, metadata, readiness, proof and load alike."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import grpc
import numpy as np
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, wrappers_pb2

from loadtests.codecs import find_codec, npy
from loadtests.codecs.versions import split_version
from loadtests.protos import message
from models.spec import ModelSpec, Samples, TensorSpec, Tolerance
from pipelines.access import Access
from pipelines.config.asked import run_settings
from pipelines.errors import GateError, RequestError
from pipelines.measure.sides import make_sides
from pipelines.parity.quality import Expectation, Expectations
from pipelines.runners.url import RunningSide
from pipelines.smoke.endpoints import Endpoint
from pipelines.targets.address import read_address
from pipelines.targets.apis import AVAILABLE, status

ROWS = np.arange(12, dtype=np.float32).reshape(6, 2)
FACTORS = {"2": 3, "1": 5, "": 5}
"""By what each version multiplies: the second one is the model, what serves by default is another."""

LABELS = {"canary": "2"}
AS_TYPED = {
    "oip": "m/versions/2",
    "tfserving": "m/versions/2",
    "torchserve": "m/2",
}
SPEC = ModelSpec(
    name="thrice",
    inputs=(TensorSpec("x", "float32", (None, 2)),),
    outputs=(TensorSpec("y", "float32", (None, 2)),),
    labels=(),
    tolerance=Tolerance(1e-5, 1e-5),
    checkpoint=Path(__file__),
    build_torch=lambda: None,
    test_samples=lambda: Samples(ROWS),
)
VERIFIED = SimpleNamespace(
    expected=Expectations({"y": Expectation(ROWS * 3, None, SPEC.tolerance_of("y"), "none")}), manifests={}
)


def model_spec():
    """`tensorflow.serving.ModelSpec` as TensorFlow Serving's `model.proto` has it."""
    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="model.proto", package="original", syntax="proto3")
    file.dependency.append("google/protobuf/wrappers.proto")
    made = file.message_type.add(name="ModelSpec")
    made.field.add(name="name", number=1, type=kinds.TYPE_STRING, label=1)
    number = made.field.add(name="version", number=2, type=kinds.TYPE_MESSAGE, label=1)
    number.type_name = ".google.protobuf.Int64Value"
    made.field.add(name="version_label", number=4, type=kinds.TYPE_STRING, label=1)
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("original.ModelSpec"))


MODEL_SPEC = model_spec()


def of_tensorflow(spec):
    found = MODEL_SPEC.FromString(spec.SerializeToString())
    if found.version_label:
        return found.name, LABELS.get(found.version_label, "none")
    return found.name, str(found.version.value) if found.HasField("version") else ""


class Server(grpc.GenericRpcHandler):
    """Speaks all three APIs, and keeps which version each method was asked about."""

    def __init__(self):
        self.asked = {}

    def service(self, details):
        return grpc.unary_unary_rpc_method_handler(partial(self.answer, details.method.rpartition("/")[2]))

    def answer(self, method, body, context):
        if method in ("ServerReady", "ServerMetadata", "Ping"):
            return ABOUT_SERVER[method].SerializeToString()
        kind, named, answered = METHODS[method]
        request = message(kind).FromString(body)
        name, version = named(request)
        if name != "m" or version not in FACTORS:
            context.abort(grpc.StatusCode.NOT_FOUND, f"no {name!r} of version {version!r}")
        self.asked[method] = version
        answer = answered(request, FACTORS[version])
        return answer if isinstance(answer, bytes) else answer.SerializeToString()


ABOUT_SERVER = {
    "ServerReady": message("inference.ServerReadyResponse")(ready=True),
    "ServerMetadata": message("inference.ServerMetadataResponse")(name="stub", version="1"),
    "Ping": message("org.pytorch.serve.grpc.inference.TorchServeHealthResponse")(
        health='{"status": "Healthy"}'
    ),
}


def oip_metadata(*_):
    told = message("inference.ModelMetadataResponse")(name="m")
    told.inputs.add(name="x", datatype="FP32", shape=(-1, 2))
    told.outputs.add(name="y", datatype="FP32", shape=(-1, 2))
    return told


def tensorflow_metadata(*_):
    signatures = message("tensorflow.serving.SignatureDefMap")()
    signature = signatures.signature_def["serving_default"]
    for tensor in (signature.inputs["x"], signature.outputs["y"]):
        tensor.dtype = 1
        tensor.tensor_shape.dim.add(size=-1)
        tensor.tensor_shape.dim.add(size=2)
    told = message("tensorflow.serving.GetModelMetadataResponse")()
    told.metadata["signature_def"].value = signatures.SerializeToString()
    return told


def tensorflow_status(*_):
    told = message("tensorflow.serving.GetModelStatusResponse")()
    told.model_version_status.add(version=2, state=AVAILABLE)
    return told


def product(codec, raw, factor):
    values = np.frombuffer(raw, np.float32).reshape(-1, 2)
    return find_codec(codec).answer({"y": values * np.float32(factor)})


METHODS = {
    "ModelReady": (
        "inference.ModelReadyRequest",
        lambda asked: (asked.name, asked.version),
        lambda *_: message("inference.ModelReadyResponse")(ready=True),
    ),
    "ModelMetadata": (
        "inference.ModelMetadataRequest",
        lambda asked: (asked.name, asked.version),
        oip_metadata,
    ),
    "ModelInfer": (
        "inference.ModelInferRequest",
        lambda asked: (asked.model_name, asked.model_version),
        lambda asked, factor: product("oip-grpc", asked.raw_input_contents[0], factor),
    ),
    "GetModelStatus": (
        "tensorflow.serving.GetModelStatusRequest",
        lambda asked: of_tensorflow(asked.model_spec),
        tensorflow_status,
    ),
    "GetModelMetadata": (
        "tensorflow.serving.GetModelMetadataRequest",
        lambda asked: of_tensorflow(asked.model_spec),
        tensorflow_metadata,
    ),
    "Predict": (
        "tensorflow.serving.PredictRequest",
        lambda asked: of_tensorflow(asked.model_spec),
        lambda asked, factor: product("tensor-proto", asked.inputs["x"].tensor_content, factor),
    ),
    "Predictions": (
        "org.pytorch.serve.grpc.inference.PredictionsRequest",
        lambda asked: (asked.model_name, asked.model_version),
        lambda asked, factor: product("tensor-map", npy_bytes(asked.input["x"]), factor),
    ),
}


def npy_bytes(file):
    return npy.decode(file)[""].tobytes()


@pytest.fixture
def serving():
    """The stub, and its address without a model."""
    handler = Server()
    server = grpc.server(ThreadPoolExecutor(2), handlers=(handler,))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield handler, f"grpc://127.0.0.1:{port}"
    server.stop(0)


def endpoint(api, url, model):
    address, protocol = read_address(f"{api}+{url}/{model}")
    side = RunningSide("today", address, protocol, Access(timeout_s=5))
    return Endpoint(side, SPEC, lambda: VERIFIED, ())


@pytest.mark.parametrize(
    ("api", "model"), [*AS_TYPED.items(), ("tfserving", "m/labels/canary")], ids=lambda one: one
)
def test_the_version_that_was_typed_is_the_one_that_is_asked(serving, api, model):
    handler, url = serving
    one = endpoint(api, url, model)
    with one.stack:
        one.introduced()
        assert one.right(1) == "6 samples right, 1 a request"
        assert one.right(2) == "6 samples right, 2 a request"
        one.server.wait_ready()
    assert status(one.side.address, one.side.access) is None
    assert handler.asked
    assert set(handler.asked.values()) == {"2"}


@pytest.mark.parametrize("api", AS_TYPED)
def test_without_a_version_the_server_chooses(serving, api):
    handler, url = serving
    one = endpoint(api, url, "m")
    with one.stack:
        one.introduced()
        with pytest.raises(GateError, match="today endpoint"):
            one.right(1)
    assert set(handler.asked.values()) == {""}


@pytest.mark.parametrize("api", AS_TYPED)
def test_a_version_that_is_not_there_is_a_wrong_request(serving, api):
    one = endpoint(api, serving[1], AS_TYPED[api].replace("2", "9"))
    with one.stack, pytest.raises(RequestError, match=r"model 'm/(versions/)?9'"):
        one.introduced()
        one.right(1)


@pytest.mark.parametrize("api", AS_TYPED)
def test_the_requests_of_a_load_ask_for_the_version(serving, api):
    _, url = serving
    sides = f"today={api}+{url}/{AS_TYPED[api]},{api}+{url}/m"
    settings = run_settings(profile="smoke", model="digits_cnn", sides=sides)
    pools = [side.pool("/") for side in make_sides(settings, SPEC, VERIFIED, None)[:2]]
    method = {"oip": "ModelInfer", "tfserving": "Predict", "torchserve": "Predictions"}[api]
    kind, named, _ = METHODS[method]
    asked = [{named(message(kind).FromString(body)) for body in pool.bodies} for pool in pools]
    assert asked == [{("m", "2")}, {("m", "")}]


def test_a_model_is_split_into_its_name_and_its_version():
    assert split_version("m") == ("m", "", "")
    assert split_version("m/3") == ("m", "", "3")
    assert split_version("m/versions/3") == ("m", "versions", "3")


@pytest.mark.parametrize(
    ("version", "found"),
    [
        ("versions/0", (0, "")),
        ("versions/999999999999999999", (10**18 - 1, "")),
        (f"labels/{'x' * 300}", (0, "x" * 300)),
    ],
)
def test_numbers_and_labels_of_every_length_are_read_as_they_were_typed(version, found):
    body = find_codec("tensor-proto").encode([{"x": ROWS[0]}], f"m/{version}")
    request = message("tensorflow.serving.PredictRequest").FromString(body)
    spec = MODEL_SPEC.FromString(request.model_spec.SerializeToString())
    assert (spec.name, spec.version.value, spec.version_label) == ("m", *found)
    assert spec.HasField("version") == version.startswith("versions")
