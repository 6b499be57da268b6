"""The Keras twin against the torch module it was mapped from: whole, by layer, and with a wrong mapping."""

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from models.digits_cnn import MODEL
from models.spec import ModelError
from models.weights import (
    WeightMapping,
    conv_kernel,
    dense_kernel,
    dense_kernel_after_flatten,
    load_source,
    load_twin,
    read_checkpoint,
)
from pipelines.parity import agreement as parity
from pipelines.parity.agreement import Expectation

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning:keras.*"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:tensorflow.*"),
    pytest.mark.filterwarnings("ignore:.*np.object.*:FutureWarning"),
]

LAYERS = ("block1", "block2", "block3")
TIGHT = {"rtol": 1e-4, "atol": 1e-4}


@pytest.fixture(scope="module")
def images():
    """Random images, none of them a digit: pixel values 0 to 16."""
    return np.random.default_rng(3).uniform(0, 16, (16, 8, 8, 1)).astype(np.float32)


@pytest.fixture(scope="module")
def source():
    return load_source(MODEL)


@pytest.fixture(scope="module")
def twin():
    return MODEL.build_keras(read_checkpoint(MODEL))


def torch_says(module, array):
    import torch

    with torch.inference_mode():
        return module(torch.from_numpy(array)).numpy()


def keras_says(model, array):
    return np.asarray(model(array, training=False))


def channels_last(array):
    return array.transpose(0, 2, 3, 1)


def up_to(twin, layer):
    import keras

    return keras.Model(twin.input, twin.get_layer(layer).output)


def expectation(source):
    samples = MODEL.samples()
    return Expectation(torch_says(source, samples.inputs), samples.labels, MODEL.tolerance)


def test_both_give_the_same_logits_on_random_images(source, twin, images):
    np.testing.assert_allclose(keras_says(twin, images), torch_says(source, images), **TIGHT)


def test_both_agree_after_every_block(source, twin, images):
    import torch

    x = torch.from_numpy(images).permute(0, 3, 1, 2) / 16
    blocks = {"block1": source.block1, "block2": source.block2, "block3": source.block3}
    with torch.inference_mode():
        for number, name in enumerate(LAYERS, start=1):
            x = blocks[name](x)
            np.testing.assert_allclose(
                keras_says(up_to(twin, f"relu{number}"), images), channels_last(x.numpy()), **TIGHT
            )
            x = source.pool(x) if number > 1 else x


@pytest.mark.parametrize("number", [1, 2, 3])
def test_each_layer_alone_gives_the_same_on_random_inputs(source, twin, number):
    block = getattr(source, f"block{number}")
    convolution, norm = twin.get_layer(f"conv{number}"), twin.get_layer(f"norm{number}")
    channels = block[0].in_channels
    x = np.random.default_rng(number).normal(size=(4, channels, 5, 7)).astype(np.float32)
    theirs = torch_says(block[0], x)
    np.testing.assert_allclose(np.asarray(convolution(channels_last(x))), channels_last(theirs), **TIGHT)
    y = np.random.default_rng(9).normal(size=theirs.shape).astype(np.float32) * 3
    np.testing.assert_allclose(
        np.asarray(norm(channels_last(y), training=False)), channels_last(torch_says(block[1], y)), **TIGHT
    )


def test_the_classifier_after_the_flatten_gives_the_same(source, twin):
    import torch

    x = np.random.default_rng(5).normal(size=(4, 64, 2, 2)).astype(np.float32)
    with torch.inference_mode():
        theirs = source.classifier(torch.flatten(torch.from_numpy(x), 1)).numpy()
    flatten, classifier = twin.get_layer("flatten"), twin.get_layer("classifier")
    np.testing.assert_allclose(np.asarray(classifier(flatten(channels_last(x)))), theirs, **TIGHT)


def test_the_twin_of_the_documentation_gives_what_its_module_gives():
    from torch import nn

    page = (Path(__file__).parents[2] / "docs" / "your-own-model.md").read_text()
    (example,) = re.findall(r"```python\n(def build_keras.*?)```", page, re.DOTALL)
    defined = {}
    exec(example, defined)  # noqa: S102 - our own page
    net = nn.Sequential(nn.Linear(10, 16), nn.Tanh(), nn.Linear(16, 1))
    twin = defined["build_keras"]({name: tensor.numpy() for name, tensor in net.state_dict().items()})
    x = np.random.default_rng(6).normal(size=(5, 10)).astype(np.float32)
    np.testing.assert_allclose(keras_says(twin, x), torch_says(net, x), **TIGHT)


def test_both_use_the_same_epsilon(source, twin):
    """Where a running variance is tiny, a wrong epsilon shows: here it is made so."""
    for number in (1, 2, 3):
        assert twin.get_layer(f"norm{number}").epsilon == getattr(source, f"block{number}")[1].eps == 1e-5


def test_the_twin_is_right_on_held_out_digits(source, twin):
    expected = expectation(source)
    parity.require_spread(expected)
    record = parity.compare("twin", keras_says(twin, MODEL.samples().inputs), expected)
    assert record.passed
    assert record.accuracy > 0.98


def mappings():
    from models.digits_cnn.keras_model import MAPPINGS

    return list(MAPPINGS)


def twin_with(changed):
    from models.digits_cnn.keras_model import architecture

    wrong = architecture()
    load_twin(wrong, read_checkpoint(MODEL), changed)
    return wrong


def exchanged(one, other):
    """The mappings with the sources of two variables exchanged."""
    found = mappings()
    first, second = ([m.variable for m in found].index(name) for name in (one, other))
    found[first], found[second] = (
        dataclasses.replace(found[first], source=found[second].source),
        dataclasses.replace(found[second], source=found[first].source),
    )
    return found


def transformed(variable, transform):
    return [dataclasses.replace(m, transform=transform) if m.variable == variable else m for m in mappings()]


WRONG_BUT_FITTING = {
    "scale and shift exchanged": lambda: exchanged("norm1/gamma", "norm1/beta"),
    "mean and variance exchanged": lambda: exchanged("norm2/moving_mean", "norm2/moving_variance"),
    "shift and mean exchanged": lambda: exchanged("norm3/beta", "norm3/moving_mean"),
    "kernel turned by a quarter": lambda: transformed("conv2/kernel", lambda t: t.transpose(3, 2, 1, 0)),
    "kernel upside down": lambda: transformed("conv1/kernel", lambda t: conv_kernel(t)[::-1]),
    "classifier for the other flatten order": lambda: transformed("classifier/kernel", dense_kernel),
    "classifier with height and width exchanged": lambda: transformed(
        "classifier/kernel",
        lambda t: t.reshape(10, 64, 2, 2).transpose(3, 2, 1, 0).reshape(-1, 10),
    ),
    "classifier bias shifted by one class": lambda: transformed("classifier/bias", lambda t: np.roll(t, 1)),
}


@pytest.mark.parametrize("mistake", WRONG_BUT_FITTING)
def test_a_wrong_mapping_that_fits_in_shape_is_stopped_by_parity(source, mistake):
    wrong = twin_with(WRONG_BUT_FITTING[mistake]())
    assert not parity.compare("twin", keras_says(wrong, MODEL.samples().inputs), expectation(source)).passed


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda: exchanged("conv2/kernel", "conv3/kernel"), "conv2/kernel needs"),
        (lambda: transformed("conv2/kernel", lambda t: t), "conv2/kernel needs (3, 3, 16, 32)"),
        (lambda: transformed("conv2/kernel", lambda t: t.transpose(2, 3, 0, 1)), "conv2/kernel needs"),
        (lambda: transformed("classifier/kernel", lambda t: t), "classifier/kernel needs (256, 10)"),
        (lambda: mappings()[:-1], "checkpoint tensor without a mapping: classifier.bias"),
        (
            lambda: [*mappings()[:-1], WeightMapping("classifier.bias", "norm1/beta")],
            "twin variable mapped twice: norm1/beta",
        ),
    ],
)
def test_a_mapping_that_does_not_fit_never_becomes_a_twin(change, said):
    with pytest.raises(ModelError) as caught:
        twin_with(change())
    assert said in str(caught.value)


def test_a_wrong_epsilon_is_stopped_by_parity(source, monkeypatch):
    from models.digits_cnn import keras_model

    monkeypatch.setattr(keras_model, "EPSILON", 1e-3)
    wrong = MODEL.build_keras(read_checkpoint(MODEL))
    assert not parity.compare("twin", keras_says(wrong, MODEL.samples().inputs), expectation(source)).passed


def test_after_a_flatten_only_the_right_size_is_taken():
    with pytest.raises(ValueError, match="reshape"):
        dense_kernel_after_flatten(64, 3, 2)(np.zeros((10, 256), np.float32))


def changed_checkpoint(tmp_path, change):
    state = read_checkpoint(MODEL)
    change(state)
    path = tmp_path / "changed.safetensors"
    save_file(state, path)
    return dataclasses.replace(MODEL, checkpoint=path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: s.pop("classifier.bias"), "classifier.bias is missing"),
        (lambda s: s.update(extra=np.zeros(1, np.float32)), "extra is not in the architecture"),
        (
            lambda s: s.update({"classifier.bias": np.zeros(11, np.float32)}),
            "classifier.bias has shape (11,), the architecture needs (10,)",
        ),
    ],
)
def test_a_checkpoint_of_another_architecture_is_named(tmp_path, change, said):
    with pytest.raises(ModelError) as caught:
        load_source(changed_checkpoint(tmp_path, change))
    assert said in str(caught.value)
    assert "changed.safetensors does not fit digits_cnn" in str(caught.value)
    assert "run `tandem train digits_cnn`" in str(caught.value)


def test_many_misfits_are_counted_not_listed(tmp_path):
    spec = changed_checkpoint(tmp_path, lambda s: [s.pop(name) for name in sorted(s)[:7]])
    with pytest.raises(ModelError, match=r"\(and 4 more\)"):
        load_source(spec)


def test_the_source_is_in_evaluation_mode(source, images):
    assert not source.training
    alone = torch_says(source, images[:1])
    np.testing.assert_allclose(torch_says(source, images)[:1], alone, rtol=1e-4, atol=1e-4)
