"""The first paragraph and the trade-offs say what the record says, in words somebody can decide by."""

import itertools
from typing import Any

import pytest
from report_fixture import make_run
from report_parts import ASYMMETRY, FAIRNESS, LOADS, comparison
from report_slo_fixture import make_slo_run
from training_fixture import make_training_run

from pipelines.console import format as fmt
from pipelines.judge.rates import confirming_requests_count
from pipelines.judge.summarise import looks_of
from pipelines.judge.tradeoffs import judge_trade_offs
from pipelines.record.conditioning import ConditioningRecord
from pipelines.record.run import RunRecord
from pipelines.record.sequential import LookRecord, SequentialRecord
from pipelines.report import pick, tradeoffs
from pipelines.report.answers import answer, remarks
from pipelines.report.html import render_html
from pipelines.report.markdown import render_markdown
from pipelines.report.table import Cell
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
    assert "REST requests of 1 row and 3 911 to 5 127 bytes" in text
    assert "each server on core 0, memory unlimited" in text
    assert "as local processes on AMD EPYC 7B13" in text


def test_trade_offs_of_the_other_side_are_what_would_change_it() -> None:
    run = make_run(comparisons=(comparison(is_primary=True, verdict="worse"),))
    text = plain(answer(run).turns)
    assert text.startswith("The other side is ahead in peak memory (TorchServe 293 MB, tfserving 456 MB)")
    alike = tuple(off for off in RUN_TRADE_OFFS if off.measure != "accuracy")
    run = make_run(comparisons=(comparison(is_primary=True, verdict="better"),), trade_offs=alike)
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
    assert "REST requests of 1 row and 70 to 5 127 bytes" in text


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


def with_sides(**changes: dict[str, Any]) -> RunRecord:
    """The run with parts of a side's record changed: `given`, `implementation` or `payload`."""
    run = make_run()
    targets = dict(run.targets)
    for name, parts in changes.items():
        payload = parts.pop("payload", {})
        fields = {
            part: getattr(targets[name], part).model_copy(update=values) for part, values in parts.items()
        }
        fields["payload"] = run.payload.model_copy(update=payload)
        targets[name] = targets[name].model_copy(update=fields)
    return run.model_copy(update={"targets": targets})


def turns(run: RunRecord) -> str:
    return plain(answer(run).turns)


def test_rows_per_request_are_part_of_the_load_and_of_what_would_change_it() -> None:
    one, eight = make_run(), {"payload": {"rows": 8}}
    same = with_sides(torchserve=dict(eight), tfserving=dict(eight))
    other = with_sides(torchserve=dict(eight), tfserving={})
    assert "more rows per request," in turns(one)
    assert "requests of 8 rows and" in answer(same).conditions
    assert "more or fewer rows per request than 8" in turns(same)
    assert "requests of 8 rows and 1 row and" in answer(other).conditions
    assert "comes from the rows per request (torchserve 8 rows, tfserving 1 row) is not known" in turns(other)


def test_batching_is_named_whatever_servers_formed() -> None:
    batch = {"given": {"batch_max_size": 32}}
    assert "batching (no server formed any)" in turns(make_run())
    both = turns(with_sides(torchserve=dict(batch), tfserving=dict(batch)))
    assert "larger or smaller batches than 32" in both
    alone = turns(with_sides(torchserve=dict(batch)))
    assert "other batches (torchserve up to 32, tfserving none)" in alone
    assert "comes from batching (torchserve up to 32, tfserving none) is not known" in alone


@pytest.mark.parametrize("runner", ["process", "url"])
def test_batching_that_nobody_knows_is_called_unknown_and_not_none(runner: str) -> None:
    unknown = {"given": {"batch_max_size": None}, "implementation": {"runner": runner}}
    text = turns(with_sides(torchserve=dict(unknown)))
    assert "batching (what batches torchserve formed is not known)" in text
    assert "no server formed any" not in text
    assert "comes from batching" not in text


def test_the_batch_size_that_a_server_behind_an_address_told_is_known() -> None:
    told = {"given": {"batch_max_size": 1}, "implementation": {"runner": "url"}}
    assert "batching (no server formed any)" in turns(with_sides(torchserve=dict(told), tfserving=dict(told)))
    large = {"given": {"batch_max_size": 8}, "implementation": {"runner": "url"}}
    assert "other batches (torchserve up to 8, tfserving none)" in turns(with_sides(torchserve=large))


def test_a_server_whose_requests_shared_runs_formed_batches_whatever_it_was_given() -> None:
    run = make_run()
    first, *others = run.targets["torchserve"].rounds
    rounds = (first.model_copy(update={"requests_per_run": 1.5}), *others)
    shared = run.targets["torchserve"].model_copy(update={"rounds": rounds})
    text = turns(run.model_copy(update={"targets": run.targets | {"torchserve": shared}}))
    assert "batching (what batches torchserve formed is not known)" in text
    assert "no server formed any" not in text


def test_protocols_that_differ_are_confounded_unless_they_are_what_is_compared() -> None:
    grpc = {"implementation": {"protocol": "grpc"}}
    apart = turns(with_sides(tfserving=dict(grpc)))
    assert "comes from the protocol (torchserve REST, tfserving gRPC) is not known" in apart
    assert "another protocol" not in apart
    one = with_sides(tfserving=dict(grpc))
    targets = {
        name: target.model_copy(update={"target": "tfserving"}) if target.role == "compared" else target
        for name, target in one.targets.items()
    }
    assert "is not known" not in turns(one.model_copy(update={"targets": targets}))


@pytest.mark.parametrize("measure", ["peak_memory_bytes", "cold_start_s", "until_steady_s"])
def test_an_undecided_trade_off_is_listed(measure: str) -> None:
    values = {"candidate_value": 3.0, "baseline_value": 4.0}
    offs = tuple(
        one.model_copy(update={"verdict": "inconclusive", **values}) if one.measure == measure else one
        for one in RUN_TRADE_OFFS
    )
    text = turns(make_run(trade_offs=offs))
    listed = text.partition("ho is ahead in ")[2].partition(" is not decided")[0]
    assert tradeoffs.KINDS[measure].name in listed
    assert plain(tradeoffs.KINDS[measure].show(3.0)) in listed


def test_the_trade_offs_of_many_pairs_are_counted_and_not_all_listed() -> None:
    memory = next(off for off in RUN_TRADE_OFFS if off.measure == "peak_memory_bytes")
    offs = tuple(
        memory.model_copy(update={"baseline": f"side{number}", "verdict": "inconclusive"})
        for number in range(9)
    )
    text = turns(make_run(trade_offs=offs))
    assert text.count("peak memory (") == 4
    assert "and 5 more is not decided" in text


def test_memory_and_cold_starts_are_always_named() -> None:
    decided = tuple(one.model_copy(update={"verdict": "equivalent"}) for one in RUN_TRADE_OFFS)
    unknown = tuple(one.model_copy(update={"verdict": None}) for one in RUN_TRADE_OFFS)
    assert "a memory limit" in turns(make_run(trade_offs=decided))
    assert "what memory the servers take" in turns(make_run(trade_offs=unknown))
    assert "cold starts," in turns(make_run(trade_offs=unknown))


def test_budgets_that_differ_are_given_side_by_side() -> None:
    run = with_sides(tfserving={"given": {"cores": (0, 1), "memory_limit_bytes": 2_000_000_000}})
    text = plain(answer(run).conditions)
    assert "; torchserve on core 0, memory unlimited; tfserving on cores 0, 1, 2.00 GB of memory;" in text
    assert "each server" not in text


@pytest.mark.slow
def test_a_comparison_of_trainings_has_the_whole_paragraph() -> None:
    found = answer(make_training_run())
    assert found.result.startswith("An epoch in torch takes")
    assert plain(found.conditions) == (
        "6 epochs of 1 347 samples in batches of 32, from 5 seeds; each training alone on core 0, memory "
        "unlimited, of AMD EPYC 7B13."
    )
    assert plain(found.turns).startswith("Torch is ahead in peak memory (torch 422 MB, keras 670 MB)")
    assert "perhaps another batch size than 32" in found.turns
    assert found.not_shown.startswith("How fast either serves what it trained")
    for render in (render_html, render_markdown):
        assert "What would change it:" in render(make_training_run())


def test_a_training_without_a_pair_has_no_paragraph() -> None:
    assert answer(make_training_run(training=None)).parts == ()


def test_what_was_not_measured_is_not_shown() -> None:
    text = answer(make_run(controls=())).not_shown
    assert "How fast TensorFlow Serving's own server is (tandem embedded server answered)" in text
    assert "container images" in text
    assert "no A/A control" in text
    assert "any other machine" in text


def test_a_search_does_not_show_what_is_rarer_than_its_confirmations_are_long() -> None:
    """Three rounds of three seconds see nothing of a server that packs its logs every 30,700 requests."""
    run = make_slo_run()
    searched = run.slo.targets["torchserve"]
    confirming = [point for point in searched.points if (point.block, point.phase) == (2, "confirm")]
    kept = [point.round_index for point in confirming if point.met]
    assert len(kept) == 2
    short = {number: 100 + number for number in kept}
    rounds = tuple(
        record.model_copy(update={"requests_count": short.get(record.index, 5000)})
        for record in run.targets["torchserve"].rounds
    )
    targets = {
        name: target.model_copy(
            update={
                "rounds": rounds
                if name == "torchserve"
                else tuple(one.model_copy(update={"requests_count": 9000}) for one in target.rounds)
            }
        )
        for name, target in run.targets.items()
    }
    changed = run.model_copy(update={"targets": targets})
    assert confirming_requests_count(changed) == sum(short.values())
    assert f"every {fmt.count(sum(short.values()))} requests" in answer(changed).not_shown
    unsearched = {name: one.model_copy(update={"points": ()}) for name, one in run.slo.targets.items()}
    nothing = run.model_copy(update={"slo": run.slo.model_copy(update={"targets": unsearched})})
    assert confirming_requests_count(nothing) is None
    assert "less often" not in answer(nothing).not_shown


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
    # Of 64 samples: as many are right, and a difference beyond the margin may hide in so few.
    assert found["accuracy"][:3] == ["98.61 %", "98.61 %", "not decided"]
    assert found["image size"] == ["-"] * 5
    memory = next(one for one in RUN_TRADE_OFFS if one.measure == "peak_memory_bytes")
    assert memory.ratio is not None
    assert memory.interval is not None
    assert found["peak memory"][2:] == [
        "torchserve",
        fmt.ratio(memory.ratio),
        plain(fmt.span(memory.interval, fmt.ratio)),
    ]


def test_a_latency_in_the_matrix_has_its_own_interval_beside_it() -> None:
    run = make_run()
    row = next(row for row in tradeoffs.table(run).rows if row[0].text == "p99 under closed:1")
    for cell, name in zip(row[1:3], ("torchserve", "tfserving"), strict=True):
        summary = pick.summary_of(run.targets[name], "closed:1")
        assert summary is not None
        interval = summary.latency_ms.intervals["p99"]
        assert interval is not None
        assert cell.beside == fmt.span(interval, fmt.significant)
        assert cell.text.endswith("ms")


def test_the_accuracy_in_the_matrix_has_an_interval() -> None:
    cells = matrix(make_run())["accuracy"]
    assert cells[3] == "1.00"
    assert cells[4] == "0.94-1.06"


def fresh(*states: str, first: int = 0) -> tuple[ConditioningRecord, ...]:
    """The first load on each fresh server, by block: steady after 3 s, or loaded for 30 s in vain."""
    return tuple(
        ConditioningRecord(
            block=block,
            load="closed:8",
            samples_files=(),
            state=state,
            until_steady_s=3.0 if state == "steady" else None,
            until_steady_requests_count=9 if state == "steady" else None,
            duration_s=10.0 if state == "steady" else 30.0,
            requests_count=1,
            errors_count=0,
            seconds=(),
        )
        for block, state in enumerate(states, start=first)
    )


def with_fresh(
    ours: tuple[ConditioningRecord, ...], theirs: tuple[ConditioningRecord, ...], **changes: Any
) -> RunRecord:
    run = make_run()
    sides = {
        name: run.targets[name].model_copy(update={"conditionings": own})
        for name, own in (("torchserve", ours), ("tfserving", theirs))
    }
    targets = run.targets | sides
    looks = looks_of(make_run(**changes))
    return make_run(
        targets=targets, trade_offs=judge_trade_offs(targets, margin=0.05, seed=1, looks=looks), **changes
    )


def until_steady(run: RunRecord) -> tuple[Cell, ...]:
    return next(row for row in tradeoffs.table(run).rows if row[0].text == "time until steady")


def test_a_server_that_never_was_steady_says_so_in_the_matrix() -> None:
    row = until_steady(with_fresh(fresh(*["climbing"] * 3), fresh(*["steady"] * 3)))
    assert row[3].text == "tfserving"
    assert row[1].why == tradeoffs.NOT_WITHIN
    assert {row[place].why for place in (4, 5)} == {tradeoffs.NEVER_STEADY}


@pytest.mark.parametrize(
    ("ours", "theirs", "why"),
    [
        (("unsettled", "steady"), ("steady", "steady"), "unsettled"),
        (("climbing", "steady"), ("steady", "unsettled"), "unsettled"),
        (("climbing", "steady"), ("steady", "climbing"), "climbing"),
    ],
)
def test_no_bound_is_promised_where_there_is_none(
    ours: tuple[str, ...], theirs: tuple[str, ...], why: str
) -> None:
    row = until_steady(with_fresh(fresh(*ours), fresh(*theirs)))
    assert {row[place].why for place in (4, 5)} == {tradeoffs.NO_BOUND[why]}


def test_a_server_whose_block_has_no_other_side_is_not_why_a_ratio_is_missing() -> None:
    row = until_steady(with_fresh(fresh("steady", "climbing"), fresh("steady")))
    assert row[4].why is None
    assert row[5].why == tradeoffs.NO_INTERVAL


def test_a_server_of_a_block_that_nobody_looked_at_is_not_why_either() -> None:
    looks = tuple(
        LookRecord(blocks_count=count, elapsed_s=60.0 * count, time_share=0.1 * count, decided=count == 2)
        for count in (1, 2)
    )
    sequential = SequentialRecord(decide_within_s=600.0, looks=looks)
    three = fresh("steady", "steady", "climbing"), fresh("steady", "steady", "steady")
    row = until_steady(with_fresh(*three, sequential=sequential))
    assert (row[4].why, row[5].why) == (None, None)


def test_a_time_that_a_bound_decides_is_said_to_be_not_within_the_budget() -> None:
    run = with_fresh(
        fresh(*["climbing"] * 3),
        fresh(*["steady"] * 3),
        comparisons=(comparison(is_primary=True, verdict="better"),),
    )
    said_budget = plain(answer(run).turns)
    assert f"time until steady (TorchServe not within {plain(fmt.seconds(30.0))}, tfserving" in said_budget


def test_a_trade_off_left_open_by_a_wider_interval_shows_that_one() -> None:
    open_off = {"verdict": "inconclusive", "interval": (1.06, 1.3), "verdict_interval": (1.03, 1.36)}
    offs = tuple(one.model_copy(update={**open_off, "verdict_confidence": 0.983}) for one in RUN_TRADE_OFFS)
    row = next(row for row in tradeoffs.table(make_run(trade_offs=offs)).rows if row[0].text == "cold start")
    assert row[3].text == "not decided"
    assert plain(str(row[3].why)) == "judged by 98.3 %: 1.03-1.36"


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


def test_the_matrix_of_several_runs_has_latency_and_rate_together() -> None:
    older = make_run(run_id="older")
    newer = make_run(run_id="newer", comparisons=older.comparisons[:4])
    search = make_slo_run().model_copy(update={"run_id": "search"})
    table = tradeoffs.table_of_runs([older, search, newer])
    of_run = {plain(row[0].text): row[-1].text for row in table.rows}
    assert of_run["p99 under closed:1"] == of_run["peak memory"] == "newer"
    assert of_run["p99 under closed:8"] == "older"
    assert of_run["rate with p99 ≤ 20 ms"] == "search"
    assert len(of_run) == len(table.rows)
    assert [row[0].text for row in table.rows][-3:] == ["peak memory", "cold start", "accuracy"]
    assert all(len(row) == len(table.columns) for row in table.rows)


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
