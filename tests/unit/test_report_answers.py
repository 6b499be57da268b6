"""The sentences say what the record says, with the verdict about the candidate."""

import itertools

import pytest
from report_fixture import make_run
from report_parts import ASYMMETRY, FAIRNESS, LOADS, comparison

from pipelines.console import format as fmt
from pipelines.record.comparison import ComparisonRecord
from pipelines.report.answers import groups, remarks, shared_reasons
from pipelines.report.verdicts import verdict_table


def plain(text: str) -> str:
    return text.replace(fmt.THIN, " ").replace("–", "-")  # noqa: RUF001


def said(**changes: object) -> str:
    return plain(groups(make_run(comparisons=(comparison(**changes),)))[0].answers[0].text)


def of_each_metric(load: str, **changes: object) -> tuple[ComparisonRecord, ...]:
    metrics = ("p50", "p95", "p99", "throughput_per_s")
    return tuple(comparison(load=load, metric=metric, **changes) for metric in metrics)


def test_the_whole_sentence() -> None:
    assert said() == (
        "TorchServe's p99 is 1.90 times tfserving's (95 % interval 1.71-2.12, 2 blocks, 6 pairs): worse."
    )


VERDICTS = ("better", "worse", "equivalent", "inconclusive", None)


@pytest.mark.parametrize(
    ("metric", "ratio", "verdict"),
    list(itertools.product(("p50", "p95", "p99", "throughput_per_s"), (0.5, 1.0, 1.9), VERDICTS)),
)
def test_metric_ratio_and_verdict_are_the_records(metric: str, ratio: float, verdict: str | None) -> None:
    text = said(metric=metric, ratio=ratio, verdict=verdict)
    name = "throughput" if metric == "throughput_per_s" else metric
    assert text.startswith(f"TorchServe's {name} is {ratio:.2f} times tfserving's (95 % interval 1.71-2.12")
    after = text.partition("): ")[2]
    assert after.startswith(verdict or "no verdict")
    assert not any(word in after for word in VERDICTS if word and word != verdict)


@pytest.mark.parametrize(
    ("changes", "end"),
    [
        ({"verdict": "equivalent"}, "equivalent, within ±5 %."),
        (
            {"verdict": "inconclusive", "rounds_needed": 14},
            "inconclusive. About 14 more rounds per target would decide.",
        ),
        (
            {"verdict": "inconclusive", "rounds_needed": 1},
            "inconclusive. About 1 more round per target would decide.",
        ),
        ({"verdict": "inconclusive"}, "inconclusive, more rounds would not decide it."),
        (
            {"verdict": "inconclusive", "reason": "inside the noise floor"},
            "inconclusive, inside the noise floor.",
        ),
        ({"verdict": "worse", "reason": "outside ±5 %"}, "worse."),
        ({"verdict": None, "reason": "one pair is too few"}, "no verdict, one pair is too few."),
        ({"verdict": None}, "no verdict."),
    ],
)
def test_what_follows_from_a_verdict(changes: dict[str, object], end: str) -> None:
    assert said(**changes).endswith(f"): {end}")


@pytest.mark.parametrize(
    ("changes", "basis"),
    [
        ({"pairs_count": 1, "blocks_count": 1, "interval": None, "round_range": (1.9, 1.9)}, "(one pair)"),
        ({"interval": None}, "(no interval, single pairs 1.60-2.20, 2 blocks, 6 pairs)"),
        ({"interval": None, "round_range": None}, "(no interval, 2 blocks, 6 pairs)"),
        ({"blocks_count": 1}, "(95 % interval 1.71-2.12, 1 block, 6 pairs)"),
    ],
)
def test_what_a_ratio_rests_on(changes: dict[str, object], basis: str) -> None:
    assert basis in said(**changes)


def test_without_a_ratio() -> None:
    text = said(ratio=None, interval=None, round_range=None, pairs_count=0, verdict=None, reason="no pair")
    assert text == "TorchServe's p99 could not be set against tfserving's: no verdict, no pair."


def test_a_reason_that_a_load_shares_is_said_once() -> None:
    rows = of_each_metric("closed:8", verdict=None, reason="two pairs are needed")
    (group,) = groups(make_run(comparisons=rows))
    assert all(one.text.endswith("): no verdict.") for one in group.answers)
    assert group.remarks == ("No verdict: two pairs are needed.",)


def test_a_reason_of_some_metrics_names_them() -> None:
    rows = (*of_each_metric("closed:8", verdict=None, reason="too few")[:2], comparison())
    (group,) = groups(make_run(comparisons=rows))
    assert group.remarks == ("No verdict on p50, p95: too few.",)


def test_a_reason_that_all_loads_share_is_said_once() -> None:
    rows = [one for load in LOADS for one in of_each_metric(load, verdict=None, reason="too few")]
    run = make_run(comparisons=tuple(rows))
    assert all(group.remarks == () for group in groups(run))
    assert shared_reasons(run) == ("No verdict under any load: too few.",)


def test_what_was_not_alike_stands_beside_the_result() -> None:
    run = make_run(fairness=FAIRNESS.model_copy(update={"asymmetries": (ASYMMETRY,)}))
    assert remarks(run)[0] == ("Not alike, allowed by name: threads per worker (torchserve 1, tfserving 2).")


def test_rounds_left_out_are_counted() -> None:
    assert any(one.startswith("1 of 33 rounds was not used") for one in remarks(make_run()))


def test_a_product_is_called_by_its_name_only_when_it_answered_itself() -> None:
    text = " ".join(one.text for group in groups(make_run()) for one in group.answers)
    assert "TensorFlow Serving" not in text
    assert "TorchServe" in text


def test_the_table_holds_what_the_sentences_say() -> None:
    run = make_run()
    for row, one in zip(verdict_table(run).rows, run.comparisons, strict=True):
        assert one.ratio is not None
        assert one.interval is not None
        texts = [cell.text for cell in row]
        assert texts[0] == one.load
        assert texts[3:5] == [fmt.ratio(one.ratio), fmt.span(one.interval, fmt.ratio)]
        assert texts[2].startswith(str(one.verdict))


def test_several_pairs_of_targets_are_named_in_the_table() -> None:
    rows = (comparison(), comparison(candidate="other"))
    table = verdict_table(make_run(comparisons=rows))
    assert [cell.text for cell in table.rows[1]][:3] == ["closed:8", "other", "tfserving"]


def test_a_verdict_that_a_wider_interval_left_open_shows_it() -> None:
    wider = {"verdict": "inconclusive", "verdict_confidence": 0.98333, "verdict_interval": (1.04, 3.4)}
    assert "(95 % interval 1.71-2.12, judged by 98.3 %: 1.04-3.40, 2 blocks, 6 pairs)" in said(**wider)
    assert "judged by" not in said(**wider | {"verdict": "worse"})
    same = {"verdict": "inconclusive", "verdict_confidence": 0.95, "verdict_interval": (1.71, 2.12)}
    assert "judged by" not in said(**same)
