"""`tandem train --framework`: what is refused before work starts, the order of trainings, equal starts."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from training_fixture import one_training

from models.errors import ModelError
from models.recipe import Recipe, Session
from models.samples import Samples
from models.spec import load_model
from models.text_gru.recipe import RECIPE
from pipelines.cli.main import main
from pipelines.errors import GateError, RequestError
from pipelines.train.comparison import order, require_alike
from pipelines.train.settings import trainable, training_settings

SAMPLES = Samples(np.arange(20, dtype=np.float32).reshape(10, 2), np.arange(10))


def settings(**changes: object) -> object:
    typed: dict[str, object] = {"seeds": 3, "epochs": None, "batch": None, "cores": None, "keep": None}
    return training_settings("digits_cnn", "torch,keras", runs=Path("runs"), **(typed | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["digits_cnn", "--framework", "torch,jax"], ("jax", "torch, keras")),
        (["digits_cnn", "--framework", ""], ("torch, keras",)),
        (["digits_cnn", "--framework", "torch,torch"], ("torch", "twice")),
        (["digits_cnn", "--framework", "torch,keras", "--seeds", "0"], ("--seeds", "1 to 100")),
        (["digits_cnn", "--framework", "torch,keras", "--epochs", "1"], ("--epochs", "2 to 10000")),
        (["digits_cnn", "--framework", "torch,keras", "--batch", "9999"], ("--batch", "2 to 1347")),
        (["digits_cnn", "--framework", "torch,keras", "--cores", "999"], ("--cores", "999")),
        (["digits_cnn", "--framework", "torch", "--from", "keras"], ("--from keras", "torch")),
        (["digits_cnn", "--seeds", "3"], ("--seeds", "--framework")),
        (["digits_cnn", "--from", "keras"], ("--from", "--framework")),
        (["digits_vit", "--framework", "torch,keras"], ("build_keras", "recipe", "mobilenet_v2, text_gru")),
        (["two_inputs", "--framework", "keras"], ("2 inputs", "digits_cnn")),
    ],
)
@pytest.mark.usefixtures("unguarded")
def test_a_wrong_request_is_one_line(
    arguments: list[str], words: tuple[str, ...], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["train", *arguments, "--runs", str(tmp_path / "runs")])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert all(word in said for word in words), said
    assert not (tmp_path / "runs").exists()


def test_those_with_a_twin_and_a_recipe_can_be_trained() -> None:
    assert trainable() == ["digits_cnn", "mobilenet_v2", "text_gru"]


def test_what_nobody_typed_is_the_recipes() -> None:
    found = settings()
    assert (found.epochs_count, found.batch_size, found.seeds) == (30, 32, (20, 21, 22))  # type: ignore[attr-defined]
    assert found.cores == tuple(sorted(os.sched_getaffinity(0)))  # type: ignore[attr-defined]


def test_the_frameworks_take_turns_and_each_seed_begins_with_the_other() -> None:
    found = list(order(settings(seeds=2)))  # type: ignore[arg-type]
    assert [(seed, name[0], role[:4]) for seed, name, role in found] == [
        *[(20, "t", "comp"), (20, "k", "comp"), (20, "k", "cont"), (20, "t", "cont")],
        *[(21, "k", "comp"), (21, "t", "comp"), (21, "t", "cont"), (21, "k", "cont")],
    ]


def test_another_start_is_no_comparison() -> None:
    torch, keras = (
        one_training(place, 20, name, "compared") for place, name in enumerate(("torch", "keras"))
    )
    require_alike([torch, keras.model_copy(update={"first_loss": 2.3441 * 1.0009})])
    require_alike([torch, keras.model_copy(update={"seed": 21, "first_loss": 9.0})])
    with pytest.raises(GateError, match=r"torch and keras .* seed 20 .* 2\.3441 and 2\.35"):
        require_alike([torch, keras.model_copy(update={"first_loss": 2.35})])


@pytest.mark.parametrize(
    ("samples", "words"),
    [
        (
            Samples(np.zeros((4, 8, 8, 1), np.float32), np.zeros(3, np.int64)),
            r"labels of shape \(3,\) .* 4 samples",
        ),
        (Samples(np.zeros((4, 8, 8, 1), np.float32), np.zeros(4)), "float64"),
        (Samples(np.zeros((4, 9, 8, 1), np.float32), np.zeros(4, np.int64)), "9"),
    ],
)
def test_samples_of_a_recipe_have_to_fit(
    samples: Samples, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = load_model("digits_cnn")
    wrong = replace(spec, recipe=Recipe(samples=lambda: samples, epochs=3, learning_rate=0.1))
    monkeypatch.setattr("pipelines.train.settings.load_model", lambda _: wrong)
    with pytest.raises((RequestError, ModelError), match=words):
        settings()


def test_a_recipe_is_one() -> None:
    with pytest.raises(ModelError, match="recipe of digits_cnn"):
        replace(load_model("digits_cnn"), recipe={"epochs": 3})  # type: ignore[arg-type]


def session(recipe: Recipe, seed: int = 20, batch_size: int = 4) -> Session:
    return Session(recipe, seed, 3, batch_size)


def test_an_epoch_has_every_sample_once_in_an_order_of_its_own() -> None:
    one = session(Recipe(samples=lambda: SAMPLES, epochs=3, learning_rate=0.1))
    orders = [np.concatenate([labels for _, labels in one.batches(epoch)]).tolist() for epoch in range(3)]
    assert all(sorted(found) == list(range(10)) for found in orders)
    assert orders[0] != orders[1]
    assert orders[0] == np.concatenate([labels for _, labels in one.batches(0)]).tolist()
    other = session(Recipe(samples=lambda: SAMPLES, epochs=3, learning_rate=0.1), seed=21)
    assert orders[0] != np.concatenate([labels for _, labels in other.batches(0)]).tolist()
    assert all((inputs[:, 0] == 2 * labels).all() for inputs, labels in one.batches(0))
    assert [len(labels) for _, labels in one.batches(2)] == [4, 4, 2]
    assert one.steps_count == 3


def test_lines_of_a_batch_are_of_one_length_and_all_of_an_epoch_are_there() -> None:
    one = session(RECIPE, batch_size=32)
    found = list(one.batches(0))
    assert sum(len(labels) for _, labels in found) == one.samples_count
    assert len(found) == one.steps_count
    assert all(inputs.shape[0] == len(labels) for inputs, labels in found)


def test_the_learning_rate_goes_up_and_down_as_pytorchs_one_cycle() -> None:
    rates = session(Recipe(samples=lambda: SAMPLES, epochs=3, learning_rate=0.1)).learning_rates()
    assert len(rates) == 9
    assert rates[0] == pytest.approx(0.004)
    assert max(rates) == pytest.approx(0.1)
    assert rates[-1] == pytest.approx(0.1 / 250_000)
    peak = rates.index(max(rates))
    assert rates == sorted(rates[: peak + 1]) + sorted(rates[peak + 1 :], reverse=True)
