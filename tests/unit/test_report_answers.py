"""The first paragraph and the trade-offs say what the record says, in words somebody can decide by."""

import itertools
from typing import Any

import pytest
from report_fixture import make_run
from report_parts import ASYMMETRY, FAIRNESS, LOADS, comparison
from report_slo_fixture import make_slo_run

from pipelines.console import format as fmt
from pipelines.record.run import RunRecord
from pipelines.report import pick, tradeoffs
from pipelines.report.answers import answer, remarks
from pipelines.report.verdicts import verdict_table

RUN_TRADE_OFFS = make_run().trade_offs
BASIS = "95 % interval 1.71-2.12, 6 pairs of rounds in 2 blocks"


def plain(text: str) -> str:
    return text.replace(fmt.THIN, " ").replace("–", "-")  # noqa: RUF001


def said(**changes: object) -> str:
    return plain(answer(make_run(comparisons=(comparison(is_primary=True, **changes),))).result)


def under_both(*verdicts: str | None, **changes: Any) -> str:
    rows = tuple(
        comparison(load=load, is_primary=True, verdict=verdict, **changes)
        for load, verdict in zip(LOADS, verdicts, strict=True)
    )
    return plain(answer(make_run(comparisons=rows)).result)


def matrix(run: RunRecord) -> dict[str, list[str]]:
    return {plain(row[0].text): [plain(cell.text) for cell in row[1:]] for row in tradeoffs.table(run).rows}


def test_the_whole_sentence() -> None:
    assert said() == (
        "tfserving answers faster than TorchServe under closed:8: "
        f"TorchServe's p99 is 1.90 times tfserving's ({BASIS})."
    )


LEADS = {
    "better": "TorchServe answers faster than tfserving",
    "worse": "tfserving answers faster than TorchServe",
    "equivalent": "TorchServe and tfserving answer as fast, within ±5 %",
    "inconclusive": "Not decided between TorchServe and tfserving",
    None: "No verdict on TorchServe and tfserving",
}


@pytest.mark.parametrize(
    ("metric", "ratio", "verdict"), list(itertools.product(("p50", "p95", "p99"), (0.5, 1.0, 1.9), LEADS))
)
def test_metric_ratio_and_verdict_are_the_records(metric: str, ratio: float, verdict: str | None) -> None:
    text = said(metric=metric, ratio=ratio, verdict=verdict)
    assert text.startswith(f"{LEADS[verdict]} under closed:8: TorchServe's {metric} is {ratio:.2f} times tfs")


def test_throughput_is_more_and_not_faster() -> None:
    text = said(metric="throughput_per_s", ratio=0.5, verdict="worse")
    assert text.startswith("tfserving answers more requests per second than TorchServe under closed:8")


@pytest.mark.parametrize(
    ("verdicts", "lead"),
    [
        (("worse", "worse"), "tfserving answers faster than TorchServe under every load measured."),
        (("better", "better"), "TorchServe answers faster than tfserving under every load measured."),
        (("better", "worse"), "The answer depends on the load."),
        (("worse", "inconclusive"), "tfserving answers faster than TorchServe under 1 of 2 loads."),
        (("equivalent", "equivalent"), "TorchServe and tfserving answer as fast under every load measured."),
        (("inconclusive", None), "Between TorchServe and tfserving nothing is decided."),
    ],
)
def test_several_loads_have_one_sentence_first(verdicts: tuple[str | None, str | None], lead: str) -> None:
    text = under_both(*verdicts)
    assert text.startswith(f"{lead} Under closed:1")
    assert text.count("times tfserving's") == 2


def test_a_reason_that_all_share_is_said_once() -> None:
    assert under_both(None, None, reason="two pairs are needed").count("wo pairs are needed") == 1


@pytest.mark.parametrize(
    ("changes", "end"),
    [
        ({"verdict": "inconclusive", "rounds_needed": 14}, "; about 14 more rounds per target would decide."),
        ({"verdict": "inconclusive", "rounds_needed": 1}, "; about 1 more round per target would decide."),
        ({"verdict": "inconclusive"}, "; more rounds would not decide it."),
        ({"verdict": "inconclusive", "reason": "inside the noise floor"}, "; inside the noise floor."),
        ({"verdict": "worse", "reason": "outside ±5 %"}, f"({BASIS})."),
        ({"verdict": None, "reason": "one pair is too few"}, "; one pair is too few."),
        ({"verdict": None}, f"({BASIS})."),
    ],
)
def test_what_follows_from_a_verdict(changes: dict[str, object], end: str) -> None:
    assert said(**changes).endswith(end)


@pytest.mark.parametrize(
    ("changes", "basis"),
    [
        (
            {"pairs_count": 1, "blocks_count": 1, "interval": None, "round_range": (1.9, 1.9)},
            "(one pair of rounds)",
        ),
        ({"interval": None}, "(no interval, single pairs 1.60-2.20, 6 pairs of rounds in 2 blocks)"),
        ({"interval": None, "round_range": None}, "(no interval, 6 pairs of rounds in 2 blocks)"),
        ({"blocks_count": 1}, "(95 % interval 1.71-2.12, 6 pairs of rounds in 1 block)"),
    ],
)
def test_what_a_ratio_rests_on(changes: dict[str, object], basis: str) -> None:
    assert basis in said(**changes)


def test_without_a_ratio() -> None:
    text = said(ratio=None, interval=None, round_range=None, pairs_count=0, verdict=None, reason="no pair")
    assert text.endswith("TorchServe's p99 could not be set against tfserving's; no pair.")


def test_a_verdict_that_a_wider_interval_left_open_shows_it() -> None:
    wider = {"verdict": "inconclusive", "verdict_confidence": 0.98333, "verdict_interval": (1.04, 3.4)}
    assert "(95 % interval 1.71-2.12, judged by 98.3 %: 1.04-3.40, 6 pairs" in said(**wider)
    assert "judged by" not in said(**wider | {"verdict": "worse"})
    same = {"verdict": "inconclusive", "verdict_confidence": 0.95, "verdict_interval": (1.71, 2.12)}
    assert "judged by" not in said(**same)


def test_many_comparisons_are_counted_and_not_listed() -> None:
    rows = tuple(comparison(load=f"closed:{n}", is_primary=True) for n in range(1, 8))
    text = answer(make_run(comparisons=rows)).result
    assert text.count("times tfserving's") == 4
    assert "3 more comparisons of this kind" in text


def test_load_request_budget_and_machine_are_the_records() -> None:
    text = plain(answer(make_run()).conditions)
    assert "1 request at a time (closed:1), then 8 requests at a time (closed:8)" in text
    assert "REST requests of 3 911 to 5 127 bytes" in text
    assert "each server on core 0, memory unlimited" in text
    assert "as local processes on AMD EPYC 7B13" in text


def test_trade_offs_of_the_other_side_are_what_would_change_it() -> None:
    run = make_run(comparisons=(comparison(is_primary=True, verdict="worse"),))
    text = plain(answer(run).turns)
    assert text.startswith("The other side is ahead in peak memory (TorchServe 293 MB, tfserving 456 MB)")
    run = make_run(comparisons=(comparison(is_primary=True, verdict="better"),))
    assert answer(run).turns.startswith("Perhaps another protocol than REST")


def test_trade_offs_of_other_pairs_are_not_held_against_the_one_in_front() -> None:
    """The leader needs the least memory of all; that a third needs more than the second is no drawback."""
    memory = next(off for off in RUN_TRADE_OFFS if off.measure == "peak_memory_bytes")
    pairs = [("a", "b", "better"), ("a", "c", "better"), ("b", "c", "better")]
    offs = tuple(
        memory.model_copy(update={"candidate": one, "baseline": other, "verdict": verdict})
        for one, other, verdict in pairs
    )
    run = make_run(trade_offs=offs)
    assert tradeoffs.against(run, "a") == []
    assert len(tradeoffs.against(run, "b")) == 1
    assert len(tradeoffs.against(run, None)) == 3


def test_sizes_of_requests_are_those_of_all_sides() -> None:
    run = make_run()
    first, *_, last = (name for name, target in run.targets.items() if target.role == "compared")
    small = run.payload.model_copy(update={"body_bytes_min": 70, "body_bytes_max": 80})
    targets = dict(run.targets)
    targets[first] = targets[first].model_copy(update={"payload": run.payload})
    targets[last] = targets[last].model_copy(update={"payload": small})
    text = plain(answer(run.model_copy(update={"targets": targets})).conditions)
    assert "REST requests of 70 to 5 127 bytes" in text


@pytest.mark.parametrize(
    ("loads", "said"),
    [
        (("open:1",), "1 request per second at random times (open:1)"),
        (("open:2", "open:3", "open:4", "open:5", "open:6"), ", then 1 more load;"),
    ],
)
def test_one_of_something_is_no_plural(loads: tuple[str, ...], said: str, monkeypatch: Any) -> None:
    monkeypatch.setattr(pick, "loads", lambda _: loads)
    assert said in plain(answer(make_run()).conditions)


def test_what_was_not_measured_is_not_shown() -> None:
    text = answer(make_run(controls=())).not_shown
    assert "How fast TensorFlow Serving's own server is (tandem embedded server answered)" in text
    assert "container images" in text
    assert "no A/A control" in text
    assert "any other machine" in text


def test_a_run_without_anything_has_an_answer() -> None:
    found = answer(make_run(targets={}, comparisons=(), trade_offs=()))
    assert (found.result, found.parts) == ("This run holds no comparison.", ())


def test_what_was_not_alike_stands_beside_the_result() -> None:
    run = make_run(fairness=FAIRNESS.model_copy(update={"asymmetries": (ASYMMETRY,)}))
    assert remarks(run)[0] == ("Not alike, allowed by name: threads per worker (torchserve 1, tfserving 2).")


def test_rounds_left_out_are_counted() -> None:
    assert any(one.startswith("1 of 33 rounds was not used") for one in remarks(make_run()))


def test_a_product_is_called_by_its_name_only_when_it_answered_itself() -> None:
    result = answer(make_run()).result
    assert "TensorFlow Serving" not in result
    assert "TorchServe" in result


def test_the_matrix_says_who_is_ahead_with_its_interval() -> None:
    found = matrix(make_run())
    assert found["p99 under closed:1"][2] == "tfserving"
    assert found["p99 under closed:8"][2] == "not decided"
    assert found["accuracy"][:3] == ["98.61 %", "98.61 %", "even"]
    assert found["image size"] == ["-"] * 5
    memory = next(one for one in RUN_TRADE_OFFS if one.measure == "peak_memory_bytes")
    assert memory.ratio is not None
    assert memory.interval is not None
    assert found["peak memory"][2:] == [
        "torchserve",
        fmt.ratio(memory.ratio),
        plain(fmt.span(memory.interval, fmt.ratio)),
    ]


@pytest.mark.parametrize(
    ("verdict", "ahead"),
    [
        ("better", "torchserve"),
        ("worse", "tfserving"),
        ("equivalent", "even"),
        ("inconclusive", "not decided"),
        (None, "-"),
    ],
)
def test_who_is_ahead_is_the_verdict(verdict: Any, ahead: str) -> None:
    changed = tuple(one.model_copy(update={"verdict": verdict}) for one in RUN_TRADE_OFFS)
    assert matrix(make_run(trade_offs=changed))["cold start"][2] == ahead


def test_the_matrix_of_a_search_has_its_rate() -> None:
    found = matrix(make_slo_run())
    assert found["rate with p99 ≤ 20 ms"] == ["412", "1 949", "tfserving", "0.21", "0.19-0.23"]
    open_run = make_slo_run(interval=(0.9, 1.3), ratio=1.1)
    assert matrix(open_run)["rate with p99 ≤ 20 ms"][2] == "not decided"


def test_several_pairs_are_named_in_the_matrix() -> None:
    rows = (comparison(), comparison(candidate="other"))
    table = tradeoffs.table(make_run(comparisons=rows, trade_offs=()))
    assert [cell.text for cell in table.rows[1]][:3] == ["p99 under closed:8", "other", "tfserving"]
    assert all(len(row) == len(table.columns) for row in table.rows)


def test_the_table_of_verdicts_holds_the_records() -> None:
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
