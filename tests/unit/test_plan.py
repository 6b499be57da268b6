import json
import os
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny_disk import fill, tiny_disk  # noqa: F401 - a fixture

from loadtests.errors import LoadTestError, PlanError
from loadtests.payloads import CheckedOutput, PayloadPool
from loadtests.plan import RoundPlan, warmup_path
from loadtests.result import ErrorGroup, GeneratorUse, ResultError, RoundResult


@pytest.fixture
def plan(tmp_path):
    (tmp_path / "pool.json").write_text("{}")
    return RoundPlan(
        url_base="http://127.0.0.1:8501",
        load="closed:8",
        warmup_limit_s=1.0,
        duration_s=5.0,
        pool_file=tmp_path / "pool.json",
        samples_file=tmp_path / "round.parquet",
        result_file=tmp_path / "result.json",
        check_share=0.01,
        seed=1,
        timeout_s=10.0,
        cores=(min(os.sched_getaffinity(0)),),
    )


def test_a_plan_comes_back_as_it_was_saved(plan, tmp_path):
    plan.save(tmp_path / "plan.json")
    assert RoundPlan.load_file(tmp_path / "plan.json") == plan
    assert plan.parsed_load.value == 8
    assert plan.warmup_file.name == "round-warmup.parquet"


def test_whole_numbers_will_do_for_seconds(plan, tmp_path):
    plan.save(tmp_path / "plan.json")
    rewrite(tmp_path / "plan.json", duration_s=5)
    assert RoundPlan.load_file(tmp_path / "plan.json") == plan


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"load": "closed"}, "closed:USERS or open:RATE"),
        ({"load": 8}, "load is 8, expected str"),
        ({"warmup_limit_s": -1}, "warmup_limit_s is -1"),
        ({"duration_s": 0}, "duration_s is 0"),
        ({"duration_s": "5"}, "duration_s is '5', expected float"),
        ({"duration_s": True}, "duration_s is True"),
        ({"timeout_s": 0}, "timeout_s is 0"),
        ({"check_share": 1.1}, "check_share is 1.1"),
        ({"seed": 1.5}, "seed is 1.5, expected int"),
        ({"cores": [9999]}, "cores .9999. are not this process's"),
        ({"cores": "0"}, "cores is '0'"),
        ({"url_base": "ftp://127.0.0.1:1"}, "not http://HOST:PORT"),
        ({"url_base": "http://127.0.0.1"}, "not http://HOST:PORT"),
        ({"url_base": "http://127.0.0.1:port"}, "not http://HOST:PORT"),
        ({"pool_file": "/nowhere/pool.json"}, "pool_file .* does not exist"),
        ({"samples_file": "/nowhere/s.parquet"}, "folder /nowhere of s.parquet does not exist"),
        ({"result_file": "/nowhere/r.json"}, "folder /nowhere of r.json does not exist"),
        ({"durations": 1}, "unknown key 'durations', allowed are url_base, load"),
    ],
)
def test_a_plan_that_cannot_be_carried_out_is_refused_in_one_line(plan, tmp_path, changes, words):
    plan.save(tmp_path / "plan.json")
    rewrite(tmp_path / "plan.json", **changes)
    with pytest.raises(PlanError, match=words) as caught:
        RoundPlan.load_file(tmp_path / "plan.json")
    assert "\n" not in str(caught.value)


def test_every_key_is_needed(plan, tmp_path):
    plan.save(tmp_path / "plan.json")
    value = json.loads((tmp_path / "plan.json").read_text())
    del value["seed"]
    (tmp_path / "plan.json").write_text(json.dumps(value))
    with pytest.raises(PlanError, match="missing key 'seed'"):
        RoundPlan.load_file(tmp_path / "plan.json")


def test_a_plan_that_is_not_there(tmp_path):
    with pytest.raises(PlanError, match="cannot read"):
        RoundPlan.load_file(tmp_path / "plan.json")


def test_the_warm_up_lies_beside_the_samples():
    assert warmup_path(Path("samples/b0-r1.parquet")) == Path("samples/b0-r1-warmup.parquet")


def test_a_result_comes_back_as_it_was_saved(tmp_path):
    result = RoundResult(
        started_at_utc="2026-11-20T12:00:00.000+00:00",
        window_start_ns=None,
        window_s=0.0,
        warmup_s=0.5,
        steady=False,
        warmup_requests_count=3,
        requests_count=0,
        errors_count=0,
        checked_count=0,
        wrong_count=0,
        errors=(ErrorGroup("refused", 3, "ConnectionRefusedError"),),
        bytes_received=0,
        generator=GeneratorUse(
            cpu_s=0.0, cpu_share=None, polled_s=0.0, cores=(0, 1), realtime=False, waited_share=None
        ),
        server_gone=True,
        interrupted=False,
    )
    result.save(tmp_path / "result.json")
    assert RoundResult.load(tmp_path / "result.json") == result
    rewrite(tmp_path / "result.json", surprise=1)
    with pytest.raises(ResultError, match="unknown key 'surprise'"):
        RoundResult.load(tmp_path / "result.json")


def test_all_errors_of_the_package_have_one_parent():
    assert issubclass(PlanError, LoadTestError)
    assert issubclass(ResultError, LoadTestError)


def rewrite(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_plan_that_finds_the_disk_full_names_its_file(plan, tiny_disk):  # noqa: F811
    plan.save(tiny_disk / "plan.json")
    fill(tiny_disk)
    other = replace(plan, url_base="http://127.0.0.1:9/" + "x" * 5000)
    with pytest.raises(OSError, match="No space left") as caught:
        other.save(tiny_disk / "plan.json")
    assert caught.value.filename == str(tiny_disk / "plan.json")
    assert RoundPlan.load_file(tiny_disk / "plan.json") == plan
    assert {path.name for path in tiny_disk.iterdir()} == {"plan.json", "filling"}


def test_requests_that_find_the_disk_full_name_their_file(tiny_disk):  # noqa: F811
    bodies = tuple(random.Random(n).randbytes(40_000) for n in range(8))  # noqa: S311 - no secrets
    answers = tuple({"y": np.ones(1)} for _ in bodies)
    pool = PayloadPool("POST", "/", {}, bodies, answers, (CheckedOutput("y", 1e-4, 0.0, classes=False),))
    with pytest.raises(OSError, match="No space left") as caught:
        pool.save(tiny_disk / "pool.zip")
    assert caught.value.filename == str(tiny_disk / "pool.zip")
    assert list(tiny_disk.iterdir()) == []
