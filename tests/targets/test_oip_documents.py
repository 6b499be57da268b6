"""Our messages and bodies, and the servers' own, against the Open Inference Protocol's documents."""

import ast
import json
import re

import jsonschema
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from oip_documents import GRPC, REST, fields, messages, schema
from oip_documents import require as require_object
from oip_servers import require, tensors
from test_both_roads import INPUTS

from loadtests.codecs import oip_json
from loadtests.protos import message
from models.tensors import sample
from pipelines.environments.known import find
from pipelines.targets import oip_grpc

SERIALIZED = re.compile(r"AddSerializedFile\(\s*(b(?:'.*'|\".*\"))\s*\)", re.DOTALL)
OF_MLSERVER, OF_TRITON = "mlserver/grpc/dataplane_pb2.py", "tritonclient/grpc/service_pb2.py"
PARAMETERS = "map<string, InferParameter>"


def packages():
    """Where the environment of MLServer has what it brings; Triton's client is among it."""
    require("mlserver")
    return next(find("mlserver").folder.glob("lib/python3*/site-packages"))


def file_of(module):
    text = (packages() / module).read_text()
    return FileDescriptorProto.FromString(ast.literal_eval(SERIALIZED.search(text)[1]))


def test_our_messages_have_every_field_of_the_documents_and_no_other():
    ours = FileDescriptorProto()
    message("inference.ModelInferRequest").DESCRIPTOR.file.CopyToProto(ours)
    assert fields(messages(ours)) == fields(GRPC["messages"])
    assert f"/{GRPC['service']}" == oip_grpc.SERVICE


@pytest.mark.parametrize("change", ["number", "type", "label", "type_name"])
def test_a_field_that_differs_in_anything_is_seen(change):
    file = FileDescriptorProto()
    message("inference.ModelInferRequest").DESCRIPTOR.file.CopyToProto(file)
    inputs = next(
        field
        for found in file.message_type
        if found.name == "ModelInferRequest"
        for field in found.field
        if field.name == "inputs"
    )
    other = {"number": 15, "type": inputs.TYPE_STRING, "label": inputs.LABEL_OPTIONAL}
    if change == "type":
        inputs.ClearField("type_name")
    setattr(inputs, change, other.get(change, ".inference.InferParameter"))
    assert {name for _, name, _ in fields(messages(file)) ^ fields(GRPC["messages"])} == {"inputs"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "missing", "more"),
    [
        (
            OF_MLSERVER,
            {
                ("InferParameter", "double_param", "4 double of parameter_choice"),
                ("InferParameter", "uint64_param", "5 uint64 of parameter_choice"),
            },
            {
                ("ModelMetadataResponse", "parameters", f"6 {PARAMETERS}"),
                ("ModelMetadataResponse.TensorMetadata", "parameters", f"4 {PARAMETERS}"),
            },
        ),
        (OF_TRITON, set(), set()),
    ],
)
def test_the_servers_messages_are_those_of_the_documents_but_for(module, missing, more):
    theirs = {name: found for name, found in messages(file_of(module)).items() if name in GRPC["messages"]}
    assert fields(GRPC["messages"]) - fields(theirs) == missing
    assert fields(theirs) - fields(GRPC["messages"]) == more


@pytest.mark.slow
@pytest.mark.parametrize("module", [OF_MLSERVER, OF_TRITON])
def test_the_servers_have_every_method_of_the_documents(module):
    file = file_of(module)
    (service,) = file.service
    assert f"{file.package}.{service.name}" == GRPC["service"]
    methods = {
        one.name: [one.input_type.rpartition(".")[2], one.output_type.rpartition(".")[2]]
        for one in service.method
    }
    assert GRPC["methods"].items() <= methods.items()


@pytest.mark.slow
def test_mlservers_openapi_file_has_every_path_and_field_of_the_documents():
    """It is written after the protocol's own, with more in it; TensorData is described as less than it is."""
    theirs = json.loads((packages() / "mlserver/rest/openapi/dataplane.json").read_text())
    objects = {name.lower(): found for name, found in theirs["components"]["schemas"].items()}
    for name in REST["objects"]:
        ours, found = schema(name)["$defs"][name], objects[name.replace("_", "")]
        assert ours["properties"].keys() <= found["properties"].keys(), name
        assert set(ours["required"]) == set(found.get("required", [])), name
        for field, kind in ours["properties"].items():
            assert found["properties"][field].get("type", kind.get("type")) == kind.get("type"), (name, field)
    paths = {
        path.replace("model_name", "model").replace("model_version", "version") for path in theirs["paths"]
    }
    assert {path.split()[1].rstrip("/") for path in REST["paths"]} <= paths


@pytest.mark.parametrize("place", range(3))
def test_our_requests_in_json_are_what_the_documents_say(place):
    body = json.loads(oip_json.encode([sample(INPUTS, place)] * 2))
    assert require_object(body, "inference_request") == set()
    assert all(set(one) <= {"name", "shape", "datatype", "data"} for one in body["inputs"])


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"inputs": {}},
        {"inputs": [{"name": "x", "shape": [1], "datatype": "FP32"}]},
        {"inputs": [{"name": "x", "shape": [1.5], "datatype": "FP32", "data": [1]}]},
        tensors(image={"data": [None] * 6}),
        tensors(image={"data": 1}),
        tensors() | {"id": 7},
        tensors() | {"parameters": 7},
        tensors() | {"outputs": [{}]},
    ],
)
def test_what_is_no_request_is_seen(body):
    with pytest.raises(jsonschema.ValidationError):
        require_object(body, "inference_request")
