"""What MLServer is started from, without an MLServer."""

import json
from dataclasses import replace

import pytest

from models.digits_cnn import MODEL
from models.spec import TensorSpec
from pipelines.errors import RequestError
from pipelines.targets.mlserver import server
from pipelines.targets.mlserver.settings import MLServerSettings, configuration
from pipelines.targets.presets import checked
from pipelines.targets.server_plan import ServeRequest
from pipelines.targets.torchserve.settings import body_limit_bytes
from pipelines.targets.tuning import axes_of

BATCHED = MLServerSettings(max_batch_size=8, max_batch_time_ms=5)
VARYING = replace(MODEL, inputs=(TensorSpec("x", "float32", (None, None, 8)),))


@pytest.mark.parametrize(
    ("asked", "missing"),
    [({"max_batch_size": 8}, "max_batch_time_ms"), ({"max_batch_time_ms": 5}, "max_batch_size")],
)
def test_batching_takes_both_a_size_and_a_time(asked, missing):
    with pytest.raises(RequestError, match=f"batching needs {missing} as well"):
        checked("mlserver", asked, "--set")


@pytest.mark.parametrize(("settings", "batch"), [(MLServerSettings(), 1), (BATCHED, 8)])
def test_the_batch_that_is_recorded_is_the_one_that_mlserver_makes(settings, batch):
    model = settings.model(MODEL, "m.pt")
    batches = model.get("max_batch_size", 0) > 1 and model.get("max_batch_time", 0) > 0
    assert batches == (batch > 1)
    assert configuration({}, settings)["batch_max_size"] == batch


def test_samples_that_differ_in_shape_are_not_batched():
    assert (BATCHED.batches(MODEL), BATCHED.batches(VARYING)) == (True, False)
    with pytest.raises(RequestError, match=f"mlserver cannot batch {MODEL.name}, .*leave max_batch_size"):
        BATCHED.files(VARYING)
    assert BATCHED.files(MODEL)
    one = MLServerSettings(max_batch_size=1, max_batch_time_ms=5)
    assert one.files(VARYING)  # a batch of one is none


def test_a_search_leaves_out_batching_that_a_model_cannot_have():
    names = [[axis.name for axis in axes_of("mlserver", 2, 20, spec)] for spec in (None, MODEL, VARYING)]
    assert names == [["workers", "threads", "batch", "delay"]] * 2 + [["workers", "threads"]]


def test_a_message_over_grpc_may_be_as_large_as_torchserves_body(tmp_path):
    image = TensorSpec("x", "float32", (None, 512, 512, 3))
    folder = server._write(ServeRequest(MODEL, tmp_path, tmp_path), MLServerSettings(), (1, 2, 3))
    for text in ((folder / "settings.json").read_text(), MLServerSettings().files(MODEL)["settings.json"]):
        assert body_limit_bytes(image) <= json.loads(text)["grpc_max_message_length"] <= 2**31 - 1
