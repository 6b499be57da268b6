"""The source model as it is: what is a function of one sample passes, what is not is refused by its name."""

import dataclasses
import re
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from torch import nn
from torch.nn import functional

from models.spec import ModelError, ModelSpec, Samples, TensorSpec, Tolerance
from models.tensors import stacked
from pipelines.parity import source

pytestmark = pytest.mark.slow

INPUTS = np.random.default_rng(3).normal(size=(80, 4)).astype(np.float32)
DRAW = np.random.default_rng(5).normal(size=(6, 4)).astype(np.float32)
LAYER = {"linear.weight": np.random.default_rng(4).normal(size=(3, 4)).astype(np.float32)}
OUT = torch.zeros(80, 3)


class Linear(nn.Module):
    """Three scores of four features."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 3, bias=False)

    def forward(self, x):
        return self.linear(x)


@pytest.fixture
def spec(tmp_path):
    def make(build, state=None, **changes):
        checkpoint = tmp_path / "checkpoint.safetensors"
        save_file(LAYER | (state or {}), checkpoint)
        fields = {
            "name": "tiny",
            "inputs": (TensorSpec("x", "float32", (None, 4)),),
            "outputs": (TensorSpec("y", "float32", (None, 3)),),
            "labels": (),
            "tolerance": Tolerance(1e-4, 1e-4),
            "checkpoint": checkpoint,
            "build_torch": build,
            "test_samples": lambda: Samples(INPUTS),
            "train_samples": lambda: Samples(INPUTS),
        }
        return ModelSpec(**(fields | changes))

    return make


def answering(forward):
    """A class whose forward is `forward(linear, x)`."""
    return type("Answering", (Linear,), {"forward": lambda self, x: forward(self.linear, x)})


@contextmanager
def refused(said):
    with pytest.raises(ModelError) as caught:
        yield
    assert re.search(said, str(caught.value)), str(caught.value)
    assert "\n" not in str(caught.value)


def here(name):
    """The place in this file that defines the forward called `name`, escaped for a pattern."""
    lines = Path(__file__).read_text().splitlines()
    line = next(n for n, text in enumerate(lines, start=1) if text.startswith(f'    "{name}": lambda'))
    return re.escape(f"{__file__}:{line}")


FINE = {
    "plain": lambda linear, x: linear(x),
    "a view of the input": lambda _, x: x.view(-1, 4)[:, :3],
    "its own memory each time": lambda linear, x: torch.add(linear(x), 0, out=OUT[: len(x)]),
    "in place on what it made": lambda linear, x: functional.relu(linear(x), inplace=True),
    "a branch on a fixed size": lambda linear, x: linear(x) if x.shape[1] == 4 else x,
    "a branch in tensors": lambda linear, x: torch.where(x.sum(1, keepdim=True) > 0, linear(x), -linear(x)),
    "a value of a parameter": lambda linear, x: linear(x) * float(linear.weight.max()),
    "a loop over the batch": lambda linear, x: torch.stack([linear(row) for row in x]),
    "a nested answer": lambda linear, x: ([linear(x)],),
    "a dict": lambda linear, x: {"y": linear(x)},
    "a formatted value": lambda linear, x: (f"{x[0, 0]:.2f}", linear(x))[1],
    "noise below the tolerance": lambda linear, x: linear(x) + 1e-7 * torch.rand(len(x), 1),
}


@pytest.mark.parametrize("name", FINE)
def test_what_is_a_function_of_one_sample_passes(spec, name):
    inputs = INPUTS.copy()
    outputs = source.outputs_of(spec(answering(FINE[name])), {"x": inputs})["y"]
    assert outputs.shape == (80, 3)
    assert outputs.dtype == np.float32
    np.testing.assert_array_equal(inputs, INPUTS)


READINGS = {
    "branches": lambda linear, x: linear(x) if x.mean() > 0 else -linear(x),
    "asserts": lambda linear, x: linear(x) if not torch.isnan(x).any() else x,
    "reads": lambda linear, x: linear(x) * x.max().item(),
    "floats": lambda linear, x: linear(x) * float(x.max()),
    "lists": lambda linear, x: linear(x) * max(x[:, 0].tolist()),
    "compares": lambda linear, x: linear(x) if torch.equal(x, x) else x,
    "indexes": lambda linear, x: linear(x)[: len(x) + int(x[0, 0] > 99)],
    "numpy": lambda linear, x: torch.from_numpy(np.sin(linear(x).numpy())),
    "asarray": lambda linear, x: torch.from_numpy(np.sin(np.asarray(linear(x)))),
    "numpy in place": lambda linear, x: (x.numpy().__iadd__(1), linear(x))[1],
}


@pytest.mark.parametrize("name", READINGS)
def test_python_that_reads_values_of_the_input_is_named_with_its_line(spec, name):
    with refused(f"data-dependent control flow: it .* at {here(name)};"):
        source.outputs_of(spec(answering(READINGS[name])), {"x": INPUTS})


OVERWRITING = {
    "subtracts": lambda linear, x: linear(x.sub_(1)),
    "sets": lambda linear, x: (x.__setitem__((slice(None), 0), 0.0), linear(x))[1],
    "relu": lambda linear, x: linear(functional.relu(x, inplace=True)),
    "data": lambda linear, x: (x.data.mul_(2), linear(x))[1],
}


@pytest.mark.parametrize("name", OVERWRITING)
def test_a_model_that_overwrites_its_input_is_named_with_its_line(spec, name):
    with refused(f"overwrites its input 'x' at {here(name)};"):
        source.outputs_of(spec(answering(OVERWRITING[name])), {"x": INPUTS})


RANDOM = {
    "dropout": lambda linear, x: linear(functional.dropout(x, 0.5, training=True)),
    "numpy": lambda linear, x: linear(x) + float(np.random.default_rng().random()),
}


@pytest.mark.parametrize("name", RANDOM)
def test_a_model_that_differs_from_itself_is_refused(spec, name):
    with refused(r"differs from itself: it draws random numbers .*asked a second time"):
        source.outputs_of(spec(answering(RANDOM[name])), {"x": INPUTS})


SEEDED = {
    "of all": lambda linear, x: (torch.manual_seed(0), linear(x) + torch.rand(3))[1],
    "in its module": lambda linear, x: (torch.random.manual_seed(0), linear(x) + torch.rand(3))[1],
    "of its own": lambda linear, x: (
        linear(x) + torch.rand(3, generator=torch.Generator("cpu").manual_seed(0))
    ),
}


@pytest.mark.parametrize("name", SEEDED)
def test_noise_under_a_seed_of_the_model_s_own_is_noise(spec, name):
    before = torch.get_rng_state(), torch.manual_seed, torch.Generator
    with refused(r"differs from itself: it draws random numbers .*asked with another random seed"):
        source.outputs_of(spec(answering(SEEDED[name])), {"x": INPUTS})
    assert (torch.manual_seed, torch.Generator) == before[1:]


def test_what_a_seed_drew_when_the_model_was_built_is_a_constant(spec):
    class Projected(Linear):
        def __init__(self):
            super().__init__()
            self.projection = torch.rand(4, 4, generator=torch.Generator().manual_seed(1))

        def forward(self, x):
            return self.linear(x @ self.projection)

    assert source.outputs_of(spec(Projected), {"x": INPUTS})["y"].shape == (80, 3)


def test_a_model_that_keeps_something_of_its_first_input_is_refused(spec):
    class Centred(Linear):
        centre = None

        def forward(self, x):
            self.centre = x[:1].clone() if self.centre is None else self.centre
            return self.linear(x - self.centre)

    with refused("depends on what it was asked first.*asked in the opposite order"):
        source.outputs_of(spec(Centred), {"x": INPUTS})


def test_a_model_that_keeps_something_between_calls_differs_from_itself(spec):
    class Counting(Linear):
        calls = 0

        def forward(self, x):
            self.calls += 1
            return self.linear(x) * self.calls

    with refused("differs from itself"):
        source.outputs_of(spec(Counting), {"x": INPUTS})


@pytest.mark.parametrize("draw", [lambda: torch.randn(4, 4), lambda: torch.tensor(np.random.randn(4, 4))])
def test_what_is_drawn_at_random_and_not_saved_is_named(spec, draw):
    class Unsaved(Linear):
        def __init__(self):
            super().__init__()
            self.projection = draw().float()

        def forward(self, x):
            return self.linear(x @ self.projection)

    with refused("not in the checkpoint.*built a second time"):
        source.outputs_of(spec(Unsaved), {"x": INPUTS})


BATCHES = {
    "mean": lambda linear, x: linear(x - x.mean(dim=0)),
    "softmax over the batch": lambda linear, x: functional.softmax(linear(x), dim=0),
    "a branch on the batch size": lambda linear, x: linear(x) if len(x) < 4 else -linear(x),
    "position in the batch": lambda linear, x: linear(x) + torch.arange(len(x))[:, None],
}


@pytest.mark.parametrize("name", BATCHES)
def test_a_model_whose_answer_depends_on_its_batch_is_refused(spec, name):
    with refused(
        r"depends on its batch.*\(output 'y', sample \d+: .*asked (sample by sample|in batches|with more)"
    ):
        source.outputs_of(spec(answering(BATCHES[name])), {"x": INPUTS})


class Normalising(Linear):
    """Batch normalisation that stays in training mode; two features, so that a batch of one computes."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(2, affine=False)

    def train(self, mode=True):
        super().train(mode)
        self.norm.training = True
        return self

    def forward(self, x):
        return self.linear(self.norm(x.reshape(-1, 2, 2)).reshape(-1, 4))


NORM = {
    "norm.running_mean": np.zeros(2, np.float32),
    "norm.running_var": np.ones(2, np.float32),
    "norm.num_batches_tracked": np.zeros((), np.int64),
}


def test_batch_normalisation_in_training_mode_is_named(spec):
    with refused(r"depends on its batch.*'norm' is still in training mode"):
        source.outputs_of(spec(Normalising, NORM), {"x": INPUTS})


def test_batch_normalisation_in_evaluation_mode_passes(spec):
    quiet = type("Quiet", (Normalising,), {"train": nn.Module.train})
    assert source.outputs_of(spec(quiet, NORM), {"x": INPUTS})["y"].shape == (80, 3)


def test_a_model_that_writes_to_its_buffers_is_refused(spec):
    class Counter(Linear):
        def __init__(self):
            super().__init__()
            self.register_buffer("calls", torch.zeros(1))

        def forward(self, x):
            self.calls += 1
            return self.linear(x)

    with refused("changes its own 'calls'"):
        source.outputs_of(spec(Counter, {"calls": np.zeros(1, np.float32)}), {"x": INPUTS})


WRONG = {
    "log": (lambda linear, x: linear(x).log(), "gives nan for sample"),
    "inf": (lambda linear, x: linear(x) / 0, "gives -?inf for sample 0"),
    "tuple": (lambda linear, x: (linear(x), x), "returns 2 tensors; its spec has 1 outputs: 'y'"),
    "dict": (
        lambda linear, x: {"logits": linear(x)},
        "returns a dict with the keys 'logits'; its outputs are 'y'",
    ),
    "text": (lambda linear, x: (linear(x), "text")[1], "returns a str; tensors are allowed"),
    "bfloat16": (lambda linear, x: linear(x).bfloat16(), r"gives bfloat16 .* end forward with \.to\(torch"),
    "complex": (
        lambda linear, x: torch.fft.fft(linear(x)),
        "gives complex64 .* end forward with torch.view_as_real",
    ),
    "columns": (
        lambda linear, x: linear(x)[:, :2],
        r"float32 of shape \(80, 2\).*must be float32 .*\(80, 3\)",
    ),
    "rank": (lambda linear, x: linear(x)[:, None], r"shape \(80, 1, 3\)"),
    "squeeze": (lambda linear, x: linear(x).squeeze(), r"shape \(3,\) for 1 samples"),
    "half": (lambda linear, x: linear(x).half(), "gives float16"),
    "double": (lambda linear, x: linear(x).double(), "gives float64"),
    "sparse": (lambda linear, x: linear(x).to_sparse(), "fails on a batch of 80: TypeError"),
    "raises": (
        lambda linear, x: linear(x[:, :3]),
        f"fails on a batch of 80 at {re.escape(__file__)}:.*shapes",
    ),
    "exits": (lambda *_: sys.exit(3), "fails on a batch of 80 .*SystemExit: 3"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_answer_is_named(spec, name):
    forward, said = WRONG[name]
    with refused(said):
        source.outputs_of(spec(answering(forward)), {"x": INPUTS})


def test_a_model_in_float64_is_refused_with_the_reason(spec):
    with refused(r"fails on a batch of 80 .*RuntimeError: .*same dtype"):
        source.outputs_of(spec(lambda: Linear().double()), {"x": INPUTS})


def test_an_exporter_asks_the_first_samples_only(spec):
    many = np.tile(INPUTS, (5, 1))
    seen = []

    def forward(linear, x):
        seen.append(len(x))
        return linear(x)

    made = dataclasses.replace(spec(answering(forward)), test_samples=lambda: Samples(many))
    source.require_deployable(made)
    assert max(seen) == source.LEAST_AGAIN


def test_a_tolerance_below_rounding_is_said_to_be_too_tight(spec):
    noise = answering(lambda linear, x: linear(x) + 1e-6 * torch.rand(len(x), 1))
    with refused("by rounding, which its tolerance does not allow"):
        source.outputs_of(spec(noise, tolerance=Tolerance(0.0, 0.0)), {"x": INPUTS})


def test_no_samples_prove_nothing(spec):
    with refused("no held-out samples"):
        source.outputs_of(spec(Linear), {"x": INPUTS[:0]})


class Wide(nn.Module):
    """Several inputs of several dtypes; outputs nested, of several dtypes."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 3, bias=False)

    def forward(self, x, ids, keep):
        scores = self.linear(x) * keep[:, None]
        return scores, [ids * 2, (scores.double(), keep)]


MANY = {
    "x": INPUTS,
    "ids": np.arange(80)[:, None],
    "keep": np.arange(80) % 2 == 0,
}
MANY_INPUTS = (
    TensorSpec("x", "float32", (None, 4)),
    TensorSpec("ids", "int64", (None, 1)),
    TensorSpec("keep", "bool", (None,)),
)
MANY_OUTPUTS = (
    TensorSpec("scores", "float32", (None, 3)),
    TensorSpec("twice", "int64", (None, 1)),
    TensorSpec("exact", "float64", (None, 3)),
    TensorSpec("kept", "bool", (None,)),
)


def test_inputs_and_outputs_of_any_dtype_and_nested_are_asked_by_name(spec):
    outputs = source.outputs_of(spec(Wide, inputs=MANY_INPUTS, outputs=MANY_OUTPUTS), MANY)
    assert [str(array.dtype) for array in outputs.values()] == ["float32", "int64", "float64", "bool"]
    assert list(outputs) == ["scores", "twice", "exact", "kept"]
    np.testing.assert_array_equal(outputs["twice"], MANY["ids"] * 2)


CHANGED = {
    "control flow": (lambda x, *others: x if others[1].any() else -x, "data-dependent control flow"),
    "overwritten": (lambda x, *others: (others[0].add_(1), x)[1], "overwrites its input 'ids' at "),
    "random": (lambda x, *_: x + torch.rand(1), "differs from itself"),
    "batch": (lambda x, *others: x + others[0].sum(), "depends on its batch"),
}


@pytest.mark.parametrize("name", CHANGED)
@pytest.mark.parametrize("place", [0, 1])
def test_every_input_and_output_is_examined(spec, name, place):
    answer, said = CHANGED[name]

    class Net(Linear):
        def forward(self, x, ids, keep):
            found = [self.linear(x), self.linear(x)]
            found[place] = self.linear(answer(x, ids, keep))
            return {"one": found[0], "other": found[1]}

    outputs = (TensorSpec("one", "float32", (None, 3)), TensorSpec("other", "float32", (None, 3)))
    with refused(said):
        source.outputs_of(spec(Net, inputs=MANY_INPUTS, outputs=outputs), MANY)


def test_a_wrong_output_is_named(spec):
    outputs = (*MANY_OUTPUTS[:3], TensorSpec("kept", "bool", (None, 1)))
    with refused(
        r"gives bool of shape \(80,\) for 80 samples, its output 'kept' must be bool of shape \(80, 1\)"
    ):
        source.outputs_of(spec(Wide, inputs=MANY_INPUTS, outputs=outputs), MANY)


def test_samples_of_different_lengths_are_asked_in_batches_of_one_length(spec):
    class Sums(Linear):
        def forward(self, x):
            return self.linear(x).cumsum(1)

    texts = [DRAW[: 2 + n % 3] for n in range(40)]
    dynamic = {
        "inputs": (TensorSpec("x", "float32", (None, None, 4)),),
        "outputs": (TensorSpec("y", "float32", (None, None, 3)),),
    }
    outputs = source.outputs_of(spec(Sums, **dynamic), {"x": stacked(texts)})["y"]
    assert [one.shape for one in outputs[:4]] == [(2, 3), (3, 3), (4, 3), (2, 3)]


def test_a_model_in_double_precision_is_one(spec):
    double = {
        "inputs": (TensorSpec("x", "float64", (None, 4)),),
        "outputs": (TensorSpec("y", "float64", (None, 3)),),
    }
    outputs = source.outputs_of(spec(lambda: Linear().double(), **double), {"x": INPUTS.astype(np.float64)})
    assert outputs["y"].dtype == np.float64


def test_a_model_in_bfloat16_says_how_to_end_its_forward(spec):
    def forward(self, x):
        return self.linear(x.bfloat16())

    half = type("Half", (Linear,), {"forward": forward})
    with refused(r"gives bfloat16 for its output 'y'; allowed: .*; end forward with \.to\(torch\.float32\)"):
        source.outputs_of(spec(lambda: half().bfloat16()), {"x": INPUTS})
