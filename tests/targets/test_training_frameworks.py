"""One model trained in both frameworks, really: alike from start to end, each with its framework alone."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from models.checkpoint import read_tensors
from models.keras_source import read_weights
from models.spec import load_model
from pipelines.cli.main import tandem
from pipelines.run.rebuild import read_coherent, rebuild

pytestmark = pytest.mark.slow

# A step from the weights in a file, and the trained weights by name.
ONE_STEP = """
import importlib, itertools, sys
from pathlib import Path
import numpy as np
from models.checkpoint import read_tensors
from models.recipe import Session
from models.spec import load_model

class One(Session):
    steps_count = 1
    def batches(self, epoch):
        return itertools.islice(super().batches(epoch), 1)
    def learning_rates(self):
        return [1e-3]

framework, weights, file = sys.argv[1:]
spec = load_model("text_gru")
state = read_tensors(Path(weights).read_bytes())
loop = importlib.import_module(f"models.fit_{framework}")
_, _, model = loop.fit(spec, state, One(spec.recipe, 20, 1, 128), 1, print, lambda: None)
if framework == "torch":
    np.savez(file, **{name: tensor.numpy() for name, tensor in model.state_dict().items()})
else:
    np.savez(file, **{variable.path: variable.numpy() for variable in model.weights})
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one seed and two epochs, which keeps the Keras model."""
    runs = tmp_path_factory.mktemp("training")
    arguments = ["train", "digits_cnn", "--framework", "torch,keras", "--seeds", "1", "--epochs", "2"]
    beside = ["--cores", "0", "--from", "keras", "--runs", str(runs), "--json"]
    before = load_model("digits_cnn").checkpoint.read_bytes()
    ended = CliRunner().invoke(tandem, [*arguments, *beside])
    assert ended.exit_code == 0, ended.output
    assert json.loads(ended.stdout)["kind"] == "train"
    assert load_model("digits_cnn").checkpoint.read_bytes() == before
    return (runs / "latest").resolve()


def test_both_frameworks_learn_alike(folder: Path) -> None:
    training = read_coherent(folder).training
    assert training is not None
    torch, keras = training.trainings[:2]
    assert (torch.framework, keras.framework) == ("torch", "keras")
    assert keras.first_loss == pytest.approx(torch.first_loss, rel=1e-5)
    assert keras.epochs[0].loss == pytest.approx(torch.epochs[0].loss, rel=0.02)
    assert keras.epochs[1].loss == pytest.approx(torch.epochs[1].loss, rel=0.05)
    assert torch.epochs[1].loss < torch.epochs[0].loss < torch.first_loss
    assert min(torch.accuracy, keras.accuracy) > 0.9
    assert torch.accuracy == pytest.approx(keras.accuracy, abs=0.02)


def test_a_step_moves_every_weight_alike(tmp_path: Path) -> None:
    """With an embedding, whose rows are used many times in a batch, and a recurrent layer."""
    weights = tmp_path / "initial.safetensors"
    spec = load_model("text_gru")
    weights.write_bytes(spec.checkpoint.read_bytes())
    files = {name: tmp_path / f"{name}.npz" for name in ("torch", "keras")}
    children = [
        subprocess.Popen([sys.executable, "-W", "ignore", "-c", ONE_STEP, name, str(weights), str(file)])
        for name, file in files.items()
    ]
    assert [child.wait(240) for child in children] == [0, 0]
    torch, keras = (dict(np.load(file)) for file in files.values())
    before = read_tensors(weights.read_bytes())
    moved = {
        "embedding.weight": keras["embedding/embeddings"],
        "classifier.weight": keras["classifier/kernel"].T,
        "classifier.bias": keras["classifier/bias"],
    }
    for name, after in moved.items():
        assert np.abs(torch[name] - before[name]).max() == pytest.approx(1e-3, rel=0.01)
        np.testing.assert_allclose(after, torch[name], atol=5e-6, err_msg=name)
    # Gates stand in another order; as a set they are the same.
    kernels = torch["recurrent.weight_ih_l0"], keras["recurrent/gru_cell/kernel"]
    np.testing.assert_allclose(*(np.sort(one, axis=None) for one in kernels), atol=5e-6)


def test_what_a_process_holds_is_its_own_frameworks(folder: Path) -> None:
    training = read_coherent(folder).training
    assert training is not None
    for one in training.trainings:
        assert 100e6 < one.loaded_memory_bytes <= one.peak_memory_bytes < 2e9
        assert one.settings["threads"] == "1"
    compared, control = (
        [one.peak_memory_bytes for one in training.trainings if one.role == role]
        for role in ("compared", "control")
    )
    assert compared[::-1] == pytest.approx(control, rel=0.1)


def test_the_report_is_made_anew(folder: Path) -> None:
    before = (folder / "run.json").read_text()
    (folder / "report.html").unlink()
    rebuild(folder)
    assert (folder / "run.json").read_text() == before
    assert "Loss over epochs" in (folder / "report.html").read_text()


def test_the_keras_model_is_a_model_of_its_own(folder: Path) -> None:
    run = read_coherent(folder)
    assert run.training is not None
    assert run.training.kept_spec is not None
    spec = load_model(str(folder / run.training.kept_spec))
    weights, _ = read_weights(spec.checkpoint)
    assert sum(array.size for array in weights.values()) == run.model.parameters_count
    assert spec.name == "digits_cnn_keras"
    assert spec.digest != run.model.digest
