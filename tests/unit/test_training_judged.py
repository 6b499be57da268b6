"""Figures and verdicts on trainings: by seeds, with noise floors, times only of undisturbed trainings."""

import math

import pytest
from training_fixture import NOISY, SEEDS, all_trainings, make_training, make_training_run

from pipelines.judge.training import JUDGED, measured, refigured
from pipelines.outputs.of_run import facts_of_run
from pipelines.record.training import TrainingComparisonRecord, TrainingMeasure, TrainingRecord
from pipelines.report.html import render_html
from pipelines.report.training import figure_table, headline


def comparison(training: TrainingRecord, measure: TrainingMeasure) -> TrainingComparisonRecord:
    return next(one for one in training.comparisons if one.measure == measure)


def test_an_epoch_is_the_mean_of_all_but_the_first() -> None:
    training = make_training()
    one = training.trainings[0]
    warm = sum(epoch.elapsed_s for epoch in one.epochs[1:]) / 5
    assert measured(one, "epoch_s", 1347) == pytest.approx(warm)
    assert measured(one, "samples_per_s", 1347) == pytest.approx(1347 / warm)
    assert measured(one, "first_epoch_s", 1347) == one.epochs[0].elapsed_s
    alone = one.model_copy(update={"epochs": one.epochs[:1]})
    assert measured(alone, "epoch_s", 1347) is None


@pytest.mark.parametrize(
    ("factor", "verdict"), [(1.0, "worse"), (0.8, "equivalent"), (0.5, "better"), (0.839, "inconclusive")]
)
def test_the_verdict_follows_the_interval(factor: float, verdict: str) -> None:
    one = comparison(make_training(trainings=all_trainings(factor=factor)), "epoch_s")
    assert one.is_primary
    assert one.ratio == pytest.approx(1.25 * factor, rel=0.01)
    assert one.interval is not None
    assert one.interval[0] <= one.ratio <= one.interval[1]
    assert one.pairs_count == len(SEEDS)
    assert one.verdict == verdict


def test_the_ratio_is_the_geometric_mean_of_its_pairs() -> None:
    one = comparison(make_training(), "peak_memory_bytes")
    assert one.ratio == pytest.approx(math.prod(one.pair_values) ** (1 / len(SEEDS)))
    assert one.verdict == "better"


def test_accuracy_is_a_difference_with_a_margin_of_a_point() -> None:
    one = comparison(make_training(), "accuracy")
    assert (one.ratio, one.difference, one.margin, one.verdict) == (None, 0.0, 0.01, "equivalent")
    lower = tuple(
        each.model_copy(update={"accuracy": each.accuracy - 0.05}) if each.framework == "torch" else each
        for each in all_trainings()
    )
    found = comparison(make_training(trainings=lower), "accuracy")
    assert found.difference == pytest.approx(-0.05)
    assert found.verdict == "worse"


def test_disturbed_trainings_give_no_times_but_memory_and_accuracy() -> None:
    training = make_training(trainings=all_trainings(NOISY))
    assert comparison(training, "epoch_s").verdict is None
    assert comparison(training, "peak_memory_bytes").verdict == "better"
    assert {one.measure for one in training.figures} == {"peak_memory_bytes", "accuracy"}


def test_without_controls_no_difference_is_called() -> None:
    compared = tuple(one for one in all_trainings() if one.role == "compared")
    one = comparison(make_training(trainings=compared), "epoch_s")
    assert one.verdict == "inconclusive"
    assert one.reason is not None
    assert (one.reason.code, one.reason.figures["sides"]) == ("no_floor", ("torch", "keras"))


def test_a_noisy_control_hides_a_difference() -> None:
    slow = tuple(
        one.model_copy(
            update={
                "epochs": tuple(
                    epoch.model_copy(update={"elapsed_s": epoch.elapsed_s * 1.4}) for epoch in one.epochs
                )
            }
        )
        if one.role == "control" and one.framework == "keras"
        else one
        for one in all_trainings()
    )
    one = comparison(make_training(trainings=slow), "epoch_s")
    assert one.noise_floor == pytest.approx(0.4, abs=0.03)
    assert one.verdict == "inconclusive"


def test_one_framework_is_compared_with_nothing() -> None:
    alone = make_training(
        frameworks=("torch",), trainings=tuple(one for one in all_trainings() if one.framework == "torch")
    )
    assert alone.comparisons == ()
    assert {one.framework for one in alone.figures} == {"torch"}
    assert render_html(make_training_run(training=alone))


def test_figures_are_the_same_again() -> None:
    training = make_training()
    assert refigured(training) == training
    assert [one.measure for one in training.comparisons] == list(JUDGED)


def test_facts_have_the_ratio_first_and_its_check_is_decided() -> None:
    run = make_training_run()
    facts = facts_of_run(run)
    first = facts.figures[0]
    one = comparison(run.training, "epoch_s")  # type: ignore[arg-type]
    assert (first.value, (first.low, first.high)) == (one.ratio, one.interval)
    assert facts.headline == headline(run)
    assert [check.state for check in facts.checks] == ["passed"] * 5


def test_the_page_has_a_curve_per_training() -> None:
    page = render_html(make_training_run())
    assert page.count("<title>torch, seed") == page.count("<title>keras, seed") == 2 * len(SEEDS)
    empty = make_training_run(training=make_training(trainings=()))
    assert 'class="search"' not in render_html(empty)


def test_an_interrupted_run_does_not_blame_other_programs():
    trainings = all_trainings()
    first = make_training(trainings=trainings[:1])
    text = headline(make_training_run(training=first, status="interrupted"))
    assert "only 1 training ended" in text
    cells = [row[2] for row in figure_table(first).rows]
    assert {cell.why for cell in cells} == {"no training of this framework ended"}
    noisy = make_training(trainings=all_trainings(NOISY))
    assert "undisturbed" in headline(make_training_run(training=noisy))
