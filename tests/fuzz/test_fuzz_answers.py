"""What servers that somebody else runs may answer, and how their addresses may be written."""

import json
import random
from contextlib import suppress

import numpy as np
import pytest
from file_inputs import FUZZ_S, altered, damaged, tries

from loadtests.codecs import CODECS, find_codec, named
from loadtests.errors import PayloadError
from loadtests.protos import message
from models.digits_cnn import MODEL
from pipelines.errors import GateError, RequestError
from pipelines.targets import oip, oip_grpc
from pipelines.targets.address import APIS, SCHEMES, is_address, read_address
from pipelines.targets.protocols import BODIES

__all__ = ["tries"]  # a fixture
pytestmark = [pytest.mark.slow, pytest.mark.timeout(FUZZ_S * 2 + 120)]
OUTPUTS = (
    {"scores": np.arange(6, dtype=np.float32).reshape(2, 3) / 7},
    {"scores": np.ones((2, 3), np.float32), "label": np.array([3, 1]), "known": np.array([True, False])},
)


def alike(found, wanted):
    """Whether two answers hold the same numbers; the name of an only output may be missing."""
    found = named(found, wanted)
    return found is not None and all(
        found[name].shape == array.shape and np.allclose(found[name], array) for name, array in wanted.items()
    )


def is_json(body):
    try:
        json.loads(body)
    except ValueError:
        return False
    return True


def formats():
    """Each format with a request, answers and what they hold."""
    found = []
    for name in CODECS:
        codec, answers = find_codec(name), []
        for outputs in OUTPUTS:
            with suppress(PayloadError):  # a format of one output only
                answers.append((codec.answer(outputs), outputs))
        found.append((codec, codec.encode([{"image": np.ones((2, 3), np.float32)}] * 3, "m"), answers))
    return found


def test_a_damaged_answer_is_arrays_of_numbers_or_none(tries):
    every, seen = formats(), set()
    for rng in tries:
        codec, request, answers = rng.choice(every)
        body, outputs = rng.choice(answers)
        assert alike(codec.decode(body), outputs)
        changed = (
            json.dumps(altered(json.loads(body), rng)).encode()
            if is_json(body) and rng.random() < 0.5
            else damaged(body, rng)
        )
        found = codec.decode(changed)
        seen.add(found is None)
        for array in (found or {}).values():
            assert array.dtype.kind in "iufbS"
            assert array.ndim
        rows = codec.rows_count(damaged(request, rng))
        assert rows is None or isinstance(rows, int)
    assert seen == {True, False}


METADATA = {
    "name": "m",
    "versions": ["1"],
    "platform": "onnx",
    "inputs": [{"name": MODEL.inputs[0].name, "datatype": "FP32", "shape": [-1, 1, 28, 28]}],
    "outputs": [{"name": MODEL.outputs[0].name, "datatype": "FP32", "shape": [-1, 10]}],
}


def metadata_message():
    told = message("inference.ModelMetadataResponse")(name="m", versions=["1"], platform="onnx")
    for kind in ("inputs", "outputs"):
        for one in METADATA[kind]:
            getattr(told, kind).add(**one)
    return told.SerializeToString()


def test_what_a_server_says_of_its_model_fits_or_is_refused(tries):
    whole, over_grpc = json.dumps(METADATA).encode(), metadata_message()
    for rng in tries:
        text = json.dumps(altered(METADATA, rng)).encode()
        body = damaged(whole, rng) if rng.random() < 0.3 else text
        raw = damaged(over_grpc, rng)
        code = rng.choice((200,) * 8 + (404, 500))
        answers = (
            lambda code=code, body=body: oip.metadata("http://x", "m", lambda *_: (code, body)),
            lambda code=code, raw=raw: oip_grpc.metadata("grpc://x", "m", lambda *_: (code, raw)),
        )
        for answer in answers:
            try:
                found = answer()
                assert len(oip.surplus_inputs(MODEL, found).splitlines()) <= 1
                oip.require_signature(MODEL, found)
            except (GateError, OSError) as error:
                assert len(str(error)) < 100_000
        for status in (oip.status, oip_grpc.status):
            try:
                told = status("grpc://x", "m", lambda *_, code=code, raw=raw: (code, raw))
            except OSError:
                continue
            assert told is None or isinstance(told, str)


HOSTS = ("a", "a.b-c", "127.0.0.1", "[::1]", "[fe80::1%25eth0]", "user:pw@a", "-a", "ü", "", "a" * 70)
PORTS = ("", ":1", ":8501", ":65535", ":65536", ":-1", ":x", ":" + "9" * 400)
MORE = ("", "/", "/versions/3", "/labels/canary", "/1.0", "/versions", "//", "/x/y/z", "?a=b")
MODELS = ("m", "net.v1.5", "a:b", "größe", "m%20n", "..", "m" * 500, "")


def an_address(rng: random.Random) -> str:
    api = rng.choice((*APIS, "kserve", ""))
    scheme = rng.choice((*SCHEMES, "ftp", ""))
    place = rng.choice(
        (*(one.marker or "/pre/fix/" for one in APIS.values()), "/", "/pre/fix/v1/models/", "")
    )
    body = rng.choice(("", "", *(f"#{word}" for word in BODIES), "#no"))
    parts = (rng.choice(HOSTS), rng.choice(PORTS), place, rng.choice(MODELS), rng.choice(MORE), body)
    return f"{api}+{scheme}://{''.join(parts)}"


def test_an_address_is_read_as_it_is_written_again_or_is_refused(tries):
    read_count = 0
    for rng in tries:
        text = an_address(rng)
        if rng.random() < 0.3:
            text = damaged(text.encode(), rng).decode("latin-1")
        is_address(text)
        try:
            address, protocol = read_address(text)
        except RequestError as error:
            assert len(str(error)) < 1000
            assert "pw@" not in str(error)
            continue
        read_count += 1
        assert read_address(f"{address}#{protocol.body}") == (address, protocol), text
    assert read_count > 0
