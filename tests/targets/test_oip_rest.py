"""Every field and error of an inference over REST in JSON, asked of the real Triton and MLServer."""

import json
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from oip_documents import require
from oip_servers import INVALID, MARKS, NOT_FOUND, OK, is_right, outputs, tensors
from test_both_roads import INPUTS

pytestmark = MARKS
MODEL = "several"
INFER = f"/v2/models/{MODEL}/infer"
# What Triton's parser refuses is status 500, and what MLServer's does is 422 without the protocol's "error".
UNREAD = {"triton": 500, "mlserver": 422}
# Triton reads data by the datatype; our runtime in MLServer does, after MLServer has.
DATA = {"triton": 500, "mlserver": 400}
WRONG = {"triton": 400, "mlserver": 400}


def test_an_answer_has_the_protocols_fields(oip_server):
    given = {"id": "seven", "parameters": {"n": 1, "t": "a", "b": True}}
    status, answer = oip_server.post(tensors() | given)
    assert status == OK
    assert require(answer, "inference_response") == set()
    assert (answer["model_name"], answer["model_version"], answer["id"]) == (MODEL, "1", "seven")
    length = len(INPUTS["tokens"][0])
    assert {one["name"]: (one["datatype"], one["shape"]) for one in answer["outputs"]} == {
        "scores": ("FP32", [1, 2]),
        "double": ("INT64", [1, length]),
        "large": ("BOOL", [1, 2]),
    }
    is_right(outputs(answer))


def test_without_an_id_mlserver_answers_one_of_its_own(oip_server):
    _, answer = oip_server.post(tensors())
    assert ("id" in answer) == (oip_server.name == "mlserver")


def test_a_version_can_be_named(oip_server):
    status, answer = oip_server.post(tensors(), f"/v2/models/{MODEL}/versions/1/infer")
    assert (status, answer["model_version"]) == (OK, "1")
    is_right(outputs(answer))


def test_data_may_be_nested_inputs_in_any_order_and_tensors_may_have_parameters(oip_server):
    image = tensors()["inputs"][0]
    nested = np.array(image["data"]).reshape(image["shape"]).tolist()
    body = tensors(image={"data": nested, "parameters": {"key": "value"}})
    status, answer = oip_server.post({"inputs": body["inputs"][::-1]})
    assert status == OK
    is_right(outputs(answer))


def test_only_the_outputs_that_are_asked_for_come(oip_server):
    asked = [{"name": "large"}, {"name": "scores", "parameters": {"key": 1}}]
    status, answer = oip_server.post(tensors() | {"outputs": asked})
    assert status == OK
    is_right(outputs(answer), ("large", "scores"))


def test_no_rows_are_no_rows(oip_server):
    empty = {one["name"]: {"shape": [0, *one["shape"][1:]], "data": []} for one in tensors()["inputs"]}
    status, answer = oip_server.post(tensors(**empty))
    assert status == OK
    assert {one["name"]: one["shape"][0] for one in answer["outputs"]} == dict.fromkeys(outputs(answer), 0)


def without(field):
    body = tensors()
    del body["inputs"][0][field]
    return body


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
def test_what_is_wrong_has_its_status_and_the_reason(oip_server, body, status, said):
    found, answer = oip_server.post(body)
    assert found == status[oip_server.name], answer
    if found == UNREAD["mlserver"]:  # where it cannot read a body, the field is its own
        assert said in json.dumps(answer["detail"])
    else:
        assert require(answer, "inference_error_response") == set()
        assert said in answer["error"]


def test_a_number_beyond_its_datatype_is_refused_by_our_runtime_alone(oip_server):
    status, answer = oip_server.post(tensors(pixel={"data": [300, 2]}))
    if oip_server.name == "triton":  # its parser takes 300 for 44, before the runtime
        assert status == OK
        _, of_44 = oip_server.post(tensors(pixel={"data": [44, 2]}))
        assert answer["outputs"] == of_44["outputs"]
    else:
        assert (status, "holds 300" in answer["error"]) == (INVALID, True)


@pytest.mark.parametrize("path", ["/v2/models/nobody/infer", f"/v2/models/{MODEL}/versions/7/infer"])
def test_another_model_or_version_is_status_404(oip_server, path):
    status, answer = oip_server.post(tensors(), path)
    assert status == NOT_FOUND
    assert require(answer, "inference_error_response") == set()


def test_a_version_that_is_no_number(oip_server):
    status, answer = oip_server.post(tensors(), f"/v2/models/{MODEL}/versions/x/infer")
    assert status == NOT_FOUND
    assert answer["error"]


def test_inference_is_a_post(oip_server):
    assert oip_server.get(INFER)[0] == 405


def test_a_string_does_not_give_its_length_to_every_number(oip_server):
    family = oip_server.family()
    before = list(map(peak_bytes, family))
    data = [1] * 2000 + ["x" * 50_000]  # 400 MB, if all were as long
    status, _ = oip_server.post(tensors(tokens={"shape": [1, len(data)], "data": data}))
    assert status == DATA[oip_server.name]
    grown = [after - own for after, own in zip(map(peak_bytes, family), before, strict=True)]
    assert max(grown) < 100_000_000


def peak_bytes(pid):
    """The most memory that a process has held so far."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


def test_an_answer_that_were_none_would_be_seen(oip_server):
    _, answer = oip_server.post(tensors())
    with pytest.raises(jsonschema.ValidationError):
        require(answer | {"outputs": [{"name": "scores"}]}, "inference_response")
