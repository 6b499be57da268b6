"""A model that was trained in Keras, down both roads: each process has Keras on the framework it needs."""

import json
import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from models.errors import ModelError
from models.keras_source import keras_spec
from models.spec import Samples, TensorSpec, Tolerance

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

SAVE = """
import sys
import keras

keras.utils.set_random_seed(3)
image, table = keras.Input((8, 8, 1), name="image"), keras.Input((4,), name="table")
seen = keras.layers.BatchNormalization()(keras.layers.Conv2D(6, 3, activation="relu")(image))
seen = keras.layers.GlobalMaxPooling2D()(seen)
both = keras.layers.Concatenate()([seen, keras.layers.Dense(6, activation="tanh")(table)])
# Keras sorts a dict by its keys; the spec has another order.
given = {"table": table, "image": image}
net = keras.Model(given, {"price": keras.layers.Dense(1)(both), "kind": keras.layers.Dense(3)(both)})
net.save(sys.argv[1] + "/net.keras")
net.save_weights(sys.argv[1] + "/built.weights.h5")
plain = keras.Sequential([keras.Input((4,)), keras.layers.Dense(8, activation="gelu"), keras.layers.Dense(2)])
plain.save(sys.argv[1] + "/plain.h5")
code = keras.Sequential([keras.Input((4,)), keras.layers.Lambda(lambda x: x * 2), keras.layers.Dense(2)])
code.save(sys.argv[1] + "/code.keras")
"""
WORDS = """
import numpy as np
import keras

text = keras.Input((), dtype="string", name="text")
words = keras.layers.TextVectorization(vocabulary=["good", "bad", "film"], output_sequence_length=4)(text)
seen = keras.layers.GlobalAveragePooling1D()(keras.layers.Embedding(5, 3)(words))
scores = keras.layers.Dense(2, name="scores")(seen)
names = keras.layers.StringLookup(vocabulary=["no", "yes"], num_oov_indices=0, invert=True)
net = keras.Model(text, {"scores": scores, "label": names(keras.ops.argmax(scores, -1))})
net.get_layer("scores").set_weights([np.eye(3, 2), np.zeros(2)])
net.layers[2].set_weights([np.eye(5, 3, k=-2)])
net.save("words.keras")

from models.keras_source import keras_spec
from models.spec import Samples, TensorSpec, Tolerance
from pipelines.imported.reference import outputs_of
from pipelines.targets.tfserving.embedded.servable import Servable, SessionOptions
from pipelines.targets.tfserving.export import write_saved_model
from pipelines.targets.tfserving.runtime import predict
from pathlib import Path

SPEC = keras_spec(
    model=Path("words.keras"),
    name="words",
    inputs=TensorSpec("text", "string", (None,)),
    outputs=(TensorSpec("scores", "float32", (None, 2)), TensorSpec("label", "string", (None,))),
    tolerance=Tolerance(1e-5, 1e-5),
    test_samples=lambda: Samples(["good film", "bad", "good good", "film bad", "what?"]),
)
from pipelines.init import reading

read = reading._of_keras(Path("words.keras"))
# Keras says int64 of words that a lookup gives, and lists outputs by the alphabet.
found = {one.name: (one.dtype, one.shape) for part in read for one in part}
assert found == {one.name: (one.dtype, one.shape) for one in (*SPEC.inputs, *SPEC.outputs)}, read
inputs = SPEC.samples().named
source = outputs_of(SPEC, inputs)
assert set(source["label"].tolist()) == {b"no", b"yes"}, source
write_saved_model(SPEC, Path("words"))
saved = predict(Path("words"), "saved-model", inputs, ["scores", "label"])
np.testing.assert_array_equal(saved["label"], source["label"])
np.testing.assert_allclose(saved["scores"], source["scores"], atol=1e-5)
# The session that a server has, which restores variables in another way.
served = Servable("words", 1, Path("words"), SessionOptions())
told = served.signatures["serving_default"]
feeds = {told.inputs["text"].tensor_name: np.array(inputs["text"].tolist(), object)}
found = served.run(feeds, [told.outputs[name].tensor_name for name in ("label", "scores")])
assert found[0].tolist() == source["label"].tolist()
np.testing.assert_allclose(found[1], source["scores"], atol=1e-5)
"""
HEAD = """
from pathlib import Path

import numpy as np

from models.keras_source import keras_spec
from models.spec import Samples, TensorSpec, Tolerance

HERE = Path(__file__).parent


def draw(seed):
    random = np.random.default_rng(seed)
    shapes = {"image": (40, 8, 8, 1), "table": (40, 4)}
    found = {name: random.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    return Samples(found if SEVERAL else found["table"])


"""
SEVERAL = """
SEVERAL = True
MODEL = keras_spec(
    name="net",
    model=HERE / "net.keras",
    inputs=(TensorSpec("image", "float32", (None, 8, 8, 1)), TensorSpec("table", "float32", (None, 4))),
    outputs=(TensorSpec("kind", "float32", (None, 3)), TensorSpec("price", "float32", (None, 1))),
    tolerance=Tolerance(1e-4, 1e-4),
    test_samples=lambda: draw(1),
    train_samples=lambda: draw(2),
)
"""
PLAIN = """
SEVERAL = False
MODEL = keras_spec(
    name="{name}",
    model=HERE / "{file}",
    inputs=TensorSpec("table", "float32", (None, 4)),
    outputs=TensorSpec("y", "float32", (None, 2)),
    tolerance=Tolerance(1e-4, 1e-4),
    test_samples=lambda: draw(1),
    trusted={trusted},
)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keras")
    subprocess.run([sys.executable, "-c", SAVE, str(folder)], check=True, capture_output=True)
    (folder / "net.py").write_text(dedent(HEAD + SEVERAL))
    for name, file, trusted in (
        ("plain", "plain.h5", False),
        ("code", "code.keras", False),
        ("believed", "code.keras", True),
    ):
        text = HEAD + PLAIN.format(name=name, file=file, trusted=trusted)
        (folder / f"{name}.py").write_text(dedent(text))
    return folder


def tandem(folder, *arguments):
    command = [sys.executable, "-m", "pipelines.cli", *arguments, "--artifacts", "artifacts"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("name", "targets"),
    [("net", "torchserve,onnx,tfserving,tflite"), ("plain", "tfserving"), ("believed", "onnx")],
)
def test_every_artifact_is_the_keras_model(folder, name, targets):
    done = tandem(folder, "export", f"{name}.py", "--targets", targets, "--json")
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    assert {one["target"] for one in made["artifacts"]} == set(targets.split(","))
    assert {one["road"] for one in made["artifacts"] if one["target"].startswith("tf")} <= {"keras"}
    done = tandem(folder, "verify", f"{name}.py", "--targets", targets, "--json")
    said = json.loads(done.stdout)
    assert (done.returncode, said["failures"]) == (0, [])
    assert len(said["parity"]) == len(made["artifacts"])


def test_a_model_of_strings_is_saved_with_its_words(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", WORDS],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]


LOOKUP = """
import sys
import numpy as np
from models.errors import ModelError
from models.keras_source import keras_spec
from models.spec import Samples, TensorSpec, Tolerance


def build():
    import keras

    vocabulary = ["a", "b"] if sys.argv[1] == "StringLookup" else [5, 6]
    given = keras.Input((1,), dtype="int64", name="x")
    layer = getattr(keras.layers, sys.argv[1])(vocabulary=vocabulary, invert=True, name="words")
    return keras.Model(given, layer(given))


SPEC = keras_spec(
    name="net",
    model=build,
    weights="net.weights.h5",
    inputs=TensorSpec("x", "int64", (None, 1)),
    outputs=TensorSpec("y", "int64", (None, 1)),
    tolerance=Tolerance(1e-5, 1e-5),
    test_samples=lambda: Samples(np.zeros((4, 1), np.int64)),
)
build().save_weights("net.weights.h5")
try:
    SPEC.build_torch()
except ModelError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("layer", "cure"), [("StringLookup", "outputs of keras_spec"), ("IntegerLookup", "keras.ops")]
)
def test_a_lookup_without_strings_in_the_spec_is_named_with_what_to_do(tmp_path, layer, cure):
    done = subprocess.run(
        [sys.executable, "-c", LOOKUP, layer],
        cwd=tmp_path,
        env=os.environ | {"KERAS_BACKEND": "torch"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert f"layer 'words' of net ({layer})" in done.stdout
    assert cure in done.stdout


def test_a_lambda_layer_is_refused_before_anything_is_run(folder):
    done = tandem(folder, "export", "code.py", "--targets", "onnx")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("tandem: ")
    assert "holds a Lambda layer, which is code of whoever wrote the file" in done.stderr.splitlines()[-1]
    assert "trusted=True" in done.stderr


def test_a_file_that_is_none_is_refused_in_one_line(folder, tmp_path):
    (tmp_path / "net.py").write_text((folder / "net.py").read_text())
    (tmp_path / "net.keras").write_bytes(b"PK\x03\x04 not really")
    done = tandem(tmp_path, "export", "net.py", "--targets", "tfserving")
    assert done.returncode == 2
    assert "net.keras" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("model", "weights"), [(lambda: None, None), (Path("net.keras"), Path("net.weights.h5"))]
)
def test_a_function_needs_weights_and_a_file_has_them(model, weights):
    with pytest.raises(
        ModelError, match=r"keras_spec of net needs a \.keras or \.h5 file as `model`, or a function"
    ):
        keras_spec(
            name="net",
            model=model,
            weights=weights,
            inputs=TensorSpec("x", "float32", (None, 4)),
            outputs=TensorSpec("y", "float32", (None, 2)),
            tolerance=Tolerance(1e-4, 1e-4),
            test_samples=lambda: Samples([]),
        )
