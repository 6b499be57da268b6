"""Which rounds are measured again, and who is started in which block; no server is needed."""

from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from loadtests.rounds import PlannedRound
from loadtests.validity import FINDINGS, Invalidity
from pipelines.config.profiles import Profile
from pipelines.config.settings import MeasureSettings
from pipelines.errors import MachineError
from pipelines.measure import blocks, level
from pipelines.measure.session import Measured, Session
from pipelines.measure.sides import Side, controls
from pipelines.record.reason import recorded

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
    primary = changes.pop("primary", "p99")
    return MeasureSettings(profile=Profile(**(fields | changes)), primary=primary)


def nothing(*_given):
    return None


def session(tmp_path, sides=("a", "b"), **changes):
    compared = [Side(name, name, "compared", None, None, None, None) for name in sides]
    here = settings(**changes)
    everyone = [*compared, *controls(compared, here.profile)]
    return Session(here, everyone, tmp_path, nothing, on_plans=nothing, on_round=nothing)


def measured_with(monkeypatch, tmp_path, *checks, steal_share=None, **changes):
    """The attempts when every one of them fails these checks, and the host takes so much of a core."""
    found = [Invalidity("wrong_answers", {"wrong_count": 1}, check=check) for check in checks]
    attempts = []

    def once(session, planned, attempt, servers):
        attempts.append(attempt)
        record = SimpleNamespace(
            valid=not found,
            cpu_steal_share=steal_share,
            invalid_reasons=tuple(map(recorded, found)),
            failed_checks=tuple(one.check for one in found),
        )
        return SimpleNamespace(record=record, found=tuple(found))

    monkeypatch.setattr(blocks, "measure_once", once)
    blocks.measure_round(session(tmp_path, **changes), PLANNED, {})
    return attempts


@pytest.mark.parametrize(
    ("steal_share", "primary", "verdicts", "again"),
    [
        (0.02, "p99", True, 3),
        (0.009, "p99", True, 0),
        (0.02, "p50", True, 0),
        (0.02, "p99", False, 0),
        (None, "p99", True, 0),
    ],
)
def test_a_round_whose_slowest_requests_the_host_may_have_made_is_measured_again_for_p99(
    monkeypatch, tmp_path, steal_share, primary, verdicts, again
):
    changes = {"primary": primary, "verdicts": verdicts}
    attempts = measured_with(monkeypatch, tmp_path, steal_share=steal_share, **changes)
    assert attempts == list(range(again + 1))


@pytest.mark.parametrize("check", sorted(FINDINGS))
def test_errors_and_wrong_answers_are_findings_and_not_measured_again(monkeypatch, tmp_path, check):
    assert {"clean", "right"} == FINDINGS
    assert measured_with(monkeypatch, tmp_path, check) == [0]
    assert measured_with(monkeypatch, tmp_path, "quiet", check) == [0]


@pytest.mark.parametrize("cause", ["delivered", "lateness", "generator"])
def test_errors_of_a_load_that_could_not_be_sent_are_not_the_servers(monkeypatch, tmp_path, cause):
    assert measured_with(monkeypatch, tmp_path, cause, "clean") == [0, 1, 2, 3]


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

    monkeypatch.setattr(blocks, "fresh_servers", fresh)

    def note(session, planned, servers):
        rounds.append(planned)

    monkeypatch.setattr(blocks, "measure_round", note)
    here = session(tmp_path)
    blocks.measure_blocks(here)
    by_block = {block: {one.target for one in rounds if one.block == block} for block in (0, 1)}
    assert by_block == {0: {"a", "b", "a-control"}, 1: {"a", "b", "b-control"}}
    assert here.planned_count == len(rounds) == 6


@pytest.mark.parametrize(("enough_after", "measured"), [(1, {0}), (2, {0, 1}), (99, {0, 1})])
def test_blocks_end_when_it_is_enough_and_their_servers_have_ended_by_then(
    monkeypatch, tmp_path, enough_after, measured
):
    begun, running = set(), []

    @contextmanager
    def fresh(session, block):
        begun.add(block)
        running.append(block)
        yield {}
        running.clear()

    def enough(count):
        assert not running
        return count == enough_after

    monkeypatch.setattr(blocks, "fresh_servers", fresh)
    monkeypatch.setattr(blocks, "measure_round", nothing)
    blocks.measure_blocks(session(tmp_path), enough)
    assert begun == measured


class Block:
    """One block whose speeds are given, pass by pass, by name; nothing is started or loaded."""

    def __init__(self, monkeypatch, tmp_path, *passes, probes_ms=(None, None, None), **changes):
        self.passes, self.conditioned, self.probes_ms = list(passes), [], probes_ms
        self.session = session(tmp_path, control=False, rounds=3, conditioning_limit_s=40, **changes)
        self.servers = {name: SimpleNamespace(resume=nothing, pause=nothing) for name in ("a", "b")}
        monkeypatch.setattr(blocks, "measure_round", self._measure)
        monkeypatch.setattr(level, "summarise_round", lambda record, _folder: record)
        monkeypatch.setattr(level, "condition_servers", self._condition)

    def _measure(self, _session, planned, _servers):
        speed = self.passes[0][planned.target][planned.repetition]
        probe_ms = self.probes_ms[planned.repetition]
        self.session.measured[planned.target].rounds.append(Round(planned, speed, probe_ms))
        if planned.repetition == 2 and len(self.session.measured["a"].rounds) == len(
            self.session.measured["b"].rounds
        ):
            self.passes.pop(0)

    def _condition(self, _session, block, limits_s, _servers):
        for name, limit_s in limits_s.items():
            self.conditioned.append((name, limit_s))
            self.session.measured[name].conditionings.append(SimpleNamespace(block=block, duration_s=15.0))

    def run(self, load="closed:8"):
        blocks.measure_until_level(self.session, 0, load, self.servers)
        return self.session.measured["a"], self.session.measured["b"]


class Round(SimpleNamespace):
    """As much of a round's record as is looked at."""

    def __init__(self, planned, speed, probe_ms):
        super().__init__(
            server_probe_ms=probe_ms,
            block=planned.block,
            load=planned.load,
            repetition=planned.repetition,
            valid=True,
            failed_checks=(),
            throughput_per_s=speed,
            latency_ms=SimpleNamespace(p50=1 / speed),
        )

    def model_copy(self, update):
        vars(self).update(update)
        return self


LEVEL = {"a": [100, 103, 98], "b": [50, 51, 52]}
CLIMB = {"a": [100, 150, 210], "b": [50, 51, 52]}


def test_level_rounds_are_measured_once(monkeypatch, tmp_path):
    block = Block(monkeypatch, tmp_path, LEVEL)
    ours, theirs = block.run()
    assert (len(ours.rounds), len(theirs.rounds), block.conditioned) == (3, 3, [])
    assert ours.drifts == theirs.drifts == []


@pytest.mark.parametrize("load", ["closed:8", "open:100"])
def test_who_climbs_is_conditioned_further_and_the_rounds_of_both_are_measured_again(
    monkeypatch, tmp_path, load
):
    block = Block(monkeypatch, tmp_path, CLIMB, LEVEL)
    ours, theirs = block.run(load)
    assert block.conditioned == [("a", 40)]
    assert [(one.change, one.resolved) for one in ours.drifts] == [(pytest.approx(1.1), True)]
    assert theirs.drifts == []
    for measured in (ours, theirs):
        assert [one.valid for one in measured.rounds] == [False] * 3 + [True] * 3
        assert {one.failed_checks for one in measured.rounds[:3]} == {("drift",)}
        (why,) = measured.rounds[0].invalid_reasons
        assert (why.code, why.figures["sides"]) == ("drifted", ("a",))
        assert why.figures["changes"] == (pytest.approx(1.1),)
    assert block.session.planned_count == 6 * 2 + 6


@pytest.mark.parametrize(
    ("probes_ms", "conditioned"), [((0.42, 0.28, 0.2), []), ((0.4, 0.41, 0.4), [("a", 40)])]
)
def test_who_got_faster_with_the_machine_alone_is_not_measured_again(
    monkeypatch, tmp_path, probes_ms, conditioned
):
    block = Block(monkeypatch, tmp_path, CLIMB, LEVEL, probes_ms=probes_ms)
    ours, _ = block.run()
    assert block.conditioned == conditioned
    assert len(ours.drifts) == len(conditioned)


def test_when_the_budget_is_used_up_the_rounds_stay_and_the_drift_is_not_resolved(monkeypatch, tmp_path):
    block = Block(monkeypatch, tmp_path, CLIMB, CLIMB, CLIMB)
    ours, _ = block.run()
    # 40 s of budget: 15 s, another 15 s, and the 10 s that are left may not be tried a third time.
    assert [limit_s for _, limit_s in block.conditioned] == [40, 25]
    assert [one.resolved for one in ours.drifts] == [True, True, False]
    assert [one.valid for one in ours.rounds] == [False] * 6 + [True] * 3


def test_without_conditioning_nobody_is_expected_to_be_level(monkeypatch, tmp_path):
    block = Block(monkeypatch, tmp_path, CLIMB)
    block.session.settings = settings(control=False, rounds=3, conditioning_limit_s=0)
    ours, _ = block.run()
    assert (len(ours.rounds), ours.drifts) == (3, [])


def test_what_gets_slower_is_on_record_and_not_conditioned(monkeypatch, tmp_path):
    block = Block(monkeypatch, tmp_path, {"a": [210, 150, 100], "b": [50, 51, 52]})
    ours, _ = block.run()
    assert block.conditioned == []
    assert [(one.change < 0, one.resolved) for one in ours.drifts] == [(True, False)]
    assert all(one.valid for one in ours.rounds)


def test_a_servers_log_is_kept_by_its_ends(tmp_path):
    (tmp_path / "logs").mkdir()
    log = tmp_path / "server.log"
    log.write_bytes(b"started\n" + b"a request\n" * 500_000 + b"ended\n")
    blocks._keep_log(session(tmp_path), log, "a-block0.log")
    kept = (tmp_path / "logs" / "a-block0.log").read_bytes()
    assert kept.startswith(b"started\na request\n")
    assert kept.endswith(b"a request\nended\n")
    assert len(kept) < 600_000


def test_a_sides_payloads_are_encoded_once_and_for_the_path_of_its_plan():
    encoded = []
    side = SimpleNamespace(pool=lambda path: encoded.append(path) or SimpleNamespace())
    measured = Measured(plan=SimpleNamespace(endpoint=SimpleNamespace(predict_path="/predict")))
    assert measured.pool_of(side) is measured.pool_of(side)
    assert encoded == ["/predict"]


class Ending:
    """A server that has ended, or answers no more; its runner knows why."""

    def __init__(self, *, ended):
        self.ended = ended

    def require_alive(self, when):
        if self.ended:
            raise MachineError(f"died {when}")

    def explain_silence(self, when):
        raise MachineError(f"is silent {when}")


@pytest.mark.parametrize(
    ("ended", "gone", "said"),
    [
        (True, True, "died in round 7"),
        (True, False, "died in round 7"),
        (False, True, "is silent in round 7"),
    ],
)
def test_why_a_server_answers_no_more_is_asked_of_its_runner(ended, gone, said):
    driven = SimpleNamespace(record=SimpleNamespace(index=7), server_gone=gone)
    with pytest.raises(MachineError, match=said):
        blocks._require_server(driven, Ending(ended=ended))


def test_a_server_that_answered_is_not_asked_why_it_did_not():
    driven = SimpleNamespace(record=SimpleNamespace(index=7), server_gone=False)
    blocks._require_server(driven, Ending(ended=False))


@pytest.mark.parametrize(("sides", "allowed"), [("a", 3), ("ab", 3), ("abc", 5), ("abcde", 8)])
def test_more_sides_may_have_more_rounds_measured_again(tmp_path, sides, allowed):
    own = session(tmp_path, sides=tuple(sides))
    assert own.retries_left == allowed
    own.retries_left = 0
    own.allow_retries()
    assert own.retries_left == allowed
