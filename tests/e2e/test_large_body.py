"""A model of large images, whose requests are beyond the vendor's limit, on both servers."""

import json
import signal
from textwrap import dedent

import numpy as np
import pytest
from main_job import running

from pipelines.http import fetch

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

SIDE = 384
VENDOR_LIMIT_BYTES = 6_553_500
# Average pooling leaves 6 x 6 x 3 numbers, so there is little to train, to export or to compute. Pixels are
# three-hundredths, which JSON writes in some twenty characters.
MODEL = f"""
from pathlib import Path

import numpy as np

from models.spec import ModelSpec, Samples, TensorSpec, Tolerance

SIDE = {SIDE}
DRAW = np.random.default_rng(11)
WEIGHTS = DRAW.normal(size=(3, 108)).astype(np.float32)
PIXELS = np.arange(1, 3).reshape(2, 1, 1, 1) * DRAW.integers(1, 85, (2, SIDE, SIDE, 3))
IMAGES = (PIXELS / 300).astype(np.float32)
CHECKPOINT = Path(__file__).with_suffix(".safetensors")


def build_torch():
    import torch

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = torch.nn.Linear(108, 3, bias=False)

        def forward(self, x):
            pooled = torch.nn.functional.avg_pool2d(x.permute(0, 3, 1, 2), 64)
            return self.linear(pooled.permute(0, 2, 3, 1).flatten(1))

    return Net()


def build_keras(state):
    import keras

    given = keras.Input((SIDE, SIDE, 3))
    dense = keras.layers.Dense(3, use_bias=False)
    twin = keras.Model(given, dense(keras.layers.Flatten()(keras.layers.AveragePooling2D(64)(given))))
    dense.set_weights([state["linear.weight"].T])
    return twin


if not CHECKPOINT.exists():
    from safetensors.numpy import save_file

    save_file({{"linear.weight": WEIGHTS}}, CHECKPOINT)
MODEL = ModelSpec(
    name="large",
    inputs=(TensorSpec("image", "float32", (None, SIDE, SIDE, 3)),),
    outputs=(TensorSpec("scores", "float32", (None, 3)),),
    labels=(),
    tolerance=Tolerance(1e-4, 1e-4),
    checkpoint=CHECKPOINT,
    build_torch=build_torch,
    test_samples=lambda: Samples(IMAGES),
    train_samples=lambda: Samples(IMAGES),
    build_keras=build_keras,
)
"""


def scores_of(image):
    """What the model says, by NumPy alone: the weights are the first that its seed gives."""
    weights = np.random.default_rng(11).normal(size=(3, 108)).astype(np.float32)
    blocks = np.asarray(image, np.float64).reshape(6, 64, 6, 64, 3)
    return weights @ blocks.mean(axis=(1, 3)).ravel()


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("large")
    (folder / "large.py").write_text(dedent(MODEL))
    return folder


@pytest.mark.parametrize(
    ("target", "limit_bytes"), [("torchserve", 16 * SIDE**2 * 3 * 26), ("tfserving", None)]
)
def test_a_body_beyond_the_vendors_limit_is_answered_right(project, target, limit_bytes):
    with running("serve", target, "--model", "large.py", "--json", cwd=project) as process:
        line = process.stdout.readline()
        assert line, process.stderr.read()
        facts = json.loads(line)
        body = (project / facts["example"]).read_bytes()
        status, answer = fetch(facts["predict_url"], body)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    assert len(body) > VENDOR_LIMIT_BYTES
    assert status == 200, answer
    (image,) = json.loads(body)["instances"]
    (scores,) = json.loads(answer)["predictions"]
    assert np.ptp(scores) > 0.1
    assert scores == pytest.approx(scores_of(image), rel=1e-3, abs=1e-3)
    assert facts["given"]["max_request_bytes"] == limit_bytes
