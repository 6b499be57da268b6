"""The Open Inference Protocol's three bodies, against the words of its published documents."""

import json

import numpy as np
import pytest

from loadtests.codecs import find_codec, json_rows, oip_binary, oip_grpc, oip_json, request_headers
from loadtests.errors import PayloadError
from models.digits_cnn import MODEL
from pipelines.errors import GateError
from pipelines.targets import oip

BOTH = pytest.mark.parametrize("codec", [oip_json, oip_binary], ids=["json", "binary"])
SAMPLE = {
    "image": np.arange(6, dtype=np.float32).reshape(2, 3) / 3,
    "tokens": np.array([7, -1, 2**40]),
    "pixel": np.array([0, 255], np.uint8),
    "flag": np.array(True),
}


def rows(samples=2):
    return [SAMPLE] * samples


def test_a_json_request_is_the_protocols():
    asked = json.loads(oip_json.encode(rows()))
    assert set(asked) == {"inputs"}
    found = {one["name"]: one for one in asked["inputs"]}
    assert {name: one["datatype"] for name, one in found.items()} == {
        "image": "FP32",
        "tokens": "INT64",
        "pixel": "UINT8",
        "flag": "BOOL",
    }
    assert {name: one["shape"] for name, one in found.items()} == {
        "image": [2, 2, 3],
        "tokens": [2, 3],
        "pixel": [2, 2],
        "flag": [2],
    }
    assert found["flag"]["data"] == [True, True]
    assert found["pixel"]["data"] == [0, 255, 0, 255]
    assert found["image"]["data"] == pytest.approx(np.tile(SAMPLE["image"].ravel(), 2).tolist())


def test_a_binary_request_is_a_head_and_the_bytes_in_order():
    body = oip_binary.encode(rows())
    end = int(oip_binary.headers(body)["Inference-Header-Content-Length"])
    head = json.loads(body[:end])
    assert head["parameters"] == {"binary_data_output": True}
    place = end
    for one in head["inputs"]:
        assert "data" not in one
        size = one["parameters"]["binary_data_size"]
        wanted = np.stack([SAMPLE[one["name"]]] * 2)
        assert one["shape"] == list(wanted.shape)
        assert body[place : place + size] == wanted.tobytes()
        place += size
    assert place == len(body)


def test_the_header_is_the_same_whatever_the_length_of_a_sample():
    headers = [
        oip_binary.headers(oip_binary.encode([{"näme": np.zeros(length, np.float32)}] * count))
        for length, count in ((1, 1), (99_999, 1), (3, 64))
    ]
    assert headers[0] == headers[1] == headers[2]


def test_other_codecs_need_their_content_type_alone():
    assert request_headers(json_rows, b"") == {"Content-Type": "application/json"}
    assert request_headers(find_codec("oip-binary"), oip_binary.encode(rows()))["Content-Type"] == (
        "application/octet-stream"
    )


@BOTH
@pytest.mark.parametrize(
    "dtype", ["bool", "uint8", "int8", "int16", "uint16", "int32", "uint32", "int64", "uint64"]
)
def test_whole_numbers_come_back_as_they_were(codec, dtype):
    array = np.array([[0, 1], [1, 0]]).astype(dtype)
    if dtype == "uint64":
        array[0, 0] = 2**64 - 1
    found = codec.decode(codec.answer({"y": array}))
    assert found["y"].dtype == dtype
    assert np.array_equal(found["y"], array)


@BOTH
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_floats_come_back_as_they_were(codec, dtype):
    array = np.random.default_rng(3).normal(size=(3, 2, 2)).astype(dtype)
    found = codec.decode(codec.answer({"y": array, "ü": array[:, 0]}))
    assert np.array_equal(found["y"], array)
    assert found["ü"].shape == (3, 2)


def test_nested_data_is_data_too():
    told = {"name": "y", "shape": [2, 1], "datatype": "FP32", "data": [[1], [2.5]]}
    body = json.dumps({"model_name": "m", "outputs": [told]}).encode()
    assert oip_json.decode(body)["y"].tolist() == [[1.0], [2.5]]
    assert oip_binary.decode(body)["y"].tolist() == [[1.0], [2.5]], "an answer may be JSON alone"


@BOTH
@pytest.mark.parametrize("count", [1, 5])
def test_rows_are_counted(codec, count):
    assert codec.rows_count(codec.encode(rows(count))) == count
    assert codec.rows_count(b'{"inputs": []}') is None
    assert codec.rows_count(b"\xff") is None


def output(**changes):
    return {"name": "y", "shape": [1, 2], "datatype": "FP32", "data": [1.0, 2.0]} | changes


@BOTH
@pytest.mark.parametrize(
    "wrong",
    [
        b"",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"error": "no such model"}',
        b'{"outputs": []}',
        b'{"outputs": null}',
        b'{"outputs": [7]}',
        *(
            json.dumps({"outputs": [one]}).encode()
            for one in (
                output(shape=[3]),
                output(shape=[]),
                output(shape=[-1, -2]),
                output(shape="12"),
                output(datatype="BYTES", data=["a", 2]),
                output(datatype="FP33"),
                output(datatype="INT32", data=[1.5, 2.0]),
                output(datatype="BOOL", data=[0, 1]),
                output(data=["1", "2"]),
                output(data=[[1.0], [2.0, 3.0]]),
                {"name": "y"},
            )
        ),
    ],
)
def test_what_is_no_answer_is_none(codec, wrong):
    assert codec.decode(wrong) is None


@pytest.mark.parametrize(
    "change", [lambda b: b[:-1], lambda b: b + b"\0", lambda b: b.replace(b"[", b"(", 1)]
)
def test_bytes_that_are_missing_or_too_many_are_seen(change):
    body = oip_binary.answer({"y": np.ones((2, 2), np.float32), "z": np.ones((2,), np.int8)})
    assert oip_binary.decode(body) is not None
    assert oip_binary.decode(change(body)) is None


@BOTH
def test_what_cannot_be_sent_is_refused(codec):
    with pytest.raises(PayloadError, match="no complex64"):
        codec.encode([{"x": np.zeros(2, np.complex64)}])
    with pytest.raises(PayloadError, match="cannot share"):
        codec.encode([{"x": np.zeros(2)}, {"x": np.zeros(3)}])


def test_a_grpc_request_names_model_and_tensors_and_holds_their_bytes():
    request = oip_grpc.REQUEST.FromString(oip_grpc.encode(rows(), "digits"))
    assert request.model_name == "digits"
    assert {one.name: (one.datatype, list(one.shape)) for one in request.inputs} == {
        "image": ("FP32", [2, 2, 3]),
        "tokens": ("INT64", [2, 3]),
        "pixel": ("UINT8", [2, 2]),
        "flag": ("BOOL", [2]),
    }
    for one, raw in zip(request.inputs, request.raw_input_contents, strict=True):
        assert raw == np.stack([SAMPLE[one.name]] * 2).tobytes()
        assert not one.HasField("contents"), "the protocol allows one of the two"


@pytest.mark.parametrize(("model", "found"), [("m", ("m", "")), ("m/versions/2", ("m", "2")), ("", ("", ""))])
def test_a_grpc_request_names_the_version_after_the_model(model, found):
    request = oip_grpc.REQUEST.FromString(oip_grpc.encode(rows(), model))
    assert (request.model_name, request.model_version) == found


@pytest.mark.parametrize("kind", oip_json.DATATYPES)
def test_grpc_answers_are_read_raw_and_typed(kind):
    array = np.array([[0, 1, 1]]).astype(oip_json.DATATYPES[kind])
    raw = oip_grpc.answer({"y": array})
    assert np.array_equal(oip_grpc.decode(raw)["y"], array)
    assert oip_grpc.decode(raw)["y"].dtype == array.dtype
    response = oip_grpc.RESPONSE.FromString(raw)
    del response.raw_output_contents[:]
    if kind == "FP16":
        assert oip_grpc.decode(response.SerializeToString()) is None, "typed contents have none"
        return
    assert oip_grpc.decode(response.SerializeToString()) is None, "no values for three places"
    getattr(response.outputs[0].contents, oip_grpc.CONTENTS[kind]).extend(array.ravel().tolist())
    found = oip_grpc.decode(response.SerializeToString())["y"]
    assert (found.dtype, found.tolist()) == (array.dtype, array.tolist())


@pytest.mark.parametrize(
    "change",
    [
        lambda response: setattr(response.outputs[0], "datatype", "BYTES"),
        lambda response: setattr(response.outputs[0], "datatype", ""),
        lambda response: response.outputs[0].shape.append(2),
        lambda response: response.outputs[0].shape.__setitem__(0, -1),
        lambda response: response.raw_output_contents.append(b"1234"),
        lambda response: response.raw_output_contents.__setitem__(0, b"123"),
        lambda response: response.outputs.__delitem__(0),
        lambda response: response.outputs[0].shape.__delitem__(slice(None)),
    ],
)
def test_a_grpc_tensor_that_cannot_be_is_no_answer(change):
    response = oip_grpc.RESPONSE.FromString(oip_grpc.answer({"y": np.float32([[1], [2]])}))
    change(response)
    assert oip_grpc.decode(response.SerializeToString()) is None


def test_a_number_beyond_its_datatype_is_no_answer():
    told = {"name": "y", "shape": [1], "datatype": "FP32", "data": [3e38]}
    assert oip_json.decode(json.dumps({"outputs": [told]}).encode())["y"].tolist() == [np.float32(3e38)]
    told["data"] = [1e300]
    assert oip_json.decode(json.dumps({"outputs": [told]}).encode()) is None


@pytest.mark.parametrize(
    "change",
    [{"name": ["x"]}, {"name": None}, {"shape": 3}, {"shape": "ab"}, {"datatype": {}}],
)
def test_metadata_that_makes_no_sense_is_refused_as_not_fitting(change):
    tensors = {
        kind: [
            {"name": one.name, "datatype": oip_json.NAMES[one.dtype], "shape": [-1, *one.shape[1:]]}
            for one in getattr(MODEL, kind)
        ]
        for kind in ("inputs", "outputs")
    }
    oip.require_signature(MODEL, tensors)
    for told in ({**tensors, "outputs": [tensors["outputs"][0] | change]}, {**tensors, "inputs": 7}):
        with pytest.raises(GateError):
            oip.require_signature(MODEL, told)


def test_a_parameter_that_says_no_is_not_one_that_says_nothing():
    request = oip_grpc.REQUEST()
    request.parameters["sequence_end"].bool_param = False
    again = oip_grpc.REQUEST.FromString(request.SerializeToString())
    assert again.parameters["sequence_end"].WhichOneof("parameter_choice") == "bool_param"
