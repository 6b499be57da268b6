import pytest
from pydantic import ValidationError

from loadtests.arrivals import parse_load
from pipelines.config.asked import run_settings
from pipelines.config.profiles import PROFILES, Profile, find_profile
from pipelines.config.settings import RunSettings
from pipelines.errors import RequestError
from pipelines.targets.side import parse_sides

SMOKE = PROFILES["smoke"]
(WARMUP,) = (name for name in Profile.model_fields if name.startswith("warmup"))


def settings(**changes):
    return RunSettings(
        **({"model": "digits_cnn", "sides": parse_sides("torchserve"), "profile": SMOKE} | changes)
    )


def test_a_profile_is_found_by_name():
    assert [find_profile(name).name for name in PROFILES] == ["smoke", "quick", "full"]


def test_a_misspelt_profile_gets_the_nearest_name_and_all_names():
    with pytest.raises(RequestError) as caught:
        find_profile("quik")
    assert str(caught.value) == "unknown profile 'quik'; did you mean quick? allowed: smoke, quick, full"


def test_a_profile_like_nothing_gets_no_suggestion():
    with pytest.raises(RequestError, match=r"^unknown profile 'zzz'; allowed: smoke, quick, full$"):
        find_profile("zzz")


def test_every_profile_can_be_measured():
    for profile in PROFILES.values():
        assert [str(parse_load(load)) for load in profile.loads] == list(profile.loads)
        # Rotation balances who goes first only over an even number of rounds.
        assert profile.blocks * profile.rounds % 2 == 0


@pytest.mark.parametrize(
    "change",
    [
        {"blocks": 0},
        {"rounds": 0},
        {WARMUP: -1},
        {"round_s": 0},
        {"loads": ()},
        {"surplus": 1},
        {"blocks": 1.5},
    ],
)
def test_a_profile_out_of_range_is_refused(change):
    with pytest.raises(ValidationError, match=next(iter(change))):
        Profile(**(SMOKE.model_dump() | change))


@pytest.mark.parametrize(
    "change",
    [
        {"sead": 1},
        {"seed": -1},
        {"check_share": 0.009},
        {"check_share": 1.1},
        {"timeout_s": 0},
        {"targets": ()},
    ],
)
def test_settings_out_of_range_or_unknown_are_refused(change):
    with pytest.raises(ValidationError, match=next(iter(change))):
        settings(**change)


def test_settings_cannot_be_changed():
    with pytest.raises(ValidationError, match="frozen"):
        settings().seed = 3


def test_at_least_one_percent_of_answers_is_checked():
    assert settings().check_share >= 0.01
    assert settings(check_share=0.01).check_share == 0.01


def test_verdicts_and_the_primary_metric_are_settings():
    assert [profile.name for profile in PROFILES.values() if not profile.verdicts] == ["smoke"]
    assert settings().primary == "p99"
    for asked, kept in (("throughput", "throughput_per_s"), ("p50", "p50"), (None, "p99")):
        given = {"profile": "quick", "model": "digits_cnn", "sides": "tfserving", "primary": asked}
        assert run_settings(**given).primary == kept
    with pytest.raises(RequestError, match="primary"):
        run_settings(profile="quick", model="digits_cnn", sides="tfserving", primary="p42")


def test_what_may_differ_is_named_as_it_is_recorded():
    given = {"profile": "quick", "model": "digits_cnn", "sides": "tfserving"}
    asked = run_settings(**given, allowed_asymmetries=("memory_limit_bytes", "body"))
    assert asked.allowed_asymmetries == ("memory_limit_bytes", "body")
    with pytest.raises(RequestError, match="did you mean protocol"):
        run_settings(**given, allowed_asymmetries=("protocl",))


def test_an_open_round_that_no_report_could_read_is_refused():
    given = {"profile": "quick", "model": "digits_cnn", "sides": "tfserving", "loads": "open:10000"}
    with pytest.raises(RequestError, match="--round-s"):
        run_settings(**given, round_s=7200.0)
    assert run_settings(**given, round_s=60.0).profile.round_s == 60
