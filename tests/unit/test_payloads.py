import dataclasses
import json
import time
import zipfile
from dataclasses import asdict
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests.codecs.json_rows import encode
from loadtests.errors import PayloadError
from loadtests.payloads import BODIES, EXPECTED, INDEX, CheckedOutput, PayloadPool, check_answer

SCORES = CheckedOutput("scores", 0.01, 0.0, classes=True)


def make_pool(**changes):
    fields = {
        "method": "POST",
        "path": "/v1/models/digits:predict",
        "headers": {"Content-Type": "application/json"},
        "bodies": (b'{"instances":[[1.0,2.0]]}',),
        "expected": ({"scores": (0.1, 0.7, 0.2)},),
        "outputs": (SCORES,),
    }
    return PayloadPool(**fields | changes)


def one_output(expected, **how):
    """A pool with one body that is answered by `expected`."""
    checked = CheckedOutput(**{"name": "y", "absolute_tolerance": 0.01, "relative_tolerance": 0.0} | how)
    return make_pool(expected=({"y": expected},), outputs=(checked,))


def same_pools(got, expected):
    """Whether two pools are the same, the arrays of their answers too."""
    if got != expected or (got.expected is None) != (expected.expected is None):
        return False
    return got.samples == expected.samples and all(
        a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)
        for a, b in zip(got.expected or (), expected.expected or (), strict=True)
    )


def answer(*rows):
    return json.dumps({"predictions": list(rows)}).encode()


@pytest.mark.parametrize(
    "pool",
    [
        make_pool(),
        make_pool(expected=None),
        make_pool(bodies=(b"\xff\xfe\x00",)),
        make_pool(bodies=("grüße".encode(),)),
        make_pool(bodies=(b"a", b"b", b"c"), samples=(0, 17, 30), rows=(1, 1, 1)),
        make_pool(
            bodies=(b"a", b"b"),
            expected=({"u": (1.5, 2.5), "v": (1, 0, 1)}, {"u": (), "v": (0,)}),
            outputs=(CheckedOutput("u", 0.5, 0.25), CheckedOutput("v", 0.0, 0.0, is_bool=True)),
        ),
    ],
)
def test_a_pool_comes_back_as_it_was_saved(tmp_path, pool):
    pool.save(tmp_path / "pool.zip")
    assert same_pools(PayloadPool.load(tmp_path / "pool.zip"), pool)
    assert [file.name for file in tmp_path.iterdir()] == ["pool.zip"]


def test_the_clock_has_no_part_in_a_pool(tmp_path, monkeypatch):
    pool = make_pool()
    pool.save(tmp_path / "now.zip")
    in_1970 = time.struct_time((1970, 1, 1, 0, 0, 0, 3, 1, 0))
    monkeypatch.setattr(zipfile, "time", SimpleNamespace(time=lambda: 0.0, localtime=lambda *_: in_1970))
    pool.save(tmp_path / "then.zip")
    assert (tmp_path / "now.zip").read_bytes() == (tmp_path / "then.zip").read_bytes()


def test_bodies_are_on_disk_as_they_are_sent(tmp_path):
    pool = make_pool(bodies=(b"\xff\x00one", b"two"), expected=({"scores": (0.5,)}, {"scores": (0.25, 1.0)}))
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
        (
            {"body_bytes": [13, 12], "rows": [1, 1], "samples": [0, 1], "expected_counts": [1, 1, 1]},
            "as many expected",
        ),
        ({"samples": [1, 2]}, "as many sample numbers"),
        ({"samples": ["1"]}, "not a list of sizes"),
        ({"shares": "../bodies.zip"}, "no file beside it"),
        ({"shares": 3}, "no file beside it"),
        ({"format": 1}, "format 1, this version reads 2; run the comparison again"),
        ({"outputs": []}, "pool"),
        ({"outputs": [{"name": "scores"}]}, "an output is"),
        ({"expected_counts": [2]}, "differ in size"),
        ({"rows": ["1"]}, "not a number of rows"),
        ({"outputs": [asdict(SCORES) | {"absolute_tolerance": -1}]}, "tolerances"),
        ({"outputs": [asdict(SCORES) | {"absolute_tolerance": True}]}, "not a number"),
        ({"outputs": [asdict(SCORES) | {"classes": 1}]}, "not bool"),
        ({"outputs": [asdict(SCORES), asdict(SCORES)]}, "pool"),
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
    samples = [np.array([[0.0, 16.0], [0.5, 1e16]]), np.array([1, 2]), np.array([True, False]), np.int64(7)]
    assert [encode([{"x": sample}]) for sample in samples] == [
        b'{"instances":[[[0.0,16.0],[0.5,10000000000000000.0]]]}',
        b'{"instances":[[1,2]]}',
        b'{"instances":[[true,false]]}',
        b'{"instances":[7]}',
    ]


def test_rows_of_several_inputs_are_objects():
    tokens = np.array([2**53 + 1, -(2**63)], np.int64)
    body = encode([{"image": np.float16([[0.1]]), "tokens": tokens, "empty": np.zeros((0,), np.int8)}])
    text = '[[0.0999755859375]],"tokens":[9007199254740993,-9223372036854775808],"empty":[]'
    assert body.decode() == f'{{"instances":[{{"image":{text}}}]}}'


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=20))
def test_encoded_rows_carry_every_bit(numbers):
    sample = np.array(numbers, dtype=np.float32)
    body = encode([{"x": sample}])
    (row,) = json.loads(body)["instances"]
    assert np.array_equal(np.array(row, dtype=np.float32), sample)
    whole = [text for text in body[15:-2].decode().strip("[]").split(",") if float(text).is_integer()]
    assert not any("e" in text for text in whole)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_json_cannot_carry_is_refused(value):
    with pytest.raises(PayloadError, match="JSON cannot carry"):
        encode([{"x": np.array([value])}])


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
    assert not check_answer(one_output((0.500, 0.499), classes=True), 0, answer([0.499, 0.500]))


def test_only_of_scores_the_largest_has_to_be_the_same():
    """A regression with two columns has no classes: which of them is larger means nothing."""
    assert check_answer(one_output((0.500, 0.499)), 0, answer([0.499, 0.500]))


@pytest.mark.parametrize(
    ("row", "right"),
    [([True, False], True), ([True, True], False), ([1, 0], False), ([1.0, 0.0], False), ([True, 0], False)],
)
def test_true_and_false_are_no_numbers(row, right):
    assert check_answer(one_output((1, 0), is_bool=True), 0, answer(row)) == right


@pytest.mark.parametrize(
    ("row", "right"),
    [(["né", ""], True), (["né", "x"], False), (["", "né"], False), (["né"], False), ([1, 2], False)],
)
def test_strings_have_to_be_the_same(tmp_path, row, right):
    pool = one_output(np.array(["né".encode(), b""]), is_text=True)
    pool.save(tmp_path / "pool")
    assert check_answer(PayloadPool.load(tmp_path / "pool"), 0, answer(row)) == right
    assert check_answer(one_output((1, 2)), 0, answer(["1", "2"])) is False


TWO = (CheckedOutput("u", 0.01, 0.0, classes=True), CheckedOutput("v", 0.0, 0.1))


@pytest.mark.parametrize(
    ("body", "right"),
    [
        (answer({"u": [0.2, 0.8], "v": 10.9}), True),
        (answer({"v": 10, "u": [0.2, 0.8]}), True),
        (answer({"u": [0.2, 0.8], "v": 11.1}), False),
        (answer({"u": [0.2, 0.82], "v": 10}), False),
        (answer({"u": [0.2, 0.8]}), False),
        (answer({"u": [0.2, 0.8], "v": 10, "w": 1}), False),
        (answer({"u": [0.2, 0.8], "v": "10"}), False),
        (answer({"u": [0.2, 0.8], "v": 10}, {"u": [0.2, 0.8], "v": 10}), False),
        (answer([0.2, 0.8]), False),
        (answer({}), False),
        (b'{"predictions": {"u": [0.2, 0.8], "v": 10}}', False),
    ],
)
def test_every_output_is_checked_with_its_own_tolerance(body, right):
    pool = make_pool(expected=({"u": (0.2, 0.8), "v": (10,)},), outputs=TWO)
    assert check_answer(pool, 0, body) == right


def test_rows_of_several_outputs_are_compared_in_order_and_all_have_all_outputs():
    expected = {"u": (0.2, 0.8, 0.9, 0.1), "v": (10, 20)}
    pool = make_pool(bodies=(b'{"instances":[[1],[2]]}',), expected=(expected,), outputs=TWO)
    first, second = {"u": [0.2, 0.8], "v": 10}, {"u": [0.9, 0.1], "v": 20}
    assert check_answer(pool, 0, answer(first, second))
    for wrong in ((second, first), (first, {"u": [0.9, 0.1]}), (first, [0.9, 0.1]), ([0.9, 0.1], first)):
        assert check_answer(pool, 0, answer(*wrong)) is False


def test_an_only_output_may_be_named():
    assert check_answer(one_output((0.5,)), 0, answer({"y": [0.5]}))
    assert not check_answer(one_output((0.5,)), 0, answer({"z": [0.5]}))


def test_one_expected_answer_may_be_that_of_all_bodies():
    pool = make_pool(bodies=(b"a", b"b", b"c"), rows=(1, 1, 1))
    assert check_answer(pool, 2, answer([0.1, 0.7, 0.2]))
    assert not check_answer(pool, 2, answer([0.7, 0.1, 0.2]))


@pytest.mark.parametrize("expected", [({"scores": (1,)},) * 2, ({"other": (1,)},), ({},)])
def test_expected_answers_have_to_fit(expected):
    with pytest.raises(PayloadError, match="expected answer"):
        make_pool(bodies=(b"a", b"b", b"c"), expected=expected)


def test_pools_of_a_run_hold_the_same_bodies_once(tmp_path):
    """What differs, here the answers of the null server, is each pool's own."""
    bodies = tuple(str(number).encode() * 50_000 for number in range(10))
    many = tuple({"scores": [float(number), 1.0]} for number in range(10))
    first = make_pool(bodies=bodies, expected=many, rows=(1,) * 10)
    pools = [first, dataclasses.replace(first, path="/other"), dataclasses.replace(first, expected=many[:1])]
    for number, pool in enumerate(pools):
        pool.save(tmp_path / f"{number}.zip", shared=tmp_path / "bodies.zip")
    for number, pool in enumerate(pools):
        assert same_pools(PayloadPool.load(tmp_path / f"{number}.zip"), pool)
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) < 1.05 * sum(map(len, bodies))
    (tmp_path / "bodies.zip").unlink()
    with pytest.raises(PayloadError, match=r"bodies\.zip"):
        PayloadPool.load(tmp_path / "0.zip")


@given(
    st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=12),
    st.floats(0, 0.1),
    st.floats(0, 0.1),
    st.data(),
)
def test_tolerance_against_plain_arithmetic(expected, absolute, relative, data):
    got = [value + data.draw(st.floats(-0.2, 0.2)) for value in expected]
    pool = one_output(expected, absolute_tolerance=absolute, relative_tolerance=relative, classes=True)
    close = all(abs(g - e) <= absolute + relative * abs(e) for g, e in zip(got, expected, strict=True))
    same_class = got.index(max(got)) == expected.index(max(expected))
    assert check_answer(pool, 0, answer(got)) == (close and same_class)


def test_several_rows_are_compared_in_order():
    pool = make_pool(bodies=(b'{"instances":[[1],[2]]}',), expected=({"scores": (0.1, 0.9, 0.8, 0.2)},))
    assert check_answer(pool, 0, answer([0.1, 0.9], [0.8, 0.2]))
    assert not check_answer(pool, 0, answer([0.8, 0.2], [0.1, 0.9]))


def test_without_expected_answers_there_is_nothing_to_check():
    with pytest.raises(PayloadError, match="no expected answers"):
        check_answer(make_pool(expected=None), 0, answer([0.1]))


def test_a_pool_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        make_pool().path = "/elsewhere"
