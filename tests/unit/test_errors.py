import pytest

from pipelines.errors import first_line


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("one\ntwo"), "one"),
        (ValueError("\n\n  two\n"), "two"),
        (ValueError(""), "ValueError"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
    ],
)
def test_an_error_that_says_nothing_has_at_least_a_name(error, said):
    assert first_line(error) == said


def test_tensorflows_preamble_is_not_the_reason():
    said = "Graph execution error:\n\nDetected at node a defined at (most recent call last):\n"
    assert (
        first_line(ValueError(f"{said}<stack traces unavailable>\nUnknown image\n\t [[a]]"))
        == "Unknown image"
    )
    assert first_line(ValueError("")) == "ValueError"
