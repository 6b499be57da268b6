"""MobileNetV2: its size, its Keras twin whole and by block, wrong mappings, repeatable training."""

import dataclasses
import hashlib
import importlib
import json

import numpy as np
import pytest

from models.mobilenet_v2 import MODEL
from models.mobilenet_v2.layout import blocks
from models.spec import ModelError, Samples
from models.weights import conv_kernel, depthwise_kernel, load_source, load_twin, read_checkpoint
from pipelines.parity import agreement as parity
from pipelines.parity.agreement import Expectation

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning:keras.*"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:tensorflow.*"),
    pytest.mark.filterwarnings("ignore:.*np.object.*:FutureWarning"),
]

COUNT = 20
# What torchvision's documentation and the sum over the paper's table say, with a head of ten classes.
FEATURE_PARAMETERS = 2_223_872
HEAD_PARAMETERS = 12_810


@pytest.fixture(scope="module")
def samples():
    every = MODEL.samples()
    return Samples(every.inputs[:COUNT], every.labels[:COUNT])


@pytest.fixture(scope="module")
def source():
    return load_source(MODEL)


@pytest.fixture(scope="module")
def twin():
    return MODEL.build_keras(read_checkpoint(MODEL))


@pytest.fixture(scope="module")
def expected(source, samples):
    return Expectation(torch_says(source, samples.inputs), samples.labels, MODEL.tolerance)


def torch_says(module, array):
    import torch

    with torch.inference_mode():
        return module(torch.from_numpy(array)).numpy()


def keras_says(model, array):
    return np.asarray(model(array, training=False))


def weights_count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def test_it_has_the_parameters_the_architecture_is_known_for(source):
    assert weights_count(source.features) == FEATURE_PARAMETERS
    assert weights_count(source.classifier) == HEAD_PARAMETERS


def test_strides_and_shortcuts_are_those_of_the_paper():
    found = list(blocks())
    assert [block.channels_out for block in found] == [
        *[16],
        *[24] * 2,
        *[32] * 3,
        *[64] * 4,
        *[96] * 3,
        *[160] * 3,
        *[320],
    ]
    assert [block.number for block in found if block.stride == 2] == [2, 4, 7, 14]
    assert [block.number for block in found if block.adds_input] == [3, 5, 6, 8, 9, 10, 12, 13, 15, 16]
    assert [block.number for block in found if not block.expands] == [1]


def test_the_last_features_are_three_by_three(source):
    image = np.zeros((2, 3, 96, 96), np.float32)
    assert torch_says(source.features, image).shape == (2, 1280, 3, 3)


def test_the_twin_is_the_source_model_on_held_out_digits(twin, samples, expected):
    parity.require_spread(expected)
    record = parity.compare("twin", keras_says(twin, samples.inputs), expected)
    assert record.passed
    assert record.top1_agreement == 1.0
    assert record.accuracy >= 0.9


def test_both_agree_on_images_that_are_no_digits(source, twin):
    """Noise to the border: a padding on the wrong side shows there, where a digit's background is even."""
    noise = np.random.default_rng(3).uniform(0, 255, (4, 96, 96, 3)).astype(np.float32)
    np.testing.assert_allclose(keras_says(twin, noise), torch_says(source, noise), rtol=1e-4, atol=1e-3)


def test_both_agree_after_every_block(source, twin, samples):
    import keras
    import torch

    layers = ["stem_relu6", *(last_layer(block) for block in blocks()), "last_relu6"]
    every = keras.Model(twin.input, [twin.get_layer(name).output for name in layers])
    theirs = every(samples.inputs[:2], training=False)
    x = torch.from_numpy(samples.inputs[:2]).permute(0, 3, 1, 2) / 127.5 - 1
    with torch.inference_mode():
        for layer, name, output in zip(source.features, layers, theirs, strict=True):
            x = layer(x)
            np.testing.assert_allclose(
                output, x.permute(0, 2, 3, 1).numpy(), rtol=1e-3, atol=1e-3, err_msg=name
            )


def last_layer(block):
    return f"block{block.number}_{'add' if block.adds_input else 'project_norm'}"


def mappings_with(variable, **changes):
    from models.mobilenet_v2.keras_model import MAPPINGS

    assert variable in [m.variable for m in MAPPINGS]
    return [dataclasses.replace(m, **changes) if m.variable == variable else m for m in MAPPINGS]


@pytest.fixture(scope="module")
def twin_with():
    """A function that loads the checkpoint by other mappings, into the same layers each time."""
    from models.mobilenet_v2.keras_model import architecture

    made = architecture()

    def load(mappings):
        load_twin(made, read_checkpoint(MODEL), mappings)
        return made

    return load


@pytest.mark.parametrize(
    ("variable", "changes", "said"),
    [
        ("stem/kernel", {"transform": lambda t: t}, "stem/kernel needs (3, 3, 3, 32)"),
        ("block2_filter/kernel", {"transform": conv_kernel}, "block2_filter/kernel needs (3, 3, 96, 1)"),
        (
            "block2_expand/kernel",
            {"transform": depthwise_kernel},
            "block2_expand/kernel needs (1, 1, 16, 96)",
        ),
        ("classifier/kernel", {"transform": lambda t: t}, "classifier/kernel needs (1280, 10)"),
        (
            "block5_filter/kernel",
            {"source": "features.6.conv.1.0.weight"},
            "without a mapping: features.5.conv.1.0.weight",
        ),
    ],
)
def test_a_mapping_that_does_not_fit_never_becomes_a_twin(twin_with, variable, changes, said):
    with pytest.raises(ModelError) as caught:
        twin_with(mappings_with(variable, **changes))
    assert said in str(caught.value)


def upside_down(tensor):
    return depthwise_kernel(tensor)[::-1]


def exchanged(one, other):
    from models.mobilenet_v2.keras_model import MAPPINGS

    sources = {m.variable: m.source for m in MAPPINGS}
    swapped = {one: sources[other], other: sources[one]}
    return [dataclasses.replace(m, source=swapped.get(m.variable, m.source)) for m in MAPPINGS]


WRONG_BUT_FITTING = {
    "a channel filter upside down": lambda: mappings_with("block9_filter/kernel", transform=upside_down),
    "two blocks of one shape exchanged": lambda: exchanged("block8_filter/kernel", "block9_filter/kernel"),
    "mean and shift exchanged": lambda: exchanged(
        "block16_project_norm/beta", "block16_project_norm/moving_mean"
    ),
}


@pytest.mark.parametrize("mistake", WRONG_BUT_FITTING)
def test_a_wrong_mapping_that_fits_in_shape_is_stopped_by_parity(samples, expected, twin_with, mistake):
    wrong = twin_with(WRONG_BUT_FITTING[mistake]())
    assert not parity.compare("twin", keras_says(wrong, samples.inputs), expected).passed


def test_keras_own_padding_is_stopped_by_parity(samples, expected, monkeypatch):
    from models.mobilenet_v2 import keras_model

    monkeypatch.setattr(keras_model, "_padded", lambda x, *_: (x, "same"))
    wrong = MODEL.build_keras(read_checkpoint(MODEL))
    assert not parity.compare("twin", keras_says(wrong, samples.inputs), expected).passed


def test_keras_own_epsilon_is_stopped_by_parity(samples, expected, monkeypatch):
    from models.mobilenet_v2 import keras_model

    monkeypatch.setattr(keras_model, "EPSILON", 1e-3)
    wrong = MODEL.build_keras(read_checkpoint(MODEL))
    assert not parity.compare("twin", keras_says(wrong, samples.inputs), expected).passed


def training():
    """The module; the package gives its name to a function."""
    return importlib.import_module("models.mobilenet_v2.train")


def test_the_record_is_of_this_checkpoint_s_training():
    train = training()
    record = json.loads(MODEL.checkpoint.with_name("training.json").read_text())
    assert record["stages"] == [dataclasses.asdict(stage) for stage in train.STAGES]
    assert (record["seed"], record["learning_rate"]) == (train.SEED, train.LEARNING_RATE)
    assert record["weight_decay"] == train.WEIGHT_DECAY
    assert record["test_accuracy"] >= 0.97


def test_no_channel_is_scaled_out_of_proportion():
    """What an eight-bit integer cannot hold: a normalisation that multiplies one channel by hundreds."""
    state = read_checkpoint(MODEL)
    norms = [name.removesuffix(".running_var") for name in state if name.endswith(".running_var")]
    scales = [abs(state[f"{n}.weight"]) / np.sqrt(state[f"{n}.running_var"] + 1e-5) for n in norms]
    assert len(norms) == 52
    assert max(scale.max() for scale in scales) < 100


def a_short_training(folder):
    """Two tiny stages on forty digits: the checkpoint's SHA-256 and what was said."""
    from models.digits_cnn.data import train_samples

    train, digits, said = training(), train_samples(), []
    some = Samples(digits.inputs[:40], digits.labels[:40])
    model = train.fit(some, (train.Stage(16, 2), train.Stage(32, 1)), said.append)
    path = folder / "checkpoint.safetensors"
    train.write_checkpoint(model, path)
    return hashlib.sha256(path.read_bytes()).hexdigest(), said


def test_training_twice_gives_the_same_bytes_and_another_seed_gives_others(tmp_path, monkeypatch):
    import torch

    threads = torch.get_num_threads()
    first, said = a_short_training(tmp_path)
    torch.rand(3)  # whatever drew numbers in between
    assert a_short_training(tmp_path)[0] == first
    assert [text.split(", about")[0] for text in said[:3]] == [
        "epoch 1/3 at 16x16",
        "epoch 2/3 at 16x16",
        "epoch 3/3 at 32x32",
    ]
    assert "about 0 s left" in said[2]
    load_source(dataclasses.replace(MODEL, checkpoint=tmp_path / "checkpoint.safetensors"))
    assert torch.get_num_threads() == threads
    monkeypatch.setattr(training(), "SEED", 8)
    assert a_short_training(tmp_path)[0] != first


def test_an_image_is_moved_whole_and_never_beyond_a_twelfth():
    import torch

    from models.mobilenet_v2.train import _shifted

    torch.manual_seed(1)
    image = torch.zeros(400, 24, 24, 1)
    image[:, 10, 12] = 255
    places = _shifted(image)[..., 0].nonzero()
    assert len(places) == 400
    assert {(y - 10, x - 12) for _, y, x in places.tolist()} == {
        (dy, dx) for dy in range(-2, 3) for dx in range(-2, 3)
    }


def test_a_missing_checkpoint_says_how_to_make_it(tmp_path):
    gone = dataclasses.replace(MODEL, checkpoint=tmp_path / "checkpoint.safetensors")
    for ask in (lambda: gone.digest, lambda: load_source(gone)):
        with pytest.raises(ModelError, match=r"is missing; run `tandem train mobilenet_v2`"):
            ask()
