"""The search of a side on simulated servers: what is tried, when it ends, and that nothing is tried twice."""

import math
from dataclasses import dataclass, field

import pytest

from loadtests.rates import RateMeasurement
from pipelines.config.asked import run_settings
from pipelines.errors import RequestError
from pipelines.record.tune import TuneSideRecord, TuneTrialRecord
from pipelines.targets.presets import Preset, resolve
from pipelines.targets.side import parse_sides
from pipelines.targets.tuning import axes_of
from pipelines.tune.budget import LEAST_FINAL_ROUNDS, Budget
from pipelines.tune.claim import finalists
from pipelines.tune.rate_search import bracket
from pipelines.tune.search import empty_side, next_candidate, search_side
from pipelines.tune.space import Space, space_around
from pipelines.tune.trial import Candidate, best_trial

LIMIT_MS = 20.0
TUNED, DEFAULT = (resolve(name, ["torchserve"])["torchserve"] for name in ("tuned", "default"))
SPACE = space_around("torchserve", TUNED, 2, LIMIT_MS, axes_of)


def capacity_per_s(settings: dict[str, object]) -> float:
    """Two cores: workers x threads beyond them costs, batches help up to 8, and delay must suit the batch."""
    workers = int(settings.get("default_workers_per_model", 2))  # type: ignore[call-overload]
    threads = int(settings.get("torch_threads", 2))  # type: ignore[call-overload]
    batch = int(settings.get("batchSize", 1))  # type: ignore[call-overload]
    delay = int(settings.get("maxBatchDelay", 100)) if batch > 1 else 0  # type: ignore[call-overload]
    busy = workers * threads
    rate = 800 * min(busy, 2) / (1 + 0.5 * max(0, busy - 2)) * (1 - 0.05 * (threads - 1))
    rate *= 1 + 0.5 * min(math.log2(batch), 3) - 0.4 * max(0, math.log2(batch) - 3)
    return rate / (1 + abs(delay - 2) / 4) if batch > 1 else rate


BEST = {"workers": "2", "threads": "1", "batch": "8", "delay": "2 ms"}


@dataclass
class Servers:
    """Simulated servers, a clock that each trial moves on, and what was asked of them."""

    now_s: float = 0.0
    asked: list[str] = field(default_factory=list)
    sends_up_to: float = 1e9

    def attempt(self, candidate: Candidate, best: TuneTrialRecord | None) -> TuneTrialRecord:
        self.asked.append(str(candidate.preset.settings.given()))
        capacity = capacity_per_s(candidate.preset.settings.given())

        def measure(rate_per_s: float, phase: str) -> RateMeasurement:
            self.now_s += 5
            kept = rate_per_s <= capacity
            delivered = rate_per_s <= self.sends_up_to
            return RateMeasurement(rate_per_s, 4.0 if kept else 80.0, 0.0, delivered=delivered)

        began_s, self.now_s = self.now_s, self.now_s + 20
        to_beat = best.rate_per_s if best else None
        found = bracket(measure, p99_limit_ms=LIMIT_MS, start_rate_per_s=400, to_beat_per_s=to_beat)
        return trial(candidate, found.outcome, found.rate_per_s, self.now_s - began_s)


def trial(candidate: Candidate, outcome: str, rate: float | None, took_s: float = 1.0) -> TuneTrialRecord:
    return TuneTrialRecord.model_validate(
        {
            "number": candidate.number,
            "preset": candidate.preset.name,
            "levels": candidate.levels,
            "settings": candidate.preset.settings.given(),
            "outcome": outcome,
            "rate_per_s": rate,
            "breaks_at_per_s": None,
            "beaten_by": None,
            "closed_throughput_per_s": None,
            "start_s": 20.0,
            "duration_s": took_s,
            "reason": None,
        }
    )


def searched(servers: Servers, kept: TuneSideRecord | None = None, *, most: int = 10_000) -> TuneSideRecord:
    """A search that is interrupted after `most` trials; what was kept of it then."""
    saved = [kept or empty_side(SPACE)]

    def attempt(candidate: Candidate, best: TuneTrialRecord | None) -> TuneTrialRecord:
        if len(servers.asked) >= most:
            raise KeyboardInterrupt
        return servers.attempt(candidate, best)

    try:
        return search_side(SPACE, [DEFAULT], saved[0], attempt, lambda: True, saved.append)
    except KeyboardInterrupt:
        return saved[-1]


def test_the_best_configuration_of_a_known_server_is_found():
    servers = Servers()
    side = searched(servers)
    winner = best_trial(side.trials)
    assert winner is not None
    assert (side.winner, side.ended) == (winner.number, "summit")
    assert winner.levels == BEST
    assert len(servers.asked) == len(set(servers.asked)) < SPACE.size / 2


def test_the_references_come_first():
    side = searched(Servers())
    assert [one.preset for one in side.trials[:2]] == ["default", "tuned"]
    assert side.trials[1].levels == SPACE.labels(SPACE.start)


@pytest.mark.parametrize("cut", [0, 1, 2, 5, 11])
def test_a_search_that_goes_on_repeats_nothing_and_ends_alike(cut):
    whole = searched(Servers())
    first, then = Servers(), Servers()
    kept = searched(first, most=cut)
    assert len(kept.trials) == cut
    done = searched(then, TuneSideRecord.model_validate_json(kept.model_dump_json()))
    assert not set(first.asked) & set(then.asked)
    assert [one.settings for one in done.trials] == [one.settings for one in whole.trials]
    assert done.winner == whole.winner


def test_the_time_is_kept_and_the_references_are_tried_all_the_same():
    servers = Servers()
    settings = run_settings(profile="quick", sides="torchserve", model="digits_cnn")
    budget = Budget(settings, within_s=900, clock=lambda: servers.now_s)

    def attempt(candidate: Candidate, best: TuneTrialRecord | None) -> TuneTrialRecord:
        found = servers.attempt(candidate, best)
        budget.note(found)
        return found

    side = search_side(
        SPACE, [DEFAULT], empty_side(SPACE), attempt, lambda: budget.allows_trial(3, 1.0), lambda _: None
    )
    assert side.ended == "time"
    assert len(side.trials) > 5
    assert servers.now_s + budget.final_s(3) <= 900
    none = search_side(SPACE, [DEFAULT], empty_side(SPACE), attempt, lambda: False, lambda _: None)
    assert len(none.trials) == 2


def test_a_time_that_is_too_short_is_refused_with_what_is_needed():
    settings = run_settings(profile="quick", sides="torchserve", model="digits_cnn")
    Budget(settings, within_s=900).require(1, 3)
    with pytest.raises(RequestError, match=r"--within is 5min; .* need about 11min"):
        Budget(settings, within_s=300).require(1, 3)


def test_time_before_an_interruption_counts():
    now = [0.0]
    budget = Budget(run_settings(profile="quick", sides="torchserve", model="x"), 900, clock=lambda: now[0])
    now[0] = 50
    budget.begin(400)
    now[0] = 60
    assert budget.elapsed_s == 410


def test_long_rounds_of_a_slow_server_leave_more_time_to_the_claim():
    settings = run_settings(profile="quick", sides="torchserve", model="digits_cnn")
    budget = Budget(settings, 900, clock=lambda: 0.0)
    before_s = budget.final_s(3)
    first = next_candidate(SPACE, [], [])
    assert first is not None
    measured = trial(first[0], "found", 30.0, took_s=20 + 5 * 30)
    point = {"round_index": 0, "block": 0, "phase": "search", "rate_per_s": 30.0, "p99_ms": 4.0}
    points = [point | {"errors_share": 0.0, "met": True, "reasons": ()}] * 5
    budget.note(TuneTrialRecord.model_validate(measured.model_dump() | {"points": points}))
    assert (budget.start_s, budget.round_s, budget.trial_s) == (20, 30, 170)
    assert budget.final_s(3) == 2 * 3 * (20 + 10 * 30) > before_s


def test_a_generator_that_sends_no_more_ends_the_search():
    side = searched(Servers(sends_up_to=700))
    assert side.ended == "generator"
    assert len(side.trials) == 1


def test_a_server_that_failed_is_a_trial_without_a_rate_and_not_tried_again():
    first = next_candidate(SPACE, [], [])
    assert first is not None
    failed = trial(first[0], "failed", None)
    after = next_candidate(SPACE, [], [failed])
    assert after is not None
    assert after[0].levels != first[0].levels
    assert best_trial([failed]) is None


def test_fresh_servers_are_of_the_winner_and_of_everything_it_has_to_beat():
    (side,) = parse_sides("torchserve:grpc", "tuned")
    found = SPACE.preset(SPACE.neighbours(SPACE.start)[0])
    references = {"default": DEFAULT, "tuned": TUNED}
    finals = finalists(side, found, references)
    assert [one.name for one in finals] == ["torchserve:found", "torchserve:default", "torchserve:tuned"]
    assert {one.protocol.transport for one in finals} == {"grpc"}
    kept = finalists(side, TUNED, references)
    assert [one.name for one in kept] == ["torchserve:tuned", "torchserve:default"]


def test_a_space_around_an_own_preset_is_searched_from_there(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text("[torchserve]\nbatchSize = 4\nmaxBatchDelay = 2\n")
    base = resolve(str(file), ["torchserve"])["torchserve"]
    space: Space = space_around("torchserve", base, 2, LIMIT_MS, axes_of)
    found = next_candidate(space, [], [])
    assert found is not None
    assert isinstance(found[0].preset, Preset)
    assert found[0].levels["batch"] == "4"


def test_searches_on_fresh_servers_share_the_time_that_is_left():
    settings = run_settings(profile="quick", sides="torchserve", model="digits_cnn")
    now = [0.0]
    budget = Budget(settings, 900, clock=lambda: now[0])
    each_s, start_s = budget.round_s, budget.start_s
    now[0] = 300
    assert budget.final_rounds(4, 2) == int((600 - 2 * start_s) / 4 / each_s) > LEAST_FINAL_ROUNDS
    assert budget.final_rounds(1, 0) == int(600 / each_s)
    now[0] = 899
    assert budget.final_rounds(2, 0) == LEAST_FINAL_ROUNDS
    now[0] = 1000
    assert budget.final_rounds(2, 0) == LEAST_FINAL_ROUNDS
