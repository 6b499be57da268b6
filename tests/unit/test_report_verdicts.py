"""The noise floor and fairness as tables, and who stands in which table and figure."""

import io
import re

import pytest
from report_fixture import CONTROL, invalid, make_run
from report_parts import ASYMMETRY, FAIRNESS, LOADS, comparison, parity, said
from rich.console import Console

from pipelines.console import format as fmt
from pipelines.record.reason import reason
from pipelines.report import measured, pick, sections, subjects
from pipelines.report.html import render_html
from pipelines.report.sentences import verdict_sentence
from pipelines.report.terminal import print_run
from pipelines.report.verdicts import ASSUMED, explanation, fairness_table, noise_table, verdict_table

RUN = make_run()


def test_the_noise_floor_is_the_records() -> None:
    table = noise_table(RUN)
    assert [row[-1].text for row in table.rows] == [fmt.within(one.noise_floor or 0) for one in RUN.controls]
    assert "the larger noise floor of its two sides" in (table.remark or "")


@pytest.mark.parametrize(
    ("share", "p99_pairs", "explained"), [(0.03, 4, True), (0.01, 4, False), (0.03, 6, False)]
)
def test_p99_from_fewer_pairs_than_the_rest_is_explained(
    share: float, p99_pairs: int, explained: bool
) -> None:
    """Not in a run from before that rule, which has stolen time and all pairs."""
    target = RUN.targets["torchserve"]
    rounds = (target.rounds[0].model_copy(update={"cpu_steal_share": share}), *target.rounds[1:])
    run = make_run(
        targets=RUN.targets | {"torchserve": target.model_copy(update={"rounds": rounds})},
        comparisons=(comparison(pairs_count=p99_pairs), comparison(metric="p50", pairs_count=6)),
    )
    remark = verdict_table(run).remark or ""
    assert ("p99 has fewer pairs: 1 valid round lost more than 1" in remark) == explained


def test_both_sides_controls_have_rows() -> None:
    other = tuple(one.model_copy(update={"target": "torchserve"}) for one in RUN.controls)
    rows = noise_table(make_run(controls=(*RUN.controls, *other))).rows
    assert {row[2].text for row in rows} == {"tfserving", "torchserve"}


def test_a_finding_about_the_server_is_told_from_a_spoilt_round() -> None:
    target = RUN.targets["torchserve"]
    failing = invalid(
        target.rounds[0], reason("requests_failed", errors_count=7, requests_count=800, limit=0.001)
    ).model_copy(update={"failed_checks": ("clean",)})
    broken = target.model_copy(update={"rounds": (failing, *target.rounds[1:])})
    run = make_run(targets=RUN.targets | {"torchserve": broken})
    said = {row[3].text: row[-1].text for row in measured.invalid_table(run).rows}
    assert said["torchserve"].startswith("finding: ")
    assert not said["tfserving"].startswith("finding: ")
    assert measured.validity(failing).startswith("finding, not used: ")


def test_a_control_without_an_interval_has_dashes_with_a_reason() -> None:
    one = RUN.controls[0].model_copy(update={"interval": None, "noise_floor": None, "ratio": None})
    row = noise_table(make_run(controls=(one,))).rows[0]
    assert [row[index].text for index in (3, 4, 6)] == [fmt.MISSING] * 3
    assert row[4].why


def test_a_floor_that_was_assumed_is_shown_as_such() -> None:
    assumed = {"interval": None, "ratio": None, "pairs_count": 0, "noise_floor": 0.2166, "assumed": True}
    one = RUN.controls[0].model_copy(update=assumed)
    row = noise_table(make_run(controls=(one,))).rows[0]
    assert [row[index].text for index in (3, 4, 6)] == [fmt.MISSING, fmt.MISSING, fmt.within(0.2166)]
    assert {row[index].why for index in (3, 4, 6)} == {ASSUMED}
    assert "not measured but" in render_html(make_run(controls=(one,)))


def test_without_a_control_there_is_no_section() -> None:
    assert noise_table(make_run(controls=())).rows == ()
    assert "Noise floor of this machine" not in render_html(make_run(controls=()))


@pytest.mark.parametrize(("allowed", "words"), [(True, "allowed by name"), (False, "not allowed")])
def test_what_is_not_alike_is_loud(allowed: bool, words: str) -> None:
    one = ASYMMETRY.model_copy(update={"allowed": allowed})
    run = make_run(fairness=FAIRNESS.model_copy(update={"asymmetries": (one,)}))
    row = next(row for row in fairness_table(run).rows if row[0].text == "threads per worker")
    assert words in row[-1].text
    assert row[-1].tone == "bad"
    out = io.StringIO()
    print_run(run, Console(file=out, width=80))
    assert words in out.getvalue()


def test_fields_of_one_side_only_are_called_so() -> None:
    said = {row[0].text: row[-1].text for row in fairness_table(RUN).rows}
    assert said["cores"] == "yes"
    assert said["workers"] == "one side has none"


@pytest.mark.parametrize("load", LOADS)
def test_main_tables_hold_compared_targets_and_the_labelled_floor(load: str) -> None:
    names = [row[0].text for row in measured.latency_table(RUN, load).rows]
    assert names == ["torchserve", "tfserving", "harness floor (null server)"]


def test_the_control_is_only_faint_among_the_rounds() -> None:
    section = sections.load_section(RUN, "closed:1", 1)
    assert [one.label for one in section.legend if one.faint] == ["tfserving (control)"]
    assert CONTROL not in str(section.plots[0].svg)
    assert f"{CONTROL}, block 1" in str(section.plots[1].svg)
    assert str(section.plots[1].svg).count('class="round faint"') == 4


def test_the_floor_has_a_curve_and_no_rounds_in_the_plot() -> None:
    section = sections.load_section(RUN, "closed:1", 1)
    assert "harness floor (null server)" in str(section.plots[0].svg)
    assert "null, block" not in str(section.plots[1].svg)


def test_a_control_looks_like_what_it_repeats() -> None:
    assert sections.slots(RUN)[CONTROL] == sections.slots(RUN)["tfserving"]


def test_a_retry_is_marked() -> None:
    assert "try 2" in str(sections.load_section(RUN, "closed:8", 2).plots[1].svg)


def test_invalid_rounds_have_a_table_of_their_own() -> None:
    ((index, _, load, target, attempt, why),) = measured.invalid_table(RUN).rows
    assert (load.text, target.text, attempt.text) == ("closed:8", "tfserving", "1")
    assert "31% of the cores that serve or generate was used by other programs" in why.text
    assert not next(one for one in pick.all_rounds(RUN) if str(one.index) == index.text).valid


JUDGED = {
    "ratio": 1.0703,
    "verdict_interval": (1.0601, 1.0802),
    "verdict_confidence": 0.95,
    "pairs_count": 4,
    "noise_floor": 0.1,
}
FIGURES = "the ratio 1.07 (95% interval 1.06 to 1.08, 4 pairs of rounds in 2 blocks) "


@pytest.mark.parametrize(
    ("changes", "sentence", "why"),
    [
        (
            {"verdict": "worse", "reason": reason("beyond_margin")},
            f"{FIGURES}lies outside ±5% and beyond the noise floor of 10%",
            "",
        ),
        ({"verdict": "equivalent", "reason": reason("inside_margin")}, f"{FIGURES}lies inside ±5%", ""),
        (
            {"reason": reason("across_margin", position="across"), "rounds_needed": 3},
            f"{FIGURES}reaches across the margin of ±5%; about 3 more pairs of rounds would decide",
            "",
        ),
        (
            {"reason": reason("across_margin", position="within_floor"), "rounds_needed": 1},
            f"{FIGURES}lies outside ±5%, but not beyond the noise floor of 10%; about 1 more pair of rounds "
            "would decide",
            "",
        ),
        (
            {"reason": reason("no_floor", position="outside", sides=("torchserve",)), "noise_floor": None},
            f"{FIGURES}lies outside ±5%; no control of torchserve gave an interval, so nobody knows how "
            "far this machine differs from itself: measure a control of every side",
            "the interval lies outside ±5%; no control of torchserve gave an interval, so nobody knows how "
            "far this machine differs from itself: measure a control of every side",
        ),
        (
            {"verdict": None, "verdict_interval": None, "reason": reason("too_few_pairs"), "pairs_count": 1},
            "1 valid pair of rounds has this figure, an interval needs at least two",
            "1 valid pair of rounds has this figure, an interval needs at least two",
        ),
        (
            {"reason": reason("still_warming_up", sides=("a", "b"))},
            "a and b were still getting faster, or not shown to have stopped, when the budget of "
            "conditioning ended: allow more conditioning, or longer rounds",
            "a and b were still getting faster, or not shown to have stopped, when the budget of "
            "conditioning ended: allow more conditioning, or longer rounds",
        ),
    ],
)
def test_why_a_verdict_was_given_and_no_figure_twice(
    changes: dict[str, object], sentence: str, why: str
) -> None:
    one = comparison(**(JUDGED | {"verdict": "inconclusive"} | changes))
    assert verdict_sentence(one) == sentence
    assert explanation(one) == why


def test_a_terminal_says_a_reason_in_the_answer_and_once_below_each_table() -> None:
    rows = tuple(
        one.model_copy(update={"verdict": None, "interval": None, "reason": said("one is not enough")})
        for one in RUN.comparisons
    )
    out = io.StringIO()
    print_run(make_run(comparisons=rows), Console(file=out, width=80))
    assert 2 <= re.sub(r"\s+", " ", out.getvalue()).lower().count("one is not enough") <= 3
    assert out.getvalue().count("no verdict") == len(rows) + len(LOADS)  # in the table, and in the answer


def test_a_terminal_says_why_rounds_were_not_used_once() -> None:
    target = RUN.targets["tfserving"]
    rounds = [
        invalid(one, reason("foreign_cores", cores=40 + one.index, limit=0.2), reason("not_recorded"))
        for one in target.rounds
    ]
    broken = target.model_copy(update={"rounds": tuple(rounds)})
    table = measured.invalid_by_reason(make_run(targets=RUN.targets | {"tfserving": broken}))
    assert table.caption == "Rounds that were not used: 9 of 33"
    assert [[cell.text for cell in row] for row in table.rows] == [
        [
            "9",
            f"other programs used {40 + rounds[0].index} cores of the machine: stop them and run again "
            "(limit 0.2 cores) (and the like)",
        ],
        ["9", "no reason recorded"],
    ]


def test_parity_names_the_subject_without_its_target_and_leaves_the_control_out() -> None:
    target = RUN.targets["torchserve"].model_copy(update={"parity": (parity("torchserve/digits_cnn.pt"),)})
    control = RUN.targets[CONTROL].model_copy(update={"endpoint_parity": parity("tfserving endpoint")})
    run = make_run(targets={"torchserve": target, CONTROL: control})
    rows = subjects.parity_table(run).rows
    assert [row[1].text for row in rows] == ["digits_cnn.pt", "endpoint"]
    assert rows[0][1].exact == "torchserve/digits_cnn.pt"


def test_without_a_valid_round_all_figures_have_one_reason() -> None:
    target = RUN.targets["torchserve"]
    summary = target.summaries[0].model_copy(update={"rounds_count": 0, "invalid_rounds_count": 4})
    changed = target.model_copy(update={"summaries": (summary,)})
    table = measured.latency_table(make_run(targets={"torchserve": changed}), summary.load)
    assert table.notes == (measured.NO_ROUND,)
    assert table.rows[0][-1].text == "0 of 4"


@pytest.mark.parametrize(
    ("changes", "controls", "primary"),
    [
        ({"control_blocks": "in turn", "primary": "p50"}, "of every side, in turn by block", "p50"),
        ({"primary": "throughput_per_s"}, "of every side, in all blocks", "throughput"),
        ({"control": False, "verdicts": False}, "none", "none, and no verdicts"),
    ],
)
def test_how_it_was_measured_says_what_verdicts_rest_on(changes: dict, controls: str, primary: str) -> None:
    assert RUN.profile
    run = make_run(profile=RUN.profile.model_copy(update=changes))
    facts = {row[0].text: row[1].text for row in subjects.method_table(run).rows}
    assert (facts["A/A controls"], facts["primary metric"]) == (controls, primary)
