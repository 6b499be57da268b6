"""Readiness and metadata of the real Triton and MLServer, over REST and over gRPC."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from oip_documents import REST, require
from oip_models import LATE, OPENED, SPECS, load_late, unload_late
from oip_servers import INVALID, MARKS, NOT_FOUND, OK, tensors, typed

from pipelines.processes.group import wait_until
from pipelines.targets import oip, oip_grpc

pytestmark = MARKS
MODEL = "several"
GET = [path.split()[1] for path in REST["paths"] if path.startswith("GET")]
PLATFORMS = {"triton": "python", "mlserver": ""}
TENSORS = {
    "image": ("FP32", [-1, 2, 3]),
    "tokens": ("INT64", [-1, -1]),
    "pixel": ("UINT8", [-1, 2]),
    "flag": ("BOOL", [-1]),
    "scores": ("FP32", [-1, 2]),
    "double": ("INT64", [-1, -1]),
    "large": ("BOOL", [-1, 2]),
}
# What a server adds to the protocol's objects.
MORE = {"triton": set(), "mlserver": {"parameters"}}


@pytest.mark.parametrize("path", GET)
def test_every_path_answers_as_the_documents_say(oip_server, path):
    asked = path.format(model=MODEL, version="1")
    if (oip_server.name, path) == ("triton", "/v2/"):  # it has the path of the other document, /v2, alone
        assert oip_server.get(asked)[0] == NOT_FOUND
        return
    object_name = REST["paths"][f"GET {path}"]
    if object_name is None:
        assert oip_server.get(asked) == (OK, b"")
        return
    status, answer = oip_server.get_json(asked)
    assert status == OK
    assert require(answer, object_name) <= MORE[oip_server.name]


@pytest.mark.parametrize("path", ["/v2/nothing", "/v2/models", "/v2/health"])
def test_a_path_that_the_protocol_has_not_is_status_404(oip_server, path):
    assert oip_server.get(path)[0] == NOT_FOUND


def test_the_server_says_what_it_is(oip_server):
    _, told = oip_server.get_json("/v2")
    assert (told["name"], told["version"]) == (oip_server.name, oip_server.version)
    assert ("binary_tensor_data" in told["extensions"]) == (oip_server.name == "triton")
    about = oip_server.call("ServerMetadata")[1]
    assert (about.name, about.version, list(about.extensions)) == tuple(told.values())


@pytest.mark.parametrize("version", ["", "1"])
def test_the_model_says_its_tensors_over_both(oip_server, version):
    _, told = oip_server.get_json(f"/v2/models/{MODEL}" + (f"/versions/{version}" if version else ""))
    assert (told["name"], told["versions"]) == (MODEL, ["1"])
    assert told["platform"] == PLATFORMS[oip_server.name]
    found = {one["name"]: (one["datatype"], one["shape"]) for one in (*told["inputs"], *told["outputs"])}
    assert found == TENSORS
    status, about = oip_server.call("ModelMetadata", name=MODEL, version=version)
    assert status == OK
    assert (about.name, list(about.versions), about.platform) == (MODEL, ["1"], told["platform"])
    kinds = [*about.inputs, *about.outputs]
    assert {one.name: (one.datatype, list(one.shape)) for one in kinds} == TENSORS
    assert (len(about.inputs), len(about.outputs)) == (4, 3)


@pytest.mark.parametrize("model", SPECS)
def test_metadata_has_every_numeric_datatype(oip_server, model):
    for told in (oip.metadata(oip_server.rest, model), oip_grpc.metadata(oip_server.grpc, model)):
        for kind, given in (("inputs", SPECS[model].inputs), ("outputs", SPECS[model].outputs)):
            expected = {one.name: oip.NAMES[one.dtype] for one in given}
            assert {one["name"]: one["datatype"] for one in told[kind]} == expected


@pytest.mark.parametrize("path", ["/v2/models/nobody", f"/v2/models/{MODEL}/versions/7"])
def test_what_is_not_there_is_said(oip_server, path):
    status, told = oip_server.get_json(path)
    assert status == NOT_FOUND
    assert require(told, "metadata_model_error_response") == set()
    # Readiness of what is not there is status 400 in Triton.
    status, told = oip_server.get_json(f"{path}/ready")
    assert status == {"triton": INVALID, "mlserver": NOT_FOUND}[oip_server.name]
    assert require(told, "metadata_model_error_response") == set()


@pytest.mark.parametrize("asked", [{"name": "nobody"}, {"name": MODEL, "version": "7"}])
def test_over_grpc_what_is_not_there_is_said(oip_server, asked):
    assert oip_server.call("ModelMetadata", **asked)[0] == NOT_FOUND
    status, answer = oip_server.call("ModelReady", **asked)
    if oip_server.name == "triton":
        assert (status, answer.ready) == (OK, False)
    else:  # a status of its own making, for what it has no word for
        assert (status, "UNKNOWN" in answer) == (500, True)


def test_over_grpc_health_is_the_same(oip_server):
    assert oip_server.call("ServerLive")[1].live
    assert oip_server.call("ServerReady")[1].ready
    assert oip_server.call("ModelReady", name=MODEL)[1].ready
    assert oip_server.call("ModelReady", name=MODEL, version="1")[1].ready


@contextmanager
def loading(server, transport):
    """While the model `late` is being loaded, as asked over `transport`; it is ready afterwards."""
    unload_late(server)
    (server.work / OPENED).unlink(missing_ok=True)
    with ThreadPoolExecutor(1) as threads:
        loaded = threads.submit(load_late, server, transport)
        try:
            yield
            assert not loaded.done()
        finally:
            (server.work / OPENED).touch()
        loaded.result()


# A thread of Triton's that loads a model answers nobody meanwhile: one transport is asked to load, the other
# is looked at.


def test_while_a_model_loads_neither_it_nor_the_server_is_ready_but_the_others_are(oip_server):
    with loading(oip_server, "gRPC"):
        assert wait_until(lambda: oip_server.get("/v2/health/ready")[0] == INVALID, limit_s=30)
        assert oip_server.get("/v2/health/live")[0] == OK
        for path in (f"/v2/models/{LATE}/ready", f"/v2/models/{LATE}/versions/1/ready"):
            assert oip_server.get(path)[0] == INVALID
        assert oip_server.get(f"/v2/models/{MODEL}/ready")[0] == OK
        assert oip_server.post(tensors())[0] == OK
        assert oip_server.post(tensors(), f"/v2/models/{LATE}/infer")[0] >= INVALID
        # Tandem waits, and says for what.
        assert oip.status(oip_server.rest, MODEL) == "/v2/health/ready answers 400"
    assert oip_server.get("/v2/health/ready")[0] == OK
    assert oip.status(oip_server.rest, LATE) is None


def test_over_grpc_the_same_while_a_model_loads(oip_server):
    with loading(oip_server, "REST"):
        assert wait_until(lambda: not oip_server.call("ServerReady")[1].ready, limit_s=30)
        assert oip_server.call("ServerLive")[1].live
        assert wait_until(lambda: oip_server.call("ModelReady", name=LATE)[0] == OK, limit_s=30)
        assert not oip_server.call("ModelReady", name=LATE)[1].ready
        assert oip_server.call("ModelReady", name=MODEL)[1].ready
        assert oip_server.call("ModelInfer", typed())[0] == OK
        assert oip_server.call("ModelInfer", typed(model_name=LATE))[0] >= INVALID
        assert "ServerReady" in oip_grpc.status(oip_server.grpc, MODEL)
    assert oip_server.call("ServerReady")[1].ready
    assert oip_server.call("ModelReady", name=LATE)[1].ready
    assert oip_grpc.status(oip_server.grpc, LATE) is None
