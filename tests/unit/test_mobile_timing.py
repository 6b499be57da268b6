"""The measurement itself, on models whose behaviour is known: counts and order, never speed."""

import dataclasses
import gc
import sys
import time
import types

import numpy as np
import pytest

from models import tensors
from pipelines.mobile import memory, timing
from pipelines.mobile.timing import TimingRules, timed_calls

QUICK = TimingRules(warmup_s=0.01, runs=5, measured_s=0.02, wished_runs=7, patience_s=0.05)
SAMPLES = [{"x": np.full((2,), number, np.float32)} for number in range(3)]


class Model:
    """Notes what happens to it; `invoke` takes as long as it is told."""

    def __init__(self, takes_s=0.0):
        self.takes_s, self.events, self.collecting = takes_s, [], []

    def set_inputs(self, sample):
        self.events.append(int(sample["x"][0]))

    def invoke(self):
        self.collecting.append(gc.isenabled())
        self.events.append("invoke")
        if self.takes_s:
            time.sleep(self.takes_s)

    def outputs(self):
        return {"y": np.zeros(1, np.float32)}


def test_every_call_gets_the_next_sample_and_is_counted():
    model = Model(takes_s=0.001)
    calls_ns, elapsed_s = timed_calls(model, SAMPLES, dataclasses.replace(QUICK, patience_s=5))
    assert len(calls_ns) == model.events.count("invoke") >= QUICK.wished_runs
    assert model.events[:6] == [0, "invoke", 1, "invoke", 2, "invoke"]
    assert model.events[6:8] == [0, "invoke"]
    assert calls_ns.min() >= 1_000_000
    assert calls_ns.sum() / 1e9 <= elapsed_s


def test_only_invoke_is_timed():
    class SlowInput(Model):
        def set_inputs(self, sample):
            super().set_inputs(sample)
            time.sleep(0.02)

    calls_ns, elapsed_s = timed_calls(SlowInput(), SAMPLES, QUICK)
    assert elapsed_s >= 0.02 * len(calls_ns)
    assert np.median(calls_ns) < 10_000_000


def test_no_garbage_is_collected_meanwhile_and_it_is_afterwards():
    model = Model()
    assert gc.isenabled()
    timed_calls(model, SAMPLES, QUICK)
    assert not any(model.collecting)
    assert gc.isenabled()


def test_garbage_is_collected_again_after_a_failure():
    class Broken(Model):
        def invoke(self):
            raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        timed_calls(Broken(), SAMPLES, QUICK)
    assert gc.isenabled()


RULES = TimingRules()


@pytest.mark.parametrize(
    ("count", "elapsed_s", "enough"),
    [
        (0, 0.0, False),
        (49, 100.0, False),
        (50, 0.99, False),
        (50, 1.0, False),
        (130, 0.99, False),
        (130, 1.0, True),
        (129, 9.9, False),
        (50, 10.0, True),
        (1_000_000, 0.1, True),
    ],
)
def test_enough_is_fifty_runs_and_a_second_and_a_p95_where_there_is_time(count, elapsed_s, enough):
    assert RULES.enough(count, elapsed_s) is enough


def test_as_many_runs_are_wished_for_as_p95_needs():
    from loadtests.statistics import samples_needed

    assert RULES.wished_runs == samples_needed(95)


def runtime_module(monkeypatch, tmp_path, model):
    """A target's runtime module, under a name that can be imported."""
    module = types.ModuleType("made_up_runtime")
    opened = []

    def open_model(path, artifact_format, threads_count, outputs):
        opened.append((path, artifact_format, threads_count, outputs))
        return model

    module.open_model = open_model
    monkeypatch.setitem(sys.modules, "made_up_runtime", module)
    tensors.save(tmp_path / "samples.npz", tensors.joined(SAMPLES))
    return opened


def test_a_whole_measurement_reports_what_it_did(monkeypatch, tmp_path):
    model = Model(takes_s=0.002)
    opened = runtime_module(monkeypatch, tmp_path, model)
    found = timing.time_here(
        str,
        "made_up_runtime",
        tmp_path / "m.x",
        "x",
        2,
        tmp_path / "samples.npz",
        ["y"],
        ["json", "no.such.module"],
        tmp_path / "calls.npy",
        QUICK,
    )
    calls_ns = np.load(tmp_path / "calls.npy")
    assert opened == [(tmp_path / "m.x", "x", 2, ["y"])]
    assert found.warmup_runs_count >= 1
    assert model.events.count("invoke") == 1 + found.warmup_runs_count + len(calls_ns)
    assert found.first_inference_ms >= 2
    assert found.load_ms >= 0
    assert found.peak_memory_bytes >= 0
    assert found.memory_source in {memory.EXACT, memory.GROWTH}


def test_peak_memory_counts_what_is_gone_again():
    start = memory.mark()
    block = np.ones(8_000_000, np.float64)
    del block
    if start.source == memory.GROWTH:
        pytest.skip("the peak cannot be set back here, and an earlier one may hide this")
    peak = memory.peak_above_bytes(start)
    assert 60_000_000 < peak < 90_000_000


def test_an_earlier_peak_is_not_counted():
    block = np.ones(8_000_000, np.float64)
    del block
    start = memory.mark()
    if start.source == memory.GROWTH:
        pytest.skip("the peak cannot be set back here")
    assert memory.peak_above_bytes(start) < 20_000_000
