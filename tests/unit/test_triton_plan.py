"""What Triton is started from and what it is heard to say, without a Triton."""

import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from pydantic import ValidationError

from models.digits_cnn import MODEL as DIGITS
from models.spec import TensorSpec
from pipelines import doctor
from pipelines.environments import system
from pipelines.environments.creation import ensure
from pipelines.environments.known import TRITON, Environment
from pipelines.errors import MachineError, RequestError
from pipelines.targets.presets import resolve
from pipelines.targets.triton.configuration import batches, configuration
from pipelines.targets.triton.settings import TritonSettings, config

SPEC = SimpleNamespace(
    name="m",
    inputs=(TensorSpec("x", "float32", (None, 8, None)), TensorSpec("mask", "bool", (None, 3))),
    outputs=(TensorSpec("y", "int64", (None, 10)),),
)
METRICS = """# TYPE tandem_torch_threads gauge
tandem_torch_threads{instance="m_0_0",kind="intra",pid="7"} 2
tandem_torch_threads{instance="m_0_0",kind="inter",pid="7"} 4
tandem_torch_threads{instance="m_0_1",kind="intra",pid="8"} 2
tandem_torch_threads{instance="m_0_1",kind="inter",pid="8"} %s
"""


def test_without_a_preset_the_model_is_not_batched_and_its_shapes_are_whole():
    lines = config(SPEC, TritonSettings(), "/a/m.pt").splitlines()
    assert "max_batch_size: 0" in lines
    assert 'input [ { name: "x" data_type: TYPE_FP32 dims: [ -1, 8, -1 ] } ]' in lines
    assert 'output [ { name: "y" data_type: TYPE_INT64 dims: [ -1, 10 ] } ]' in lines
    assert 'parameters { key: "script" value { string_value: "/a/m.pt" } }' in lines
    assert not any("dynamic_batching" in line or "torch_threads" in line for line in lines)


def test_batched_the_first_size_is_the_servers_own():
    asked = TritonSettings(
        dynamic_batching=True,
        max_batch_size=16,
        max_queue_delay_microseconds=500,
        max_queue_size=64,
        preferred_batch_size=(4, 8),
        instance_count=2,
        torch_threads=1,
    )
    text = config(SPEC, asked, "m.pt")
    assert "max_batch_size: 16" in text
    assert 'name: "x" data_type: TYPE_FP32 dims: [ 8, -1 ]' in text
    assert 'name: "mask" data_type: TYPE_BOOL dims: [ 3 ]' in text
    assert (
        "dynamic_batching { preferred_batch_size: [ 4, 8 ] max_queue_delay_microseconds: 500 "
        "default_queue_policy { max_queue_size: 64 } }"
    ) in text
    assert "kind: KIND_CPU count: 2" in text
    assert 'key: "torch_threads" value { string_value: "1" }' in text


def test_a_name_cannot_end_the_text_it_is_in():
    text = config(SPEC, TritonSettings(), 'a"b\\c.pt')
    assert 'string_value: "a\\"b\\\\c.pt"' in text


def test_one_number_per_row_cannot_be_batched():
    flags = SimpleNamespace(**{**vars(SPEC), "inputs": (TensorSpec("flag", "bool", (None,)),)})
    assert "dims: [ -1 ]" in config(flags, TritonSettings(), "m.pt")
    with pytest.raises(RequestError, match="triton cannot batch m: 'flag' is one number per row"):
        config(flags, TritonSettings(max_batch_size=4), "m.pt")


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"dynamic_batching": True}, "needs max_batch_size"),
        ({"dynamic_batching": True, "max_batch_size": 1}, "needs max_batch_size"),
        ({"max_batch_size": 4, "max_queue_size": 5}, "max_queue_size needs dynamic_batching"),
        ({"max_queue_delay_microseconds": 0}, "max_queue_delay_microseconds needs dynamic_batching"),
        (
            {"dynamic_batching": True, "max_batch_size": 4, "preferred_batch_size": [8]},
            "above max_batch_size",
        ),
        ({"dynamic_batching": True, "max_batch_size": 4, "preferred_batch_size": []}, "preferred_batch_size"),
        ({"instance_count": 0}, "instance_count"),
        ({"torch_threads": "1"}, "torch_threads"),
        ({"http_port": 80}, "http_port"),
    ],
)
def test_what_triton_would_not_take_is_refused_before_it_starts(asked, said):
    with pytest.raises(ValidationError, match=said):
        TritonSettings.model_validate(asked)


def test_shipped_presets_are_flags_and_parameters():
    settings = {name: resolve(name, ["triton"])["triton"].settings for name in ("default", "tuned")}
    assert settings["default"].flags() == []
    assert settings["tuned"].flags() == ["--allow-cpu-metrics=false", "--http-thread-count=2"]
    assert settings["tuned"].torch_threads == 1
    lines = config(DIGITS, settings["tuned"], "x.pt").splitlines()
    assert "dynamic_batching { max_queue_delay_microseconds: 0 }" in lines


def test_its_configuration_is_the_servers_word():
    told = {
        "max_batch_size": 16,
        "instance_group": [{"count": 2, "kind": "KIND_CPU"}],
        "dynamic_batching": {
            "max_queue_delay_microseconds": 500,
            "default_queue_policy": {"max_queue_size": 64},
        },
    }
    found = dict(configuration(told, METRICS % 4))
    assert set(found.pop("sources").values()) == {"server"}
    assert found == {
        "workers_count": 2,
        "batch_max_size": 16,
        "batch_delay_ms": 0.5,
        "queue_max_count": 64,
        "threads_per_worker": 2,
        "inter_op_threads_count": 4,
    }


def test_room_for_rows_without_a_batcher_is_no_batching():
    found = configuration({"max_batch_size": 16, "instance_group": [{"count": 1}]}, "")
    assert found["batch_max_size"] == 1
    assert "batch_delay_ms" not in found
    assert "threads_per_worker" not in found


def test_processes_that_disagree_have_no_one_number():
    found = configuration({}, METRICS % 5)
    assert found["threads_per_worker"] == 2
    assert "inter_op_threads_count" not in found


def test_requests_and_runs_are_its_own_counts():
    one = {"inference_count": 9, "execution_count": 3, "inference_stats": {"success": {"count": 7}}}
    assert batches({"model_stats": [one]}) == (7, 3)
    assert batches({"error": "gone"}) == batches(None) == (0, 0)


def refused(environment):
    """What `ensure` says, which must not begin to make anything."""
    with pytest.raises(MachineError) as caught:
        ensure(environment, pytest.fail)
    return str(caught.value)


def test_an_old_or_another_c_library_is_said(monkeypatch):
    monkeypatch.setattr(system.platform, "libc_ver", lambda: ("glibc", "2.31"))
    assert "needs glibc 2.35 or newer, this system has glibc 2.31" in refused(TRITON)
    monkeypatch.setattr(system.platform, "libc_ver", lambda: ("", ""))
    assert "this system has another C library" in refused(TRITON)


def test_another_processor_is_said(monkeypatch):
    monkeypatch.setattr(system.platform, "machine", lambda: "aarch64")
    assert "cannot be made on aarch64" in refused(TRITON)


def test_a_missing_libpython_is_said_with_its_package(monkeypatch):
    monkeypatch.setattr(system, "python_library", lambda: None)
    # With any Python, not only with those that Triton's wheels are for.
    triton = replace(TRITON, pythons=(".".join(map(str, sys.version_info[:2])),))
    assert "apt-get install libpython3." in refused(triton)
    found = doctor._environment(triton)
    assert (found.ok, found.found) == (False, "cannot be made")
    assert "apt-get install libpython3." in found.remedy


def test_shared_memory_that_cannot_be_written_is_said(monkeypatch, tmp_path):
    monkeypatch.setattr(system, "python_library", lambda: Path("there"))
    monkeypatch.setattr(system, "SHARED_MEMORY", str(tmp_path / "none"))
    assert "needs shared memory: " in refused(TRITON)


@pytest.mark.slow
def test_a_libpython_that_goes_is_missed_by_an_environment_that_was_made(monkeypatch, tmp_path):
    made = Environment("triton", "a test", 1, locks=tmp_path, libpython=True)
    (tmp_path / "triton.lock").write_text("a==1\n")
    monkeypatch.setenv("TANDEM_ENVIRONMENTS", str(tmp_path))
    made.python.parent.mkdir(parents=True)
    made.python.touch()
    assert ensure(replace(made, libpython=False), lambda _: None) == made.python
    monkeypatch.setattr(system, "python_library", lambda: None)
    assert "libpython" in refused(made)


def test_the_interpreters_own_library_comes_before_the_systems(monkeypatch, tmp_path):
    name = system._file_name()
    monkeypatch.setattr(system, "_of_the_system", lambda name: Path("/system") / name)
    monkeypatch.setattr(system.sysconfig, "get_config_var", lambda _: str(tmp_path))
    monkeypatch.setattr(system.sys, "base_prefix", str(tmp_path / "none"))
    find = system.python_library.__wrapped__
    assert find() == Path("/system") / name
    (tmp_path / name).touch()
    assert find() == tmp_path / name
