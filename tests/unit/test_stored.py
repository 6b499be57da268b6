"""Checkpoints as people have them: shards, state dicts, half precision, tied weights, spare buffers."""

import dataclasses
import json
import warnings
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file, save_model
from torch import nn

from models.spec import ModelError, ModelSpec, Samples, TensorSpec, Tolerance
from models.weights import load_source, read_checkpoint

INPUTS = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)


class Net(nn.Module):
    def __init__(self, dtype=torch.float32):
        super().__init__()
        self.first = nn.Linear(3, 5, dtype=dtype)
        self.norm = nn.BatchNorm1d(5, dtype=dtype)
        self.second = nn.Linear(5, 2, dtype=dtype)

    def forward(self, x):
        return self.second(self.norm(self.first(x.to(self.first.weight.dtype)))).float()


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(7, 4)
        self.head = nn.Linear(4, 7, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, x):
        return self.head(self.embed(x))


@pytest.fixture
def net():
    torch.manual_seed(0)
    return Net().eval()


def spec_of(checkpoint, build=Net, **changes):
    fields = {
        "name": "tiny",
        "inputs": (TensorSpec("x", "float32", (None, 3)),),
        "outputs": (TensorSpec("y", "float32", (None, 2)),),
        "tolerance": Tolerance(1e-4, 1e-4),
        "checkpoint": checkpoint,
        "build_torch": build,
        "test_samples": lambda: Samples(INPUTS),
    }
    return ModelSpec(**(fields | changes))


def answers(module):
    with torch.inference_mode():
        return module(torch.from_numpy(INPUTS)).numpy()


def refusal(spec):
    with pytest.raises(ModelError) as caught:
        load_source(spec)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def shards(net, folder, index="model.safetensors.index.json"):
    state = {name: tensor.contiguous() for name, tensor in net.state_dict().items()}
    names = list(state)
    parts = {"model-00001-of-00002.safetensors": names[:4], "model-00002-of-00002.safetensors": names[4:]}
    for file, part in parts.items():
        save_file({name: state[name] for name in part}, folder / file)
    weight_map = {name: file for file, part in parts.items() for name in part}
    (folder / index).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return folder / index


def test_a_folder_of_shards_is_read_by_folder_and_by_index(net, tmp_path):
    index = shards(net, tmp_path)
    for given in (tmp_path, index, str(tmp_path)):
        assert answers(load_source(spec_of(given))) == pytest.approx(answers(net))


def test_a_folder_with_one_safetensors_file_is_a_checkpoint(net, tmp_path):
    save_file(net.state_dict(), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text("{}")
    assert answers(load_source(spec_of(tmp_path))) == pytest.approx(answers(net))


def test_the_digest_covers_every_shard(net, tmp_path):
    index = shards(net, tmp_path)
    before = spec_of(index).digest
    assert spec_of(tmp_path).digest == before
    with torch.no_grad():
        net.second.weight += 1
    shards(net, tmp_path)
    assert spec_of(index).digest != before


def change_index(folder, change):
    path = folder / "model.safetensors.index.json"
    found = json.loads(path.read_text())
    change(found["weight_map"])
    path.write_text(json.dumps(found))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda found: found.update(x="../away.safetensors"),
            "names '../away.safetensors', a file beside it",
        ),
        (lambda found: found.update(x="none.safetensors"), "none.safetensors is missing, which model.safe"),
        (lambda found: found.update(x="model-00001-of-00002.safetensors"), "'x' is in none of the parts"),
        (lambda found: found.clear(), "names no tensors"),
    ],
)
def test_an_index_that_does_not_fit_its_parts_is_named(net, tmp_path, change, said):
    shards(net, tmp_path)
    change_index(tmp_path, change)
    assert said in refusal(spec_of(tmp_path))


def test_a_folder_without_a_checkpoint_says_what_was_looked_for(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    assert "the folder holds none of *.safetensors.index.json, model.safetensors" in refusal(
        spec_of(tmp_path)
    )


def test_a_shard_that_is_cut_off_is_named(net, tmp_path):
    shards(net, tmp_path)
    (tmp_path / "model-00002-of-00002.safetensors").write_bytes(b"\x10\0\0")
    assert "model-00002-of-00002.safetensors: a header of" in refusal(spec_of(tmp_path))


@pytest.mark.parametrize("name", ["net.pt", "net.pth", "net.bin", "anything"])
@pytest.mark.parametrize("old", [False, True])
def test_a_state_dict_is_known_by_its_content(net, tmp_path, name, old):
    torch.save(net.state_dict(), tmp_path / name, _use_new_zipfile_serialization=not old)
    assert answers(load_source(spec_of(tmp_path / name))) == pytest.approx(answers(net))


@pytest.mark.parametrize("key", ["state_dict", "model_state_dict", "model"])
def test_a_state_dict_beside_an_optimiser_and_of_a_parallel_model_is_found(net, tmp_path, key):
    state = {f"module.{name}": tensor for name, tensor in net.state_dict().items()}
    torch.save({"epoch": 3, key: state, "optimizer": {"lr": 0.1}}, tmp_path / "net.pt")
    assert answers(load_source(spec_of(tmp_path / "net.pt"))) == pytest.approx(answers(net))


class Evil:
    def __reduce__(self):
        return (exec, ("raise SystemExit('executed')",))


def write_zip(path, entry):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(entry, "{}")


def write_torchscript(net, path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(net, torch.zeros(2, 3)), path)


def write_exported(net, path):
    torch.export.save(torch.export.export(net, (torch.zeros(2, 3),)), path)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("write", [write_torchscript, write_exported])
def test_the_weights_of_a_program_fill_the_architecture_it_was_made_from(net, tmp_path, write):
    write(net, tmp_path / "net.pt2")
    assert answers(load_source(spec_of(tmp_path / "net.pt2"))) == pytest.approx(answers(net))


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (torch.save, "does not read it with weights_only=True"),
        (lambda _, path: torch.save({"a": Evil()}, path), "does not read it with weights_only=True"),
        (lambda _, path: write_zip(path, "MAR-INF/MANIFEST.json"), "it is a TorchServe archive, not a state"),
        (lambda _, path: write_zip(path, "config.json"), "it is a Keras model, not a state dict"),
        (lambda _, path: torch.save([1, 2], path), "it holds a list; a state dict is needed"),
        (lambda _, path: torch.save({"epoch": 3}, path), "'epoch' is a int; a state dict is needed"),
        (lambda _, path: torch.save({}, path), "it holds no tensors"),
        (lambda _, path: torch.save({"a": torch.zeros(2, dtype=torch.complex64)}, path), "no plain tensor"),
        (lambda _, path: path.write_bytes(b"\x89HDF\r\n\x1a\n"), "it is an HDF5 file"),
        (lambda _, path: path.write_bytes(b"PK\x03\x04 cut"), "it is a damaged zip file"),
    ],
)
def test_what_is_no_state_dict_is_named_and_never_executed(net, tmp_path, write, said):
    write(net, tmp_path / "net.pt")
    assert said in refusal(spec_of(tmp_path / "net.pt"))


@pytest.mark.parametrize("saved", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("own", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("suffix", ["safetensors", "pt"])
def test_half_precision_checkpoints_load_into_the_architectures_own(net, tmp_path, saved, own, suffix):
    state = {
        name: tensor.to(saved) if tensor.is_floating_point() else tensor
        for name, tensor in net.state_dict().items()
    }
    path = tmp_path / f"net.{suffix}"
    if suffix == "pt":
        torch.save(state, path)
    else:
        save_file(state, path)
    found = load_source(spec_of(path, lambda: Net(own)))
    assert found.first.weight.dtype == own
    assert torch.equal(found.first.weight, state["first.weight"].to(own))


def test_tied_weights_that_were_saved_once_are_shared_again(tmp_path):
    torch.manual_seed(1)
    tied = Tied()
    save_model(tied, str(tmp_path / "tied.safetensors"))
    spec = spec_of(tmp_path / "tied.safetensors", Tied)
    assert len(read_checkpoint(spec)) == 1
    found = load_source(spec)
    assert found.head.weight is found.embed.weight
    assert torch.equal(found.head.weight, tied.head.weight)


def test_tied_weights_that_were_saved_twice_have_to_be_the_same(tmp_path):
    state = {"embed.weight": torch.ones(7, 4), "head.weight": torch.ones(7, 4)}
    save_file(state, tmp_path / "tied.safetensors")
    load_source(spec_of(tmp_path / "tied.safetensors", Tied))
    save_file(state | {"head.weight": torch.zeros(7, 4)}, tmp_path / "other.safetensors")
    said = refusal(spec_of(tmp_path / "other.safetensors", Tied))
    assert "different values for embed.weight and head.weight, which are one tensor" in said


def test_a_weight_that_is_missing_and_not_tied_is_missing(tmp_path):
    save_file({"embed.weight": torch.ones(7, 4)}, tmp_path / "half.safetensors")

    class Apart(Tied):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(4, 7, bias=False)

    assert "head.weight is missing" in refusal(spec_of(tmp_path / "half.safetensors", Apart))


def test_tensors_of_no_use_are_refused_unless_they_are_named(net, tmp_path):
    state = net.state_dict() | {"mask": torch.ones(3, 3), "layer.0.position_ids": torch.arange(3)}
    save_file(state, tmp_path / "more.safetensors")
    spec = spec_of(tmp_path / "more.safetensors")
    assert "mask is not in the architecture, nor in `ignored`" in refusal(spec)
    ignoring = dataclasses.replace(spec, ignored=("mask", "*.position_ids"))
    assert answers(load_source(ignoring)) == pytest.approx(answers(net))
    assert "mask" not in read_checkpoint(ignoring)
    said = refusal(dataclasses.replace(spec, ignored=("mask", "*.position_ids", "masks")))
    assert "ignores 'masks', and no tensor of its checkpoint is called so" in said


def test_what_build_torch_returns_has_to_be_a_module(net, tmp_path):
    save_file(net.state_dict(), tmp_path / "net.safetensors")
    said = refusal(spec_of(tmp_path / "net.safetensors", lambda: "net"))
    assert "build_torch of tiny returns a str; a torch.nn.Module is needed" in said


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"checkpoint": None}, "checkpoint of tiny is None; a path is needed"),
        ({"build_torch": None}, "build_torch of tiny is None; a function is needed"),
        ({"train_samples": 3}, "train_samples of tiny is 3; a function is needed"),
        ({"tolerance": 1e-4}, "tolerance of tiny is 0.0001; Tolerance("),
        ({"tolerance": {"y": 0}}, "tolerance of tiny is 0; Tolerance("),
        ({"ignored": "mask"}, "ignored of tiny is 'mask'; a tuple of names is needed"),
        ({"labels": ("a",)}, "1 labels for an output of 2 columns"),
        ({"task": "tokens"}, "has no positions: (None, positions, classes) is needed; or say 'classes'"),
        ({"outputs": (TensorSpec("y", "float32", (None, 5, 2)),), "task": "classes"}, "say 'tokens'"),
    ],
)
def test_a_part_of_another_kind_is_named(tmp_path, changes, said):
    with pytest.raises(ModelError) as caught:
        spec_of(tmp_path / "x.safetensors", **changes) if "checkpoint" not in changes else spec_of(
            changes["checkpoint"]
        )
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
