"""Floats as JSON text: 6 significant digits where they read back exactly, else 9 (17 for double).

Whole numbers get a trailing `.0`, so that a client can tell a float from an integer. NaN and infinities are
bare words, as clients of this API expect although JSON knows none of them.
"""

import struct
from typing import Any

import numpy as np

# Below this many values one Python call each is quicker than setting up the numpy version.
_VECTOR_FROM = 12
_FLOAT32 = struct.Struct("f")
_FORMATS = np.array(["%.9g", "%g", "%.9g.0", "%g.0"], dtype=object)


def float32_text(value: float) -> str:
    """Return the JSON text of a float32 value given as a Python float."""
    text = f"{value:g}"
    try:
        exact = _FLOAT32.unpack(_FLOAT32.pack(float(text)))[0] == value
    except OverflowError:  # rounding to 6 digits went past the largest float32
        exact = False
    return _finish(text if exact else f"{value:.9g}")


def float64_text(value: float) -> str:
    """Return the JSON text of a float64 value."""
    text = f"{value:g}"
    return _finish(text if float(text) == value else f"{value:.17g}")


def _finish(text: str) -> str:
    if "." in text or "e" in text:
        return text
    return _SPECIAL.get(text) or text + ".0"


_SPECIAL = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}


def float_texts(values: np.ndarray[Any, np.dtype[Any]]) -> list[str]:
    """Return the JSON texts of a 1-d float32 or float64 array, in order."""
    if values.dtype == np.float64:
        return [float64_text(value) for value in values.tolist()]
    if values.size < _VECTOR_FROM or not np.isfinite(values).all():
        return [float32_text(value) for value in values.tolist()]
    # One format string for all values, so that the formatting itself is a single call.
    return (" ".join(_formats(values).tolist()) % tuple(values.tolist())).split(" ")


def _formats(values: np.ndarray[Any, np.dtype[np.float32]]) -> np.ndarray[Any, np.dtype[Any]]:
    """Choose the printf format of each finite float32: 6 digits if they read back, `.0` for whole numbers."""
    wide = values.astype(np.float64)
    size = np.abs(wide)
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        scale = 10.0 ** (5.0 - np.floor(np.log10(size)))
        short = ((np.rint(wide * scale) / scale).astype(np.float32) == values) | (size == 0)
    # printf changes to an exponent at 10**precision, and then there is no need for `.0`.
    whole = (np.rint(wide) == wide) & (size < np.where(short, 1e6, 1e9))
    chosen: np.ndarray[Any, np.dtype[Any]] = _FORMATS[short.astype(np.intp) + 2 * whole]
    return chosen
