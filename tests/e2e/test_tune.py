"""A whole search on the embedded server: real servers and rounds, with a limit that is kept by arithmetic.

What p99 is on a machine that runs tests says nothing; which configuration keeps the limit up to which rate
is said here, and everything around it is as it is.
"""

import json
from pathlib import Path

import pytest

from loadtests.rates import RateMeasurement, SearchLimits
from pipelines.compare import slo
from pipelines.config.profiles import Profile
from pipelines.config.settings import RunSettings
from pipelines.errors import RequestError
from pipelines.judge import summarise
from pipelines.run.rebuild import rebuild
from pipelines.runners.local import LocalRunner
from pipelines.targets.presets import resolve
from pipelines.targets.side import parse_sides
from pipelines.tune import claim, stage, trial
from pipelines.tune.stage import TuneRequest, tune

pytestmark = pytest.mark.slow

PROFILE = Profile(
    name="tiny",
    blocks=1,
    rounds=1,
    warmup_limit_s=0.1,
    conditioning_limit_s=1,
    round_s=0.2,
    loads=("closed:8",),
    control=False,
    slo_resolution=1.0,
    null=False,
    retries=0,
)
COARSE = SearchLimits(resolution=1.0, confirmations=1, min_rate_per_s=5, max_rate_per_s=320)


def capacity_per_s(side: str) -> float:
    return 120.0 if side in ("tfserving:trial1", "tfserving:default") else 1000.0


@pytest.fixture
def settings(artifacts, tmp_path, monkeypatch) -> RunSettings:
    def judged(driven, rate_per_s: float, folder: Path) -> RateMeasurement:
        figures = summarise.summarise_round(driven.record, folder)
        assert figures.requests_count > 0
        p99_ms = 5.0 if rate_per_s <= capacity_per_s(driven.record.target) else 90.0
        return RateMeasurement(rate_per_s, p99_ms, 0.0)

    for module in (trial, slo):
        monkeypatch.setattr(module, "as_rate_measurement", judged)
        monkeypatch.setattr(module, "LIMITS", COARSE)
    monkeypatch.setattr(slo, "samples_needed", lambda _: 10)
    monkeypatch.setattr(trial, "likely_rate_per_s", lambda _: 100.0)
    monkeypatch.setattr(stage, "SHIPPED", ("default",))
    monkeypatch.setattr(claim, "MOST_BLOCKS", 1)
    return RunSettings(
        profile=PROFILE,
        model="digits_cnn",
        sides=parse_sides("tfserving", "default"),
        artifacts=artifacts,
        runs=tmp_path / "runs",
    )


def test_a_search_is_interrupted_goes_on_and_claims_by_fresh_servers(settings, tmp_path):
    file = tmp_path / "found.toml"

    def interrupt(kind: str, text: str) -> None:
        if kind == "measure" and "trial 2" in text:
            raise KeyboardInterrupt

    request = TuneRequest(50, within_s=600, preset_file=file, options={"sides": "tfserving"})
    first, folder = tune(request, settings, LocalRunner(), ["tandem", "tune"], interrupt)
    assert first.status == "interrupted"
    rounds_count = len(first.tune.sides["tfserving"].trials[0].rounds)
    assert first.status_reason == f"interrupted after {rounds_count} rounds"
    assert [one.number for one in first.tune.sides["tfserving"].trials] == [1]
    assert not file.exists()

    others = settings.model_copy(update={"sides": parse_sides("torchserve", "default")})
    going_on = TuneRequest(50, within_s=600, preset_file=file, options={}, resume=folder)
    with pytest.raises(RequestError, match="the sides was tfserving and is torchserve now"):
        tune(going_on, others, LocalRunner(), ["tandem"], lambda *_: None)

    run, same = tune(going_on, settings, LocalRunner(), ["tandem", "tune"], lambda *_: None)
    assert (same, run.status, run.status_reason) == (folder, "complete", None)
    side = run.tune.sides["tfserving"]
    assert side.trials[0] == first.tune.sides["tfserving"].trials[0]
    # The sweep's next configuration does all that the search may ask for, so there is nothing left to find.
    assert [(one.number, one.outcome, one.rate_per_s) for one in side.trials] == [
        (1, "found", 100.0),
        (2, "lower_bound", 320.0),
    ]
    assert (side.winner, side.ended) == (2, "generator")
    assert side.final == ("tfserving:found", "tfserving:default")
    (claim,) = side.claims
    assert claim.ratio_at_least == pytest.approx(3.2 / 2)  # one block, and a search's resolution
    indexes = [r.index for t in side.trials for r in t.rounds]
    indexes += [r.index for target in run.targets.values() for r in target.rounds]
    assert len(indexes) == len(set(indexes))

    found = resolve(str(file), ["tfserving"])["tfserving"].settings.given()
    assert found == side.trials[1].settings != {}
    assert run.targets["tfserving:found"].implementation.settings == found

    again, _ = rebuild(folder)
    assert again.tune == run.tune.model_copy(update={"sides": again.tune.sides})
    assert [one.outcome for one in again.tune.sides["tfserving"].trials] == ["found", "lower_bound"]
    assert "surface-1-title" in (folder / "report.html").read_text()
    assert json.loads((folder / "run.json").read_text())["kind"] == "tune"
    with pytest.raises(RequestError, match="exists already"):
        tune(request, settings, LocalRunner(), ["tandem"], lambda *_: None)
    with pytest.raises(RequestError, match="is complete"):
        tune(
            TuneRequest(50, 600, file, force=True, options={}, resume=folder),
            settings,
            LocalRunner(),
            ["tandem"],
            lambda *_: None,
        )
