"""Every datatype of the protocol, with its limits, there and back through the real Triton and MLServer."""

import json

import numpy as np
import pytest
from oip_models import ECHO, HALF, SPECS, TEXTS, VALUES
from oip_servers import FAULT, INVALID, MARKS, OK, body_of, tensors
from test_both_roads import SPEC

from loadtests.codecs import find_codec, oip_grpc, oip_json, packed_text, request_headers
from loadtests.protos import message
from models.tensors import sample
from pipelines.http import fetch

pytestmark = MARKS
REQUEST = message("inference.ModelInferRequest")
INFER = "/v2/models/{}/infer"
CALL = "/inference.GRPCInferenceService/ModelInfer"


def asked(server, codec, model, body):
    """Status, outputs and body of an answer."""
    kind = find_codec(codec)
    url = server.grpc + CALL if codec == "oip-grpc" else server.rest + INFER.format(model)
    headers = None if codec == "oip-grpc" else request_headers(kind, body)
    status, answer = fetch(url, body, headers=headers)
    return status, kind.decode(answer) if status == OK else None, answer


def test_all_datatypes_are_asked_for():
    assert {tensor.dtype for spec in SPECS.values() for tensor in spec.inputs} | {"string"} == set(
        oip_json.NAMES
    )


def row(model):
    return [{tensor.name: VALUES[tensor.dtype][0] for tensor in SPECS[model].inputs}]


@pytest.mark.parametrize("codec", ["oip-json", "oip-binary", "oip-grpc"])
def test_every_number_comes_back_as_it_went(oip_server, codec):
    body = find_codec(codec).encode(row(ECHO), ECHO)
    status, found, answer = asked(oip_server, codec, ECHO, body)
    if (oip_server.name, codec) == ("mlserver", "oip-binary"):  # it takes JSON alone
        assert status == FAULT
        return
    assert status == OK, answer
    assert found.keys() == {tensor.name for tensor in SPECS[ECHO].outputs}
    for tensor in SPECS[ECHO].inputs:
        one, expected = found[f"{tensor.name}_out"], VALUES[tensor.dtype]
        assert one.dtype.newbyteorder("=") == expected.dtype
        if (oip_server.name, codec, tensor.dtype) == ("triton", "oip-json", "float64"):
            # Triton reads the last digits of an FP64 in JSON as it likes.
            np.testing.assert_allclose(one, expected, rtol=1e-14, atol=0)
            assert (one != expected).any()
        else:
            np.testing.assert_array_equal(one, expected, str(tensor))


@pytest.mark.parametrize("codec", ["oip-json", "oip-binary", "oip-grpc"])
def test_fp16_comes_back_where_the_server_takes_it(oip_server, codec):
    body = find_codec(codec).encode(row(HALF), HALF)
    status, found, answer = asked(oip_server, codec, HALF, body)
    if (oip_server.name, codec) == ("triton", "oip-json"):  # as Tandem knows
        assert (status, "FP16" in json.loads(answer)["error"]) == (INVALID, True)
        assert oip_server.protocol(codec).refused_dtypes == ("float16",)
    elif (oip_server.name, codec) == ("mlserver", "oip-binary"):
        assert status == FAULT
    else:
        assert status == OK, answer
        np.testing.assert_array_equal(found["float16_out"], VALUES["float16"])


def typed(model):
    request = REQUEST(model_name=model)
    for tensor in SPECS[model].inputs:
        values, name = VALUES[tensor.dtype], oip_json.NAMES[tensor.dtype]
        added = request.inputs.add(name=tensor.name, datatype=name, shape=values.shape)
        getattr(added.contents, oip_grpc.CONTENTS[name]).extend(values.ravel().tolist())
    return request


def test_every_field_of_typed_contents_is_read(oip_server):
    request = typed(ECHO)
    used = {field.name for one in request.inputs for field, _ in one.contents.ListFields()}
    # BYTES has no number, FP16 no field.
    assert used == {field.name for field in message("inference.InferTensorContents").DESCRIPTOR.fields} - {
        "bytes_contents"
    }
    status, found, answer = asked(oip_server, "oip-grpc", ECHO, request.SerializeToString())
    assert status == OK, answer
    for tensor in SPECS[ECHO].inputs:
        np.testing.assert_array_equal(found[f"{tensor.name}_out"], VALUES[tensor.dtype], str(tensor))
    fields = {field.name for one in message_of(answer).outputs for field, _ in one.contents.ListFields()}
    assert fields == (set() if oip_server.name == "triton" else used)


def message_of(answer):
    return message("inference.ModelInferResponse").FromString(answer)


def test_fp16_has_no_field_of_typed_contents(oip_server):
    values = VALUES["float16"]
    request = REQUEST(model_name=HALF)
    added = request.inputs.add(name="float16", datatype="FP16", shape=values.shape)
    added.contents.bytes_contents.append(values.tobytes())
    assert asked(oip_server, "oip-grpc", HALF, request.SerializeToString())[0] == INVALID


@pytest.mark.parametrize("dtype", [dtype for dtype in VALUES if np.dtype(dtype).kind in "iu"])
def test_a_number_one_beyond_its_datatype(oip_server, dtype):
    """Triton keeps the lower bits of what 64 have room for."""
    limits = np.iinfo(dtype)
    body = {
        "inputs": [
            {
                "name": tensor.name,
                "shape": [1, 3],
                "datatype": oip_json.NAMES[tensor.dtype],
                "data": [limits.max + 1, 0, 0] if tensor.dtype == dtype else VALUES[tensor.dtype][0].tolist(),
            }
            for tensor in SPECS[ECHO].inputs
        ]
    }
    status, answer = oip_server.post(body, INFER.format(ECHO))
    if oip_server.name == "mlserver":
        assert (status, f"'{dtype}'" in answer["error"]) == (INVALID, True)
    elif dtype.endswith("64"):
        assert status == FAULT, answer
    else:
        assert status == OK, answer
        found = {one["name"]: one["data"] for one in answer["outputs"]}
        assert found[f"{dtype}_out"] == [limits.min, 0, 0]


TWO = [b"h\xc3\xa9", b"b"]


def text(**changes):
    tensor = {"name": "text", "shape": [1, 2], "datatype": "BYTES", "data": [one.decode() for one in TWO]}
    return {"inputs": [tensor | changes]}


def text_over_grpc(raw=None, values=TWO):
    request = REQUEST(model_name=TEXTS)
    added = request.inputs.add(name="text", datatype="BYTES", shape=[1, 2])
    if raw is None:
        added.contents.bytes_contents.extend(values)
    else:
        request.raw_input_contents.append(raw)
    return request.SerializeToString()


@pytest.fixture(scope="module")
def mlserver(oip_servers):
    return oip_servers("mlserver")


def test_bytes_come_back_from_mlserver(mlserver):
    packed = packed_text(np.array([TWO], "S"))
    bodies = {
        "oip-json": [oip_json.encode([{"text": np.array(TWO, "S")}])],
        "oip-grpc": [text_over_grpc(), text_over_grpc(packed)],
    }
    for codec, each in bodies.items():
        for body in each:
            status, found, answer = asked(mlserver, codec, TEXTS, body)
            assert status == OK, answer
            assert found["text_out"].tolist() == [TWO]


def test_what_is_no_text_in_utf_8_goes_over_grpc_alone(mlserver):
    values = [b"\xff\x00", b""]
    status, found, _ = asked(mlserver, "oip-grpc", TEXTS, text_over_grpc(values=values))
    assert status == OK
    assert found["text_out"].ravel().tolist() == [b"\xff", b""]  # NumPy's strings end before a zero


@pytest.mark.parametrize("codec", ["oip-json", "oip-binary", "oip-grpc"])
def test_bytes_that_triton_answers_are_read(oip_servers, codec):
    """Its classification extension has the classes as BYTES: the value, and the place."""
    triton = oip_servers("triton")
    if codec == "oip-grpc":
        request = REQUEST.FromString(body_of(codec, [sample(SPEC.samples().named, 0)]))
        request.outputs.add(name="scores").parameters["classification"].int64_param = 2
        body = request.SerializeToString()
    else:
        given = {"classification": 2, "binary_data": codec == "oip-binary"}
        body = json.dumps(tensors() | {"outputs": [{"name": "scores", "parameters": given}]}).encode()
    url = triton.grpc + CALL if codec == "oip-grpc" else triton.rest + INFER.format("several")
    status, answer = fetch(url, body)
    assert status == OK, answer
    found = find_codec(codec).decode(answer)["scores"].ravel().tolist()
    assert [one.rpartition(b":")[2] for one in found] == [b"0", b"1"]
    assert [float(one.rpartition(b":")[0]) for one in found] == pytest.approx(scores(triton), rel=1e-5)


def scores(triton):
    _, answer = triton.post(tensors() | {"outputs": [{"name": "scores"}]}, INFER.format("several"))
    return answer["outputs"][0]["data"]


FEWER = packed_text(np.array([[b"a"]], "S"))
MORE = packed_text(np.array([[b"a", b"b", b"c"]], "S"))


@pytest.mark.parametrize("raw", [FEWER, MORE, b"\5\0\0\0ab", b"ab"])
def test_raw_bytes_that_do_not_fit_their_shape(oip_server, raw):
    """MLServer leaves the number of values to the model; ours for TorchScript counts them."""
    status, _, answer = asked(oip_server, "oip-grpc", TEXTS, text_over_grpc(raw))
    if oip_server.name == "triton":
        assert (status, b"INVALID_ARGUMENT" in answer) == (INVALID, True)
    else:
        assert status == (OK if raw in (FEWER, MORE) else FAULT)


@pytest.mark.parametrize("data", [["a"], ["a", None], [1, 2]])
def test_data_in_json_that_are_not_the_bytes_of_their_shape(oip_server, data):
    status, answer = oip_server.post(text(data=data), INFER.format(TEXTS))
    if oip_server.name == "triton":
        assert status == (INVALID if data == ["a"] else FAULT)
        assert answer["error"]
    else:
        assert status == OK
