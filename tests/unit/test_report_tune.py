"""The report of a search for a configuration: what won, what fresh servers claim, and all that was tried."""

import re
from xml.etree import ElementTree

import pytest
from report_slo_fixture import make_slo_run

from pipelines.judge.tune import judge_tune
from pipelines.record.reason import reason
from pipelines.record.run import RunRecord
from pipelines.record.tune import TuneAxisRecord, TuneRecord, TuneSideRecord, TuneTrialRecord
from pipelines.report import answers, render_report, tune
from pipelines.report.figures.surface import surface_plot
from pipelines.run.coherence import contradiction
from pipelines.targets.presets import Preset, checked, resolve
from pipelines.tune.preset_file import preset_text


def trial(number: int, outcome: str, rate: float | None, **levels: str) -> TuneTrialRecord:
    settings = {"default_workers_per_model": int(levels["workers"])} if levels else {}
    return TuneTrialRecord.model_validate(
        {
            "number": number,
            "preset": "default" if not levels else f"tuned+{number}",
            "levels": levels,
            "settings": settings,
            "outcome": outcome,
            "rate_per_s": rate,
            "breaks_at_per_s": rate * 1.1 if rate else None,
            "beaten_by": 2 if outcome == "beaten" else None,
            "closed_throughput_per_s": 700.0,
            "start_s": 20.0,
            "duration_s": 40.0,
            "reason": reason("trial_failed", error="it died") if outcome == "failed" else None,
        }
    )


def make_tune() -> TuneRecord:
    axes = (
        TuneAxisRecord(
            name="workers", setting="default_workers_per_model", levels=("1", "2", "4"), start="2"
        ),
        TuneAxisRecord(name="batch", setting="batchSize", levels=("1", "8"), start="1"),
    )
    side = TuneSideRecord(
        target="torchserve",
        base="tuned",
        axes=axes,
        configurations_count=6,
        trials=(
            trial(1, "found", 300.0),
            trial(2, "found", 450.0, workers="2", batch="1"),
            trial(3, "beaten", 360.0, workers="4", batch="1"),
            trial(4, "failed", None, workers="1", batch="8"),
        ),
        winner=2,
        ended="summit",
        final=("torchserve", "tfserving"),
    )
    return TuneRecord(
        p99_limit_ms=20.0,
        within_s=900.0,
        elapsed_s=700.0,
        resolution=0.1,
        sides={"torchserve": side},
        options={"sides": "torchserve"},
        preset_file="digits_cnn-tuned.toml",
    )


@pytest.fixture
def run() -> RunRecord:
    found = make_slo_run()
    assert found.slo is not None
    judged = judge_tune(make_tune(), found.slo, 20, lambda record: record)
    return found.model_copy(update={"kind": "tune", "tune": judged})


def test_claims_are_of_fresh_servers_and_judged_as_a_search_is(run):
    (claim,) = run.tune.sides["torchserve"].claims
    assert (claim.against, len(claim.block_ratios)) == ("tfserving", 3)
    assert claim.ratio == pytest.approx(run.slo.ratio, rel=0.02)
    assert claim.interval[0] < claim.ratio < claim.interval[1]


def test_without_fresh_servers_nothing_is_claimed(run):
    before = run.tune.model_copy(
        update={"sides": {"torchserve": run.tune.sides["torchserve"].model_copy(update={"final": ()})}}
    )
    assert judge_tune(before, run.slo, 20, lambda record: record).sides["torchserve"].claims == ()


@pytest.mark.slow
@pytest.mark.parametrize(("outcome", "said"), [("none", "kept the limit"), ("not_measured", "be measured")])
def test_what_could_not_be_measured_is_not_said_to_break_the_limit(run, outcome, said):
    side = run.tune.sides["torchserve"]
    tried = tuple(one.model_copy(update={"outcome": outcome, "rate_per_s": None}) for one in side.trials)
    lost = side.model_copy(update={"trials": tried, "winner": None, "final": (), "claims": ()})
    changed = run.model_copy(
        update={"slo": None, "tune": run.tune.model_copy(update={"sides": {"torchserve": lost}})}
    )
    assert tune.not_measured(lost) == (outcome == "not_measured")
    assert f"no configuration {'could ' if outcome != 'none' else ''}{said}" in answers.answer(changed).result
    assert "Every configuration that was tried" in render_report(changed)["report.html"]


def test_claims_without_a_winners_side_do_not_hold_together(run):
    side = run.tune.sides["torchserve"].model_copy(update={"final": ()})
    broken = run.model_copy(update={"tune": run.tune.model_copy(update={"sides": {"torchserve": side}})})
    assert "tune.sides.torchserve" in (contradiction(broken) or "")


def test_everything_that_was_tried_is_in_the_table(run):
    rows = {row[1].text: row for row in tune.trial_table(run).rows}
    assert list(rows) == ["1", "2", "3", "4"]
    assert rows["2"][2].tone == "good"
    assert rows["3"][3].text == "beaten by trial 2"
    assert "it died" in (rows["4"][4].why or "")


def test_the_surface_has_a_bracket_for_every_configuration_with_a_rate(run):
    text = surface_plot(run.tune.sides["torchserve"], "surface-1", 0)
    svg = ElementTree.fromstring(text)  # noqa: S314 - ours
    titles = [one.text for one in svg.iter("title")]
    # Two configurations in one panel: batch was varied by none that has a rate.
    assert sum("kept the limit" in (title or "") for title in titles) == 2
    assert len([one for one in svg.iter("circle") if one.get("class") == "ring"]) == 1


def test_every_format_shows_the_search(run):
    texts = render_report(run)
    for name in ("report.html", "report.md"):
        assert "Every configuration that was tried" in texts[name]
        assert "default_workers_per_model" in texts[name].replace("<wbr>", "")
    assert 'aria-labelledby="surface-1-title' in texts["report.html"]
    assert contradiction(run) is None
    assert RunRecord.model_validate_json(texts["run.json"]).tune == run.tune


def test_the_presets_file_is_one_that_can_be_used_and_says_what_was_found(run, tmp_path):
    side = run.tune.sides["torchserve"]
    winner = Preset("tuned+2", checked("torchserve", side.trials[1].settings, "here"))
    text = preset_text(run.tune, {"torchserve": winner}, "digits_cnn, 1 core\nof a machine")
    file = tmp_path / "found.toml"
    file.write_text(text)
    assert resolve(str(file), ["torchserve"])["torchserve"].settings == winner.settings
    assert re.search(r"workers: .*2: 450/s, 4: 360/s", text)
    assert all(line.startswith(("#", "[", "default_")) for line in text.splitlines() if line)
