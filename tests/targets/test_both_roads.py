"""Both roads with several tensors: TorchServe's handler and the embedded server, one model and one table."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from embedded_fixture import started

from models.spec import ModelSpec, Samples, TensorSpec, Tolerance
from pipelines.errors import GateError
from pipelines.parity.quality import Expectation, Expectations
from pipelines.serve import readiness
from pipelines.smoke import answers
from pipelines.smoke.subject import Subject
from pipelines.targets.endpoint import Endpoint
from pipelines.targets.torchserve.export import HANDLER, signature
from pipelines.targets.torchserve.runtime import import_handler

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*torch.jit.*:FutureWarning"),
]

WORDS = 50
DRAW = np.random.default_rng(5)
INPUTS = {
    "image": DRAW.random((20, 2, 3), np.float32),
    "tokens": [DRAW.integers(0, WORDS, 1 + place % 3) for place in range(20)],
    "pixel": DRAW.integers(0, 256, (20, 2)).astype(np.uint8),
    "flag": DRAW.random((20,)) < 0.5,
}


def truth(image, tokens, pixel, flag):
    """What the model gives for one sample: scores, the tokens doubled, and whether a pixel is large."""
    total = image.sum() + tokens.sum() * np.float32(0.1)
    scores = np.array([total, pixel.sum() / np.float32(255)], np.float32)
    return {"scores": scores, "double": tokens * 2, "large": (pixel > 127) & flag}


OUTPUTS = [truth(*(INPUTS[name][place] for name in INPUTS)) for place in range(20)]
SPEC = ModelSpec(
    name="several",
    inputs=(
        TensorSpec("image", "float32", (None, 2, 3)),
        TensorSpec("tokens", "int64", (None, None)),
        TensorSpec("pixel", "uint8", (None, 2)),
        TensorSpec("flag", "bool", (None,)),
    ),
    outputs=(
        TensorSpec("scores", "float32", (None, 2)),
        TensorSpec("double", "int64", (None, None)),
        TensorSpec("large", "bool", (None, 2)),
    ),
    labels=(),
    tolerance=Tolerance(1e-4, 1e-4),
    checkpoint=Path(__file__),
    build_torch=lambda: None,
    test_samples=lambda: Samples(INPUTS),
)


def expectations():
    tensors = {name: [one[name] for one in OUTPUTS] for name in OUTPUTS[0]}
    ragged = np.empty(len(OUTPUTS), object)
    ragged[:] = tensors["double"]
    arrays = {**{name: np.stack(tensors[name]) for name in ("scores", "large")}, "double": ragged}
    return Expectations(
        {
            name.name: Expectation(arrays[name.name], None, Tolerance(1e-4, 1e-4), "none", name=name.name)
            for name in SPEC.outputs
        }
    )


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The embedded server with the model as TensorFlow computes it."""
    import tensorflow as tf

    def forward(image, tokens, pixel, flag):
        total = tf.reduce_sum(image, [1, 2]) + tf.cast(tf.reduce_sum(tokens, 1), tf.float32) * 0.1
        light = tf.cast(tf.reduce_sum(tf.cast(pixel, tf.int32), 1), tf.float32) / 255
        large = tf.logical_and(pixel > 127, flag[:, None])
        return {"scores": tf.stack([total, light], 1), "double": tokens * 2, "large": large}

    given = [tf.TensorSpec(one.shape, one.dtype, name=one.name) for one in SPEC.inputs]
    folder = tmp_path_factory.mktemp("several")
    module = tf.Module()
    served = tf.function(forward, input_signature=given)
    tf.saved_model.save(module, str(folder / "1"), signatures={"serving_default": served})
    with started("--model_name=several", f"--model_base_path={folder}") as process:
        yield process.wait_until_listening()


@pytest.fixture(scope="module")
def handler(tmp_path_factory):
    """TorchServe's handler with the model as PyTorch computes it."""
    import torch

    class Several(torch.nn.Module):
        def forward(self, image, tokens, pixel, flag):
            total = image.sum((1, 2)) + tokens.sum(1).float() * 0.1
            light = pixel.to(torch.int32).sum(1).float() / 255
            return torch.stack([total, light], 1), (tokens * 2, (pixel > 127) & flag[:, None])

    folder = tmp_path_factory.mktemp("handler")
    examples = [torch.from_numpy(np.stack([INPUTS[name][0]] * 2)) for name in INPUTS]
    torch.jit.save(torch.jit.trace(Several(), tuple(examples)), folder / "model.pt")
    (folder / "signature.json").write_text(json.dumps(signature(SPEC)))
    handler = import_handler(HANDLER).Handler()
    handler.initialize(
        SimpleNamespace(
            system_properties={"model_dir": str(folder)},
            manifest={"model": {"serializedFile": "model.pt"}},
        )
    )
    return handler


def of_handler(handler, body):
    """Status and parsed answer of one request."""
    status = [200]
    context = SimpleNamespace(
        get_request_header=lambda *_: None,
        set_response_status=lambda code, **_: status.append(code),
        set_response_content_type=lambda *_: None,
    )
    (answer,) = handler.handle([{"body": body}], context)
    return status[-1], json.loads(answer) if isinstance(answer, str) else answer


def row(**changes):
    """A good instance, with some inputs changed; None for one that is left out."""
    good = {"image": [[0, 1, 2], [0.5, 1, 2]], "tokens": [3, 4], "pixel": [1, 200], "flag": True}
    return {name: value for name, value in (good | changes).items() if value is not None}


def columns(**changes):
    return {name: [value] for name, value in row(**changes).items()}


TAKEN = {
    "a row": {"instances": [row()]},
    "two rows": {"instances": [row(), row(tokens=[5, 6], flag=False)]},
    "another length": {"instances": [row(tokens=[1, 2, 3, 4, 5])]},
    "a length of none": {"instances": [row(tokens=[])]},
    "a large token": {"instances": [row(tokens=[2**53 + 1])]},
    "300 for uint8": {"instances": [row(pixel=[300, 0])]},
    "-1 for uint8": {"instances": [row(pixel=[-1, 0])]},
    "columns": {"inputs": columns()},
    "columns with one too many": {"inputs": columns() | {"other": 1}},
}
REFUSED = {
    "1.5 for int64": {"instances": [row(tokens=[1.5, 1])]},
    "1.0 for int64": {"instances": [row(tokens=[1.0])]},
    "1e3 for int64": b'{"instances":[{"image":[[0,0,0],[0,0,0]],"tokens":[1e3],"pixel":[1,1],"flag":true}]}',
    "NaN for int64": {"instances": [row(tokens=[float("nan")])]},
    "2**63 for int64": {"instances": [row(tokens=[2**63])]},
    "2**70 for int64": {"instances": [row(tokens=[2**70])]},
    "true for int64": {"instances": [row(tokens=[True])]},
    "1.5 for uint8": {"instances": [row(pixel=[1.5, 1])]},
    "2**31 for uint8": {"instances": [row(pixel=[2**31, 1])]},
    "1 for bool": {"instances": [row(flag=1)]},
    "0.0 for bool": {"instances": [row(flag=0.0)]},
    "text for bool": {"instances": [row(flag="true")]},
    "true for float32": {"instances": [row(image=[[True, 1, 2], [0, 1, 2]])]},
    "1e39 for float32": {"instances": [row(image=[[1e39, 1, 2], [0, 1, 2]])]},
    "null for float32": {"instances": [row(image=[[0, 1, 2], [0, 1, None]])]},
    "null for int64": {"instances": [row(tokens=[1, None])]},
    "null for an input": {"instances": [row() | {"flag": None}]},
    "an input missing": {"instances": [row(tokens=None)]},
    "an input missing in the second": {"instances": [row(), row(flag=None)]},
    "an unknown input": {"instances": [row(other=1)]},
    "no names": {"instances": [[1, 2]]},
    "two lengths": {"instances": [row(), row(tokens=[1, 2, 3])]},
    "a level too many": {"instances": [row(tokens=[[1]])]},
    "columns without names": {"inputs": [[1, 2]]},
    "columns with one missing": {"inputs": columns(flag=None)},
}


# TensorFlow Serving leaves it to the graph, as recorded ("multi wrong inner shape"); this one computes.
LEFT_TO_THE_GRAPH = {
    "another shape": {"instances": [row(image=[[0, 1, 2]], pixel=[1])]},
    "columns of different length": {"inputs": columns() | {"flag": [True, False]}},
}


def encoded(body):
    return body if isinstance(body, bytes) else json.dumps(body).encode()


@pytest.mark.parametrize("case", TAKEN)
def test_both_take_it_and_give_the_same(server, handler, case):
    body = encoded(TAKEN[case])
    (status, got), (code, expected) = of_handler(handler, body), server.predict("several", body)
    assert (status, code) == (200, 200), (got, expected)
    assert got.keys() == expected.keys()
    (got,), (expected,) = got.values(), expected.values()
    for one, other in zip(
        *([rows] if isinstance(rows, dict) else rows for rows in (got, expected)), strict=True
    ):
        assert one.keys() == other.keys() == {"scores", "double", "large"}
        assert np.allclose(one["scores"], other["scores"], atol=1e-5)
        assert (one["double"], one["large"]) == (other["double"], other["large"])


@pytest.mark.parametrize("case", REFUSED)
def test_both_refuse_it_and_say_why(server, handler, case):
    body = encoded(REFUSED[case])
    (status, told), (code, answer) = of_handler(handler, body), server.predict("several", body)
    assert (status, code) == (400, 400), (told, answer)
    assert told["error"] and answer["error"]


@pytest.mark.parametrize("case", LEFT_TO_THE_GRAPH)
def test_what_the_signature_forbids_the_handler_refuses(server, handler, case):
    body = encoded(LEFT_TO_THE_GRAPH[case])
    assert (of_handler(handler, body)[0], server.predict("several", body)[0]) == (400, 200)


@pytest.fixture(scope="module")
def subject(server):
    """The embedded server as the smoke test looks at it."""
    url = f"http://127.0.0.1:{server.rest}"
    endpoint = Endpoint(
        base_url=url,
        predict_path="/v1/models/several:predict",
        model="several",
        status=lambda: None,
        addresses={"REST": url, "gRPC": f"127.0.0.1:{server.grpc}"},
    )
    plan = SimpleNamespace(
        target="tfserving", endpoint=endpoint, given=SimpleNamespace(max_request_bytes=None)
    )
    running = SimpleNamespace(plan=plan, require_alive=lambda _when: None)
    expected = expectations()
    return Subject(
        target="tfserving",
        spec=SPEC,
        folder=Path(),
        manifest=None,
        server=running,
        generator_cores=(),
        expected=expected,
        pool=readiness.payload_pool(SPEC, expected, endpoint.predict_path),
    )


@pytest.mark.parametrize(
    "check",
    [
        *(answers.status, answers.metadata, answers.rest_row, answers.rest_columnar, answers.grpc),
        *(answers.wrong_input, answers.unknown_model),
    ],
)
def test_the_smoke_test_looks_at_every_tensor(subject, check):
    assert check(subject)


def test_wrong_input_is_wrong_in_every_input():
    bodies = answers.wrong_bodies(SPEC)
    assert {f"fractions for whole numbers in {name}" for name in ("tokens", "pixel")} < bodies.keys()
    assert {"numbers for true and false in flag", "true for numbers in image"} < bodies.keys()
    assert {"an instance without image", "an instance with an input too many"} < bodies.keys()


@pytest.mark.parametrize("name", ["scores", "double", "large"])
@pytest.mark.parametrize("check", [answers.rest_row, answers.rest_columnar, answers.grpc])
def test_one_wrong_output_of_several_is_found(subject, check, name):
    by_output = dict(subject.expected.by_output)
    outputs = by_output[name].outputs.copy()
    outputs[1] = ~outputs[1] if name == "large" else outputs[1] + 1
    by_output[name] = replace(by_output[name], outputs=outputs)
    with pytest.raises(GateError, match=rf"output '{name}': sample 1,"):
        check(replace(subject, expected=Expectations(by_output)))


def test_a_signature_that_differs_is_found(subject):
    inputs = (replace(SPEC.inputs[0], dtype="float64"), *SPEC.inputs[1:])
    with pytest.raises(GateError, match="image is DT_FLOAT, expected DT_DOUBLE"):
        answers.metadata(replace(subject, spec=replace(SPEC, inputs=inputs)))


def test_the_endpoint_is_held_to_every_output_of_every_sample(subject):
    verified = SimpleNamespace(expected=subject.expected)
    named = SPEC.samples().named
    record = readiness.check_endpoint(subject.server, subject.pool, named, verified)
    assert record.passed
    assert [one.output for one in record.outputs] == ["scores", "double", "large"]
    few = readiness.payload_pool(SPEC, subject.expected, "/", limit_bytes=600)
    assert len(few.bodies) < 10
    assert readiness.check_endpoint(subject.server, few, named, verified).samples_count == 20


@pytest.mark.parametrize("rows", [2, 3, 30])
def test_samples_that_share_a_request_have_one_shape(subject, rows):
    """Both servers refuse others; every sample is asked, in whichever request."""
    pool = readiness.payload_pool(SPEC, subject.expected, "/", rows=rows)
    lengths = [{len(row["tokens"]) for row in json.loads(body)["instances"]} for body in pool.bodies]
    assert all(len(each) == 1 for each in lengths)
    assert set().union(*lengths) == {1, 2, 3}
    assert set(pool.rows_counts) == {rows}
    verified = SimpleNamespace(expected=subject.expected)
    record = readiness.check_endpoint(subject.server, pool, SPEC.samples().named, verified)
    assert (record.passed, record.samples_count) == (True, 20)
