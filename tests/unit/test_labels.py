import pytest

from models.labels import column_names, require_labels
from models.spec import ModelError


@pytest.mark.parametrize(
    ("labels", "columns"),
    [
        ((), 3),
        (("a", "b", "c"), 3),
        (["a", "b", "c"], 3),
        (("no", "yes"), 1),
        (("spam",), 1),
        ((), 1),
        (("größe", "日本", "two words"), 3),
        (("a", "b"), None),
    ],
)
def test_names_that_fit_come_back_as_a_tuple(labels, columns):
    assert require_labels("m", labels, columns) == tuple(labels)


@pytest.mark.parametrize(
    ("labels", "columns", "said"),
    [
        (("a", "b"), 3, "2 labels for an output of 3 columns; allowed: 0 or 3"),
        (("a", "b", "c", "d"), 3, "4 labels"),
        (("a", "b", "c"), 1, "3 labels for an output of 1 columns; allowed: 0, 1 or 2"),
        ("abc", 3, "labels of m are 'abc'; a tuple of names is allowed"),
        (None, 3, "labels of m are None"),
        ({"a": 0, "b": 1}, 2, "labels of m are {'a'"),
        ((0, 1, 2), 3, "label 0 of m is 0: it is of type int, a text is allowed"),
        (("a", "", "c"), 3, "label 1 of m is '': a name"),
        (("a", " \t", "c"), 3, "label 1 of m is"),
        (("a", "b", "a"), 3, "label 2 of m is 'a': it is there twice"),
        (("a", "b", "a "), 3, "label 2 of m is 'a ': it is there twice"),
    ],
)
def test_other_labels_are_refused(labels, columns, said):
    with pytest.raises(ModelError) as caught:
        require_labels("m", labels, columns)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "bad", ["\n", "\r", "\x00", "\x1b[31m", "\x85", "\u2028", "\u2029", "\ud800", "\ufffe"]
)
def test_what_is_no_line_of_text_is_refused_and_shown_escaped(bad):
    with pytest.raises(ModelError, match=r"label 1 of m is .*not allowed") as caught:
        require_labels("m", ("a", f"b{bad}c"), 2)
    assert bad not in str(caught.value)


def test_a_single_column_has_the_name_of_what_it_scores():
    assert column_names(("no", "yes"), 1) == ("yes",)
    assert column_names(("spam",), 1) == ("spam",)
    assert column_names((), 1) == ()
    assert column_names(("a", "b"), 2) == ("a", "b")
