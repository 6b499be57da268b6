"""How the handler in the archive reads numbers in JSON: what a string among them costs, and who looks."""

import json
import tracemalloc

import numpy as np
import pytest

from pipelines.targets.torchserve import tandem_bodies as bodies

WORD = "x" * 1000


def looked_at(body):
    return bodies.may_hold_text(body, json.dumps(body))


@pytest.mark.parametrize(
    "body",
    [
        {"instances": [[1.0, 2], [3, 4]]},
        {"instances": [[1]], "signature_name": "serving_default"},
        {"instances": [{"image": [1.0], "tokens": [2]}, {"image": [3], "tokens": [4]}]},
        {"inputs": [[1, 2]]},
        {"inputs": {"image": [[1.0]], "tokens": [[2]], "unknown": [3]}},
    ],
)
def test_a_body_of_numbers_is_not_looked_at_one_by_one(body):
    assert not looked_at(body)


@pytest.mark.parametrize(
    "body",
    [
        {"instances": [["a", 2]]},
        {"instances": [{"image": ["a"], "tokens": [2]}]},
        {"instances": [[1, "a"]], "signature_name": "serving_default"},
        {"inputs": {"image": [["a"]], "tokens": [[2]]}},
        {"inputs": {"image": "a"}},
        {"inputs": [[{"a": 1}]]},
    ],
)
def test_a_string_is_seen_wherever_it_is(body):
    assert looked_at(body)


def test_what_the_server_has_parsed_is_looked_at():
    assert bodies.may_hold_text({"instances": [[1]]}, {"instances": [[1]]})


@pytest.mark.parametrize(
    ("dtype", "number", "said"),
    [
        ("float32", 1.0, "is not a number"),
        ("int64", 1, "is not a number"),
        ("bool", True, "is neither true nor false"),
    ],
)
def test_a_string_does_not_give_its_length_to_every_number(dtype, number, said):
    nested = [[number] * 2000 + [WORD]]
    text = json.dumps({"instances": nested})
    quoted = bodies.may_hold_text({"instances": nested}, text)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=said):
            bodies.numbers(nested, dtype, text, quoted)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_numbers_are_read_alike_whether_they_were_looked_at_or_not():
    for nested, dtype in (([[1, 2.5]], "float32"), ([[1, -2]], "int64"), ([[True, False]], "bool")):
        for quoted in (False, True):
            found = bodies.numbers(nested, dtype, json.dumps(nested), quoted)
            assert np.array_equal(found, np.asarray(nested, dtype))
