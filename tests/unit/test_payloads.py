import dataclasses
import json
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests.codecs.json_rows import encode
from loadtests.errors import PayloadError
from loadtests.payloads import BODIES, EXPECTED, INDEX, PayloadPool, check_answer


def make_pool(**changes):
    fields = {
        "method": "POST",
        "path": "/v1/models/digits:predict",
        "headers": {"Content-Type": "application/json"},
        "bodies": (b'{"instances":[[1.0,2.0]]}',),
        "expected": ((0.1, 0.7, 0.2),),
        "absolute_tolerance": 0.01,
        "relative_tolerance": 0.0,
    }
    return PayloadPool(**fields | changes)


def answer(*rows):
    return json.dumps({"predictions": list(rows)}).encode()


@pytest.mark.parametrize(
    "pool",
    [
        make_pool(),
        make_pool(expected=None),
        make_pool(bodies=(b"\xff\xfe\x00",)),
        make_pool(bodies=("grüße".encode(),)),
    ],
)
def test_a_pool_comes_back_as_it_was_saved(tmp_path, pool):
    pool.save(tmp_path / "pool.zip")
    assert PayloadPool.load(tmp_path / "pool.zip") == pool
    assert [file.name for file in tmp_path.iterdir()] == ["pool.zip"]


def test_bodies_are_on_disk_as_they_are_sent(tmp_path):
    pool = make_pool(bodies=(b"\xff\x00one", b"two"), expected=((0.5,), (0.25, 1.0)))
    pool.save(tmp_path / "pool.zip")
    with zipfile.ZipFile(tmp_path / "pool.zip") as archive:
        assert archive.read(BODIES) == b"\xff\x00onetwo"
        assert np.frombuffer(archive.read(EXPECTED)).tolist() == [0.5, 0.25, 1.0]
        index = json.loads(archive.read(INDEX))
    assert (index["body_bytes"], index["expected_counts"]) == ([5, 3], [1, 2])


def rewrite(file, changes, bodies=None, expected=None):
    with zipfile.ZipFile(file) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    parts[INDEX] = json.dumps(json.loads(parts[INDEX]) | changes).encode()
    parts[BODIES] = parts[BODIES] if bodies is None else bodies
    parts[EXPECTED] = parts[EXPECTED] if expected is None else expected
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"surprise": 1}, "unknown key 'surprise'"),
        ({"path": 3}, "payload pool"),
        ({"headers": {"a": 1}}, "headers"),
        ({"headers": []}, "payload pool"),
        ({"body_bytes": []}, "differ in size"),
        ({"body_bytes": "text"}, "not a list"),
        ({"body_bytes": [True]}, "not a list"),
        ({"body_bytes": [-1, 26]}, "not a list"),
        ({"codec": "morse"}, "unknown codec"),
        ({"codec": ["json-rows"]}, "payload pool"),
        ({"expected_counts": [1, 2]}, "as many expected"),
        ({"expected_counts": [2]}, "differ in size"),
        ({"rows": ["1"]}, "not a number of rows"),
        ({"absolute_tolerance": -1}, "tolerances"),
        ({"absolute_tolerance": True}, "not a number"),
    ],
)
def test_loading_is_strict(tmp_path, changes, words):
    file = tmp_path / "pool.zip"
    make_pool().save(file)
    rewrite(file, changes)
    with pytest.raises(PayloadError, match=words):
        PayloadPool.load(file)


@pytest.mark.parametrize(
    "parts", [{"bodies": b""}, {"bodies": b"x" * 99}, {"expected": b"1234567"}, {"expected": b"12345678"}]
)
def test_bodies_and_answers_of_another_size_are_refused(tmp_path, parts):
    file = tmp_path / "pool.zip"
    make_pool().save(file)
    rewrite(file, {}, **parts)
    with pytest.raises(PayloadError, match="pool"):
        PayloadPool.load(file)


def test_a_pool_without_bodies_is_refused(tmp_path):
    file = tmp_path / "pool.zip"
    make_pool(expected=None).save(file)
    rewrite(file, {"body_bytes": [], "rows": []}, bodies=b"")
    with pytest.raises(PayloadError, match="at least one body"):
        PayloadPool.load(file)


def test_a_damaged_pool_is_refused(tmp_path):
    file = tmp_path / "pool.zip"
    make_pool().save(file)
    whole = file.read_bytes()
    for damaged in (whole[:-30], whole[: len(whole) // 2], whole.replace(b"[[1.0,2.0]]", b"[[1.0,3.0]]")):
        file.write_bytes(damaged)
        with pytest.raises(PayloadError, match="payload pool"):
            PayloadPool.load(file)


@pytest.mark.parametrize("text", ["", "[]", "{}", "{"])
def test_something_else_is_not_a_pool(tmp_path, text):
    file = tmp_path / "pool.json"
    file.write_text(text)
    with pytest.raises(PayloadError, match=r"pool\.json"):
        PayloadPool.load(file)


def test_a_missing_pool_is_named(tmp_path):
    with pytest.raises(PayloadError, match="No such file"):
        PayloadPool.load(tmp_path / "pool.json")


def test_rows_are_encoded_compactly_one_sample_each():
    bodies = encode([np.array([[0.0, 16.0], [0.5, 1e16]], dtype=np.float64), np.array([1, 2])])
    assert bodies == [
        b'{"instances":[[[0.0,16.0],[0.5,10000000000000000.0]]]}',
        b'{"instances":[[1,2]]}',
    ]


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=20))
def test_encoded_rows_carry_every_bit(numbers):
    sample = np.array(numbers, dtype=np.float32)
    (body,) = encode([sample])
    (row,) = json.loads(body)["instances"]
    assert np.array_equal(np.array(row, dtype=np.float32), sample)
    whole = [text for text in body[15:-2].decode().strip("[]").split(",") if float(text).is_integer()]
    assert not any("e" in text for text in whole)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_json_cannot_carry_is_refused(value):
    with pytest.raises(PayloadError, match="JSON cannot carry"):
        encode([np.array([value])])


@pytest.mark.parametrize("row", [[0.1, 0.7, 0.2], [0.1099, 0.6901, 0.2]])
def test_an_answer_within_tolerance_is_right(row):
    assert check_answer(make_pool(), 0, answer(row))


@pytest.mark.parametrize(
    "body",
    [
        answer([0.1, 0.72, 0.2]),
        answer([0.1, 0.7]),
        answer([0.1, 0.7, 0.2, 0.0]),
        answer([0.1, 0.7, 0.2], [0.1, 0.7, 0.2]),
        answer(0.1, 0.7, 0.2),
        answer([0.1, [0.7], 0.2]),
        answer(["0.1", "0.7", "0.2"]),
        answer([0.1, None, 0.2]),
        answer([True, False, False]),
        b'{"predictions": [[NaN, 0.7, 0.2]]}',
        b'{"predictions": [[Infinity, 0.7, 0.2]]}',
        b'{"predictions": 0.7}',
        b'{"predictions": []}',
        b'{"outputs": [[0.1, 0.7, 0.2]]}',
        b'{"predictions": [[0.1, 0.7, 0.2]',
        b"[]",
        b"null",
        b"",
        b"\xff\xfe",
        b"[" * 100_000,
    ],
)
def test_anything_else_is_wrong(body):
    assert check_answer(make_pool(), 0, body) is False


def test_within_tolerance_but_another_class_is_wrong():
    pool = make_pool(expected=((0.500, 0.499),), absolute_tolerance=0.01)
    assert not check_answer(pool, 0, answer([0.499, 0.500]))


@given(
    st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=12),
    st.floats(0, 0.1),
    st.floats(0, 0.1),
    st.data(),
)
def test_tolerance_against_plain_arithmetic(expected, absolute, relative, data):
    got = [value + data.draw(st.floats(-0.2, 0.2)) for value in expected]
    pool = make_pool(expected=(tuple(expected),), absolute_tolerance=absolute, relative_tolerance=relative)
    close = all(abs(g - e) <= absolute + relative * abs(e) for g, e in zip(got, expected, strict=True))
    same_class = got.index(max(got)) == expected.index(max(expected))
    assert check_answer(pool, 0, answer(got)) == (close and same_class)


def test_several_rows_are_compared_in_order():
    pool = make_pool(bodies=(b'{"instances":[[1],[2]]}',), expected=((0.1, 0.9, 0.8, 0.2),))
    assert check_answer(pool, 0, answer([0.1, 0.9], [0.8, 0.2]))
    assert not check_answer(pool, 0, answer([0.8, 0.2], [0.1, 0.9]))


def test_without_expected_answers_there_is_nothing_to_check():
    with pytest.raises(PayloadError, match="no expected answers"):
        check_answer(make_pool(expected=None), 0, answer([0.1]))


def test_a_pool_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        make_pool().path = "/elsewhere"
