"""An SLO search in words, tables and its curve."""

import html
import io
import re
import xml.etree.ElementTree as ET

import pytest
from report_parts import said
from report_slo_fixture import bounded, make_slo_run, no_rate, searched
from rich.console import Console

from pipelines.console import format as fmt
from pipelines.judge.rates import RatePair, rate_pairs
from pipelines.judge.slo import judge_slo
from pipelines.record.reason import reason
from pipelines.record.run import RunRecord
from pipelines.record.slo import SloRecord, SloTargetRecord
from pipelines.report import pick, slo, tradeoffs
from pipelines.report.banners import banners
from pipelines.report.figures.draw import slots
from pipelines.report.figures.rates import rates_plot
from pipelines.report.html import render_html
from pipelines.report.markdown import render_markdown
from pipelines.report.terminal import print_run

RUN = make_slo_run()


def terminal(run: RunRecord) -> str:
    out = io.StringIO()
    print_run(run, Console(file=out, width=80))
    return out.getvalue()


RENDERERS = [render_html, render_markdown, terminal]


def search(run: RunRecord = RUN) -> SloRecord:
    assert run.slo is not None
    return run.slo


def headline(run: RunRecord) -> str:
    return slo.headline(run).replace(fmt.THIN, " ").replace(fmt.TO, "-")


def with_target(name: str, **changes: object) -> dict[str, object]:
    targets = search().targets
    return targets | {name: targets[name].model_copy(update=changes)}


def with_no_points(name: str) -> dict[str, object]:
    return {name: search().targets[name].model_copy(update={"points": ()})}


def curve(run: RunRecord = RUN) -> ET.Element:
    svg = rates_plot(search(run), "rates", slots(list(run.targets)))
    assert svg is not None
    return ET.fromstring(svg)  # noqa: S314


def of_class(svg: ET.Element, *names: str) -> list[ET.Element]:
    return [one for one in svg.iter() if set(names) <= set(one.get("class", "").split())]


@pytest.mark.slow
def test_an_interval_that_holds_1_decides_nothing_and_says_so() -> None:
    assert "sustains more is not decided" not in render_html(RUN)
    for render in RENDERERS:
        text = " ".join(render(make_slo_run(ratio=0.9, interval=(0.5, 1.7))).replace(fmt.THIN, " ").split())
        assert "Which of the two sustains more is not decided: the interval holds 1." in text


def test_rounds_that_show_overload_were_used_and_are_not_listed_as_lost() -> None:
    """A search goes by whether the limit was met; that an overloaded server is not steady is no loss."""
    targets = {
        name: target.model_copy(
            update={
                "rounds": tuple(
                    one.model_copy(update={"valid": False, "invalid_reasons": (reason("not_steady"),)})
                    if one.valid
                    else one
                    for one in target.rounds
                )
            }
        )
        for name, target in RUN.targets.items()
    }
    run = RUN.model_copy(update={"targets": targets})
    unused = [p.round_index for one in search().targets.values() for p in one.points if p.met is None]
    assert [one.index for one in pick.unused(run)] == unused == [4]
    assert "1 of " in render_markdown(run)
    assert "overload: throughput and p50 had not settled" in render_html(run).replace("&#39;", "'")


@pytest.mark.parametrize(
    ("interval", "anchor"),
    [((1000.0, 1400.0), "end"), ((55.0, 90.0), "start"), ((1.0, 90000.0), None)],
    ids=["before it", "behind it", "above it"],
)
def test_the_label_of_a_rate_stays_inside_the_figure(
    interval: tuple[float, float], anchor: str | None
) -> None:
    middle = (interval[0] * interval[1]) ** 0.5
    svg = curve(make_slo_run(targets=with_target("tfserving", rate_per_s=middle, interval=interval)))
    (label,) = (t for t in svg.iter() if (t.text or "").startswith("tfserving ") and t.tag.endswith("text"))
    x, width = float(label.get("x", "nan")), 190
    assert label.get("text-anchor") == (anchor or label.get("text-anchor"))
    left, right = (x - width, x) if label.get("text-anchor") == "end" else (x, x + width)
    assert left >= 40
    assert right <= 640


def test_the_whole_sentence() -> None:
    assert headline(RUN) == (
        "At p99 ≤ 20 ms TorchServe sustains 412 /s and tfserving 1 949 /s: "
        "0.21 times (95 % interval 0.19-0.23)."
    )


def bounds(*names: str) -> dict[str, object]:
    """The targets, had these only a lower bound."""
    at_least = {"torchserve": 412.3, "tfserving": 1949.4}
    targets = search().targets
    return targets | {x: bounded(targets[x], at_least[x], f"{x}'s generator gave up") for x in names}


NO_RATIO = {"ratio": None, "interval": None}


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        (
            "torchserve",
            {"ratio_at_least": 0.2},
            "TorchServe sustains at least 412 /s and tfserving 1 949 /s: TorchServe sustains at least 0.20 "
            "times what tfserving does (one-sided 95 % limit, 3 blocks).",
        ),
        (
            "tfserving",
            {"ratio_at_most": 0.25},
            "TorchServe sustains 412 /s and tfserving at least 1 949 /s: tfserving sustains at least 4.00 "
            "times what TorchServe does (one-sided 95 % limit, 3 blocks).",
        ),
        ("tfserving", {"ratio_at_most": 0.25, "block_ratios": search().block_ratios[:1]}, "(one block)."),
    ],
)
def test_one_bound_gives_a_statement_in_one_direction(name: str, changes: dict, said: str) -> None:
    assert headline(make_slo_run(targets=bounds(name), **(NO_RATIO | changes))).endswith(said)


def test_two_bounds_say_nothing_of_the_ratio() -> None:
    both = bounds("torchserve", "tfserving")
    text = headline(make_slo_run(targets=both, reason=said("both are bounds"), block_ratios=(), **NO_RATIO))
    assert text == (
        "At p99 ≤ 20 ms TorchServe sustains at least 412 /s and tfserving at least 1 949 /s; no ratio: "
        "both are bounds."
    )


def test_a_bound_stands_as_such_in_tables_and_in_the_figure() -> None:
    run = make_slo_run(targets=bounds("tfserving"), ratio_at_most=0.25, **NO_RATIO)
    shown = [cell.text.replace(fmt.THIN, " ") for cell in slo.rate_table(run).rows[1]]
    assert shown[1:] == ["≥ 1 949", fmt.MISSING, "≤ 0.0500", fmt.MISSING]
    outcomes = [row[2].text for row in slo.search_table(run).rows]
    assert outcomes == ["found"] * 5 + ["lower bound"]
    svg = curve(run)
    assert any("tfserving at least" in (one.text or "") for one in svg.iter())
    ends = [float(one.get("x2", "nan")) for one in of_class(svg, "span")]
    assert max(ends) == 626


@pytest.mark.parametrize(
    ("changes", "undecided"),
    [
        ({"ratio_at_least": 0.9}, True),
        ({"ratio_at_least": 1.1}, False),
        ({"ratio_at_least": 1.02}, True),
        ({"ratio_at_most": 1.2}, True),
        ({"ratio_at_most": 0.3}, False),
    ],
)
def test_a_bound_that_leaves_1_open_decides_nothing(changes: dict, undecided: bool) -> None:
    run = make_slo_run(targets=bounds("tfserving"), **(NO_RATIO | changes))
    assert any("is not decided" in one for one in slo.remarks(run)) == undecided


@pytest.mark.parametrize("render", RENDERERS)
def test_why_a_rate_is_a_lower_bound_is_said(render) -> None:
    run = make_slo_run(targets=bounds("tfserving"), **NO_RATIO)
    assert "tfserving: tfserving's generator gave up." in html.unescape(render(run))


def test_a_block_without_a_rate_leaves_the_target_without_one() -> None:
    one = search().targets["tfserving"]
    lost = one.model_copy(
        update={
            "rate_per_s": None,
            "interval": None,
            "reason": reason("no_rate", block=3, p99_limit_ms=20.0, min_rate_per_s=5.0),
        }
        | {"blocks": (*one.blocks[:2], searched(3, "none", None))}
    )
    run = make_slo_run(
        targets=search().targets | {"tfserving": lost}, reason=said("one has none"), **NO_RATIO
    )
    assert "tfserving has no rate, because not every block found one; no ratio: one has" in headline(run)
    assert "tfserving: block 3: no rate keeps p99 within 20 ms, not even 5 requests/s." in slo.remarks(run)


def test_each_blocks_ratio_stands_in_the_candidates_rows() -> None:
    open_ = (*search().block_ratios[:2], search().block_ratios[2].model_copy(update={"bound": "at_most"}))
    shown = [
        row[-1].text.replace(fmt.THIN, " ") for row in slo.search_table(make_slo_run(block_ratios=open_)).rows
    ]
    assert shown == ["0.21", "0.21", "≤ 0.21", "", "", ""]


def test_one_target_without_a_rate() -> None:
    targets = search().targets | {"torchserve": no_rate(search().targets["torchserve"])}
    run = make_slo_run(targets=targets, ratio=None, interval=None, reason=said("torchserve has no rate"))
    assert headline(run) == (
        "At p99 ≤ 20 ms TorchServe sustains no rate that was tried and tfserving sustains 1 949 /s; "
        "no ratio: torchserve has no rate."
    )


def test_no_rate_at_all() -> None:
    targets = {name: no_rate(one) for name, one in search().targets.items()}
    run = make_slo_run(targets=targets, ratio=None, interval=None, reason=said("no target has a rate"))
    assert headline(run) == "At no rate that was tried was p99 ≤ 20 ms kept: not by TorchServe nor tfserving."
    assert not any("No verdict" in line for line in banners(run))
    for render in RENDERERS:
        assert "At no rate that was tried" in render(run)


def not_measured(name: str) -> SloTargetRecord:
    """The same target, had all its searches given up."""
    one = no_rate(search().targets[name])
    return one.model_copy(
        update={"blocks": tuple(searched(x.block, "not_measured", None) for x in one.blocks)}
    )


def test_searches_that_gave_up_say_nothing_of_the_servers() -> None:
    """Not that the limit was kept at no rate: nobody knows."""
    targets = {name: not_measured(name) for name in search().targets}
    assert headline(make_slo_run(targets=targets, reason=said("a search gave up"), **NO_RATIO)) == (
        "How much TorchServe and tfserving can take at p99 ≤ 20 ms was not measured: the searches gave up."
    )
    one = search().targets | {"torchserve": not_measured("torchserve")}
    text = headline(make_slo_run(targets=one, reason=said("a search gave up"), **NO_RATIO))
    assert "TorchServe was not measured and tfserving sustains 1 949 /s; no ratio: a search gave up." in text


def interrupted(name: str) -> SloTargetRecord:
    """The same target, had the run ended before any of its searches."""
    return no_rate(search().targets[name]).model_copy(update={"blocks": (), "points": ()})


def test_a_run_that_ended_before_any_search_says_nothing_of_the_servers() -> None:
    targets = {name: interrupted(name) for name in search().targets}
    run = make_slo_run(targets=targets, **NO_RATIO)
    assert headline(run) == (
        "How much TorchServe and tfserving can take at p99 ≤ 20 ms was not measured: no search ended."
    )
    assert {cell.why for row in slo.rate_table(run).rows for cell in row[1:]} == {slo.NO_SEARCH}
    one = make_slo_run(targets=search().targets | {"torchserve": interrupted("torchserve")}, **NO_RATIO)
    assert f"TorchServe was not measured ({slo.NO_SEARCH})" in headline(one)


def test_the_ratio_of_three_sides_names_its_two() -> None:
    targets = search().targets | {"third": search().targets["tfserving"]}
    text = headline(make_slo_run(targets=targets))
    assert "TorchServe sustains 412 /s, tfserving 1 949 /s and third 1 949 /s" in text
    assert ": TorchServe sustains 0.21 times what tfserving does (95" in text
    apart = tuple(
        one.model_copy(update={"ratio": ratio})
        for one, ratio in zip(search().block_ratios, (0.5, 1.0, 2.0), strict=True)
    )
    undecided = make_slo_run(targets=targets, interval=(0.4, 2.5), block_ratios=apart)
    assert "Which of TorchServe and tfserving sustains more" in " ".join(slo.remarks(undecided))
    assert tradeoffs.leader(make_slo_run(targets=targets)) is None
    assert tradeoffs.leader(RUN) == "tfserving"


def three_sides(name: str, factor: float) -> dict[str, SloTargetRecord]:
    """The two sides, and a third that found `factor` times the rates of tfserving."""
    theirs = search().targets["tfserving"]
    rates = tuple(factor * (one or 0) for one in theirs.block_rates_per_s)
    blocks = tuple(
        searched(block.block, "found", rate) for block, rate in zip(theirs.blocks, rates, strict=True)
    )
    third = theirs.model_copy(update={"block_rates_per_s": rates, "blocks": blocks})
    return search().targets | {name: third}


def test_every_pair_of_sides_has_its_rates_in_the_matrix() -> None:
    run = make_slo_run(targets=three_sides("third", 3.0))
    rows = [
        [cell.text for cell in row] for row in tradeoffs.table(run).rows if row[0].text.startswith("rate")
    ]
    assert [row[1:3] for row in rows] == [
        ["torchserve", "tfserving"],
        ["torchserve", "third"],
        ["tfserving", "third"],
    ]
    assert [row[5] for row in rows] == ["tfserving", "third", "third"]
    assert [row[6] for row in rows] == ["0.21", "0.070", "0.33"]
    assert all(fmt.TO in row[7] for row in rows)
    assert tradeoffs.leader(run) == "third"


@pytest.mark.parametrize(
    ("interval", "ahead", "leader"),
    [
        ((0.97, 1.04), "even", None),
        ((1.01, 1.04), "even", None),
        ((1.01, 1.2), "not decided", None),
        ((1.06, 1.2), "torchserve", "torchserve"),
        ((0.8, 0.94), "tfserving", "tfserving"),
        ((0.8, 0.96), "not decided", None),
    ],
)
def test_a_rate_is_ahead_only_beyond_the_margin(
    interval: tuple[float, float], ahead: str, leader: str | None
) -> None:
    run = make_slo_run(interval=interval, ratio=(interval[0] * interval[1]) ** 0.5)
    row = next(row for row in tradeoffs.table(run).rows if row[0].text.startswith("rate"))
    assert row[3].text == ahead
    assert tradeoffs.leader(run) == leader
    assert any("is not decided" in one for one in slo.remarks(run)) == (ahead == "not decided")


def apart(ratios: tuple[float, ...]) -> dict[str, SloTargetRecord]:
    """Three sides, no two of them far apart; the first found `ratios` times the 100 /s of the second."""
    found = {"torchserve": ratios, "tfserving": (1.0,) * 3, "third": (1.3, 1.2, 1.1)}
    one = search().targets["tfserving"]
    return {
        name: one.model_copy(
            update={
                "block_rates_per_s": tuple(100 * factor for factor in own),
                "blocks": tuple(searched(block, "found", 100 * factor) for block, factor in enumerate(own)),
            }
        )
        for name, own in found.items()
    }


def open_pair(ratios: tuple[float, ...]) -> tuple[RunRecord, RatePair]:
    run = make_slo_run(targets=apart(ratios))
    slo_record = judge_slo(search(run), 1)
    run = run.model_copy(update={"slo": slo_record})
    return run, rate_pairs(run)[0]


def test_an_open_rate_of_several_is_explained_by_the_interval_it_is_judged_by() -> None:
    """Its interval of 95 % is narrower than the one of a family of three, none of which is decided."""
    run, pair = open_pair((1.17, 1.2, 1.23))
    assert pair.verdict == "inconclusive"
    assert pair.interval is not None
    assert pair.verdict_interval is not None
    assert pair.verdict_confidence is not None
    low, high = pair.verdict_interval
    assert pair.verdict_confidence > 0.95
    assert low is not None
    assert high is not None
    assert low < pair.interval[0] < pair.interval[1] < high
    said_why = slo.undecided_because(run, pair)
    assert fmt.span((low, high), fmt.ratio) in said_why
    assert fmt.confidence(pair.verdict_confidence) in said_why
    assert ("holds 1" in said_why) == (low <= 1 <= high)


def test_the_only_pair_is_judged_by_the_interval_shown() -> None:
    run = make_slo_run(ratio=1.1, interval=(1.01, 1.2))
    (pair,) = rate_pairs(run)
    assert (pair.verdict_confidence, pair.verdict_interval) == (0.95, (1.01, 1.2))
    assert slo.undecided_because(run, pair).startswith("the interval reaches into")


def with_machine(run: RunRecord, probe_ms: tuple[float | None, ...]) -> RunRecord:
    """The run, had a fixed computation taken torchserve's cores so long in each of its blocks."""
    target = run.targets["torchserve"]
    block_ms = dict(zip(sorted({one.block for one in target.rounds}), probe_ms, strict=True))
    rounds = tuple(one.model_copy(update={"server_probe_ms": block_ms[one.block]}) for one in target.rounds)
    timed = target.model_copy(update={"rounds": rounds})
    return run.model_copy(update={"targets": {**run.targets, "torchserve": timed}})


def told_of_searches(run: RunRecord) -> list[str]:
    """The remark that searches disagree, of the one side whose searches do."""
    found = [one for one in slo.remarks(run) if "its searches found" in one]
    assert len(found) == 1, f"one remark that searches disagree, of {slo.remarks(run)}"
    return found


def test_searches_of_a_side_that_disagree_are_told_with_what_the_machine_did() -> None:
    rates = {"block_rates_per_s": (366.0, 589.0, 648.0)}
    run = with_machine(make_slo_run(targets=with_target("torchserve", **rates)), (0.42, 0.34, 0.30))
    (line,) = told_of_searches(run)
    assert line.startswith("TorchServe") and "1.77 times apart" in line
    assert "1.40 times as long" in line and "in block 1 as in block 3" in line
    for unknown in ((0.42, None, None), (None, None, None)):
        (line,) = told_of_searches(with_machine(run, unknown))
        assert "1.77 times apart." in line and "as long" not in line


@pytest.mark.parametrize("rates", [(520.0, 589.0, 648.0), (None, None, 648.0), (None, 600.0, 648.0)])
def test_searches_that_agree_and_single_ones_are_no_remark(rates: tuple[float | None, ...]) -> None:
    run = make_slo_run(targets=with_target("torchserve", block_rates_per_s=rates))
    assert not any("its searches found" in one for one in slo.remarks(run))


def test_without_two_searches_of_a_side_nothing_is_said_of_their_spread() -> None:
    one_rate = {
        name: target.model_copy(update={"block_rates_per_s": target.block_rates_per_s[:1]})
        for name, target in search().targets.items()
    }
    text = " ".join(slo.remarks(make_slo_run(targets=one_rate, ratio=0.9, interval=(0.5, 1.7))))
    assert "the interval holds 1. More --blocks" in text


def test_every_pair_of_a_profile_without_verdicts_says_that_it_is_the_profile() -> None:
    profile = RUN.profile.model_copy(update={"verdicts": False})
    slow = {"torchserve": no_rate(search().targets["torchserve"])}
    run = make_slo_run(targets=three_sides("third", 3.0) | slow, reason=reason("side_without_rate", side="x"))
    pairs = rate_pairs(run.model_copy(update={"profile": profile}))
    assert [pair.reason.code for pair in pairs if pair.reason] == [
        "side_without_rate",
        "side_without_rate",
        "profile",
    ]
    assert [(pair.ratio, pair.interval, pair.verdict) for pair in pairs[1:]] == [(None, None, None)] * 2


def test_a_profile_without_verdicts_has_nobody_ahead() -> None:
    profile = RUN.profile.model_copy(update={"verdicts": False})
    for targets in (search().targets, three_sides("third", 3.0)):
        run = make_slo_run(targets=targets).model_copy(update={"profile": profile})
        rows = [row for row in tradeoffs.table(run).rows if row[0].text.startswith("rate")]
        assert {row[-3].text for row in rows} == {fmt.MISSING}
        assert tradeoffs.leader(run) is None


def test_a_p99_of_a_search_has_its_rounds_interval_beside_it() -> None:
    index = search().targets["torchserve"].points[0].round_index
    own = next(one for one in RUN.targets["torchserve"].rounds if one.index == index)
    point = search().targets["torchserve"].points[0].model_copy(update={"p99_ms": own.latency_ms.p99})
    (row,) = slo.point_table(
        make_slo_run(targets=with_target("torchserve", points=(point,)) | with_no_points("tfserving"))
    ).rows
    span = own.latency_ms.intervals["p99"]
    assert span is not None
    assert row[5].beside == fmt.span(span, fmt.significant)


@pytest.mark.parametrize(
    ("price", "text"), [(0.4, "0.40"), (2.0, "2.00"), (0.0104, "0.0104"), (0.004, "0.004")]
)
def test_a_price_is_shown_as_it_was_given(price: float, text: str) -> None:
    assert slo.price(search(make_slo_run(hourly_price=price))) == f"at {text} an hour"


def test_a_ratio_without_an_interval_says_why() -> None:
    text = headline(make_slo_run(interval=None, reason=said("only one block")))
    assert text.endswith("0.21 times (no interval: only one block).")


def test_a_search_of_one_target_has_no_ratio() -> None:
    alone = {"tfserving": search().targets["tfserving"]}
    run = make_slo_run(targets=alone, candidate="tfserving", baseline=None, ratio=None, interval=None)
    assert headline(run) == "At p99 ≤ 20 ms tfserving sustains 1 949 /s."


def test_costs_only_with_a_price() -> None:
    assert [cell.text for cell in slo.rate_table(RUN).rows[0]][3] == "0.270"
    assert "0.40 an hour" in (slo.rate_table(RUN).remark or "")
    assert len(slo.rate_table(make_slo_run(hourly_price=None)).columns) == 3


def test_every_search_and_every_measurement_is_listed() -> None:
    rates = [rate for one in search().targets.values() for rate in one.block_rates_per_s]
    assert [row[3].text for row in slo.search_table(RUN).rows] == [
        fmt.rate_number(rate or 0) for rate in rates
    ]
    count = sum(len(one.points) for one in search().targets.values())
    assert len(slo.point_table(RUN).rows) == count == 60


def test_met_not_met_and_not_used_differ_in_shape() -> None:
    svg = curve()
    points = [point for one in search().targets.values() for point in one.points]
    assert len(of_class(svg, "hollow")) == sum(point.met is False for point in points) > 0
    assert len(of_class(svg, "cross-out")) == sum(point.met is None for point in points) == 1
    assert len(of_class(svg, "ring")) == sum(point.phase == "confirm" for point in points) == 12


def test_a_load_that_only_warms_a_server_is_crossed_out_and_in_no_line() -> None:
    one = search().targets["torchserve"]
    first = one.points[0].model_copy(update={"phase": "condition", "met": False})
    alone = curve(make_slo_run(targets=with_target("torchserve", points=(first, *one.points[1:]))))
    assert len(of_class(alone, "cross-out")) == len(of_class(curve(), "cross-out")) + 1
    assert len(of_class(alone, "search")) == len(of_class(curve(), "search")) - 1


def test_blocks_have_lines_of_their_own() -> None:
    classes = {one.get("class") for one in of_class(curve(), "search")}
    assert classes == {"search b1", "search b2", "search b3"}


def test_a_point_without_p99_is_at_the_upper_edge() -> None:
    first = search().targets["torchserve"].points[0].model_copy(update={"p99_ms": None, "met": False})
    svg = curve(make_slo_run(targets=with_target("torchserve", points=(first,))))
    assert "no p99" in " ".join(one.text or "" for one in svg.iter("title"))


def test_no_measurement_gives_no_curve() -> None:
    targets = {name: no_rate(one).model_copy(update={"points": ()}) for name, one in search().targets.items()}
    run = make_slo_run(targets=targets, ratio=None, interval=None)
    assert rates_plot(search(run), "rates", slots(list(run.targets))) is None
    for render in RENDERERS:
        assert "At no rate that was tried" in render(run)


@pytest.mark.parametrize("render", RENDERERS)
def test_rates_are_not_loads(render) -> None:
    text = html.unescape(render(RUN))
    assert "Latency and throughput under open:" not in text
    assert "No load was measured" not in text
    assert "sustains 412" in re.sub(r"\s+", " ", text.replace(fmt.THIN, " "))


def test_rounds_are_folded_away_on_the_page() -> None:
    page = render_html(RUN)
    folded = page.partition("<details>")[2].partition("</details>")[0]
    assert "Every round, in the order measured" in folded
    assert "Every measurement of the search" in folded


@pytest.mark.parametrize("render", RENDERERS)
def test_same_record_same_text(render) -> None:
    assert render(RUN) == render(make_slo_run())
