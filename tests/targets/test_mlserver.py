"""What is MLServer's own: its defaults, its message file and presets; its protocol is in test_oip_servers."""

import ast
import re
from dataclasses import replace

import pytest
from oip_servers import post, require, served, tensors
from test_both_roads import SPEC, expectations
from test_python_server import folder  # noqa: F401 - a fixture
from told_times import told

from loadtests.protos import message
from pipelines.environments.known import find
from pipelines.errors import MachineError
from pipelines.runners.local import LocalServer
from pipelines.serve import readiness
from pipelines.targets.mlserver import server
from pipelines.targets.mlserver.settings import MLServerSettings
from pipelines.targets.presets import Preset, resolve
from pipelines.targets.registry import find_target
from pipelines.targets.server_plan import ServeRequest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*torch.jit.*:FutureWarning"),
]
PROTOCOL = find_target("mlserver").protocols[0]
OWN_PROTOCOL = "lib/python3.11/site-packages/mlserver/grpc/dataplane_pb2.py"
# With as many tokens in every sample: what differs in shape is not batched.
FIXED = replace(
    SPEC,
    inputs=tuple(
        replace(
            tensor,
            shape=tuple(1 if size is None and place else size for place, size in enumerate(tensor.shape)),
        )
        for tensor in SPEC.inputs
    ),
)
SERIALIZED = re.compile(r"AddSerializedFile\(\s*(b(?:'.*'|\".*\"))\s*\)", re.DOTALL)


def test_its_messages_are_those_of_its_own_protocol_file():
    """Each field that we use has the number, kind and label that the server's own file gives it."""
    from google.protobuf import descriptor_pb2

    require("mlserver")
    text = (find("mlserver").folder / OWN_PROTOCOL).read_text()
    own = descriptor_pb2.FileDescriptorProto.FromString(ast.literal_eval(SERIALIZED.search(text)[1]))
    assert own.package == "inference"
    methods = {one.name for one in own.service[0].method}
    assert {"ServerReady", "ModelReady", "ServerMetadata", "ModelMetadata", "ModelInfer"} <= methods
    theirs = {one.name: one for one in own.message_type}
    for name in ("ModelInferRequest", "ModelInferResponse", "ModelMetadataResponse", "InferTensorContents"):
        same_fields(message(f"inference.{name}").DESCRIPTOR, theirs[name])


def same_fields(ours, theirs):
    numbers = {one.name: (one.number, one.type, one.label) for one in theirs.field}
    for field in ours.fields:
        label = 3 if field.is_repeated else 1
        assert numbers[field.name] == (field.number, field.type, label), field.full_name
    nested = {one.name: one for one in theirs.nested_type}
    for one in ours.nested_types:
        same_fields(one, nested[one.name])


def test_as_the_vendor_ships_it_a_worker_process_answers_right(folder):  # noqa: F811 - the fixture
    require("mlserver")
    with (
        readiness.work_folder() as work,
        LocalServer(server.plan(ServeRequest(SPEC, folder, work))) as started,
    ):
        path = started.plan.endpoint.predict_path
        pool = readiness.payload_pool(SPEC, expectations(), path, protocol=PROTOCOL)
        readiness.wait_until_right(started, pool)
        given = started.plan.given
        assert (given.workers_count, given.sources["workers_count"]) == (1, "rule")
        assert given.threads_per_worker is not None


def test_the_counts_are_of_all_workers_and_of_whole_batches(folder):  # noqa: F811 - the fixture
    """Two workers in turn; a lone request waits for a batch, and a run of three rows counts three times."""
    asked = MLServerSettings(parallel_workers=2, torch_threads=1, max_batch_size=2, max_batch_time_ms=150)
    with served("mlserver", folder, Preset("batching", asked), FIXED) as (started, _):
        before = started.plan.endpoint.timings()
        found = told(started, [lambda: answer(started, 1)] * 4)
        assert set(found.counts.values()) == {4}
        assert found.parts.keys() == {"frontend", "inference", "codec"}
        assert found.parts["frontend"] >= 0.9 * asked.max_batch_time_ms
        assert sum(found.parts.values()) <= found.client_ms
        answer(started, 3)
        handled, whole = (
            total[1] - (earlier or (0, 0))[1]
            for total, earlier in zip(counts(started.plan.endpoint.timings()), counts(before), strict=True)
        )
        assert (handled, whole) == (7, 5)


def answer(started, rows):
    """Ask for some rows, all alike."""
    several = [
        tensor | {"shape": [rows, *tensor["shape"][1:]], "data": tensor["data"] * rows}
        for tensor in tensors()["inputs"]
    ]
    assert post(started, {"inputs": several})[0] == 200


def counts(timings):
    return timings.totals.get("inference"), timings.whole


def test_a_file_that_is_none_is_reported_with_the_reason(tmp_path):
    require("mlserver")
    (tmp_path / "several.pt").write_bytes(b"PK and no more")
    asked = Preset("one", MLServerSettings(parallel_workers=0))
    with readiness.work_folder() as work:
        plan = server.plan(ServeRequest(SPEC, tmp_path, work, preset=asked))
        with LocalServer(plan) as started, pytest.raises(MachineError, match=r"mlserver .*Error: "):
            started.wait_ready()


def test_presets_are_files_of_the_server():
    settings = {name: resolve(name, ["mlserver"])["mlserver"].settings for name in ("default", "tuned")}
    always = {"grpc_max_message_length": 2**31 - 1}
    assert settings["default"].server() == always
    assert settings["tuned"].server() == {**always, "parallel_workers": 0, "debug": False}
    model = MLServerSettings(max_batch_size=8, max_batch_time_ms=5).model(FIXED, "x.pt")
    assert (model["max_batch_size"], model["max_batch_time"]) == (8, 0.005)
