"""What stands above everything: unfinished, unfair or empty results, stand-ins and failed parity."""

import pytest
from report_fixture import CONTROL, invalid, make_run
from report_parts import ASYMMETRY, FAIRNESS, comparison, parity

from pipelines.record import RunRecord, WarningRecord
from pipelines.report.banners import banners, warnings


def test_a_complete_run_of_real_products_has_no_banner() -> None:
    run = make_run()
    targets = {name: target for name, target in run.targets.items() if not target.implementation.stand_in}
    assert banners(make_run(targets=targets)) == ()


def test_a_stand_in_is_named_once_its_control_not_again() -> None:
    assert CONTROL in make_run().targets
    assert banners(make_run()) == (
        "tfserving was answered by tandem embedded server 0.1.0, not by TensorFlow Serving's own server "
        "(tensorflow_model_server is not on PATH). Read its figures as that server's.",
    )


def test_a_note_that_says_what_it_is_not_is_taken_at_its_word() -> None:
    target = make_run().targets["tfserving"]
    note = "not TensorFlow Serving: a server of our own"
    changed = target.model_copy(
        update={"implementation": target.implementation.model_copy(update={"note": note})}
    )
    (said,) = banners(make_run(targets={"tfserving": changed}))
    assert f"0.1.0, {note}. Read its figures" in said


def test_a_warning_that_says_the_same_is_left_out() -> None:
    same = WarningRecord(message="tfserving was answered by tandem embedded server 0.1.0: no", remedy="read")
    other = WarningRecord(message="server and load generator shared a CPU core", remedy=None)
    assert warnings(make_run(warnings=(same, other))) == (other,)


@pytest.mark.parametrize(
    ("status", "words"), [("interrupted", "was interrupted: Ctrl-C"), ("failed", "failed: Ctrl-C")]
)
def test_an_unfinished_run_is_called_out_first(status: str, words: str) -> None:
    first = banners(make_run(status=status, status_reason="Ctrl-C"))[0]
    assert words in first


def test_failed_parity_is_called_out() -> None:
    run = make_run()
    target = run.targets["tflite"].model_copy(update={"parity": (parity("int8", passed=False),)})
    said = banners(make_run(targets=run.targets | {"tflite": target}))
    assert any("tflite: parity failed for int8" in banner for banner in said)


def test_an_asymmetry_nobody_allowed_is_loud() -> None:
    one = ASYMMETRY.model_copy(update={"allowed": False})
    said = banners(make_run(fairness=FAIRNESS.model_copy(update={"asymmetries": (one,)})))
    assert said[0].startswith(
        "Not a fair comparison: threads per worker (torchserve 1, tfserving 2) was not alike"
    )


def without_verdicts(**reasons: tuple[str, ...]) -> RunRecord:
    """Rounds of closed:1 of each named target made invalid for these reasons."""
    run = make_run()
    changed = {
        name: run.targets[name].model_copy(
            update={
                "rounds": tuple(
                    invalid(one, *why) if one.load == "closed:1" else one
                    for one in run.targets[name].rounds
                    if one.valid
                )
            }
        )
        for name, why in reasons.items()
    }
    rows = (comparison(verdict=None, interval=None, reason="too few"),)
    return make_run(targets=run.targets | changed, comparisons=rows)


def test_no_verdict_at_all_counts_the_reasons() -> None:
    run = without_verdicts(
        torchserve=("31% of the CPU was stolen: move",), tfserving=("2 answers were wrong",)
    )
    assert banners(run)[0] == (
        "No verdict: too few valid rounds remain. 8 of 16 compared rounds were not used: "
        "31% of the CPU was stolen (4 rounds); 2 answers were wrong (4 rounds)."
    )


def test_reasons_that_differ_only_in_figures_are_counted_together() -> None:
    run = without_verdicts(torchserve=("31% was stolen: move",), tfserving=("32% was stolen: move",))
    assert "31% was stolen and the like (8 rounds)." in banners(run)[0]


def test_one_verdict_is_enough_to_keep_quiet() -> None:
    run = without_verdicts(torchserve=("31% was stolen",))
    both = make_run(targets=run.targets, comparisons=(*run.comparisons, comparison()))
    assert not any("No verdict" in banner for banner in banners(both))
