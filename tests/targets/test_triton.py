"""What is Triton's own: batching, several processes, and a model that it cannot load."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from oip_servers import post, require, served
from told_times import require_within, told

from models.spec import ModelSpec, Samples, TensorSpec, Tolerance
from pipelines.errors import MachineError
from pipelines.http import fetch, fetch_json
from pipelines.processes.group import wait_until
from pipelines.runners.local import LocalServer
from pipelines.serve import readiness
from pipelines.targets.presets import Preset
from pipelines.targets.prometheus import metric_sum
from pipelines.targets.server_plan import ServeRequest, plan_server
from pipelines.targets.torchserve.export import SIGNATURE_NAME, signature
from pipelines.targets.triton.settings import TritonSettings

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*torch.jit.*:FutureWarning"),
]
WORDS = 50
SPEC = ModelSpec(
    name="words",
    inputs=(TensorSpec("tokens", "int64", (None, None)),),
    outputs=(TensorSpec("sums", "float32", (None, 3)),),
    labels=(),
    tolerance=Tolerance(1e-4, 1e-4),
    checkpoint=Path(__file__),
    build_torch=lambda: None,
    test_samples=lambda: Samples({}),
)
ASKED = TritonSettings(
    dynamic_batching=True,
    max_batch_size=8,
    max_queue_delay_microseconds=200_000,
    max_queue_size=100,
    preferred_batch_size=(8,),
    instance_count=2,
    torch_threads=1,
)


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    """A table of words behind two processes, whose rows wait for others of their length."""
    import torch

    folder = tmp_path_factory.mktemp("words")
    table = torch.nn.EmbeddingBag(WORDS, 3, mode="sum")
    with torch.no_grad():
        table.weight.copy_(torch.arange(WORDS * 3).reshape(WORDS, 3))
    traced = torch.jit.trace(table, torch.zeros(2, 4, dtype=torch.int64))
    torch.jit.save(traced, folder / "words.pt", {SIGNATURE_NAME: json.dumps(signature(SPEC))})
    with served("triton", folder, Preset("batching", ASKED), SPEC) as (started, _):
        yield started


def ask(running, rows):
    """Status and answer for rows of tokens."""
    array = np.array(rows)
    tensor = {"name": "tokens", "datatype": "INT64", "shape": array.shape, "data": array.ravel().tolist()}
    return post(running, {"inputs": [tensor]})


def together(running, requests):
    with ThreadPoolExecutor(len(requests)) as threads:
        return list(threads.map(lambda rows: ask(running, rows), requests))


def expected(rows):
    return [3.0 * sum(row) + place * len(row) for row in rows for place in range(3)]


def test_what_was_asked_for_is_what_the_server_says(running):
    given = running.plan.given
    assert (given.workers_count, given.threads_per_worker, given.batch_max_size) == (2, 1, 8)
    assert (given.batch_delay_ms, given.queue_max_count) == (200.0, 100)
    assert set(given.sources.values()) == {"server"}


def test_requests_share_runs_and_each_gets_its_own_rows(running):
    answered, runs = running.plan.endpoint.batching()
    requests = [[[place, place + 1]] * (1 + place % 2) for place in range(16)]
    for rows, (status, answer) in zip(requests, together(running, requests), strict=True):
        assert status == 200, answer
        assert answer["outputs"][0]["data"] == expected(rows)
    now_answered, now_runs = running.plan.endpoint.batching()
    assert now_answered - answered == len(requests)
    assert now_runs - runs < len(requests)


def test_a_request_that_waits_for_others_waits_in_the_queue(running):
    found = told(running, [lambda: ask(running, [[1, 2]])] * 3)
    require_within(found, 3, {"frontend", "queue", "inference", "encode"})
    assert found.parts["queue"] >= 0.9 * ASKED.max_queue_delay_microseconds / 1000


def test_each_request_of_a_batch_waits_for_all_of_it(running):
    """Of a run with several requests the time counts for each of them, here of one row."""
    endpoint = running.plan.endpoint

    def runs():
        _, answer = fetch_json(f"{endpoint.addresses['REST']}/v2/models/words/stats")
        batches = answer["model_stats"][0]["batch_stats"]
        return {int(one["batch_size"]): int(one["compute_infer"]["ns"]) for one in batches}

    before, earlier = endpoint.timings().totals["inference"], runs()
    assert [status for status, _ in together(running, [[[1, 2]]] * 8)] == [200] * 8
    assert wait_until(lambda: endpoint.timings().totals["inference"][1] == before[1] + 8, limit_s=5)
    spent = sum(rows * (ns - earlier.get(rows, 0)) for rows, ns in runs().items())
    assert endpoint.timings().totals["inference"][0] - before[0] == pytest.approx(spent / 1e9)
    assert max(runs()) == 8


def test_its_metrics_tell_the_same_cut_to_microseconds(running):
    endpoint = running.plan.endpoint
    ask(running, [[1, 2]])
    text = fetch(endpoint.addresses["metrics"])[1].decode()
    timings = endpoint.timings()
    totals = {**timings.totals, "whole": timings.whole}
    names = {"whole": "request", "queue": "queue", "inference": "compute_infer", "encode": "compute_output"}
    for part, name in names.items():
        seconds, count = totals[part]
        assert count == metric_sum(text, "nv_inference_request_success")
        cut = seconds - metric_sum(text, f"nv_inference_{name}_duration_us") / 1e6
        assert -1e-9 < cut < count * 1e-6


def test_requests_of_other_lengths_are_not_put_together(running):
    requests = [[list(range(length))] for length in (1, 2, 3, 4)]
    for rows, (status, answer) in zip(requests, together(running, requests), strict=True):
        assert (status, answer["outputs"][0]["data"]) == (200, expected(rows))


def test_what_one_request_did_costs_the_others_nothing(running):
    requests = [[[1, 2]], [[1, WORDS]], [[3, 4]], [[5, 6]]]
    found = together(running, requests)
    assert [status for status, _ in found] == [200, 400, 200, 200]
    assert "the model refuses the tensors" in found[1][1]["error"]
    assert found[3][1]["outputs"][0]["data"] == expected([[5, 6]])


def test_more_rows_than_a_batch_may_have_are_refused(running):
    status, answer = ask(running, [[1, 2]] * 9)
    assert status == 400
    assert "batch-size must be <= 8" in answer["error"]


def test_a_file_that_is_none_is_reported_with_the_reason(tmp_path):
    require("triton")
    (tmp_path / "words.pt").write_bytes(b"PK and no more")
    with readiness.work_folder() as work:
        plan = plan_server("triton", ServeRequest(SPEC, tmp_path, work))
        with (
            LocalServer(plan) as started,
            pytest.raises(MachineError, match=r"triton cannot serve the model: .*RuntimeError: "),
        ):
            started.wait_ready()
