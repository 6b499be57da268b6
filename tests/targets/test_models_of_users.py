"""Models as a newcomer writes them, down PyTorch's road: every file gives what the source model gives.

Each is a file of at most 40 lines in tests/models_of_users, without a twin: other dtypes, several inputs and
outputs, sentences of any length, a dict, torch's own transformer.
"""

import importlib
import shutil
from pathlib import Path

import numpy as np
import pytest

from models import tensors
from models.forward import flattened
from models.spec import load_model
from models.weights import load_source
from pipelines.errors import GateError
from pipelines.targets.exported import Exported, NotExported
from pipelines.targets.registry import TARGETS

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]

FILES = sorted((Path(__file__).parents[1] / "models_of_users").glob("*.py"))
# With training samples, and in float32, which is what can be quantised.
CALIBRATED = {"regression", "sequence", "transformer", "two_by_two", "dict_output"}
# An LSTM's loop is unrolled for a device, so it takes one length only, and these sentences have several.
UNROLLED = {"lstm_tokens"}


def spec_of(name, folder):
    """A model file in a folder of its own, with its checkpoint as its author would have saved it."""
    from safetensors.torch import save_file

    path = shutil.copy(next(file for file in FILES if file.stem == name), folder)
    spec = load_model(str(path))
    state = spec.build_torch().state_dict()
    if name == "bf16_checkpoint":
        state = {key: tensor.bfloat16() for key, tensor in state.items()}
    save_file(state, spec.checkpoint)
    return spec


def answers_of(spec, inputs):
    """The source model, asked sample by sample."""
    import torch

    source, names, answers = load_source(spec), [output.name for output in spec.outputs], []
    with torch.inference_mode():
        for sample in tensors.samples(inputs):
            given = [torch.tensor(array)[None] for array in sample.values()]
            found = flattened(spec.name, source(*given), names)
            answers.append({name: one[0].numpy() for name, one in zip(names, found, strict=True)})
    return tensors.joined(answers)


def exported(spec, target, folder):
    module, function = TARGETS[target].export.split(":")
    return getattr(importlib.import_module(module), function)(spec, folder, lambda _: None)


def predict(spec, target, path, artifact_format, inputs):
    module, function = TARGETS[target].runtime.split(":")
    names = [output.name for output in spec.outputs]
    return getattr(importlib.import_module(module), function)(path, artifact_format, inputs, names)


def require_same(spec, got, expected, *, exact=True):
    assert list(got) == [output.name for output in spec.outputs]
    for output in spec.outputs:
        for one, wanted in zip(got[output.name], expected[output.name], strict=True):
            assert np.asarray(one).dtype == np.dtype(output.dtype)
            assert np.shape(one) == np.shape(wanted)
            if exact:
                np.testing.assert_allclose(one, wanted, rtol=1e-4, atol=1e-4)


def test_every_file_is_one_that_a_newcomer_would_write():
    assert len(FILES) >= 10
    assert all(len(path.read_text().splitlines()) <= 40 for path in FILES)


@pytest.mark.parametrize("name", [path.stem for path in FILES])
@pytest.mark.parametrize("target", ["torchserve", "onnx", "executorch"])
def test_every_file_gives_what_the_source_model_gives(tmp_path, name, target):
    spec = spec_of(name, tmp_path)
    inputs = tensors.take(spec.samples().named, slice(12))
    expected = answers_of(spec, inputs)
    folder = tmp_path / target
    folder.mkdir()
    entries = exported(spec, target, folder)
    for entry in entries:
        if isinstance(entry, Exported):
            got = predict(spec, target, folder / entry.path, entry.format, inputs)
            require_same(spec, got, expected, exact=entry.precision == "float32")
    refused = {(one.format, one.precision): one.reason for one in entries if isinstance(one, NotExported)}
    wanted = set()
    if target == "executorch":
        wanted |= {("pte", "int8")} if name not in CALIBRATED else set()
        wanted |= {("pte", "float32")} if name in UNROLLED else set()
    assert set(refused) == wanted
    assert all("\n" not in reason and len(reason) < 400 for reason in refused.values())
    if target == "executorch" and name in UNROLLED:  # the dimension and the cure are named
        assert "fix dimension 1 of tokens at" in refused["pte", "float32"]
        assert "pad them to one size" in refused["pte", "float32"]


def test_an_attention_without_its_fast_path_says_so(tmp_path):
    spec = spec_of("transformer", tmp_path)
    with pytest.warns(UserWarning, match=r"set_fastpath_enabled\(False\)"):
        exported(spec, "torchserve", tmp_path)


LOOP = """
def forward(self, series):
    return torch.stack([row.cumsum(0) for row in series])
"""
ODD = """
def forward(self, series):
    return torch.linalg.eigvals(series @ series.transpose(1, 2) + 0.1).abs()[..., None] + 0 * series
"""


def changed(name, folder, forward):
    """The same model with another forward, in the file itself."""
    spec = spec_of(name, folder)
    path = folder / f"{name}.py"
    text, (start, end) = path.read_text(), ("    def forward", "\n\n\ndef draw")
    head, tail = text.split(start)[0], text.split(end)[1]
    body = "\n".join(f"    {line}" if line else "" for line in forward.strip("\n").splitlines())
    path.write_text(f"{head}{body}{end}{tail}")
    return load_model(str(spec.checkpoint.with_suffix(".py")))


@pytest.mark.filterwarnings("ignore:Iterating over a tensor")
def test_a_loop_over_the_batch_is_found_by_the_proof_and_named(tmp_path):
    from models.spec import ModelError

    spec = changed("sequence", tmp_path, LOOP)
    with pytest.raises(ModelError, match=r"does not survive tracing: series\.pt .*on a batch of") as caught:
        exported(spec, "torchserve", tmp_path)
    assert "\n" not in str(caught.value)


def test_an_operator_that_onnx_lacks_is_named_in_one_line(tmp_path):
    from models.spec import ModelError

    spec = changed("sequence", tmp_path, ODD)
    with pytest.raises(ModelError, match=r"series cannot be written as ONNX: .*linalg") as caught:
        exported(spec, "onnx", tmp_path)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.glob("*.onnx"))


def test_a_file_of_two_inputs_refuses_one(tmp_path):
    spec = spec_of("two_by_two", tmp_path)
    (entry,) = exported(spec, "onnx", tmp_path)
    only = {"image": spec.samples().named["image"][:2]}
    with pytest.raises(GateError, match="has the inputs image, table; the model has image"):
        predict(spec, "onnx", tmp_path / entry.path, "onnx", only)
