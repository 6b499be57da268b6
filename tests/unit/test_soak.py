"""The soak's judgement: a leak shows, noise does not."""

import importlib.util
import os
import random
import socket
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from loadtests.reports import Report
from loadtests.result import ErrorGroup

PATH = Path(__file__).parents[2] / "benchmarks" / "soak.py"


@pytest.fixture(scope="module")
def soak():
    spec = importlib.util.spec_from_file_location("soak", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def samples(per_hour, noise, count=600):
    chance = random.Random(3)  # noqa: S311 - noise, no secrets
    times_s = [second * 6.0 for second in range(count)]
    return times_s, [500 + per_hour * t / 3600 + chance.gauss(0, noise) for t in times_s]


def test_a_leak_is_certain_and_its_size_known(soak):
    found = soak.slope(*samples(per_hour=20, noise=2))
    assert found.low > soak.LIMITS_PER_HOUR["memory_mb"]
    assert found.low < 20 < found.high


def test_noise_and_a_constant_are_no_leak(soak):
    noisy, constant = soak.slope(*samples(0, noise=2)), soak.slope(*samples(0, noise=0))
    assert noisy.low < 0 < noisy.high
    assert (constant.per_hour, constant.low, constant.high) == pytest.approx((0, 0, 0), abs=1e-6)


def test_what_a_server_takes_at_first_is_no_leak(soak):
    times_s, values = samples(0, noise=0.1)
    started = [value - max(0, 100 - moment) for moment, value in zip(times_s, values, strict=True)]
    assert soak.slope(times_s, started).low < 1


def test_too_few_samples_are_said(soak):
    with pytest.raises(ValueError, match="longer"):
        soak.slope([0.0, 1.0], [1.0, 1.0])


def test_a_typed_rate_is_taken(soak):
    options = type("Options", (), {"rate": ["torchserve=7.5"], "run": None})
    assert soak.rates(options) == {"torchserve": 7.5}


@pytest.mark.parametrize("count", [4, 5, 600])
def test_the_interval_is_that_of_an_ordinary_line(soak, count):
    times_s, values = samples(10, noise=1, count=count)
    found = soak.slope(times_s, values)
    assert found.low < found.per_hour < found.high
    assert found.per_hour - found.low == pytest.approx(found.high - found.per_hour)


def test_failed_requests_are_told_by_kind_and_the_server_s_log_is_kept(soak, tmp_path, capsys):
    failed = ErrorGroup("http 503", 155, "has no worker to serve inference request")
    result = SimpleNamespace(
        window_s=30, requests_count=1178, errors_count=155, wrong_count=0, interrupted=False, errors=(failed,)
    )
    steady = {name: [1.0] * 5 for name in soak.LIMITS_PER_HOUR}
    watch = soak.Watch(1, 1.0, times_s=[0.0, 1, 2, 3, 4], values=steady)
    assert not soak.told("torchserve", 40, result, watch)
    assert "155 times http 503: has no worker" in capsys.readouterr().out
    (tmp_path / "server.log").write_text("its queue was full\n")
    plan = SimpleNamespace(target="torchserve", launch=SimpleNamespace(log=tmp_path / "server.log"))
    soak.keep_log(SimpleNamespace(plan=plan), tmp_path / "kept.log")
    assert (tmp_path / "kept.log").read_text() == "its queue was full\n"


def test_a_soak_says_every_minute_how_many_were_answered(soak):
    said = []
    watch = soak.Watch(os.getpid(), 1e9, said.append)
    for second in range(120):
        watch.listen(Report("second", 40 if second < 60 else 0), 0)
    watch.listen(Report("closed"), 0)
    assert said == ["minute 1: 40.0 answers a second", "minute 2: 0.0 answers a second"]
    assert len(watch.times_s) == 1


def test_a_soak_configures_its_server_as_asked(soak, tmp_path, monkeypatch):
    (tmp_path / "queue.toml").write_text("[torchserve]\njob_queue_size = 7\n")
    asked = []

    class Runner:
        def prepare(self, target, request):
            asked.append((target, request.preset.settings_of(target).job_queue_size))
            raise InterruptedError

    monkeypatch.setattr(soak, "export", lambda *_, **__: None)
    monkeypatch.setattr(soak, "ensure_verified", lambda *_: None)
    monkeypatch.setattr(soak, "LocalRunner", Runner)
    options = SimpleNamespace(model="digits_cnn", artifacts=tmp_path, preset=str(tmp_path / "queue.toml"))
    with pytest.raises(InterruptedError), soak.started("torchserve", options, tmp_path):
        raise AssertionError("never entered")
    assert asked == [("torchserve", 7)]


@pytest.mark.slow
def test_memory_is_what_a_process_took_not_what_it_mapped(soak, tmp_path):
    mapped = np.memmap(tmp_path / "file", np.uint8, "w+", shape=64_000_000)
    before = soak.tree_figures(os.getpid())["memory_mb"]
    mapped[:] = 1
    after_file = soak.tree_figures(os.getpid())["memory_mb"]
    taken = np.ones(64_000_000, np.uint8)
    after_heap = soak.tree_figures(os.getpid())["memory_mb"]
    assert after_file - before < 32 < after_heap - after_file
    del taken, mapped


def test_connections_are_counted_beside_other_descriptors(soak):
    before = soak.tree_figures(os.getpid())
    pair = [socket.create_server(("127.0.0.1", 0))]
    pair.append(socket.create_connection(pair[0].getsockname()))
    with Path("/dev/null").open() as _held:
        after = soak.tree_figures(os.getpid())
    for one in pair:
        one.close()
    assert (after["connections"] - before["connections"], after["descriptors"] - before["descriptors"]) == (
        2,
        1,
    )


def test_samples_are_kept_as_a_table(soak, tmp_path):
    watch = soak.Watch(os.getpid(), 0.0)
    watch.look()
    watch.look()
    watch.save(tmp_path / "soak.csv")
    lines = (tmp_path / "soak.csv").read_text().splitlines()
    assert lines[0] == "time_s,memory_mb,descriptors,threads,connections"
    assert [len(line.split(",")) for line in lines] == [5, 5, 5]
