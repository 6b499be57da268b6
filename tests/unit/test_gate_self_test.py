"""The gate's self-test: the proxy that injects faults, and what the gate must make of them."""

import asyncio
import json
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from gate_fixture import gated_run

from loadtests.servers import faulty
from loadtests.servers.faulty import Faults, other_numbers, spoilt
from loadtests.servers.http1 import response
from loadtests.statistics import samples_needed
from pipelines.errors import GateError, MachineError, RequestError
from pipelines.gate import self_test
from pipelines.gate.limits import METRICS, Limit, asked_limits
from pipelines.measure.sides import Side
from pipelines.outputs.asked import FORMATS
from pipelines.processes.group import free_ports
from pipelines.run.failing import carried_by

P99 = (Limit(METRICS["p99"], 0.05),)


def request(**changes):
    fields = {"model": "digits_cnn", "target": "tfserving", "delay_ms": 5.0, "wrong_every": 1000}
    places = {"artifacts": Path("a"), "runs": Path("r")}
    return self_test.SelfTestRequest(**({"limits": P99} | fields | places | changes))


def result(wrong=("wrong",), slow=1.5, same=1.0):
    record = gated_run({"same": same, "slow": slow, "wrong": 1.0, "base": 1.0}, wrong=wrong)
    trials = self_test._trials(record, request())
    return self_test.SelfTestResult("digits_cnn", trials, Path("r"), record.started_at_utc)


def test_a_gate_that_sees_both_faults_and_no_third_passes():
    found = result()
    self_test.require(found)
    assert [(trial.side, trial.word) for trial in found.trials] == [
        ("same", "pass"),
        ("slow", "fail"),
        ("wrong", "fail"),
    ]
    assert self_test.told(found.trials[1]) == (
        "slow, 5 ms before every request injected: fail (p99 of slow under closed:8), as it should"
    )
    assert "<failure" not in FORMATS["junit"](self_test.facts_of_self_test(found))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"wrong": ()}, "wrong, one wrong answer in 1000 injected: pass, NOT"),
        ({"slow": 1.0}, "slow, 5 ms before every request injected: pass, NOT"),
        ({"same": 1.5}, r"same, nothing injected: fail \(p99 of same"),
    ],
)
def test_a_gate_that_misses_a_fault_or_sees_one_that_is_not_there_fails(changes, said):
    found = result(**changes)
    with pytest.raises(GateError, match=said):
        self_test.require(found)
    assert "<failure" in FORMATS["junit"](self_test.facts_of_self_test(found))


def test_a_machine_too_noisy_to_decide_is_no_fault_of_the_gate():
    record = gated_run({"same": 1.0, "slow": 1.1, "wrong": 1.0, "base": 1.0}, wrong=["wrong"], noise=0.3)
    found = self_test.SelfTestResult("x", self_test._trials(record, request()), Path("r"), "")
    with pytest.raises(MachineError, match="decided nothing: p99 of slow under closed:8: undecided"):
        self_test.require(found)


@pytest.mark.parametrize(("text", "share"), [("10%", 0.1), ("2.5 %", 0.025), ("1000%", 10.0)])
def test_a_slowdown_is_a_percentage(text, share):
    assert self_test.asked_slowdown(text) == share


@pytest.mark.parametrize("text", ["10", "0%", "1001%", "-1%", "ten"])
def test_what_is_no_slowdown_is_refused(text):
    with pytest.raises(RequestError, match="--slowdown is"):
        self_test.asked_slowdown(text)


@pytest.fixture
def staged(monkeypatch):
    """Runs that are not measured: their settings, and the delays of their sides, s; p50 is some 10 ms."""
    runs, delays = [], []

    def start_run(_kind, settings, *_):
        sides = [Side(side.name, side.target, "compared", None, None, None, None) for side in settings.sides]
        runs.append(settings)
        verified = SimpleNamespace(expected=range(360))
        return SimpleNamespace(session=SimpleNamespace(sides=sides), verified=verified, folder=Path("r"))

    def behind(side, faults):
        delays.append((side.name, faults.delay_s))

    def conclude(run, _):
        names = [side.name for side in run.session.sides]
        return gated_run({name: 1.1 if name == "slow" else 1.0 for name in names}, wrong=["wrong"])

    monkeypatch.setattr(self_test, "start_run", start_run)
    monkeypatch.setattr(self_test, "behind", behind)
    monkeypatch.setattr(self_test, "conclude", conclude)
    return runs, delays


def test_a_slowdown_is_of_the_p50_that_is_measured_first(staged):
    runs, delays = staged
    found = self_test.self_test(request(slowdown=0.1, limits=self_test.LIMITS), [], lambda *_: None)
    first, second = runs
    assert [side.name for side in first.sides] == ["base"]
    assert (first.profile.blocks, first.profile.rounds) == (1, 1)
    assert len(second.sides) == 4
    assert second.profile.blocks == 4, "the default profile for gates"
    delayed = {name: delay_s for name, delay_s in delays if delay_s}
    assert delayed == {"slow": pytest.approx(0.001, rel=0.05)}
    slow = found.trials[1]
    assert "10 % of p50" in slow.injected.replace("\u202f", " ")
    assert slow.expected == {"p50", "throughput"}
    assert slow.passed


def test_without_a_slowdown_nothing_is_measured_first(staged):
    runs, delays = staged
    self_test.self_test(request(), [], lambda *_: None)
    assert [settings.profile.blocks for settings in runs] == [2]
    assert ("slow", 0.005) in delays


def test_a_server_without_a_p50_cannot_be_slowed_down_by_a_share_of_it(staged, monkeypatch):
    record = gated_run({"base": 1.0})
    base = record.targets["base"].model_copy(update={"rounds": ()})
    monkeypatch.setattr(
        self_test, "conclude", lambda *_: record.model_copy(update={"targets": {"base": base}})
    )
    with pytest.raises(MachineError, match="--delay-ms in place of --slowdown"):
        self_test.self_test(request(slowdown=0.1, limits=self_test.LIMITS), [], lambda *_: None)


@pytest.mark.parametrize("slowdown", [None, 0.1])
def test_a_self_test_that_was_stopped_carries_what_it_measured(staged, monkeypatch, slowdown):
    record = gated_run({"base": 1.0}).model_copy(update={"status": "interrupted"})
    monkeypatch.setattr(self_test, "conclude", lambda *_: record)
    asked = request(slowdown=slowdown, limits=self_test.LIMITS)
    with pytest.raises(KeyboardInterrupt) as stopped:
        self_test.self_test(asked, [], lambda *_: None)
    assert carried_by(stopped.value).record is record


def test_a_self_test_with_too_few_answers_carries_what_it_measured(staged):
    with pytest.raises(MachineError, match="smaller --wrong-every") as failed:
        self_test.self_test(request(wrong_every=10**6), [], lambda *_: None)
    assert carried_by(failed.value).record.targets.keys() >= {"slow", "wrong"}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"delay_ms": 0}, "--delay-ms is 0"),
        ({"wrong_every": 0}, "--wrong-every is 0"),
        ({"slowdown": 0.1}, "no limit is about p50 or throughput"),
        ({"slowdown": 0.03, "limits": self_test.LIMITS}, r"above 5\.27%"),
        ({"slowdown": 0.05, "limits": asked_limits({"p50": "5%"})}, "above 5%"),
        ({"slowdown": 0.052, "limits": asked_limits({"throughput": "5%"})}, r"above 5\.27%"),
        ({"slowdown": 0.1, "limits": asked_limits({"p50": "5%", "throughput": "20%"})}, "above 25%"),
    ],
)
def test_faults_that_cannot_be_are_refused_before_any_work(staged, changes, said):
    with pytest.raises(RequestError, match=said):
        self_test.self_test(request(**changes), [], lambda *_: None)
    assert staged == ([], [])


def test_a_server_too_slow_for_a_single_wrong_answer_is_said():
    record = gated_run(dict.fromkeys(self_test.NAMES, 1.0))
    with pytest.raises(MachineError, match="smaller --wrong-every"):
        self_test._trials(record, request(wrong_every=10**6))


def test_the_settings_are_four_sides_of_one_target():
    settings = self_test._settings(request())
    assert [side.target for side in settings.sides] == ["tfserving"] * 4
    assert tuple(side.name for side in settings.sides) == self_test.NAMES
    assert settings.profile.loads == ("closed:1",)


def test_a_round_of_the_slow_side_holds_enough_requests_for_its_p99():
    for delay_ms in (0.5, 5.0, 50.0):
        profile = self_test._settings(request(delay_ms=delay_ms)).profile
        assert profile.round_s / ((delay_ms + self_test.USUAL_MS) / 1000) >= samples_needed(99)


def test_a_server_too_slow_for_a_p99_is_told_by_its_other_speeds():
    record = gated_run({"same": 1.0, "slow": 1.5, "wrong": 1.0, "base": 1.0}, wrong=["wrong"])
    slow = record.targets["slow"]
    rounds = tuple(
        one.model_copy(update={"latency_ms": one.latency_ms.model_copy(update={"p99": None})})
        for one in slow.rounds
    )
    targets = {**record.targets, "slow": slow.model_copy(update={"rounds": rounds})}
    trials = self_test._trials(
        record.model_copy(update={"targets": targets}), request(limits=self_test.LIMITS)
    )
    words = {one.metric: one.word for one in trials[1].findings}
    assert (words["p99"], words["p50"], words["throughput"]) == ("undecided", "fail", "fail")
    assert all(trial.passed for trial in trials)


def test_limits_without_a_speed_are_refused():
    with pytest.raises(RequestError, match="no limit is about speed"):
        self_test.self_test(request(limits=asked_limits({"size": "1%"})), [], lambda *_: None)


def test_which_answers_are_wrong():
    faults = Faults(wrong_every=10, wrong_after=25)
    assert [number for number in range(1, 60) if faults.spoils(number)] == [30, 40, 50]
    assert not any(Faults().spoils(number) for number in range(50))


def test_a_spoilt_answer_has_the_form_of_a_right_one():
    right = {"predictions": [[0.5, 2], [True, "a"]]}
    assert other_numbers(right) == {"predictions": [[-1.5, -3], [False, "a"]]}
    whole = spoilt(response(200, json.dumps(right).encode()))
    assert json.loads(whole.partition(b"\r\n\r\n")[2]) == other_numbers(right)
    for other in (response(503, b"{}"), response(200, b"no JSON")):
        assert spoilt(other) == other


def test_a_delay_shorter_than_the_event_loops_timer_is_kept():
    async def held_s():
        started_s = time.perf_counter()
        await faulty._hold(0.0003)
        return time.perf_counter() - started_s

    async def several():
        return [await held_s() for _ in range(100)]

    delays_s = asyncio.run(several())
    assert 0.0003 <= min(delays_s) < 0.0006


@pytest.fixture
def proxied():
    port, upstream = free_ports(2, "127.0.0.1")
    faults = ["--delay-ms=50", "--wrong-every=2", "--wrong-after=1"]
    server = [
        sys.executable,
        "-m",
        "loadtests.servers.known_delay",
        f"--port={upstream}",
        "--delay=constant:1",
    ]
    proxy = [sys.executable, "-m", "loadtests.servers.faulty", f"--port={port}", f"--upstream={upstream}"]
    with subprocess.Popen([*proxy, *faults, "--", *server], start_new_session=True) as process:
        try:
            yield f"http://127.0.0.1:{port}/", process
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(10)


def ask(url: str) -> tuple[float, dict]:
    started = time.monotonic()
    for _ in range(100):
        try:
            with urllib.request.urlopen(url, b"{}", timeout=5) as answer:  # noqa: S310 - our own server
                return time.monotonic() - started, json.load(answer)
        except OSError:
            time.sleep(0.1)
            started = time.monotonic()
    raise AssertionError("nobody listens")


@pytest.mark.slow
def test_the_proxy_delays_spoils_and_ends_with_its_server(proxied):
    url, process = proxied
    answers = [ask(url) for _ in range(4)]
    assert all(elapsed_s >= 0.05 for elapsed_s, _ in answers)
    right = [[0.1, 0.7, 0.2]]
    assert [answer["predictions"] == right for _, answer in answers] == [True, False, True, False]
    (child,) = psutil.Process(process.pid).children()
    process.send_signal(signal.SIGTERM)
    process.wait(10)
    assert not child.is_running()
