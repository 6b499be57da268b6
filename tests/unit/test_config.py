import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from loadtests.arrivals import parse_load
from pipelines.config import PROFILES, Cores, Profile, RunSettings, find_profile, run_settings, split_cores
from pipelines.errors import RequestError

SMOKE = PROFILES["smoke"]
(WARMUP,) = (name for name in Profile.model_fields if name.startswith("warmup"))


def settings(**changes):
    return RunSettings(**({"model": "digits_cnn", "targets": ("torchserve",), "profile": SMOKE} | changes))


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


@given(st.sets(st.integers(0, 200), min_size=2, max_size=16))
def test_server_and_generator_never_share_a_core_where_there_are_two(allowed):
    cores = split_cores(tuple(allowed))
    assert set(cores.server) | set(cores.generator) == allowed
    assert len(cores.generator) == 1
    assert not cores.shared
    assert not set(cores.server) & set(cores.generator)


def test_a_single_core_is_shared_and_says_so():
    cores = split_cores((3,))
    assert cores == Cores(server=(3,), generator=(3,))
    assert cores.shared


def test_one_core_in_common_is_shared():
    assert Cores(server=(0, 1), generator=(1, 2)).shared


def test_the_cores_of_this_process_are_the_ones_split(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {5, 2, 9})
    assert split_cores() == Cores(server=(2, 5), generator=(9,))


def test_verdicts_and_the_primary_metric_are_settings():
    assert [profile.name for profile in PROFILES.values() if not profile.verdicts] == ["smoke"]
    assert settings().primary == "p99"
    for asked, kept in (("throughput", "throughput_per_s"), ("p50", "p50"), (None, "p99")):
        given = {"profile": "quick", "model": "digits_cnn", "targets": "tfserving", "primary": asked}
        assert run_settings(**given).primary == kept
    with pytest.raises(RequestError, match="primary"):
        run_settings(profile="quick", model="digits_cnn", targets="tfserving", primary="p42")
