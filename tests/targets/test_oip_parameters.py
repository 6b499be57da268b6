"""`parameters` of requests, tensors and answers, as the real Triton and MLServer pass them on."""

import json

import pytest
from oip_models import TOLD
from oip_servers import FAULT, INVALID, MARKS, OK

from loadtests.codecs import oip_grpc
from loadtests.protos import message

pytestmark = MARKS
REQUEST = message("inference.ModelInferRequest")
INFER = f"/v2/models/{TOLD}/infer"
BIG = 2**63
GIVEN = {
    "bool_param": True,
    "int64_param": -5,
    "string_param": "text",
    "double_param": 1.5,
    "uint64_param": BIG,
}
# Which kinds reach the model; None: the request is refused.
ARRIVING = {
    "triton": GIVEN | {"uint64_param": None},
    # Its messages have no such fields, and what is in them is left out.
    "mlserver": GIVEN | {"double_param": ..., "uint64_param": ...},
}


def body(parameters=None, of_input=None, of_output=None):
    tensor = {"name": "x", "shape": [1, 1], "datatype": "UINT8", "data": [1]}
    output = {"name": "parameters"}
    return {
        "inputs": [tensor | ({} if of_input is None else {"parameters": of_input})],
        "outputs": [output | ({} if of_output is None else {"parameters": of_output})],
        **({} if parameters is None else {"parameters": parameters}),
    }


def arrived(answer):
    """What the model was given, of an answer in JSON."""
    given = json.loads(bytes(answer["outputs"][0]["data"]))
    return given, given.pop("of input", {})


@pytest.mark.parametrize("value", [True, -5, "text", 1.5])
def test_a_parameter_in_json_reaches_the_model(oip_server, value):
    status, answer = oip_server.post(body({"key": value}), INFER)
    assert status == OK, answer
    assert arrived(answer) == ({"key": value}, {})


def test_no_parameters_are_none(oip_server):
    assert arrived(oip_server.post(body(), INFER)[1]) == ({}, {})
    assert arrived(oip_server.post(body({}), INFER)[1]) == ({}, {})


def test_a_whole_number_beyond_int64_in_json_loses_digits_in_triton(oip_server):
    status, answer = oip_server.post(body({"key": BIG + 1}), INFER)
    assert status == OK
    found = arrived(answer)[0]["key"]
    assert found == pytest.approx(BIG, rel=1e-15)
    assert (found == BIG + 1) == (oip_server.name == "mlserver")


@pytest.mark.parametrize("value", [[1], {"a": 1}, None])
def test_a_parameter_that_the_protocol_has_not(oip_server, value):
    status, answer = oip_server.post(body({"key": value}), INFER)
    if oip_server.name == "triton":
        assert (status, "'key'" in answer["error"]) == (INVALID, True)
    else:
        assert status == OK


@pytest.mark.parametrize("place", ["parameters", "of_input", "of_output"])
def test_parameters_that_are_no_object(oip_server, place):
    status, _ = oip_server.post(body(**{place: 7}), INFER)
    if oip_server.name == "mlserver":
        assert status == 422
    else:  # Triton reads those of tensors only where it knows their names
        assert status == (FAULT if place == "parameters" else OK)


def test_parameters_of_an_input_reach_the_model_in_mlserver_alone(oip_server):
    status, answer = oip_server.post(body(of_input={"key": "text"}, of_output={"key": 1}), INFER)
    assert status == OK
    assert arrived(answer) == ({}, {"key": "text"} if oip_server.name == "mlserver" else {})


def test_parameters_of_an_answer(oip_server):
    """Those of the model, where the server lets it have some: Triton's Python backend does not."""
    given = {"text": "yes", "count": 2, "right": True}
    _, answer = oip_server.post(body(), INFER)
    _, message_ = oip_server.call("ModelInfer", request())
    if oip_server.name == "triton":
        assert "parameters" not in answer
        assert not message_.parameters
    else:
        assert answer["parameters"] == given
        found = {name: value.WhichOneof("parameter_choice") for name, value in message_.parameters.items()}
        assert found == {"text": "string_param", "count": "int64_param", "right": "bool_param"}
        values = {name: getattr(message_.parameters[name], kind) for name, kind in found.items()}
        assert values == given


def request(of_request=None, of_input=None, of_output=None):
    """A request with one parameter, `key`, in a place; a value of None leaves it without a choice."""
    made = REQUEST(model_name=TOLD)
    tensor = made.inputs.add(name="x", datatype="UINT8", shape=[1, 1])
    tensor.contents.uint_contents.append(1)
    places = ((made, of_request), (tensor, of_input), (made.outputs.add(name="parameters"), of_output))
    for place, parameter in places:
        if parameter is not None:
            kind, value = parameter
            added = place.parameters["key"]
            if kind:
                setattr(added, kind, value)
    return made


def arrived_over_grpc(answer):
    (array,) = oip_grpc.decode(answer.SerializeToString()).values()
    given = json.loads(array.tobytes())
    return given, given.pop("of input", {})


@pytest.mark.parametrize("kind", GIVEN)
def test_each_kind_of_parameter_over_grpc(oip_server, kind):
    expected = ARRIVING[oip_server.name][kind]
    status, answer = oip_server.call("ModelInfer", request(of_request=(kind, GIVEN[kind])))
    if expected is None:
        assert (status, "INVALID_ARGUMENT" in answer) == (INVALID, True)
        return
    assert status == OK, answer
    assert arrived_over_grpc(answer) == ({} if expected is ... else {"key": expected}, {})


@pytest.mark.parametrize("kind", GIVEN)
def test_each_kind_of_parameter_of_tensors_over_grpc(oip_server, kind):
    asked = request(of_input=(kind, GIVEN[kind]), of_output=(kind, GIVEN[kind]))
    status, answer = oip_server.call("ModelInfer", asked)
    assert status == OK, answer
    expected = ARRIVING["mlserver"][kind]
    in_model = {} if oip_server.name == "triton" or expected is ... else {"key": expected}
    assert arrived_over_grpc(answer) == ({}, in_model)


def test_a_parameter_without_a_choice(oip_server):
    status, answer = oip_server.call("ModelInfer", request(of_request=("", None)))
    assert status == {"triton": INVALID, "mlserver": OK}[oip_server.name], answer
