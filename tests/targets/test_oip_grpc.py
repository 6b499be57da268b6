"""Every field and error of an inference over gRPC, asked of the real Triton and MLServer."""

import numpy as np
import pytest
from oip_documents import GRPC
from oip_servers import FAULT, INVALID, MARKS, NOT_FOUND, OK, body_of, is_right, tensors, typed
from test_both_roads import SPEC

from loadtests.codecs import oip_grpc
from loadtests.protos import message
from models.tensors import sample
from pipelines.http import fetch

pytestmark = MARKS
REQUEST = message("inference.ModelInferRequest")
UNIMPLEMENTED = 501
# MLServer has no code for what fails in it before our runtime.
BOTH, IN_MLSERVER = {"triton": INVALID, "mlserver": INVALID}, {"triton": INVALID, "mlserver": FAULT}
TAKEN = {"triton": OK, "mlserver": OK}
UNREAD = {"triton": "INTERNAL", "mlserver": "UNKNOWN"}


def raw():
    """A right request with raw contents, as Tandem sends it."""
    return REQUEST.FromString(body_of("oip-grpc", [sample(SPEC.samples().named, 0)]))


def infer(server, request):
    return server.call("ModelInfer", request)


def decoded(answer):
    return oip_grpc.decode(answer.SerializeToString())


@pytest.mark.parametrize("request_", [typed(), raw()])
def test_typed_and_raw_contents_are_answered_with_the_right_values(oip_server, request_):
    status, answer = infer(oip_server, request_)
    assert status == OK, answer
    is_right(decoded(answer))


@pytest.mark.parametrize("request_", [typed(), raw()])
def test_contents_of_an_answer_are_of_one_kind(oip_server, request_):
    """Triton answers raw ones alone, MLServer those of the request's kind."""
    _, answer = infer(oip_server, request_)
    are_raw = oip_server.name == "triton" or bool(request_.raw_input_contents)
    assert len(answer.raw_output_contents) == (3 if are_raw else 0)
    fields = [field.name for one in answer.outputs for field, _ in one.contents.ListFields()]
    assert fields == ([] if are_raw else ["fp32_contents", "int64_contents", "bool_contents"])


def test_an_answer_has_id_model_version_and_the_outputs_that_are_asked_for(oip_server):
    request = typed(model_version="1", id="seven")
    request.outputs.add(name="large")
    request.outputs.add(name="scores").parameters["key"].string_param = "value"
    status, answer = infer(oip_server, request)
    assert status == OK, answer
    assert (answer.model_name, answer.model_version, answer.id) == ("several", "1", "seven")
    assert {one.name: (one.datatype, list(one.shape)) for one in answer.outputs} == {
        "scores": ("FP32", [1, 2]),
        "large": ("BOOL", [1, 2]),
    }
    is_right(decoded(answer), ("large", "scores"))


def test_inputs_in_any_order(oip_server):
    status, answer = infer(oip_server, typed({"inputs": tensors()["inputs"][::-1]}))
    assert status == OK
    is_right(decoded(answer))


def test_no_rows_are_no_rows(oip_server):
    empty = {name: array[:0] for name, array in arrays().items()}
    status, answer = infer(oip_server, with_raw(empty))
    assert status == OK
    assert {one.name: one.shape[0] for one in answer.outputs} == {"scores": 0, "double": 0, "large": 0}


def arrays():
    return {name: np.asarray(one)[None] for name, one in sample(SPEC.samples().named, 0).items()}


def with_raw(named):
    request = REQUEST(model_name="several")
    for name, array in named.items():
        request.inputs.add(name=name, datatype=oip_grpc.datatype(array), shape=array.shape)
        request.raw_input_contents.append(array.tobytes())
    return request


def changed(request, change):
    change(request)
    return request


def with_twice(name):
    request = typed()
    request.inputs.add().CopyFrom(request.inputs[0])
    request.inputs[-1].name = name
    return request


def with_contents(place, **contents):
    """A typed request whose input at `place` has these contents instead."""
    request = typed()
    request.inputs[place].contents.Clear()
    for field, values in contents.items():
        getattr(request.inputs[place].contents, field).extend(values)
    return request


def with_raw_contents(change):
    return changed(raw(), lambda request: change(request.raw_input_contents))


def cut(contents):
    contents[0] = contents[0][:-1]


def lengthen(contents):
    contents[0] += b"\0" * 4


IMAGE, PIXEL, FLAG = 0, 2, 3
OUTPUT = message("inference.ModelInferRequest.InferRequestedOutputTensor")
ERRORS = {
    "no input at all": (typed({"inputs": []}), BOTH),
    "an input missing": (typed(tensors(image=None)), BOTH),
    "an input twice": (with_twice("image"), BOTH),
    "an input too many": (with_twice("more"), BOTH),
    "another name": (typed(tensors(image={"name": "other"})), BOTH),
    "no name": (typed(tensors(image={"name": ""})), BOTH),
    "another datatype": (typed(tensors(image={"datatype": "FP64"})), BOTH),
    "an unknown datatype": (typed(tensors(image={"datatype": "FLOAT"})), BOTH),
    "no datatype": (typed(tensors(image={"datatype": ""})), BOTH),
    "an unknown datatype of raw contents": (
        changed(raw(), lambda request: setattr(request.inputs[IMAGE], "datatype", "FLOAT")),
        IN_MLSERVER,
    ),
    "another shape": (typed(tensors(image={"shape": [1, 6]})), BOTH),
    "no shape": (typed(tensors(image={"shape": []})), BOTH),
    "a negative size": (typed(tensors(image={"shape": [-1, 2, 3]})), BOTH),
    "rows that differ": (typed(tensors(flag={"shape": [2], "data": [True, False]})), BOTH),
    "too few values": (typed(tensors(image={"data": [1.0]})), BOTH),
    "too many values": (typed(tensors(image={"data": [1.0] * 7})), BOTH),
    "no contents": (with_contents(IMAGE), BOTH),
    "text for numbers": (with_contents(IMAGE, bytes_contents=[b"a"] * 6), BOTH),
    "two kinds of contents": (with_contents(IMAGE, int_contents=[1], fp32_contents=[1] * 6), BOTH),
    "contents of another kind": (
        with_contents(IMAGE, fp64_contents=[1] * 6),
        {"triton": INVALID, "mlserver": OK},
    ),
    "a number beyond the datatype": (
        with_contents(PIXEL, uint_contents=[300, 2]),
        {"triton": OK, "mlserver": INVALID},
    ),
    "raw contents that are too short": (with_raw_contents(cut), IN_MLSERVER),
    "raw contents that are too long": (with_raw_contents(lengthen), IN_MLSERVER),
    "raw contents for fewer inputs": (with_raw_contents(lambda contents: contents.pop()), IN_MLSERVER),
    "raw contents for more inputs": (with_raw_contents(lambda contents: contents.append(b"\0" * 4)), TAKEN),
    # The protocol forbids it; MLServer takes the raw ones that are there.
    "typed beside raw contents": (
        changed(typed(), lambda request: request.raw_input_contents.append(b"\0" * 24)),
        {"triton": INVALID, "mlserver": OK},
    ),
    "an output that is not there": (typed(outputs=[OUTPUT(name="none")]), BOTH),
    "an output without a name": (typed(outputs=[OUTPUT()]), BOTH),
    "an output twice": (typed(outputs=[OUTPUT(name="scores")] * 2), TAKEN),
    "no model": (typed(model_name=""), {"triton": NOT_FOUND, "mlserver": NOT_FOUND}),
    "a version that is no number": (typed(model_version="x"), {"triton": INVALID, "mlserver": NOT_FOUND}),
}


@pytest.mark.parametrize("case", ERRORS)
def test_what_is_wrong_has_its_code_and_the_next_request_is_answered(oip_server, case):
    request, status = ERRORS[case]
    found, answer = infer(oip_server, request)
    assert found == status[oip_server.name], answer
    if found == INVALID:
        assert "INVALID_ARGUMENT" in answer
    if found == FAULT:
        assert "INTERNAL" in answer
    status, answer = infer(oip_server, typed())
    assert status == OK
    is_right(decoded(answer))


@pytest.mark.parametrize(
    ("method", "body"),
    [
        ("ModelInfer", typed().SerializeToString()[:-3]),
        *((method, b"\xff\xff\xff") for method in GRPC["methods"]),
    ],
)
def test_bytes_that_are_no_message_are_the_servers_fault(oip_server, method, body):
    """The protocol has no code for them; both answer one of a server that failed."""
    status, answer = oip_server.call(method, body)
    assert (status, UNREAD[oip_server.name] in answer) == (FAULT, True)


@pytest.mark.parametrize("asked", [{"model_name": "nobody"}, {"model_version": "7"}])
def test_another_model_or_version_is_not_found(oip_server, asked):
    status, answer = infer(oip_server, typed(**asked))
    assert (status, "NOT_FOUND" in answer) == (NOT_FOUND, True)


def test_a_method_that_is_not_there(oip_server):
    assert fetch(f"{oip_server.grpc}/inference.GRPCInferenceService/Nothing", b"")[0] == UNIMPLEMENTED
