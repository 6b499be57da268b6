import importlib
import os
import socket
import subprocess
import sys

import psutil
import pytest

from models.digits_cnn import MODEL
from pipelines.errors import MachineError, RequestError
from pipelines.processes.group import free_ports
from pipelines.targets import server_plan
from pipelines.targets.registry import SERVED, TARGETS, find_target
from pipelines.targets.server_plan import ServeRequest, choose_ports


@pytest.fixture
def request_for(tmp_path):
    return lambda **changes: ServeRequest(MODEL, tmp_path, tmp_path, **changes)


def test_any_free_ports_will_do_when_none_is_asked_for(request_for):
    ports = choose_ports(request_for(), 5)
    assert len(set(ports)) == 5
    assert all(1024 <= port < 2**16 for port in ports)


def test_the_port_asked_for_comes_first_and_only_once(request_for, monkeypatch):
    (wanted,) = free_ports(1)
    for chosen in ([wanted, 5, 6], [5, wanted, 6], [5, 6, 7]):
        monkeypatch.setattr(server_plan, "free_ports", lambda _, chosen=chosen: chosen)
        ports = choose_ports(request_for(rest_port=wanted), 3)
        assert ports[0] == wanted
        assert len(set(ports)) == 3


def test_a_taken_port_names_its_holder_and_the_way_out(request_for):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(MachineError) as caught:
            choose_ports(request_for(rest_port=port), 2)
    assert str(caught.value) == (
        f"port {port} is taken ({psutil.Process().name()}, pid {os.getpid()}); "
        "choose another with --port, or 0 for a free one"
    )


@pytest.mark.parametrize("port", [-1, 65536, 100_000])
def test_a_port_out_of_range_is_the_requests_fault(request_for, port):
    with pytest.raises(RequestError, match=rf"port {port} is out of range; allowed: 1 to 65535, or 0"):
        choose_ports(request_for(rest_port=port), 2)


def test_an_address_that_is_not_ours_is_not_called_a_taken_port(request_for):
    (port,) = free_ports(1)
    with pytest.raises((MachineError, RequestError)) as caught:
        choose_ports(request_for(rest_port=port, host="192.0.2.1"), 2)
    assert "192.0.2.1" in str(caught.value)
    assert "is taken" not in str(caught.value)


def test_targets_are_found_by_name_and_what_they_name_exists():
    served = ["torchserve", "tfserving", "python", "mlserver", "triton", "torchserve-pt2"]
    assert list(TARGETS) == [*served, "tflite", "executorch", "onnx"]
    assert list(SERVED) == served
    for name, target in TARGETS.items():
        assert find_target(name) is target
        own = target.checks and f"{target.checks}:status"
        for dotted in (target.export, target.runtime, target.server, target.settings, own):
            if dotted:
                module, function = dotted.split(":")
                assert callable(getattr(importlib.import_module(module), function, None)), dotted


def test_a_misspelt_target_gets_the_nearest_name_and_all_names():
    with pytest.raises(RequestError) as caught:
        find_target("tfservin")
    assert str(caught.value) == (
        "unknown target 'tfservin'; did you mean tfserving? allowed: torchserve, tfserving, python, "
        "mlserver, triton, torchserve-pt2, tflite, executorch, onnx"
    )


def test_a_target_without_a_server_is_not_among_the_served():
    with pytest.raises(
        RequestError,
        match=r"unknown target 'tflite'; .*allowed: torchserve, tfserving, python, mlserver, triton, "
        "torchserve-pt2$",
    ):
        find_target("tflite", SERVED)


def test_planning_a_server_for_a_device_target_is_a_wrong_request(request_for):
    with pytest.raises(RequestError, match="tflite runs in process and has no server"):
        server_plan.plan_server("tflite", request_for())


@pytest.mark.slow
def test_naming_a_target_imports_no_framework():
    code = (
        "import sys; from pipelines.targets.registry import TARGETS; TARGETS['torchserve'].sources;"
        "print(sorted({'torch', 'tensorflow', 'keras', 'ts'} & set(sys.modules)))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"
