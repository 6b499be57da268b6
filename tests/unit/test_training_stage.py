"""A run of made-up trainings: its record after each, and how it ends when it is stopped or fails."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from training_fixture import one_training

from models.recipe import Fitted
from models.spec import load_model
from pipelines.errors import GateError, ProcessDiedError, RequestError
from pipelines.machine.cores import Cores
from pipelines.measure.cpu import CpuReading, Neighbours
from pipelines.run.rebuild import read_coherent, rebuild
from pipelines.tasks.tasks import Outcome, Progress, Task
from pipelines.train import comparison
from pipelines.train.child import Trained
from pipelines.train.settings import TrainingSettings, training_settings

Answer = Callable[[dict[str, Any]], Trained]


def result_of(arguments: dict[str, Any], **changes: Any) -> Trained:
    """What a training process would say."""
    one = one_training(0, arguments["seed"], arguments["framework"], "compared")
    fitted = Fitted(
        tuple(epoch.elapsed_s for epoch in one.epochs),
        tuple(epoch.loss for epoch in one.epochs),
        one.first_loss,
        one.settings,
    )
    return Trained(replace(fitted, **changes), one.accuracy, one.loaded_memory_bytes, one.peak_memory_bytes)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Every training that was asked for; a quiet machine."""
    found: list[dict[str, Any]] = []
    answer_with(monkeypatch, found, result_of)
    quiet = Neighbours(foreign_cores=0.0, foreign_share=0.0, steal_share=0.0)
    monkeypatch.setattr(comparison, "neighbours", lambda *_: quiet)
    return found


def answer_with(monkeypatch: pytest.MonkeyPatch, found: list[dict[str, Any]], answer: Answer) -> None:
    def run_tasks(tasks: Sequence[Task[Any]], progress: Progress) -> list[Outcome[Any]]:
        (task,) = tasks
        if task.function.endswith(":initial_here"):
            return [Outcome(None, 0.1)]
        found.append(dict(task.arguments))
        return [Outcome(answer(dict(task.arguments)), 0.1)]

    monkeypatch.setattr(comparison, "run_tasks", run_tasks)


def settings(runs: Path, frameworks: str = "torch,keras", **changes: Any) -> TrainingSettings:
    typed: dict[str, Any] = {"seeds": 2, "epochs": 6, "batch": None, "cores": None, "keep": None}
    return training_settings("digits_cnn", frameworks, runs=runs, **(typed | changes))


def nobody(title: str, text: str) -> None:
    """Looks."""


@pytest.mark.slow
def test_a_run_is_complete_and_made_anew_from_its_record(asked: list[dict[str, Any]], tmp_path: Path) -> None:
    run, folder = comparison.train_compared(settings(tmp_path), ["tandem", "train"], nobody)
    assert (run.kind, run.status, len(asked)) == ("train", "complete", 8)
    assert run.training is not None
    assert [one.seed for one in run.training.trainings] == [20] * 4 + [21] * 4
    assert run.training.comparisons[0].pairs_count == 2
    assert read_coherent(folder) == run == rebuild(folder)[0]
    assert (tmp_path / "latest").resolve() == folder.resolve()


def test_only_the_first_seeds_keras_model_is_kept(asked: list[dict[str, Any]], tmp_path: Path) -> None:
    run, folder = comparison.train_compared(settings(tmp_path, keep="keras"), ["tandem"], nobody)
    assert run.training is not None
    kept = [one for one in asked if one["keep"]]
    assert [(one["seed"], one["framework"]) for one in kept] == [(20, "keras")]
    assert kept[0]["keep"] == str(folder / str(run.training.kept_model))
    spec = load_model(str(folder / str(run.training.kept_spec)))
    assert (spec.name, spec.checkpoint) == ("digits_cnn_keras", folder / "trained.keras")
    assert spec.labels == load_model("digits_cnn").labels


def test_one_framework_is_trained_with_its_control_alone(asked: list[dict[str, Any]], tmp_path: Path) -> None:
    run, _ = comparison.train_compared(settings(tmp_path, "keras"), ["tandem"], nobody)
    assert run.training is not None
    assert {one["framework"] for one in asked} == {"keras"}
    assert (len(asked), run.training.comparisons) == (4, ())


def stop_after(count: int, error: type[BaseException], asked: list[dict[str, Any]]) -> Answer:
    def answer(arguments: dict[str, Any]) -> Trained:
        if len(asked) > count:
            raise error("it ended")
        return result_of(arguments)

    return answer


def test_what_was_trained_is_kept_when_it_is_interrupted(
    asked: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer_with(monkeypatch, asked, stop_after(3, KeyboardInterrupt, asked))
    run, folder = comparison.train_compared(settings(tmp_path), ["tandem"], nobody)
    assert run.training is not None
    assert (run.status, len(run.training.trainings)) == ("interrupted", 3)
    assert read_coherent(folder) == run


def test_a_training_that_dies_leaves_a_failed_run(
    asked: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer_with(monkeypatch, asked, stop_after(1, ProcessDiedError, asked))
    with pytest.raises(ProcessDiedError, match="it ended; what was measured is kept in"):
        comparison.train_compared(settings(tmp_path), ["tandem"], nobody)
    run = read_coherent((tmp_path / "latest").resolve())
    assert run.training is not None
    assert (run.status, len(run.training.trainings)) == ("failed", 1)


def test_another_start_ends_it_before_the_next_training(
    asked: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(arguments: dict[str, Any]) -> Trained:
        worse = {"first_loss": 2.5} if arguments["framework"] == "keras" else {}
        return result_of(arguments, **worse)

    answer_with(monkeypatch, asked, answer)
    with pytest.raises(GateError, match="do not start alike"):
        comparison.train_compared(settings(tmp_path), ["tandem"], nobody)
    assert len(asked) == 2


@pytest.mark.parametrize("losses", [{"first_loss": math.nan}, {"losses": (0.5, math.inf)}])
def test_a_recipe_that_does_not_converge_is_a_fault_of_the_model(
    losses: dict[str, Any], asked: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(arguments: dict[str, Any]) -> Trained:
        return result_of(arguments, **{"epochs_s": (1.0, 1.0), "losses": (0.5, 0.4)} | losses)

    answer_with(monkeypatch, asked, answer)
    with pytest.raises(RequestError, match="does not converge in torch: with seed 20"):
        comparison.train_compared(settings(tmp_path), ["tandem"], nobody)


@pytest.mark.parametrize(
    ("around", "codes"),
    [
        (Neighbours(0.19, 0.04, 0.0), []),
        (Neighbours(None, None, None), []),
        (Neighbours(0.3, 0.04, 0.0), ["foreign_cores"]),
        (Neighbours(0.3, 0.2, 0.5), ["cpu_stolen", "foreign_cpu", "foreign_cores"]),
    ],
)
def test_a_disturbed_training_says_by_what(
    asked: list[dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    around: Neighbours,
    codes: list[str],
) -> None:
    def neighbours(before: CpuReading, after: CpuReading, cores: Cores) -> Neighbours:
        assert (cores.server, cores.generator) == (settings(tmp_path).cores, ())
        return around

    monkeypatch.setattr(comparison, "neighbours", neighbours)
    run, _ = comparison.train_compared(settings(tmp_path, "torch", seeds=1), ["tandem"], nobody)
    assert run.training is not None
    one = run.training.trainings[0]
    assert (one.valid, [each.code for each in one.invalid_reasons]) == (not codes, codes)
