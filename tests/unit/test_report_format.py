"""Figures as people read them."""

import pytest

from pipelines.console import format as fmt


def plain(text: str) -> str:
    return text.replace(fmt.THIN, " ")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.0, "0 ms"),
        (0.00004567, "0.0000457 ms"),
        (0.4186, "0.419 ms"),
        (1.0, "1.00 ms"),
        (12.345, "12.3 ms"),
        (99.96, "100 ms"),
        (999.6, "1 000 ms"),
        (12345.0, "12 300 ms"),
    ],
)
def test_milliseconds_have_three_significant_digits(value: float, shown: str) -> None:
    assert plain(fmt.milliseconds(value)) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "0 B"),
        (812, "812 B"),
        (999, "999 B"),
        (1000, "1.00 kB"),
        (41_600, "41.6 kB"),
        (999_600, "1.00 MB"),
        (8_322_318_336, "8.32 GB"),
    ],
)
def test_sizes_are_decimal(value: int, shown: str) -> None:
    assert plain(fmt.size(value)) == shown


@pytest.mark.parametrize(
    ("value", "shown"), [(1.9, "1.90"), (0.556, "0.56"), (0.0042, "0.0042"), (12.0, "12.00")]
)
def test_ratios_have_two_decimals_and_never_read_zero(value: float, shown: str) -> None:
    assert fmt.ratio(value) == shown


@pytest.mark.parametrize(("value", "shown"), [(2263.4, "2 263 /s"), (99.53, "99.5 /s"), (0.5, "0.500 /s")])
def test_rates(value: float, shown: str) -> None:
    assert plain(fmt.rate(value)) == shown


@pytest.mark.parametrize(("share", "shown"), [(1.0, "100 %"), (0.98611, "98.61 %"), (0.001, "0.1 %")])
def test_percent(share: float, shown: str) -> None:
    assert plain(fmt.percent(share)) == shown


@pytest.mark.parametrize(
    ("share", "shown"),
    [(0.05, "±5 %"), (0.1129, "±11 %"), (0.0138, "±1.4 %"), (0.997, "±100 %"), (20.0, "±2 000 %")],
)
def test_margins_have_two_digits(share: float, shown: str) -> None:
    assert plain(fmt.within(share)) == shown


def test_control_characters_are_shown_and_line_breaks_go() -> None:
    assert fmt.one_line("a\x00b\x1b[31m\nc\td") == "a\\x00b\\x1b[31m c d"


@pytest.mark.parametrize(
    ("value", "shown"), [(2.1e-6, "<0.001"), (0.0012, "0.0012"), (999.994, "999.99"), (5929425.5, ">1000")]
)
def test_a_ratio_beyond_a_thousandfold_has_no_digits(value, shown):
    assert fmt.ratio(value) == shown
