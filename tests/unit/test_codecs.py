"""Every kind of body carries the same samples, and what it does not carry is refused or no answer."""

import io
import json
import zipfile

import numpy as np
import pytest

from loadtests.codecs import CODECS, find_codec, named
from loadtests.errors import PayloadError
from loadtests.protos import message

DTYPES = ("float16", "float32", "float64", "bool", "uint8", "int8", "int16", "int32", "int64")
REQUEST = message("tensorflow.serving.PredictRequest")
RESPONSE = message("tensorflow.serving.PredictResponse")
PREDICTIONS = message("org.pytorch.serve.grpc.inference.PredictionsRequest")


def outputs(rows=3):
    return {
        "scores": np.arange(rows * 4, dtype=np.float32).reshape(rows, 4) / 8,
        "box": np.arange(rows * 2, dtype=np.float32).reshape(rows, 2),
    }


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("rows", [1, 3, 8])
def test_an_answer_is_read_as_it_was_written(codec, rows):
    for wanted in (outputs(rows), {"scores": outputs(rows)["scores"]}):
        got = named(find_codec(codec).decode(find_codec(codec).answer(wanted)), wanted.keys())
        assert got.keys() == wanted.keys()
        assert all(np.array_equal(got[name], wanted[name]) for name in wanted)


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("rows", [1, 3, 8])
def test_a_request_holds_all_its_rows(codec, rows):
    samples = [{"x": np.full((2, 3), number, np.float32)} for number in range(rows)]
    found = find_codec(codec).rows_count(find_codec(codec).encode(samples, "m"))
    assert found == (None if codec == "raw" else rows)


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("body", [b"", b"\xff" * 40, b"{}", b"[1]", b"\x93NUMPY", b"PK\x03\x04", b"null"])
def test_what_is_no_answer_is_none(codec, body):
    assert find_codec(codec).decode(body) is None


def test_rows_and_columns_are_what_tensorflow_serving_documents():
    samples = [{"a": np.float32([1, 2]), "b": np.int64(3)}, {"a": np.float32([4, 5]), "b": np.int64(6)}]
    assert json.loads(find_codec("json-rows").encode(samples)) == {
        "instances": [{"a": [1.0, 2.0], "b": 3}, {"a": [4.0, 5.0], "b": 6}]
    }
    assert json.loads(find_codec("json-columns").encode(samples)) == {
        "inputs": {"a": [[1.0, 2.0], [4.0, 5.0]], "b": [3, 6]}
    }
    one = [{"a": np.float32([1, 2])}]
    assert json.loads(find_codec("json-columns").encode(one)) == {"inputs": [[1.0, 2.0]]}


@pytest.mark.parametrize("codec", [codec for codec in CODECS if codec != "json-rows"])
def test_samples_of_different_shapes_share_no_request(codec):
    ragged = [{"x": np.zeros(2, np.float32)}, {"x": np.zeros(3, np.float32)}]
    with pytest.raises(PayloadError, match=r"shapes \(2,\) and \(3,\)"):
        find_codec(codec).encode(ragged, "m")


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_tensor_proto_carries_every_dtype_as_its_bytes(dtype):
    array = np.array([[0, 1, 2], [1, 0, 1]]).astype(dtype)
    request = REQUEST.FromString(find_codec("tensor-proto").encode([{"x": row} for row in array], "digits"))
    proto = request.inputs["x"]
    assert request.model_spec.name == "digits"
    assert [dim.size for dim in proto.tensor_shape.dim] == [2, 3]
    assert np.array_equal(np.frombuffer(proto.tensor_content, dtype).reshape(2, 3), array)
    response = RESPONSE()
    response.outputs["y"].CopyFrom(proto)
    (got,) = find_codec("tensor-proto").decode(response.SerializeToString()).values()
    assert got.dtype == np.dtype(dtype)
    assert np.array_equal(got, array)


@pytest.mark.parametrize(
    ("number", "field", "values", "expected"),
    [
        (1, "float_val", [0.5, 1.5, 2.5], np.float32([0.5, 1.5, 2.5])),
        (1, "float_val", [0.5], np.float32([0.5, 0.5, 0.5])),
        (1, "float_val", [], np.float32([0, 0, 0])),
        (2, "double_val", [1, 2, 3], np.float64([1, 2, 3])),
        (3, "int_val", [-1, 2, 3], np.int32([-1, 2, 3])),
        (9, "int64_val", [-(2**60), 2, 3], np.int64([-(2**60), 2, 3])),
        (10, "bool_val", [True, False], np.array([True, False, False])),
        (19, "half_val", [0x3C00, 0xC000, 0], np.float16([1, -2, 0])),
    ],
)
def test_typed_values_are_read_as_tensorflow_reads_them(number, field, values, expected):
    response = RESPONSE()
    proto = response.outputs["y"]
    proto.dtype = number
    proto.tensor_shape.dim.add(size=3)
    getattr(proto, field).extend(values)
    got = find_codec("tensor-proto").decode(response.SerializeToString())["y"]
    assert got.dtype == expected.dtype
    assert np.array_equal(got, expected)


@pytest.mark.parametrize(
    "change",
    [
        lambda proto: setattr(proto, "dtype", 7),  # text
        lambda proto: setattr(proto.tensor_shape.dim[0], "size", -1),
        lambda proto: setattr(proto.tensor_shape.dim[0], "size", 2**40),
        lambda proto: setattr(proto, "tensor_content", b"123"),
        lambda proto: setattr(proto.tensor_shape, "unknown_rank", True),
    ],
)
def test_a_tensor_that_cannot_be_is_no_answer(change):
    response = RESPONSE()
    proto = response.outputs["y"]
    proto.dtype = 1
    proto.tensor_shape.dim.add(size=1)
    proto.tensor_content = b"1234"
    assert find_codec("tensor-proto").decode(response.SerializeToString()) is not None
    change(proto)
    assert find_codec("tensor-proto").decode(response.SerializeToString()) is None


def test_a_tensor_map_holds_a_npy_for_each_input():
    sample = {"a": np.float32([1, 2]), "b": np.int64(7)}
    request = PREDICTIONS.FromString(find_codec("tensor-map").encode([sample, sample], "digits"))
    assert request.model_name == "digits"
    tensors = {name: np.load(io.BytesIO(body)) for name, body in request.input.items()}
    assert tensors["a"].tolist() == [[1, 2], [1, 2]]
    assert (tensors["b"].dtype, tensors["b"].tolist()) == (np.int64, [7, 7])


def test_raw_bytes_are_the_inputs_one_after_the_other():
    body = find_codec("raw").encode([{"a": np.float32([1, 2]), "b": np.int64(7)}])
    assert body == np.float32([1, 2]).tobytes() + np.int64([7]).tobytes()


def test_big_endian_arrays_go_out_little_endian():
    big = np.array([1.5, -2.0], ">f4")
    assert find_codec("raw").encode([{"x": big}]) == np.array([1.5, -2.0], "<f4").tobytes()
    (got,) = find_codec("npy").decode(find_codec("npy").encode([{"x": big}])).values()
    assert got.dtype == np.dtype("<f4")


@pytest.mark.parametrize(
    ("whole", "part", "other"),
    [
        (np.ones((2, 3), np.float32), b"(2, 3)", b"(2,\0 3"),
        (np.ones((2, 3), np.float32), b"'<f4'", b"'<f4;"),
        (np.ones((2, 3), np.float32), b"(2, 3)", b"[(2, 3"),
    ],
)
def test_a_npy_whose_head_is_damaged_is_no_answer(whole, part, other):
    codec = find_codec("npy")
    body = codec.answer({"y": whole})
    assert codec.decode(body) is not None
    assert codec.decode(body.replace(part, other)) is None
    assert find_codec("tensor-map").decode(body.replace(part, other)) is None


def test_a_npz_with_something_else_in_it_is_no_answer():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("y.npy", b"no array")
    assert find_codec("npy").decode(file.getvalue()) is None


def test_a_npz_made_to_fill_the_memory_is_no_answer():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("y.npy", find_codec("npy").answer({"y": np.ones(2)}))
    whole = file.getvalue()
    assert find_codec("npy").decode(whole)["y"].tolist() == [1, 1]
    at = whole.index(b"PK\1\2") + 24  # its size as the directory says it
    assert find_codec("npy").decode(whole[:at] + (2**31).to_bytes(4, "little") + whole[at + 4 :]) is None


@pytest.mark.slow
def test_the_messages_are_those_of_the_servers_own_protocol_files():
    """Each field that we use has the number, kind and label that the originals give it."""
    from tensorflow_serving.apis import predict_pb2

    for ours, theirs in ((REQUEST, predict_pb2.PredictRequest), (RESPONSE, predict_pb2.PredictResponse)):
        _compare(ours.DESCRIPTOR, theirs.DESCRIPTOR)


def _compare(ours, theirs):
    for field in ours.fields:
        other = theirs.fields_by_name[field.name]
        assert (field.number, field.is_repeated) == (other.number, other.is_repeated)
        if field.message_type is not None:
            _compare(field.message_type, other.message_type)
        elif other.enum_type is None:
            assert field.type == other.type


@pytest.mark.slow
def test_torchserves_messages_are_those_in_its_jar():
    import re
    import zipfile
    from importlib import util
    from pathlib import Path

    jar = Path(util.find_spec("ts").origin).parent / "frontend" / "model-server.jar"
    with zipfile.ZipFile(jar) as archive:
        text = archive.read("inference.proto").decode()
    for name in ("PredictionsRequest", "PredictionResponse"):
        block = re.search(rf"message {name} {{(.*?)\n}}", text, re.DOTALL)[1]
        numbers = {field: int(number) for field, number in re.findall(r"(\w+) = (\d+);", block)}
        ours = message(f"org.pytorch.serve.grpc.inference.{name}").DESCRIPTOR
        assert {field.name: field.number for field in ours.fields}.items() <= numbers.items()
    assert "package org.pytorch.serve.grpc.inference;" in text
    assert "rpc Predictions(PredictionsRequest) returns (PredictionResponse)" in text


OF_STRINGS = ("json-rows", "json-columns", "tensor-proto", "oip-json", "oip-grpc", "oip-binary")


@pytest.mark.parametrize("codec", OF_STRINGS)
def test_strings_come_back_as_they_were(codec):
    text = np.array([["né", 'a "quoted"'], ["", "x" * 300], ["\n", "…"]])
    wanted = {"word": np.char.encode(text, "utf-8"), "score": np.float32([1, 2, 3])}
    got = named(find_codec(codec).decode(find_codec(codec).answer(wanted)), wanted.keys())
    assert got["word"].tolist() == wanted["word"].tolist()
    assert got["score"].tolist() == [1, 2, 3]
    only = named(find_codec(codec).decode(find_codec(codec).answer({"w": wanted["word"]})), ["w"])
    assert only["w"].tolist() == wanted["word"].tolist()


def test_bytes_that_are_no_text_are_base64_in_json():
    sample = {"image": np.asarray(b"\xff\xd8\0\x01")}
    assert json.loads(find_codec("json-rows").encode([sample])) == {"instances": [{"b64": "/9gAAQ=="}]}
    answered = find_codec("json-rows").decode(b'{"predictions": [{"b64": "/9gAAQ=="}, {"b64": "YQ=="}]}')
    assert named(answered, ["image"])["image"].tolist() == [b"\xff\xd8\0\x01", b"a"]
    with pytest.raises(PayloadError):
        find_codec("oip-json").encode([sample])
    request = REQUEST.FromString(find_codec("tensor-proto").encode([sample]))
    assert list(request.inputs["image"].string_val) == [b"\xff\xd8\0\x01"]
