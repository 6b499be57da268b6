"""How TorchServe is planned, and one real start of a good and of a broken archive."""

import json
import os
import re
import time
import zipfile
from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import psutil
import pytest
from told_times import require_within, told

from models.digits_cnn import MODEL
from models.spec import TensorSpec
from pipelines.errors import MachineError
from pipelines.export import stage as exporting
from pipelines.http import fetch
from pipelines.parity.quality import Expectation, Expectations
from pipelines.processes.group import free_ports, wait_until
from pipelines.runners.local import LocalServer
from pipelines.serve import readiness
from pipelines.targets.presets import Preset, resolve
from pipelines.targets.server_plan import ServeRequest
from pipelines.targets.torchserve import server
from pipelines.targets.torchserve.settings import TorchServeSettings, body_limit_bytes

QUIET_TORCH = [
    pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*torch.jit.*:FutureWarning"),
    pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning"),
]


@pytest.fixture
def request_for(tmp_path):
    return lambda **changes: ServeRequest(MODEL, tmp_path, tmp_path, **changes)


@pytest.fixture
def no_java(monkeypatch):
    monkeypatch.setattr(server, "find_java", lambda: SimpleNamespace(executable="java", version="25"))


def properties(folder):
    lines = (folder / "config.properties").read_text().splitlines()
    assert len(lines) == len({line.split("=")[0] for line in lines})
    return dict(line.split("=", 1) for line in lines)


def test_the_configuration_is_on_loopback_with_ports_of_its_own(request_for, tmp_path, no_java):
    (port,) = free_ports(1)
    made = server.plan(request_for(rest_port=port))
    found = properties(tmp_path)
    assert found["inference_address"] == f"http://127.0.0.1:{port}" == made.endpoint.base_url
    addresses = [found[f"{name}_address"] for name in ("inference", "management", "metrics")]
    assert all(address.startswith("http://127.0.0.1:") for address in addresses)
    ports = [a.rsplit(":", 1)[1] for a in addresses]
    ports += [found["grpc_inference_port"], found["grpc_management_port"]]
    assert len(set(ports)) == 5
    assert found["enable_model_api"] == "false"
    assert made.endpoint.predict_path == "/predictions/digits_cnn"


def test_only_inference_listens_on_another_address(request_for, tmp_path, no_java):
    server.plan(request_for(host="0.0.0.0"))  # noqa: S104 - what is asked for
    found = properties(tmp_path)
    assert found["inference_address"].startswith("http://0.0.0.0:")
    assert found["management_address"].startswith("http://127.0.0.1:")


def test_everything_it_writes_stays_in_its_folder(request_for, tmp_path, no_java):
    made = server.plan(request_for())
    assert f"-Djava.io.tmpdir={tmp_path / 'tmp'}" in made.launch.argv
    assert (tmp_path / "tmp").is_dir()
    assert made.launch.env["LOG_LOCATION"] == str(tmp_path / "logs")
    assert made.launch.log.parent == made.launch.cwd == tmp_path
    assert made.launch.argv[-2:] == ("-m", "digits_cnn=digits_cnn.mar")


def test_tuning_gives_java_its_options_apart(request_for, tmp_path, no_java):
    made = server.plan(request_for(preset=resolve("tuned", ["torchserve"])["torchserve"]))
    assert "-XX:+UseSerialGC" in made.launch.argv[: made.launch.argv.index("-cp")]
    found = properties(tmp_path)
    assert "vmargs" not in found
    assert found["async_logging"] == "true"


def test_lines_about_requests_are_left_out_and_workers_told_their_threads(request_for, tmp_path, no_java):
    preset = resolve("tuned", ["torchserve"])["torchserve"]
    made = server.plan(request_for(preset=preset))
    file = tmp_path / "log4j2.xml"
    assert f"-Dlog4j.configurationFile={file}" in made.launch.argv[: made.launch.argv.index("-cp")]
    loggers = {one.get("name"): one.get("level") for one in ElementTree.parse(file).iter("Logger")}  # noqa: S314 - ours
    assert loggers["ACCESS_LOG"] == "off"
    assert loggers["org.pytorch.serve.wlm.WorkerThread"] == "warn"
    assert made.launch.env["OMP_NUM_THREADS"] == "1"
    assert not {"request_log", "torch_threads"} & set(properties(tmp_path))


def test_metrics_that_are_logged_go_where_the_vendor_has_them_and_nowhere_else(
    request_for, tmp_path, no_java
):
    made = server.plan(request_for(preset=Preset("quiet", TorchServeSettings(request_log=False))))
    assert "metrics_mode" not in properties(tmp_path)  # the vendor's: log
    tree = ElementTree.parse(tmp_path / "log4j2.xml")  # noqa: S314 - ours
    files = {one.get("name"): one.get("fileName") for one in tree.iter("RollingFile")}
    loggers = {one.get("name"): one for one in tree.iter("Logger")}
    for name, file in (("TS_METRICS", "ts_metrics.log"), ("MODEL_METRICS", "model_metrics.log")):
        (reference,) = loggers[name].iter("AppenderRef")
        assert files[reference.get("ref")] == f"${{env:METRICS_LOCATION:-logs}}/{file}"
        assert (loggers[name].get("level"), loggers[name].get("additivity")) == ("all", "false")
    assert made.launch.env["METRICS_LOCATION"] == str(tmp_path / "logs")


def test_what_fails_in_a_worker_is_still_logged(request_for, tmp_path, no_java):
    server.plan(request_for(preset=resolve("tuned", ["torchserve"])["torchserve"]))
    tree = ElementTree.parse(tmp_path / "log4j2.xml")  # noqa: S314 - ours
    (denied,) = [one.get("regex") for one in tree.iter("RegexFilter")]
    assert re.fullmatch(denied, "Backend received inference at: 1795804735")
    assert not re.fullmatch(denied, "ModuleNotFoundError: No module named 'yaml'")


def test_the_default_preset_adds_nothing(request_for, tmp_path, no_java):
    made = server.plan(request_for())
    assert not list(tmp_path.glob("log4j2*"))
    assert not [word for word in made.launch.argv if "log4j" in word]
    assert "OMP_NUM_THREADS" not in made.launch.env
    assert not {"async_logging", "job_queue_size", "metrics_mode"} & set(properties(tmp_path))


def test_without_torchserve_the_way_out_is_named(request_for, no_java, monkeypatch):
    monkeypatch.setattr(server.util, "find_spec", lambda _: None)
    with pytest.raises(MachineError, match="TorchServe is not installed; run `make setup`"):
        server.plan(request_for())


def model(*states, minimum=1):
    return [{"minWorkers": minimum, "workers": [{"status": state} for state in states]}]


@pytest.mark.parametrize(
    ("status", "answer", "said"),
    [
        (200, model("READY"), None),
        (200, model("READY", "READY", minimum=2), None),
        (200, model("READY", "UNLOADING", minimum=2), "1 of 2 workers are READY"),
        (200, model("READY", minimum=2), "1 of 1 workers are READY"),
        (200, model("UNLOADING"), "0 of 1 workers are READY"),
        (200, model(), "0 of 0 workers are READY"),
        (404, {"code": 404}, "the management API answers 404"),
        (200, [], "the management API answers 200"),
        (200, None, "the management API answers 200"),
    ],
)
def test_ready_is_every_worker_ready(monkeypatch, status, answer, said):
    monkeypatch.setattr(server, "fetch_json", lambda _: (status, answer))
    assert server._status("http://127.0.0.1:1", "digits_cnn") == said


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (
            "2026-11-20 INFO W-9000-x_1.0-stdout MODEL_LOG - ModuleNotFoundError: No module named 'onnx'",
            "ModuleNotFoundError: No module named 'onnx'",
        ),
        ("MODEL_LOG - RuntimeError: PytorchStreamReader failed", "RuntimeError: PytorchStreamReader failed"),
        ("MODEL_LOG - ts.service.OddError: no", "ts.service.OddError: no"),
        ("MODEL_LOG - Backend worker started", None),
        ("WARN W-9000 - java.io.IOException: pipe", None),
    ],
)
def test_a_workers_exception_is_recognised_in_the_log(line, why):
    found = re.search(server.WORKER_FAILURE, line)
    assert (found and found.group(1)) == why


# The real thing.


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    folder = tmp_path_factory.mktemp("artifacts")
    exporting.export("digits_cnn", folder, lambda *_: None, targets=("torchserve",))
    return exporting.target_folder(folder, "digits_cnn", "torchserve")


@pytest.fixture(scope="module")
def pool():
    import torch

    from models.weights import load_source

    samples = MODEL.samples()
    with torch.inference_mode():
        outputs = load_source(MODEL)(torch.from_numpy(samples.inputs)).numpy()
    return readiness.payload_pool(
        MODEL, Expectations({"logits": Expectation(outputs, samples.labels, MODEL.tolerance)}), "/"
    )


def slow_torch(test):
    for mark in (pytest.mark.slow, *QUIET_TORCH):
        test = mark(test)
    return test


def one_core(folder, work):
    return server.plan(ServeRequest(MODEL, folder, work, cores=(min(os.sched_getaffinity(0)),)))


def alive(pids):
    return [pid for pid in pids if psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie"]


@slow_torch
def test_torchserve_starts_answers_pauses_and_leaves_nobody(archive, pool):
    with readiness.work_folder() as work, LocalServer(one_core(archive, work)) as running:
        ready = readiness.wait_until_right(running, pool)
        assert 0 < ready.ready_s <= ready.first_right_answer_s < 120
        family = [running.pid, *(p.pid for p in psutil.Process(running.pid).children(recursive=True))]
        assert len(family) >= 2

        url = running.plan.endpoint.predict_url
        status, answer = fetch(url, b'{"instances": [[1]]}')
        assert (status, list(json.loads(answer))) == (400, ["error"])

        running.pause()
        with pytest.raises(OSError, match="timed out"):
            fetch(url, pool.bodies[1], timeout_s=0.3)
        running.resume()
        status, answer = fetch(url, pool.bodies[1])
        assert status == 200
        expected = list(pool.expected[1]["logits"])
        assert json.loads(answer)["predictions"][0] == pytest.approx(expected, abs=1e-3)
        running.pause()
    assert wait_until(lambda: not alive(family), limit_s=30)


@slow_torch
def test_without_lines_of_requests_the_metrics_are_logged_as_by_the_vendor_and_tell_the_time(archive, pool):
    quiet = Preset("quiet", TorchServeSettings(request_log=False, default_workers_per_model=2))
    with readiness.work_folder() as work:
        request = ServeRequest(MODEL, archive, work, preset=quiet)
        with LocalServer(server.plan(request)) as running:
            readiness.wait_until_right(running, pool)
            url = running.plan.endpoint.predict_url
            found = told(running, [lambda: fetch(url, pool.bodies[1])] * 6)
            require_within(found, 6, {"frontend", "queue", "decode", "inference", "encode"})
        assert (work / "logs" / "model_metrics.log").stat().st_size > 0
        lines = running.plan.launch.log.read_text()
    assert "MODEL_LOG" in lines
    assert "ts_inference_latency" not in lines
    assert "PredictionTime" not in lines


def rewritten(archive, folder, name, change):
    """A copy of the archive with one of its files changed."""
    with (
        zipfile.ZipFile(archive / "digits_cnn.mar") as old,
        zipfile.ZipFile(folder / "digits_cnn.mar", "w") as new,
    ):
        for entry in old.namelist():
            content = old.read(entry)
            new.writestr(entry, change(content) if entry == name else content)
    return folder


@slow_torch
@pytest.mark.parametrize(
    ("name", "change", "why"),
    [
        ("handler.py", lambda text: b"import onnx_of_nobody\n" + text, "No module named 'onnx_of_nobody'"),
        ("digits_cnn.pt", lambda content: content[: len(content) // 2], "Error: .*"),
    ],
    ids=["handler", "weights"],
)
def test_a_broken_archive_is_reported_at_once_with_the_reason(archive, tmp_path, name, change, why):
    folder = rewritten(archive, tmp_path, name, change)
    started = time.monotonic()
    with readiness.work_folder() as work, LocalServer(one_core(folder, work)) as running:
        with pytest.raises(MachineError, match=f"^torchserve cannot serve the model: .*{why}") as caught:
            running.wait_ready()
        family = [running.pid, *(p.pid for p in psutil.Process(running.pid).children(recursive=True))]
    assert time.monotonic() - started < 100
    assert "\n" not in str(caught.value)
    assert wait_until(lambda: not alive(family), limit_s=30)


@pytest.mark.slow
def test_its_limits_let_images_of_512_by_512_in_and_are_never_below_the_vendors():
    image = TensorSpec("x", "float32", (None, 512, 512, 3))
    longest = len(json.dumps({"instances": np.full((1, 512, 512, 3), -1.1754943508222875e-38).tolist()}))
    assert body_limit_bytes(image) > longest > 6_553_500
    assert body_limit_bytes(TensorSpec("x", "float32", (None, 8))) == 6_553_500
    assert body_limit_bytes(TensorSpec("x", "float32", (None, 10**9))) == 2**31 - 1
    words = TensorSpec("tokens", "int64", (None, None))
    assert body_limit_bytes(image, words) > body_limit_bytes(image)
