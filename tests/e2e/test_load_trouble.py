"""What a round does when something goes wrong: it says so and keeps what it has measured."""

import json
import signal
import subprocess
import time

import numpy as np
import psutil
import pytest
from load_harness import ROOT, finish, generator_command, known_delay_server, make_plan, run, start

from loadtests.recorder import partial_path, read_samples, recover
from loadtests.result import RoundResult

pytestmark = pytest.mark.slow

NOBODY = "http://127.0.0.1:9"


def wait_for(condition, patience_s=20.0):
    deadline = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def sends(server, count=50):
    return lambda: server.log_file.exists() and server.log_file.stat().st_size > count * 40


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_keeps_what_was_measured(tmp_path, number):
    with known_delay_server(tmp_path, "--delay", "constant:5") as server:
        plan = make_plan(tmp_path, server.url, duration_s=30.0, warmup_limit_s=0.2)
        generator = start(plan)
        wait_for(sends(server, 600))
        generator.send_signal(number)
        assert finish(generator) == (0, "")
        says = server.stop()
    result, samples = RoundResult.load(plan.result_file), read_samples(plan.samples_file)
    assert result.interrupted
    assert 0 < result.window_s < 25
    assert result.requests_count == len(samples) > 10
    assert result.errors_count == 0
    assert result.requests_count + result.warmup_requests_count == len(says.kinds)


def test_a_signal_during_start_up_still_gives_a_result(tmp_path):
    plan = make_plan(tmp_path, NOBODY, duration_s=30.0)
    generator = start(plan)
    time.sleep(0.3)
    generator.send_signal(signal.SIGINT)
    code, said = finish(generator)
    assert "Traceback" not in said or code == -signal.SIGINT
    if code == 0:
        assert RoundResult.load(plan.result_file).interrupted


def test_the_second_signal_does_not_wait_for_answers(tmp_path):
    with known_delay_server(tmp_path, "--delay", "constant:20000") as server:
        plan = make_plan(tmp_path, server.url, timeout_s=30.0, duration_s=20.0, warmup_limit_s=0.0)
        generator = start(plan)
        wait_for(lambda: len(psutil.Process(server.process.pid).net_connections("tcp")) > 4)
        began = time.monotonic()
        generator.send_signal(signal.SIGINT)
        time.sleep(0.5)
        generator.send_signal(signal.SIGINT)
        assert finish(generator) == (0, "")
    assert time.monotonic() - began < 15
    result = RoundResult.load(plan.result_file)
    assert [(group.kind, group.count) for group in result.errors] == [("cut off", 4)]


def test_a_server_that_dies_ends_the_round_early_and_is_named(tmp_path):
    with known_delay_server(tmp_path, "--delay", "constant:5") as server:
        plan = make_plan(tmp_path, server.url, duration_s=30.0, warmup_limit_s=0.2)
        generator = start(plan)
        wait_for(sends(server, 300))
        server.process.kill()
        killed = time.monotonic()
        assert finish(generator) == (0, "")
    assert time.monotonic() - killed < 20
    result, samples = RoundResult.load(plan.result_file), read_samples(plan.samples_file)
    assert result.server_gone
    assert not result.interrupted
    assert result.requests_count == len(samples)
    assert np.count_nonzero(samples.status == 200) > 0
    assert {group.kind for group in result.errors} <= {"refused", "reset", "closed"}
    assert result.errors_count == np.count_nonzero(samples.status == 0)
    # Users that cannot connect pause instead of spinning.
    assert result.errors_count < 4 * 4 / 0.05


def test_a_server_that_never_was_is_said_to_be_gone(tmp_path):
    result, samples = run(make_plan(tmp_path, NOBODY, duration_s=20.0, warmup_limit_s=0.0))
    assert result.server_gone
    assert result.errors[0].kind == "refused"
    assert "refused" in result.errors[0].example
    assert result.window_s < 5
    assert np.all(samples.status == 0)


def test_wrong_answers_and_refusals_are_errors(tmp_path):
    options = ("--delay", "constant:2", "--wrong-share", "0.1", "--error-share", "0.1", "--seed", "5")
    with known_delay_server(tmp_path, *options) as server:
        result, samples = run(make_plan(tmp_path, server.url, warmup_limit_s=0.0))
        says = server.stop()
    counts = {group.kind: group.count for group in result.errors}
    assert counts == {"wrong answer": says.kinds.count("wrong"), "http 503": says.kinds.count("error")}
    assert result.wrong_count == counts["wrong answer"] == np.count_nonzero(samples.correct == 0)
    assert result.errors_count == sum(counts.values())
    examples = {group.kind: group.example for group in result.errors}
    assert examples["http 503"] == '{"error": "no luck"}'


def test_a_seeded_share_of_the_answers_is_checked(tmp_path):
    with known_delay_server(tmp_path, "--delay", "constant:1") as server:
        result, samples = run(make_plan(tmp_path, server.url, check_share=0.05))
    assert result.checked_count >= 0.05 * len(samples) - 1
    assert result.checked_count < 0.06 * len(samples) + 1


def test_silence_is_a_timeout_and_not_the_end(tmp_path):
    with known_delay_server(tmp_path, "--delay", "constant:5000") as server:
        result, samples = run(
            make_plan(tmp_path, server.url, timeout_s=0.4, warmup_limit_s=0.0, duration_s=2.0)
        )
    assert [group.kind for group in result.errors] == ["timeout"]
    assert result.errors_count == len(samples) >= 4 * 4
    assert not result.server_gone
    assert np.all(samples.done_ns - samples.sent_ns >= 0.39e9)


def test_a_killed_generator_leaves_its_batches(tmp_path):
    with known_delay_server(tmp_path, "--delay", "constant:1") as server:
        plan = make_plan(tmp_path, server.url, duration_s=30.0, warmup_limit_s=0.0)
        generator = start(plan)
        wait_for(sends(server, 1500))
        generator.kill()
        generator.communicate()
        says = server.stop()
    count = recover(plan.samples_file)
    assert 0 < count == len(read_samples(plan.samples_file)) <= len(says.kinds)


def test_a_full_disk_is_one_line_and_exit_code_3(tmp_path):
    with known_delay_server(tmp_path, "--delay", "constant:1") as server:
        plan = make_plan(tmp_path, server.url, duration_s=20.0, warmup_limit_s=0.0)
        partial_path(plan.samples_file).symlink_to("/dev/full")
        code, said = finish(start(plan))
    assert code == 3
    assert said.count("\n") == 1
    assert "No space left on device" in said


@pytest.mark.parametrize("changes", [{"load": "closed:many"}, {"duration_s": -1}, {"surprise": 1}])
def test_a_plan_that_cannot_be_is_one_line_and_exit_code_2(tmp_path, changes):
    command = generator_command(make_plan(tmp_path, NOBODY))
    plan_file = tmp_path / "plan.json"
    plan_file.write_text(json.dumps(json.loads(plan_file.read_text()) | changes))
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    assert answer.returncode == 2
    assert answer.stderr.count("\n") == 1
    assert not (tmp_path / "result.json").exists()


def test_a_generator_does_not_outlive_its_parent(tmp_path):
    with known_delay_server(tmp_path, "--delay", "constant:5") as server:
        plan = make_plan(tmp_path, server.url, duration_s=30.0, warmup_limit_s=0.1)
        script = "import subprocess, sys, time; subprocess.Popen(sys.argv[1:]); time.sleep(60)"
        command = generator_command(plan)
        parent = subprocess.Popen([command[0], "-c", script, *command], cwd=ROOT)
        wait_for(sends(server, 300))
        parent.kill()
        parent.wait()
        wait_for(plan.result_file.exists, 30)
    assert RoundResult.load(plan.result_file).interrupted
