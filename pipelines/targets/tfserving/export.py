"""Keras twin → frozen function → lean SavedModel in a versioned folder, with warm-up records."""

import hashlib
import shutil
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from models.spec import ModelError, ModelSpec
from models.weights import read_checkpoint
from pipelines.roads.known import TO_SAVED_MODEL, TWIN, Asked, chosen
from pipelines.roads.taking import to_saved_model
from pipelines.targets.exported import Exported, NotExported

VERSION = "1"
SIGNATURE = "serving_default"
WARMUP_REQUESTS = 50
WARMUP_BATCHES = (1, 8)
# Of a model with large inputs fewer: twice each batch, then as many as these bytes hold.
WARMUP_BYTES = 1_000_000


ROADS = (TWIN, *TO_SAVED_MODEL)


def export(
    spec: ModelSpec, folder: Path, progress: Callable[[str], None], asked: Asked | None = None
) -> list[Exported | NotExported]:
    """Write the SavedModel to `folder`/NAME/1, from the twin or by a road without one.

    Raises:
        RequestError: the road that was asked for needs a twin.
        GateError: no road takes the model.
    """
    started = time.monotonic()
    version = folder / spec.name / VERSION
    road, tools = write_by_road(spec, version, progress, asked or Asked(spec.name))
    progress("writing warm-up records")
    write_warmup(spec, version)
    took = time.monotonic() - started
    return [Exported(f"{spec.name}/{VERSION}", "saved-model", "float32", took, road=road, tools=tools)]


def write_by_road(
    spec: ModelSpec, folder: Path, progress: Callable[[str], None], asked: Asked
) -> tuple[str, dict[str, str]]:
    """Write the SavedModel into `folder`; the road it came by, and the versions of that road's tools."""
    roads = chosen(spec, ROADS, asked.road)
    if roads == (TWIN,):
        progress("freezing the SavedModel")
        write_saved_model(spec, folder)
        return TWIN, {}
    folder.parent.mkdir(parents=True, exist_ok=True)
    taken = to_saved_model(spec, asked, roads, folder, progress)
    for line in taken.warnings:
        warnings.warn(line, stacklevel=2)
    make_lean(folder)
    return taken.road, taken.tools


def frozen_function(spec: ModelSpec) -> Any:
    """The twin as a concrete function whose weights are constants and whose batch normalisation is folded.

    Keras' own export keeps variables and training ops; serving needs neither.

    Raises:
        ModelError: the model has no Keras twin.
    """
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    if spec.build_keras is None:
        raise ModelError(f"{spec.name} has no Keras twin; give its ModelSpec a build_keras")
    _pin_keras()
    twin = spec.build_keras(read_checkpoint(spec))
    tensor = tf.TensorSpec(spec.input.shape, spec.input.dtype, name=spec.input.name)
    function = tf.function(lambda x: twin(x, training=False), input_signature=[tensor])
    frozen = convert_variables_to_constants_v2(function.get_concrete_function())
    return _fold(frozen)


def _pin_keras() -> None:
    """Set what a keras.json of the user's may have set otherwise: layout, precision and epsilon of layers."""
    import keras

    keras.config.set_image_data_format("channels_last")
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy("float32")
    keras.config.set_epsilon(1e-7)


def _fold(frozen: Any) -> Any:
    """The frozen function after grappler folded its constants: multiplications move into the kernels."""
    import tensorflow as tf
    from tensorflow.core.protobuf import config_pb2, meta_graph_pb2
    from tensorflow.python.grappler import tf_optimizer

    meta = tf.compat.v1.train.export_meta_graph(graph_def=frozen.graph.as_graph_def(), graph=frozen.graph)
    fetches = meta_graph_pb2.CollectionDef()
    names = [t.name for t in (*frozen.inputs, *frozen.outputs)]
    fetches.node_list.value.extend(names)
    meta.collection_def["train_op"].CopyFrom(fetches)
    config = config_pb2.ConfigProto()
    rewrite = config.graph_options.rewrite_options
    rewrite.optimizers.extend(["constfold", "arithmetic", "constfold", "dependency"])
    # Small graphs are skipped by default, and ours are small.
    rewrite.min_graph_nodes = -1
    graph = tf_optimizer.OptimizeGraph(config, meta)
    return tf.compat.v1.wrap_function(lambda: tf.graph_util.import_graph_def(graph, name=""), []).prune(
        frozen.inputs[0].name, frozen.outputs[0].name
    )


def write_saved_model(spec: ModelSpec, folder: Path) -> None:
    """Save the frozen function under the signature `serving_default` with the model's own tensor names."""
    import tensorflow as tf

    frozen = frozen_function(spec)
    tensor = tf.TensorSpec(spec.input.shape, spec.input.dtype, name=spec.input.name)

    class Served(tf.Module):  # type: ignore[misc]
        @tf.function(input_signature=[tensor])  # type: ignore[untyped-decorator]
        def serve(self, x: Any) -> dict[str, Any]:
            return {spec.output.name: tf.ensure_shape(frozen(x), spec.output.shape)}

    module = Served()
    tf.saved_model.save(module, str(folder), signatures={SIGNATURE: module.serve})
    make_lean(folder)


def make_lean(folder: Path) -> None:
    """Take out what no model of ours has, and what is drawn at random."""
    # Constants live in the graph: no model of ours has assets.
    if (folder / "assets").is_dir() and not any((folder / "assets").iterdir()):
        shutil.rmtree(folder / "assets")
    _draw_id_from_content(folder / "fingerprint.pb")


def _draw_id_from_content(file: Path) -> None:
    """Replace the fingerprint's id, which TensorFlow draws at random, by one that its hashes decide.

    The same model gives the same files then, and no container image is built anew for an id.
    """
    from tensorflow.core.protobuf.fingerprint_pb2 import FingerprintDef

    fingerprint = FingerprintDef.FromString(file.read_bytes())
    fingerprint.uuid = ""
    digest = hashlib.sha256(fingerprint.SerializeToString(deterministic=True)).digest()
    fingerprint.uuid = str(int.from_bytes(digest[:8], "big"))
    file.write_bytes(fingerprint.SerializeToString(deterministic=True))


def write_warmup(spec: ModelSpec, folder: Path) -> None:
    """Records TensorFlow Serving replays before it calls a version available (its SavedModel warm-up)."""
    import tensorflow as tf
    from tensorflow_serving.apis import prediction_log_pb2

    inputs = spec.examples().inputs
    written_bytes, least = 0, 2 * len(WARMUP_BATCHES)
    target = folder / "assets.extra" / "tf_serving_warmup_requests"
    target.parent.mkdir()
    with tf.io.TFRecordWriter(str(target)) as writer:
        for number in range(WARMUP_REQUESTS):
            if number >= least and written_bytes > WARMUP_BYTES:
                break
            batch = WARMUP_BATCHES[number % len(WARMUP_BATCHES)]
            log = prediction_log_pb2.PredictionLog()
            request = log.predict_log.request
            request.model_spec.name = spec.name
            request.model_spec.signature_name = SIGNATURE
            request.inputs[spec.input.name].CopyFrom(tf.make_tensor_proto(inputs[number : number + batch]))
            record = log.SerializeToString()
            written_bytes += len(record)
            writer.write(record)
