"""What forward gives, read as the outputs that a spec names."""

from collections import OrderedDict

import pytest

from models.errors import ModelError
from models.forward import flattened

torch = pytest.importorskip("torch")
ONE, TWO, THREE = (torch.full((2,), value) for value in (1.0, 2.0, 3.0))


@pytest.mark.parametrize(
    ("answer", "names", "expected"),
    [
        (ONE, ["y"], [1]),
        ((ONE,), ["y"], [1]),
        ([ONE, (TWO, [THREE])], ["a", "b", "c"], [1, 2, 3]),
        ({"b": TWO, "a": ONE}, ["a", "b"], [1, 2]),
        ({"heads": {"c": THREE, "more": {"a": ONE}}, "b": TWO}, ["a", "b", "c"], [1, 2, 3]),
        (OrderedDict(a=ONE, b=(TWO, THREE)), ["a", "b"], None),
        ((ONE, {"x": TWO, "y": THREE}), ["a", "b", "c"], [1, 2, 3]),
    ],
)
def test_outputs_come_in_the_order_of_their_names(answer, names, expected):
    if expected is None:
        with pytest.raises(ModelError, match="returns 3 tensors; its spec has 2 outputs: 'a', 'b'"):
            flattened("m", answer, names)
        return
    assert [float(tensor[0]) for tensor in flattened("m", answer, names)] == expected


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (None, "returns a NoneType; tensors are allowed: 'a'"),
        ((ONE, 5), "returns a int"),
        ({"b": ONE}, "returns a dict with the keys 'b'; its outputs are 'a'"),
        ({"a": ONE, "loss": TWO}, "returns a dict with the keys 'a', 'loss'"),
        ({"a": ONE, "inner": {"a": TWO}}, "returns two tensors called 'a'"),
        ((), "returns 0 tensors; its spec has 1 outputs"),
    ],
)
def test_anything_else_is_refused_by_name(answer, said):
    with pytest.raises(ModelError, match=said) as caught:
        flattened("m", answer, ["a"])
    assert "\n" not in str(caught.value)
