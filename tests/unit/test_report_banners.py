"""What stands above everything: unfinished, unfair or empty results, fallbacks and failed parity."""

from types import SimpleNamespace

import pytest
from report_fixture import CONTROL, invalid, make_run
from report_parts import ASYMMETRY, FAIRNESS, comparison, parity

from pipelines.machine.cores import Cores, split_cores
from pipelines.measure.session import Measured
from pipelines.record.reason import ReasonRecord, reason
from pipelines.record.run import RunRecord
from pipelines.report.banners import banners, warnings
from pipelines.report.sentences import say
from pipelines.run import entries
from pipelines.run.warnings import run_warnings


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


def test_a_warning_that_says_the_same_is_left_out() -> None:
    same = reason("stand_in", target="tfserving", implementation="ours", version="0.1.0", note="no")
    other = reason("only_core", generator_cores="0")
    assert warnings(make_run(warnings=(same, other))) == (say(other),)


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


def without_verdicts(**reasons: tuple[ReasonRecord, ...]) -> RunRecord:
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


def stolen(share: float) -> ReasonRecord:
    return reason("cpu_stolen", share=share, limit=0.05)


def test_no_verdict_at_all_counts_the_reasons() -> None:
    run = without_verdicts(
        torchserve=(stolen(0.31),),
        tfserving=(reason("wrong_answers", wrong_count=2),),
    )
    assert banners(run)[0] == (
        "No verdict: too few valid rounds remain. 8 of 16 compared rounds were not used: "
        "31% of a core that serves or generates was stolen by the host's other guests (4 rounds); "
        "2 checked answers were wrong (4 rounds)."
    )


def test_reasons_that_differ_only_in_figures_are_counted_together() -> None:
    run = without_verdicts(torchserve=(stolen(0.31),), tfserving=(stolen(0.32),))
    assert "stolen by the host's other guests and the like (8 rounds)." in banners(run)[0]


def test_one_verdict_is_enough_to_keep_quiet() -> None:
    run = without_verdicts(torchserve=(stolen(0.31),))
    both = make_run(targets=run.targets, comparisons=(*run.comparisons, comparison()))
    assert not any("No verdict" in banner for banner in banners(both))


def primary(**changes: object) -> RunRecord:
    fields = {"is_primary": True, "interval": None, "ratio": None, "verdict": None, "pairs_count": 0}
    return make_run(comparisons=(comparison(**(fields | changes)), comparison(metric="p50")))


def test_a_primary_metric_that_was_not_measured_is_called_out() -> None:
    run = primary(reason="0 valid pairs of rounds have this figure")
    assert any(
        "The primary metric, p99, could not be compared under closed:8: 0 valid pairs" in said
        for said in banners(run)
    )
    target = run.targets["torchserve"]
    figures = {"percentile": 99, "needed_count": 662, "succeeded_count": 410}
    reasons = {"p99": reason("too_few_requests", **figures)}
    rounds = tuple(
        one.model_copy(
            update={"latency_ms": one.latency_ms.model_copy(update={"p99": None, "reasons": reasons})}
        )
        for one in target.rounds
    )
    short = run.model_copy(
        update={"targets": run.targets | {"torchserve": target.model_copy(update={"rounds": rounds})}}
    )
    (found,) = [said for said in banners(short) if "primary" in said]
    assert "torchserve: p99 needs at least 662 successful requests, there are 410" in found
    assert "--round-s" in found
    assert not any("primary" in said for said in banners(primary(interval=(1.0, 2.0))))


def test_a_profile_without_verdicts_is_no_alarm() -> None:
    run = make_run()
    rows = tuple(
        one.model_copy(
            update={"verdict": None, "reason": reason("profile"), "is_primary": one.metric == "p99"}
        )
        for one in run.comparisons
    )
    profile = run.profile.model_copy(update={"verdicts": False}) if run.profile else None
    target = run.targets["torchserve"]
    lost = target.model_copy(update={"rounds": (invalid(target.rounds[0]), *target.rounds[1:])})
    quiet = make_run(comparisons=rows, profile=profile, targets=run.targets | {"torchserve": lost})
    assert not any("verdict" in said or "primary" in said for said in banners(quiet))


def test_where_no_verdict_at_all_was_possible_the_primary_metric_is_not_named_again() -> None:
    run = primary(reason="0 valid pairs of rounds have this figure")
    lost = {
        name: target.model_copy(update={"rounds": tuple(map(invalid, target.rounds))})
        for name, target in run.targets.items()
    }
    nothing = tuple(one.model_copy(update={"verdict": None}) for one in run.comparisons)
    said = banners(run.model_copy(update={"targets": lost, "comparisons": nothing}))
    assert sum("No verdict" in one for one in said) == 1
    assert not any("primary" in one for one in said)


def test_what_is_not_known_of_a_running_endpoint_stands_on_top() -> None:
    run = make_run()
    target = run.targets["torchserve"]
    elsewhere = target.implementation.model_copy(
        update={"runner": "url", "note": "somebody else's server at oip+http://192.0.2.1:8000/m"}
    )
    not_known = {
        "cores": reason("not_started_here"),
        "memory": reason("not_started_here"),
        "cpu": reason("another_machine"),
    }
    changed = target.model_copy(update={"implementation": elsewhere, "not_known": not_known})
    said = banners(make_run(targets=run.targets | {"torchserve": changed}))
    (one,) = [banner for banner in said if "oip+http://192.0.2.1:8000/m" in banner]
    assert "cores, memory (Tandem did not start it); its CPU time (it runs on another machine)" in one


def test_what_is_not_known_of_a_container_elsewhere_stands_on_top() -> None:
    run = make_run()
    measured = Measured(place="hidden")
    changed = run.targets["torchserve"].model_copy(update={"not_known": entries._not_seen(measured)})
    said = banners(make_run(targets=run.targets | {"torchserve": changed}))
    (one,) = [banner for banner in said if banner.startswith("Of torchserve is not known")]
    assert "memory, its CPU time, what other programs used meanwhile" in one
    assert entries._not_seen(Measured()) == {}


def test_sides_of_one_target_that_the_same_server_answered_share_a_line() -> None:
    run = make_run()
    again = run.targets["tfserving"].model_copy(update={"target": "tfserving"})
    said = banners(make_run(targets=run.targets | {"tfserving:tuned": again}))
    (line,) = [one for one in said if "answered by" in one]
    assert line.startswith("tfserving and tfserving:tuned were answered by tandem embedded server")
    assert "not by TensorFlow Serving's own server" in line


def pairs_of_threads(core: int) -> tuple[int, ...]:
    """The hyper-threads of a machine whose physical cores are 0 and 1, 2 and 3, ..."""
    return core & ~1, core | 1


@pytest.mark.parametrize(
    ("cores", "expected"),
    [
        (split_cores((4,)), reason("only_core", generator_cores="4")),
        (split_cores((0, 1), server=(0, 1), generator=1), reason("shared_core", generator_cores="1")),
        (
            split_cores((0, 1), siblings=pairs_of_threads),
            reason("hyper_threads", server_cores="0", generator_cores="1"),
        ),
        (
            split_cores((0, 1, 2, 3), server=(0, 1, 2), siblings=pairs_of_threads),
            reason("hyper_threads", server_cores="2", generator_cores="3"),
        ),
        (split_cores((0, 1), siblings=lambda core: (core,)), None),
        (split_cores((0, 1, 2, 3), siblings=pairs_of_threads), None),
    ],
    ids=["one core", "shared", "one physical core", "asked for", "two cores", "two physical cores"],
)
def test_what_the_choice_of_cores_costs_is_said(cores: Cores, expected: ReasonRecord | None) -> None:
    found = run_warnings(SimpleNamespace(cores=cores), {})
    assert found == (() if expected is None else (expected,))
    assert all(say(warning).remedy for warning in found)
