import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors.numpy import save_file

from models.digits_cnn import MODEL
from models.spec import ModelError
from models.weights import (
    WeightMapping,
    batch_norm,
    conv_kernel,
    dense_kernel,
    dense_kernel_after_flatten,
    depthwise,
    depthwise_kernel,
    load_twin,
    read_checkpoint,
    summed,
)

sizes = st.integers(1, 4)


class Variable:
    """What load_twin needs of a Keras variable."""

    def __init__(self, name, shape):
        self.name, self.shape, self.value = name, shape, None

    def assign(self, value):
        self.value = np.array(value)


def a_twin(**layers):
    """`a_twin(dense={"kernel": (2, 3)})`: layers with variables, in Keras' shape of things."""
    return SimpleNamespace(
        layers=[
            SimpleNamespace(name=name, weights=[Variable(*pair) for pair in variables.items()])
            for name, variables in layers.items()
        ]
    )


def value_of(twin, name):
    layer, variable = name.split("/")
    (found,) = [v for each in twin.layers if each.name == layer for v in each.weights if v.name == variable]
    return found.value


def numbered(*shape):
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


@given(out=sizes, into=sizes, height=sizes, width=sizes)
def test_a_convolution_kernel_keeps_every_weight_at_its_place(out, into, height, width):
    kernel = numbered(out, into, height, width)
    moved = conv_kernel(kernel)
    assert moved.shape == (height, width, into, out)
    for o, i, y, x in np.ndindex(out, into, height, width):
        assert moved[y, x, i, o] == kernel[o, i, y, x]


@given(channels=sizes, height=sizes, width=sizes)
def test_a_depthwise_kernel_keeps_every_weight_at_its_place(channels, height, width):
    kernel = numbered(channels, 1, height, width)
    moved = depthwise_kernel(kernel)
    assert moved.shape == (height, width, channels, 1)
    for c, y, x in np.ndindex(channels, height, width):
        assert moved[y, x, c, 0] == kernel[c, 0, y, x]


def test_a_dense_kernel_is_transposed():
    assert dense_kernel(numbered(2, 3)).tolist() == [[0, 3], [1, 4], [2, 5]]


@given(out=sizes, channels=sizes, height=sizes, width=sizes)
def test_after_a_flatten_each_weight_meets_the_pixel_it_was_trained_on(out, channels, height, width):
    kernel = numbered(out, channels * height * width)
    moved = dense_kernel_after_flatten(channels, height, width)(kernel)
    assert moved.shape == (height * width * channels, out)
    # Both flatten orders, written as the loops they stand for.
    torch_order = [(c, y, x) for c in range(channels) for y in range(height) for x in range(width)]
    keras_order = [(c, y, x) for y in range(height) for x in range(width) for c in range(channels)]
    for position, pixel in enumerate(keras_order):
        for o in range(out):
            assert moved[position, o] == kernel[o, torch_order.index(pixel)]


@pytest.mark.slow
@given(data=st.data(), channels=sizes, height=sizes, width=sizes)
def test_a_dense_layer_gives_the_same_after_either_flatten(data, channels, height, width):
    whole = st.integers(-100, 100).map(np.float32)
    image = data.draw(hnp.arrays(np.float32, (channels, height, width), elements=whole))
    kernel = data.draw(hnp.arrays(np.float32, (3, image.size), elements=whole))
    theirs = kernel @ image.reshape(-1)
    ours = image.transpose(1, 2, 0).reshape(-1) @ dense_kernel_after_flatten(channels, height, width)(kernel)
    assert ours.tolist() == theirs.tolist()


def test_batch_normalisation_maps_scale_shift_mean_and_variance():
    twin = a_twin(norm={"gamma": (1,), "beta": (1,), "moving_mean": (1,), "moving_variance": (1,)})
    state = {
        "bn.weight": np.array([1.0]),
        "bn.bias": np.array([2.0]),
        "bn.running_mean": np.array([3.0]),
        "bn.running_var": np.array([4.0]),
        "bn.num_batches_tracked": np.array(5),
    }
    load_twin(twin, state, batch_norm("bn", "norm"))
    names = ("gamma", "beta", "moving_mean", "moving_variance")
    assert [value_of(twin, f"norm/{name}").tolist() for name in names] == [[1], [2], [3], [4]]


DENSE = (WeightMapping("fc.weight", "dense/kernel", dense_kernel), WeightMapping("fc.bias", "dense/bias"))


def dense_twin(outputs=3):
    return a_twin(dense={"kernel": (2, outputs), "bias": (outputs,)})


def dense_state():
    return {"fc.weight": numbered(3, 2), "fc.bias": numbered(3) + 10}


def test_each_variable_gets_the_transformed_tensor():
    twin = dense_twin()
    load_twin(twin, dense_state(), DENSE)
    assert value_of(twin, "dense/kernel").tolist() == [[0, 2, 4], [1, 3, 5]]
    assert value_of(twin, "dense/bias").tolist() == [10, 11, 12]


@pytest.mark.parametrize(
    ("mappings", "said"),
    [
        (DENSE[:1], "checkpoint tensor without a mapping: fc.bias"),
        ((*DENSE, WeightMapping("fc.extra", "dense/bias")), "unknown checkpoint tensor: fc.extra"),
        ((*DENSE, WeightMapping("fc.bias", "dense/bias")), "twin variable mapped twice: dense/bias"),
        ((DENSE[0], WeightMapping("fc.bias", "dense/shift")), "twin variable without a mapping: dense/bias"),
        ((DENSE[0], WeightMapping("fc.bias", "dense/kernel")), "twin variable mapped twice: dense/kernel"),
        ((WeightMapping("fc.weight", "dense/kernel"), DENSE[1]), r"fc.weight has shape (3, 2) after mapping"),
        (
            (WeightMapping("fc.weight", "dense/bias"), WeightMapping("fc.bias", "dense/kernel")),
            "dense/bias needs (3,)",
        ),
    ],
)
def test_a_mapping_that_does_not_fit_is_named(mappings, said):
    with pytest.raises(ModelError) as caught:
        load_twin(dense_twin(), dense_state(), mappings)
    assert said in str(caught.value)


def test_a_mapping_to_a_variable_the_twin_lacks_is_named():
    twin = a_twin(dense={"kernel": (2, 3)})
    with pytest.raises(ModelError, match="unknown twin variable: dense/bias"):
        load_twin(twin, dense_state(), DENSE)


def test_a_twin_of_another_size_is_refused():
    with pytest.raises(ModelError, match=r"dense/kernel needs \(2, 4\)"):
        load_twin(dense_twin(outputs=4), dense_state(), DENSE)


def test_a_checkpoint_comes_back_as_it_was_saved(tmp_path):
    path = tmp_path / "c.safetensors"
    save_file(dense_state(), path)
    found = read_checkpoint(dataclasses.replace(MODEL, checkpoint=path))
    assert {name: tensor.tolist() for name, tensor in found.items()} == {
        name: tensor.tolist() for name, tensor in dense_state().items()
    }


def test_a_missing_checkpoint_says_how_to_get_one(tmp_path):
    spec = dataclasses.replace(MODEL, checkpoint=tmp_path / "gone.safetensors")
    with pytest.raises(ModelError, match=r"gone\.safetensors .* is missing; run `tandem train digits_cnn`"):
        read_checkpoint(spec)


@pytest.mark.parametrize("damage", [slice(0, 20_000), slice(0, 0), slice(50, 90)])
def test_a_damaged_checkpoint_is_named_with_the_remedy(tmp_path, damage):
    path = tmp_path / "half.safetensors"
    path.write_bytes(MODEL.checkpoint.read_bytes()[damage])
    with pytest.raises(ModelError) as caught:
        read_checkpoint(dataclasses.replace(MODEL, checkpoint=path))
    assert "half.safetensors of digits_cnn cannot be read as safetensors" in str(caught.value)
    assert "`tandem train digits_cnn`" in str(caught.value)


def test_every_shipped_weight_is_finite():
    assert all(np.isfinite(tensor).all() for tensor in read_checkpoint(MODEL).values())


def test_several_tensors_become_one_variable_and_one_goes_to_several():
    twin = a_twin(cell={"bias": (3,)}, embed={"table": (2, 3)}, head={"kernel": (3, 2)})
    state = {"ih": numbered(3), "hh": numbered(3) + 1, "shared": numbered(2, 3)}
    mappings = (
        WeightMapping(("ih", "hh"), "cell/bias", summed),
        WeightMapping("shared", "embed/table"),
        WeightMapping("shared", "head/kernel", dense_kernel),
    )
    load_twin(twin, state, mappings)
    assert value_of(twin, "cell/bias").tolist() == [1, 3, 5]
    assert value_of(twin, "head/kernel").tolist() == value_of(twin, "embed/table").T.tolist()


def test_what_a_twin_has_no_use_for_can_be_named():
    state = dense_state() | {"attention.mask": numbered(2)}
    with pytest.raises(ModelError, match=r"without a mapping: attention\.mask"):
        load_twin(dense_twin(), state, DENSE)
    load_twin(dense_twin(), state, DENSE, ignored=("*.mask",))


def test_a_transform_that_fails_names_the_tensor_and_its_shape():
    mappings = (WeightMapping("fc.weight", "dense/kernel", conv_kernel), DENSE[1])
    with pytest.raises(ModelError, match=r"transform of fc\.weight \(shape \(3, 2\)\) to dense/kernel fails"):
        load_twin(dense_twin(), dense_state(), mappings)


@given(channels=sizes, multiplier=sizes, height=sizes, width=sizes)
def test_a_depthwise_kernel_with_a_multiplier_keeps_every_weight_at_its_place(
    channels, multiplier, height, width
):
    kernel = numbered(channels * multiplier, 1, height, width)
    moved = depthwise(multiplier)(kernel)
    assert moved.shape == (height, width, channels, multiplier)
    for c, m, y, x in np.ndindex(channels, multiplier, height, width):
        assert moved[y, x, c, m] == kernel[c * multiplier + m, 0, y, x]
