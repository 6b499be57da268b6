"""Which rounds are measured again, and who is started in which block; no server is needed."""

from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from loadtests.rounds import PlannedRound
from loadtests.validity import FINDINGS, Invalidity
from pipelines import measuring
from pipelines.config import MeasureSettings, Profile
from pipelines.contestants import Contestant, controls

PLANNED = PlannedRound(0, "closed:8", 0, "a")


def settings(**changes):
    fields = {
        "name": "quick",
        "blocks": 2,
        "rounds": 1,
        "warmup_limit_s": 1,
        "round_s": 1,
        "loads": ("closed:8",),
        "control": True,
        "control_blocks": "in turn",
        "null": False,
        "retries": 3,
    }
    return MeasureSettings(profile=Profile(**(fields | changes)))


def nothing(*_given):
    return None


def session(tmp_path, sides=("a", "b"), **changes):
    compared = [Contestant(name, name, "compared", None, None, None, None) for name in sides]
    here = settings(**changes)
    everyone = [*compared, *controls(compared, here.profile)]
    return measuring.Session(here, everyone, tmp_path, nothing, on_plans=nothing, on_round=nothing)


def measured_with(monkeypatch, tmp_path, *checks):
    """The attempts when every one of them fails these checks."""
    found = [Invalidity(check, "it happened", "look") for check in checks]
    attempts = []

    def once(session, planned, attempt, servers):
        attempts.append(attempt)
        record = SimpleNamespace(
            valid=not found,
            invalid_reasons=tuple(map(str, found)),
            failed_checks=tuple(one.check for one in found),
        )
        return SimpleNamespace(record=record, found=tuple(found))

    monkeypatch.setattr(measuring, "measure_once", once)
    measuring.measure_round(session(tmp_path), PLANNED, {})
    return attempts


@pytest.mark.parametrize("check", sorted(FINDINGS))
def test_errors_and_wrong_answers_are_findings_and_not_measured_again(monkeypatch, tmp_path, check):
    assert {"clean", "right"} == FINDINGS
    assert measured_with(monkeypatch, tmp_path, check) == [0]
    assert measured_with(monkeypatch, tmp_path, "quiet", check) == [0]


@pytest.mark.parametrize("check", ["warm", "delivered", "lateness", "generator", "quiet", "interrupted"])
def test_every_other_invalid_round_is_measured_again_while_retries_last(monkeypatch, tmp_path, check):
    assert measured_with(monkeypatch, tmp_path, check) == [0, 1, 2, 3]


def test_a_valid_round_is_measured_once(monkeypatch, tmp_path):
    assert measured_with(monkeypatch, tmp_path) == [0]


def test_every_block_starts_and_measures_only_who_takes_part(monkeypatch, tmp_path):
    rounds = []

    @contextmanager
    def fresh(session, block):
        yield {}

    monkeypatch.setattr(measuring, "fresh_servers", fresh)

    def note(session, planned, servers):
        rounds.append(planned)

    monkeypatch.setattr(measuring, "measure_round", note)
    here = session(tmp_path)
    measuring.measure_blocks(here)
    by_block = {block: {one.target for one in rounds if one.block == block} for block in (0, 1)}
    assert by_block == {0: {"a", "b", "a-control"}, 1: {"a", "b", "b-control"}}
    assert here.planned_count == len(rounds) == 6
