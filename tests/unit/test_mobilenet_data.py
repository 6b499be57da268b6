"""The upscaled digits: the split, the sizes, and every pixel against plain bilinear interpolation."""

from fractions import Fraction
from math import floor

import numpy as np
import pytest

from models.digits_cnn import data as digits
from models.mobilenet_v2 import MODEL, data
from models.spec import load_model


def blank():
    return np.zeros((1, 8, 8, 1), np.float32)


def plain_bilinear(image, side):
    """The definition, one pixel at a time and in fractions: (8, 8) to (side, side)."""

    def neighbours(i):
        place = (Fraction(i) + Fraction(1, 2)) * 8 / side - Fraction(1, 2)
        low = floor(place)
        return [(max(low, 0), 1 - (place - low)), (min(low + 1, 7), place - low)]

    def pixel(row, column):
        grey = sum(int(image[y, x]) * wy * wx for y, wy in neighbours(row) for x, wx in neighbours(column))
        return floor(grey * 255 / 16 + Fraction(1, 2))

    return [[pixel(row, column) for column in range(side)] for row in range(side)]


@pytest.mark.slow
@pytest.mark.parametrize("side", [16, 24, 96])
def test_every_pixel_is_the_plain_definition_s(side):
    image = np.random.default_rng(side).integers(0, 17, (8, 8))
    found = data.upscale(image[None, :, :, None].astype(np.float32), side)[0]
    assert found[..., 0].tolist() == plain_bilinear(image, side)


def test_the_corners_are_the_corner_pixels():
    image = blank()
    image[0, [0, 0, -1, -1], [0, -1, 0, -1], 0] = [16, 8, 4, 2]
    found = data.upscale(image)[0, ..., 0]
    assert found[[0, 0, -1, -1], [0, -1, 0, -1]].tolist() == [255, 128, 64, 32]
    # Half an original pixel, six of ours, lies between the border and the first centre.
    assert (found[:6, :6] == 255).all()
    assert found[6, 6] < 255


@pytest.mark.parametrize(("grey", "pixel"), [(0, 0), (1, 16), (7, 112), (16, 255)])
def test_an_even_image_stays_even(grey, pixel):
    assert (data.upscale(blank() + grey) == pixel).all()


def test_pixels_are_whole_equal_in_all_channels_and_the_same_every_time():
    images = digits.test_samples().inputs[:9]
    found = data.upscale(images)
    assert found.dtype == np.float32
    assert found.shape == (9, 96, 96, 3)
    assert (found == np.round(found)).all()
    assert found.min() == 0
    assert found.max() > 200
    assert (found[..., :1] == found).all()
    assert data.upscale(images).tobytes() == found.tobytes()


def test_turning_the_digit_turns_the_image():
    images = digits.test_samples().inputs[:3]
    for turned, by in ((images[:, ::-1], np.s_[:, ::-1]), (images[:, :, ::-1], np.s_[:, :, ::-1])):
        assert (data.upscale(turned) == data.upscale(images)[by]).all()


@pytest.mark.slow
def test_the_split_is_that_of_digits_cnn():
    for ours, theirs in (
        (data.train_samples(), digits.train_samples()),
        (data.test_samples(), digits.test_samples()),
    ):
        assert (ours.labels == theirs.labels).all()
        assert (ours.inputs == data.upscale(theirs.inputs)).all()


@pytest.mark.slow
def test_no_held_out_image_is_in_the_training_part():
    train = {image.tobytes() for image in data.train_samples().inputs}
    held_out = [image.tobytes() for image in data.test_samples().inputs]
    assert len(train) == 1347
    assert train.isdisjoint(held_out)


def test_the_spec_is_found_and_its_samples_fit_it():
    assert load_model("mobilenet_v2") is MODEL
    assert MODEL.samples().inputs.shape == (450, 96, 96, 3)
