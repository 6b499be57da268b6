"""A model from outside the repository, with texts in and out, in a container of a server that is there."""

import subprocess
import sys

import pytest
from real_model import ROOT, say_nothing

from pipelines.package import ensure_images
from pipelines.smoke.stage import SmokeRequest, smoke

pytest_plugins = ("real_servers",)
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
WORDS = """
import numpy as np
import tensorflow as tf

class Words(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([None], tf.string), tf.TensorSpec([None, 2], tf.float32)])
    def serve(self, text, extra):
        scores = extra + tf.cast(tf.strings.length(text)[:, None] % [[3, 5]], tf.float32)
        return {"scores": scores, "label": tf.gather(tf.constant(["spam", "ham"]), tf.argmax(scores, -1))}

words = Words()
tf.saved_model.save(words, "words", signatures={"serving_default": words.serve})
extra = np.random.default_rng(1).normal(size=(40, 2)).astype(np.float32)
np.savez("words.npz", text=np.array([f"wörter {2**n}" for n in range(40)]), extra=extra)
"""


def layers(engine, reference):
    return engine.images.get(reference).attrs["RootFS"]["Layers"]


@pytest.mark.usefixtures("nothing_left")
def test_an_imported_model_of_texts_is_a_layer_on_the_server_and_passes_every_check(engine, images, tmp_path):
    subprocess.run([sys.executable, "-c", WORDS], cwd=tmp_path, check=True, stderr=subprocess.DEVNULL)
    tandem = [sys.executable, "-m", "pipelines.cli.main", "import", "words"]
    files = ["--saved-model", str(tmp_path / "words"), "--samples", str(tmp_path / "words.npz")]
    made, runs = tmp_path / "artifacts", tmp_path / "runs"
    model = str(made / "words")
    done = subprocess.run(
        [*tandem, *files, "--artifacts", str(made)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    image = ensure_images(model, made, ["tfserving-embedded"], say_nothing)["tfserving-embedded"]
    try:
        own, first = (layers(engine, one.reference) for one in (image, images["tfserving-embedded"]))
        assert len(own) == len(first)
        assert own[:-2] == first[:-2]
        assert own[-1] != first[-1]
        result = smoke(
            SmokeRequest(model, ("tfserving",), artifacts=made, runs=runs),
            say_nothing,
        )
        assert [(one.name, one.detail) for one in result.failures] == []
        passed = {one.name for one in result.outcomes if one.state == "passed"}
        checks = ("rest-row", "rest-columnar", "grpc", "labels", "health")
        assert {f"tfserving.{name}" for name in checks} <= passed
    finally:
        engine.images.remove(image.reference, force=True)
