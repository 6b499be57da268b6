"""Numbers and names as people read them: finished figures, changed only in their looks."""

import math
from collections.abc import Callable, Sequence

from pipelines.console import text as plain_text

# Narrow no-break space: separates thousands and units without ever breaking a line between them.
THIN = "\u202f"
# En dashes: one stands for a figure that was not measured, the other between two ends of a range.
MISSING = "\u2013"
LARGEST_RATIO = 1000
TO = "\u2013"
Show = Callable[[float], str]
# Names and reasons come from elsewhere; every table and sentence passes through these.
one_line, visible = plain_text.one_line, plain_text.visible


def significant(value: float, digits: int = 3) -> str:
    """Format `value` with that many significant digits, thin separators and never an exponent."""
    rounded = float(f"{value:.{digits}g}")
    if rounded == 0:
        return "0"
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(rounded))))
    return f"{rounded:,.{decimals}f}".replace(",", THIN)


def scientific(value: float) -> str:
    """Format an error such as 0.21 or 1.2e-07 with two significant digits."""
    return f"{value:.2g}"


def count(value: int) -> str:
    """Format a whole number with thin separators."""
    return f"{value:,}".replace(",", THIN)


def milliseconds(value: float) -> str:
    """Format milliseconds with their unit."""
    return f"{significant(value)}{THIN}ms"


def given_ms(value: float) -> str:
    """Format milliseconds that the user gave, in as many digits."""
    return f"{value:,g}".replace(",", THIN) + f"{THIN}ms"


def seconds(value: float) -> str:
    """Format seconds with their unit."""
    return f"{significant(value)}{THIN}s"


def size(value: int) -> str:
    """Format bytes in decimal units: 812 B, 41.6 kB, 5.21 MB."""
    scaled = float(value)
    for unit in ("B", "kB", "MB"):
        # 999.5 would be printed as 1000 of this unit.
        if abs(scaled) < 999.5:  # noqa: PLR2004
            return f"{significant(scaled)}{THIN}{unit}"
        scaled /= 1000
    return f"{significant(scaled)}{THIN}GB"


def given_size(value: int) -> str:
    """Format bytes that the user gave, or a tick of an axis: without trailing zeros."""
    figure, _, unit = size(value).partition(THIN)
    return f"{figure.rstrip('0').rstrip('.') if '.' in figure else figure}{THIN}{unit}"


def exact_bytes(value: int) -> str:
    """Format all digits of a number of bytes."""
    return f"{count(value)}{THIN}bytes"


def rate_number(value: float) -> str:
    """Format a rate without its unit: whole from 100 up, else three significant digits."""
    return count(round(value)) if abs(value) >= 100 else significant(value)  # noqa: PLR2004


def rate(value: float) -> str:
    """Format a rate per second with its unit."""
    return f"{rate_number(value)}{THIN}/s"


def ratio(value: float) -> str:
    """Format a ratio with two decimals; below 0.1 with two significant digits, so that it never reads 0.00.

    Beyond a thousandfold it says that alone: such an end of an interval has no digits that mean anything.
    """
    if abs(value) > LARGEST_RATIO:
        return f">{LARGEST_RATIO}"
    if 0 < abs(value) < 1 / LARGEST_RATIO:
        return f"<{1 / LARGEST_RATIO}"
    return f"{value:.2f}" if value == 0 or abs(value) >= 0.1 else significant(value, 2)  # noqa: PLR2004


def percent(share: float) -> str:
    """Format a share of 1 in per cent, two decimals at most."""
    return f"{share * 100:.2f}".rstrip("0").rstrip(".") + f"{THIN}%"


def confidence(share: float) -> str:
    """Format a confidence in per cent, three significant digits at most: 95 %, 98.3 %, 99.6 %."""
    return f"{share * 100:.3g}{THIN}%"


def in_points(share: float) -> str:
    """Format a difference of shares in percentage points with the unit."""
    return f"{points(share)} points"


def points(share: float) -> str:
    """Format a difference of shares in percentage points without the unit, two decimals at most."""
    text = f"{share * 100:.2f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def within(share: float) -> str:
    """Format a margin around 1 in per cent, two digits: ±5 %, ±1.4 %, ±32 %."""
    percents = share * 100
    return f"±{percents:.2g}{THIN}%" if percents < 99.5 else f"±{count(round(percents))}{THIN}%"  # noqa: PLR2004


def plural(number: int, noun: str) -> str:
    """Format a count with its noun: `1 pair`, `4 pairs`."""
    return f"{count(number)} {noun}{'' if number == 1 else 's'}"


def numbers(values: tuple[int, ...]) -> str:
    """List numbers as `2, 3`, or as a dash for none."""
    return ", ".join(map(str, values)) if values else MISSING


def listed(items: Sequence[str]) -> str:
    """Join as `a, b and c`."""
    return " and ".join([", ".join(items[:-1]), items[-1]] if len(items) > 1 else items)


def shortened(text: str, limit: int) -> str:
    """Return the first `limit` characters, and the number of all characters when some were left out."""
    if len(text) <= limit:
        return text
    return f"{text[:limit]}… ({count(len(text))} characters)"


def shortened_to(text: str, limit: int) -> str:
    """Return `text`, its end replaced by an ellipsis when it is longer than `limit` characters."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def span(ends: tuple[float, float], show: Show) -> str:
    """Format both ends by `show`, with a dash between them."""
    return f"{show(ends[0])}{TO}{show(ends[1])}"
