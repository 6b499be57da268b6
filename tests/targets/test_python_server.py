"""The plain server with several tensors, started for real and in pieces."""

import json
import os
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
from test_both_roads import INPUTS, SPEC, expectations
from told_times import require_within, told

from models.tensors import sample
from pipelines.access import Access
from pipelines.errors import GateError, MachineError
from pipelines.http import fetch
from pipelines.processes.group import wait_until
from pipelines.runners import url
from pipelines.runners.local import LocalServer
from pipelines.serve import readiness
from pipelines.smoke import answers
from pipelines.smoke.checklist import NotApplicableError
from pipelines.smoke.subject import Subject
from pipelines.targets.address import read_address
from pipelines.targets.presets import Preset, resolve
from pipelines.targets.python import app, server
from pipelines.targets.python.configuration import from_info, unready
from pipelines.targets.python.settings import PythonSettings
from pipelines.targets.python.timings import from_metrics
from pipelines.targets.server_plan import ServeRequest
from pipelines.targets.torchserve.export import SIGNATURE_NAME, signature

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*torch.jit.*:FutureWarning"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A file of four inputs and three outputs, which says its own signature."""
    import torch

    class Several(torch.nn.Module):
        def forward(self, image, tokens, pixel, flag):
            total = image.sum((1, 2)) + tokens.sum(1).float() * 0.1
            light = pixel.to(torch.int32).sum(1).float() / 255
            return torch.stack([total, light], 1), (tokens * 2, (pixel > 127) & flag[:, None])

    folder = tmp_path_factory.mktemp("several")
    examples = tuple(torch.from_numpy(np.stack([INPUTS[name][0]] * 2)) for name in INPUTS)
    packed = {SIGNATURE_NAME: json.dumps(signature(SPEC))}
    torch.jit.save(torch.jit.trace(Several(), examples), folder / "several.pt", packed)
    return folder


@pytest.fixture(scope="module")
def model(folder):
    return app.Model(str(folder / "several.pt"))


@pytest.fixture(scope="module")
def running(folder):
    """Two workers with one thread each."""
    asked = Preset("two", PythonSettings(workers=2, torch_threads=1, pool_threads=0, max_body_bytes=10_000))
    with readiness.work_folder() as work:
        with LocalServer(server.plan(ServeRequest(SPEC, folder, work, preset=asked))) as started:
            started.wait_ready()
            started.read_configuration()
            family = [started.pid, *(p.pid for p in psutil.Process(started.pid).children(recursive=True))]
            yield started
        assert wait_until(lambda: not any(map(psutil.pid_exists, family)), limit_s=30)
        assert not list((work / "tmp").iterdir())


@pytest.fixture(scope="module")
def subject(running, folder):
    pool = readiness.payload_pool(SPEC, expectations(), running.plan.endpoint.predict_path)
    return Subject("python", SPEC, folder, SimpleNamespace(), running, (), expectations(), pool)


@pytest.mark.parametrize("check", [answers.status, answers.metadata, answers.rest_row, answers.wrong_input])
def test_it_does_what_every_deployment_must(subject, check):
    assert check(subject)


@pytest.mark.parametrize("check", [answers.rest_columnar, answers.grpc, answers.unknown_model])
def test_what_it_has_not_is_said_to_be_no_failure(subject, check):
    with pytest.raises(NotApplicableError):
        check(subject)


def test_another_signature_is_seen(subject):
    other = replace(SPEC, outputs=SPEC.outputs[:2])
    with pytest.raises(GateError, match="model_digest is"):
        answers.metadata(replace(subject, spec=other))


def test_its_configuration_is_its_own_word(running):
    given = running.plan.given
    assert (given.workers_count, given.threads_per_worker, given.rest_threads_count) == (2, 1, 0)
    assert (given.batch_max_size, given.max_request_bytes) == (1, 10_000)
    assert {name for name, source in given.sources.items() if source != "server"} == {"batch_max_size"}
    assert given.sources["batch_max_size"] == "rule"


def test_given_by_its_address_it_is_proven_as_any_running_endpoint(running, tmp_path):
    address, protocol = read_address(f"plain+{running.plan.endpoint.base_url}/predict")
    pool = readiness.payload_pool(SPEC, expectations(), protocol.path, protocol=protocol)
    with url.running(url.RunningSide("ours", address, protocol, Access()), SPEC, tmp_path) as found:
        readiness.wait_until_right(found, pool)
        assert (found.plan.implementation.name, found.place) == ("plain API", "here")


def test_where_the_time_of_its_requests_goes_is_counted_by_all_workers(running, subject):
    predict_url, single = running.plan.endpoint.predict_url, subject.pool.bodies[0]
    large = json.dumps({"instances": [row()] * 40}).encode()
    asked = [*([single] * 9), large]
    found = told(running, [lambda body=body: require_right(fetch(predict_url, body)) for body in asked])
    require_within(found, 10, {"frontend", "decode", "inference", "encode"})


@pytest.mark.parametrize(("method", "place"), [("decode", 0), ("predict", 1), ("encode", 2)])
def test_the_times_of_a_request_tell_its_parts_apart(model, monkeypatch, method, place):
    right = getattr(model, method)
    monkeypatch.setattr(model, method, lambda given: (time.sleep(0.1), right(given))[1])
    _, marks = model.answer(body())
    taken_ns = [after - before for before, after in pairwise(marks)]
    assert len(taken_ns) == 3
    assert max(taken_ns) == taken_ns[place] >= 0.1e9


def test_every_worker_tells_the_same_and_what_was_refused_is_not_counted(running, subject):
    endpoint = running.plan.endpoint
    before = endpoint.timings()
    with ThreadPoolExecutor(8) as threads:
        bodies = [subject.pool.bodies[0], b"none"] * 20
        statuses = list(threads.map(lambda asked: fetch(endpoint.predict_url, asked)[0], bodies))
    assert statuses == [200, 400] * 20
    assert wait_until(lambda: endpoint.timings().whole[1] == before.whole[1] + 20, limit_s=5)
    first, *others = [endpoint.timings() for _ in range(10)]
    assert all(other == first for other in others)


def require_right(answer):
    assert answer[0] == 200, answer


def test_a_body_beyond_the_limit_is_refused_and_the_server_goes_on(running, subject):
    url = running.plan.endpoint.predict_url
    status, answer = fetch(url, b'{"instances": [' + b"1," * 6000 + b"1]}")
    assert (status, list(json.loads(answer))) == (413, ["error"])
    assert fetch(url, subject.pool.bodies[0])[0] == 200


def test_a_file_that_is_none_is_reported_at_once_with_the_reason(tmp_path):
    (tmp_path / "several.pt").write_bytes(b"PK\x03\x04 and no more")
    asked = Preset("two", PythonSettings(workers=2))
    with readiness.work_folder() as work:
        plan = server.plan(ServeRequest(SPEC, tmp_path, work, preset=asked))
        with (
            LocalServer(plan) as started,
            pytest.raises(MachineError, match="python cannot serve the model: R"),
        ):
            started.wait_ready()


def row():
    return {name: array.tolist() for name, array in sample(SPEC.samples().named, 0).items()}


def body(**changes):
    return json.dumps({"instances": [row() | changes]}).encode()


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (b"\xff", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"7", "instances"),
        (b'{"instances": []}', "not empty"),
        (b'{"instances": [7]}', "keys"),
        (body(pixel=[-1, 0]), "0 to 255"),
        (body(pixel=[256, 0]), "0 to 255"),
        (body(image=[[1, 2, True], [1, 2, 3]]), "takes numbers"),
        (body(image=[[1, 2, "3"], [1, 2, 3]]), "takes numbers"),
        (body(flag="yes"), "true or false"),
        (body(image=[[1, 2, 1e300], [1, 2, 3]]), "beyond"),
        (body(image=[[1, 2], [1, 2, 3]]), "differ in length"),
        (body(image=[1.0]), "has shape"),
        (body(tokens=[10**30]), "not JSON|takes whole"),
        (body(tokens=[1.0]), "takes whole numbers"),
        (body(flag=0), "true or false"),
        (body(image="deep").replace(b'"deep"', b"[" * 900 + b'"a"' + b"]" * 900), "nested too deeply"),
    ],
)
def test_what_is_wrong_is_said(model, asked, said):
    with pytest.raises(app.RefusedError, match=said):
        model.answer(asked)


@pytest.mark.parametrize(
    ("asked", "kinds"),
    [
        ({"instances": [[1.0, 2.5e-7], [3, 4]]}, set()),
        ({"instances": [{"x": [1], "y": [2]}, {"x": [3], "y": [4]}], "id": "seven"}, set()),
        ({"instances": [[1, True]]}, {bool}),
        ({"instances": [[1, False]]}, {bool}),
        ({"instances": [["a", 1]]}, {str}),
        ({"instances": [{"x": ["true"], "y": [2]}]}, {str, bool}),
    ],
)
def test_numbers_are_looked_at_one_by_one_only_where_something_else_may_be_among_them(asked, kinds):
    assert app.unlike_numbers(json.dumps(asked).encode(), asked) == kinds


def test_a_string_does_not_give_its_length_to_every_number(model):
    asked = body(tokens=[1] * 2000 + ["x" * 1000])
    tracemalloc.start()
    try:
        with pytest.raises(app.RefusedError, match="'tokens' is int64, which takes whole numbers"):
            model.decode(asked)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_instances_for_which_there_is_no_memory_are_refused(model, monkeypatch):
    def full(*_):
        raise MemoryError

    monkeypatch.setattr(app, "array_of", full)
    with pytest.raises(app.RefusedError, match="more memory than there is") as caught:
        model.decode(body())
    assert caught.value.status == 400


def test_the_models_own_refusal_is_one_line(model):
    with pytest.raises(app.RefusedError, match=r"refuses the instances: [^\n]+$"):
        model.predict([one[:, :1] if one.ndim > 1 else one for one in model.decode(body())][::-1])


def test_a_file_without_a_signature_is_refused(tmp_path):
    import torch

    torch.jit.save(torch.jit.script(torch.nn.Identity()), tmp_path / "other.pt")
    with pytest.raises(RuntimeError, match=r"holds no signature\.json"):
        app.Model(str(tmp_path / "other.pt"))


def test_presets_are_options_of_the_server():
    settings = {name: resolve(name, ["python"])["python"].settings for name in ("default", "tuned")}
    assert settings["default"].flags() == []
    flags = settings["tuned"].flags()
    assert "--no-access-log" in flags
    assert "--workers=cores" in flags
    assert "--pool-threads=0" in flags


@pytest.mark.parametrize("pool_threads", [0, 4])
def test_the_counts_of_all_workers_are_added_and_a_queue_is_told_where_there_is_one(tmp_path, pool_threads):
    first, second = app.Counts(tmp_path / "7"), app.Counts(tmp_path / "8")
    first.add(10_000_000, (0, 1_000_000, 3_000_000, 6_000_000, 10_000_000))
    second.add(20_000_000, (5, 5, 5, 5, 5))
    second.add(0, (5, 5, 5, 5, 1_000_000_005))
    options = app.Options("m.pt", 2, 0, 0, pool_threads, 0, str(tmp_path))
    found = from_metrics(app.metrics_of(options))
    queue = {"queue": (pytest.approx(0.001), 3)} if pool_threads else {}
    parts = {"decode": 0.002, "inference": 0.003, "encode": 1.004}
    assert found.totals == queue | {part: (pytest.approx(own), 3) for part, own in parts.items()}
    assert (found.whole, found.rest) == ((pytest.approx(0.03), 3), "frontend")


def test_a_worker_for_every_core():
    assert app.count_or_cores("cores") == len(os.sched_getaffinity(0))
    with pytest.raises(ValueError, match="0 workers"):
        app.count_or_cores("0")


def test_strange_words_of_a_server_are_no_configuration():
    assert from_info(None) == {"sources": {}}
    assert from_info({"workers": 3})["workers_count"] == 3
    assert unready(503, {"ready": False, "workers_ready": 1, "workers": 2}).startswith("1 of 2")
    assert unready(404, None) == "/ready answers 404"
    assert unready(200, {"ready": True}) is None
