"""The digits of `digits_cnn`, the same split, upscaled to what a mobile-sized network takes."""

from functools import cache

import numpy as np
import numpy.typing as npt

from models.digits_cnn import data as digits
from models.mobilenet_v2.layout import SIDE
from models.spec import FloatArray, Samples

DIGIT_SIDE = 8
DIGIT_MAX = 16
PIXEL_MAX = 255
CHANNELS = 3


def _interpolation(factor: int) -> npt.NDArray[np.int64]:
    """Return bilinear weights (8 * factor, 8) in units of 1 / (2 * factor), which makes them integers.

    Pixels are areas: the centre of output pixel i lies at (i + 0.5) / factor - 0.5 input pixels. Beyond the
    outermost centres the edge goes on.
    """
    weights = np.zeros((DIGIT_SIDE * factor, DIGIT_SIDE), np.int64)
    for i in range(DIGIT_SIDE * factor):
        below, rest = divmod(2 * i + 1 - factor, 2 * factor)
        weights[i, max(below, 0)] += 2 * factor - rest
        weights[i, min(below + 1, DIGIT_SIDE - 1)] += rest
    return weights


def upscale(images: FloatArray, side: int = SIDE) -> FloatArray:
    """Scale (n, 8, 8, 1) pixels of 0 to 16 to (n, side, side, 3) whole pixels of 0 to 255, float32.

    `side` is a multiple of 8. Bilinear, in whole numbers throughout: every machine gives the same images.
    The three channels are equal, as in a photograph of black ink. Whole numbers are what a camera gives,
    and they keep request bodies short.
    """
    factor = side // DIGIT_SIDE
    weights = _interpolation(factor)
    # No `optimize`: whole numbers of any order of summation are the same, and this one needs no BLAS.
    grey = weights @ images[..., 0].astype(np.int64) @ weights.T
    unit = DIGIT_MAX * (2 * factor) ** 2
    pixels = (grey * PIXEL_MAX + unit // 2) // unit
    return np.repeat(pixels[..., None].astype(np.float32), CHANNELS, axis=-1)


def _upscaled(samples: Samples) -> Samples:
    return Samples(upscale(samples.inputs), samples.labels)


@cache
def train_samples() -> Samples:
    """Return 1,347 images, (n, 96, 96, 3) float32 with whole pixel values 0 to 255, and their digits."""
    return _upscaled(digits.train_samples())


@cache
def test_samples() -> Samples:
    """Return 450 held-out images, in the same layout."""
    return _upscaled(digits.test_samples())
