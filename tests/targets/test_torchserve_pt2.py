"""What AOTInductor compiles of a model: the package, its archive, and the handler that serves it.

One compilation takes most of the time, so the model is small and has what can go wrong: a dynamic length,
values that are looked up, several outputs.
"""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from needs import needed

from models.spec import ModelError, ModelSpec, Samples, TensorSpec, Tolerance
from models.text_gru import MODEL as TEXT
from models.weights import load_source
from pipelines.errors import GateError
from pipelines.machine.compiler import find_compiler
from pipelines.targets.presets import Preset, resolve
from pipelines.targets.registry import find_target
from pipelines.targets.torchserve.archive import unpack
from pipelines.targets.torchserve.runtime import import_handler, predict
from pipelines.targets.torchserve_pt2.export import export

pytestmark = [
    pytest.mark.timeout(1200),  # half a minute of compiling, on a machine that may have other work
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),  # the archiver leaves a file open
]

LOOKED_UP = 50


class Words(torch.nn.Module):
    """Two outputs of sentences of any length: a score, and the mean of the words' own numbers."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.embed = torch.nn.Embedding(LOOKED_UP, 8)
        self.head = torch.nn.Linear(8, 3)

    def forward(self, tokens):
        means = self.embed(tokens).mean(1)
        return self.head(means.relu()), means


def draw():
    random = np.random.default_rng(5)
    return Samples([random.integers(0, LOOKED_UP, n, np.int64) for n in random.integers(3, 12, 40)])


@pytest.fixture(scope="module")
def spec(tmp_path_factory):
    from safetensors.torch import save_file

    path = tmp_path_factory.mktemp("words") / "words.safetensors"
    save_file(Words().state_dict(), path)
    return ModelSpec(
        name="words",
        inputs=TensorSpec("tokens", "int64", (None, None)),
        outputs=(TensorSpec("scores", "float32", (None, 3)), TensorSpec("means", "float32", (None, 8))),
        tolerance=Tolerance(1e-4, 1e-4),
        checkpoint=path,
        build_torch=Words,
        test_samples=draw,
    )


@pytest.fixture(scope="module")
def compiler():
    """The C++ compiler, which a machine need not have."""
    return needed(find_compiler)


@pytest.fixture(scope="module")
def exported(spec, compiler, tmp_path_factory):
    folder = tmp_path_factory.mktemp("package")
    return folder, export(spec, folder, lambda _: None)


def test_package_and_archive_give_the_source_models_outputs_for_other_batches_and_lengths(exported, spec):
    folder, entries = exported
    assert [(one.path, one.format) for one in entries] == [
        ("words.pt2", "aotinductor"),
        ("words.mar", "torchserve-archive"),
    ]
    assert all("C++ compiler" in one.tools for one in entries)
    source = load_source(spec)
    for shape in ((1, 4), (3, 11), (7, 2)):
        tokens = np.random.default_rng(6).integers(0, LOOKED_UP, shape, np.int64)
        with torch.inference_mode():
            expected = [tensor.numpy() for tensor in source(torch.from_numpy(tokens))]
        for one in entries:
            got = predict(folder / one.path, one.format, {"tokens": tokens}, ["scores", "means"])
            for name, wanted in zip(("scores", "means"), expected, strict=True):
                np.testing.assert_allclose(got[name], wanted, rtol=1e-4, atol=1e-4)


def test_a_value_that_is_nowhere_to_look_up_is_an_error_of_its_request_alone(exported, tmp_path):
    """In a loop over threads it would be the end of the worker."""
    folder, _ = exported
    manifest = unpack(folder / "words.mar", tmp_path)
    handler = import_handler(tmp_path / "handler.py").Handler()
    statuses = {}
    context = SimpleNamespace(
        system_properties={"model_dir": str(tmp_path)},
        manifest=manifest,
        get_request_header=lambda *_: None,
        set_response_status=lambda idx, code, **_: statuses.update({idx: code}),
        set_response_content_type=lambda *_: None,
    )
    handler.initialize(context)
    bodies = [json.dumps({"instances": [row]}).encode() for row in ([1, 2], [3, 10**6], [4, 5])]
    answers = handler.handle([{"body": body} for body in bodies], context)
    assert statuses == {1: 400}
    assert [len(json.loads(answers[place])["predictions"][0]["scores"]) for place in (0, 2)] == [3, 3]


def test_what_is_no_package_is_one_line(tmp_path):
    path = tmp_path / "not.pt2"
    path.write_bytes(b"PK not really")
    with pytest.raises(GateError) as caught:
        predict(path, "aotinductor", {"tokens": np.zeros((1, 2), np.int64)}, ["scores"])
    assert "\n" not in str(caught.value)


def test_a_length_that_is_taken_for_a_constant_is_refused(compiler, tmp_path):
    """Code for one length would read beyond another's end."""
    with pytest.raises(ModelError, match="cannot be written as a package of AOTInductor"):
        export(TEXT, tmp_path, lambda _: None)


def test_it_is_the_same_server_with_the_same_presets():
    ours, usual = find_target("torchserve-pt2"), find_target("torchserve")
    assert (ours.settings, ours.protocols, ours.checks) == (usual.settings, usual.protocols, usual.checks)
    found = resolve("tuned", ["torchserve-pt2", "torchserve"])
    assert found["torchserve-pt2"].settings == found["torchserve"].settings != Preset().settings
