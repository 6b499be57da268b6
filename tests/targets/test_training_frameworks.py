"""One model trained in both frameworks, really: alike from start to end, each with its framework alone."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from models.keras_source import read_weights
from models.spec import load_model
from pipelines.cli.main import tandem
from pipelines.run.rebuild import read_coherent, rebuild

pytestmark = pytest.mark.slow


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
