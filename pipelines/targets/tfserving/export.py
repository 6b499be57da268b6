"""Keras twin → frozen function → lean SavedModel in a versioned folder, with warm-up records."""

import hashlib
import shutil
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from models.forward import flattened
from models.keras_source import as_taken, keras_on
from models.spec import ModelError, ModelSpec
from models.tensors import Array, Tensors, count, is_ragged, joined, sample, samples, shapes
from models.weights import read_checkpoint
from pipelines.roads.choice import to_saved_model
from pipelines.roads.known import KERAS, TO_SAVED_MODEL, TWIN, Asked, chosen
from pipelines.targets.exported import Exported, NotExported

VERSION = "1"
SIGNATURE = "serving_default"
WARMUP = "assets.extra/tf_serving_warmup_requests"
WARMUP_REQUESTS = 50
WARMUP_BATCHES = (1, 8)
# What TensorFlow Serving takes.
MOST_REQUESTS = 1000
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
    spec: ModelSpec, folder: Path, progress: Callable[[str], None], request: Asked
) -> tuple[str, dict[str, str]]:
    """Write the SavedModel into `folder`; the road it came by, and the versions of that road's tools."""
    roads = chosen(spec, ROADS, request.road)
    if roads == (TWIN,):
        progress("freezing the SavedModel")
        write_saved_model(spec, folder)
        return KERAS if spec.whole else TWIN, {}
    folder.parent.mkdir(parents=True, exist_ok=True)
    taken = to_saved_model(spec, request, roads, folder, progress)
    for line in taken.warnings:
        warnings.warn(line, stacklevel=2)
    make_lean(folder)
    return taken.road, taken.tools


def frozen_function(spec: ModelSpec) -> Any:
    """Return the twin as a concrete function with constant weights and folded batch normalisation.

    It takes the inputs, and gives a list of the outputs, each in the order of the spec.
    Keras' own export keeps variables and training ops; serving needs neither.

    Raises:
        ModelError: the model has no Keras twin.
    """
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    call, _ = _plain_function(spec)
    function = tf.function(call, input_signature=signature_of(spec))
    frozen = convert_variables_to_constants_v2(function.get_concrete_function())
    return _fold(frozen)


def _plain_function(spec: ModelSpec) -> tuple[Callable[..., list[Any]], Any]:
    """Return the twin as a function of the inputs, and the twin.

    Raises:
        ModelError: the model has no Keras twin.
    """
    if spec.build_keras is None:
        raise ModelError(f"{spec.name} has no Keras twin; give its ModelSpec a build_keras")
    keras_on("tensorflow")
    twin = spec.build_keras(read_checkpoint(spec))
    names = [output.name for output in spec.outputs]

    def call(*given: Any) -> list[Any]:
        by_name = {tensor.name: value for tensor, value in zip(spec.inputs, given, strict=True)}
        answer = twin(as_taken(twin, by_name), training=False)
        return flattened(spec.name, answer, names, "the Keras twin of")

    return call, twin


def signature_of(spec: ModelSpec, batch: int | None = None) -> list[Any]:
    """Return TensorFlow's own description of the inputs, in order, for a `batch` (None: any)."""
    import tensorflow as tf

    return [
        tf.TensorSpec((batch, *tensor.shape[1:]), tensor.dtype, name=tensor.name) for tensor in spec.inputs
    ]


def _fold(frozen: Any) -> Any:
    """Return the frozen function with constants folded by grappler: multiplications move into the kernels."""
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
        [tensor.name for tensor in frozen.inputs], [tensor.name for tensor in frozen.outputs]
    )


def write_saved_model(spec: ModelSpec, folder: Path) -> None:
    """Save the frozen function under the signature `serving_default` with the model's own tensor names.

    A model with strings is saved as it is: its tables of words are no constants.
    """
    if spec.text_tensors:
        function, model = _plain_function(spec)
        save_function(spec, function, folder, holding=_resources(model))
    else:
        save_function(spec, frozen_function(spec), folder)
    make_lean(folder)


def make_lean(folder: Path) -> None:
    """Take out what no model of ours has, and what is drawn at random."""
    # Constants live in the graph: no model of ours has assets.
    if (folder / "assets").is_dir() and not any((folder / "assets").iterdir()):
        shutil.rmtree(folder / "assets")
    _draw_id_from_content(folder / "fingerprint.pb")


def _resources(model: Any) -> list[Any]:
    """List what a Keras model computes with: its variables as TensorFlow's own, its tables of words.

    Saved through Keras' wrappers, variables would be restored into copies that nothing reads.
    """
    import tensorflow as tf

    tables = [
        tracked
        for tracked in tf.train.TrackableView(model).descendants()
        if isinstance(tracked, tf.saved_model.experimental.TrackableResource)
    ]
    return [*(variable.value for variable in model.variables), *tables]


def save_function(
    spec: ModelSpec, function: Any, folder: Path, batch: int | None = None, holding: Sequence[Any] = ()
) -> None:
    """Save a function of the inputs under the signature `serving_default`, for a `batch` (None: any).

    `holding` are the variables and tables of a function that is not frozen.
    """
    import tensorflow as tf

    class Served(tf.Module):  # type: ignore[misc]
        @tf.function(input_signature=signature_of(spec, batch))  # type: ignore[untyped-decorator]
        def serve(self, *given: Any) -> dict[str, Any]:
            return {
                output.name: tf.ensure_shape(tensor, (batch, *output.shape[1:]))
                for output, tensor in zip(spec.outputs, function(*given), strict=True)
            }

    module = Served()
    module.holding = list(holding)
    tf.saved_model.save(module, str(folder), signatures={SIGNATURE: module.serve})


def loaded_function(spec: ModelSpec, folder: Path) -> Any:
    """Return what `frozen_function` does, for an existing SavedModel with the model's own names."""
    import tensorflow as tf

    serve = tf.saved_model.load(str(folder)).signatures[SIGNATURE]

    def call(*given: Any) -> list[Any]:
        answer = serve(**{tensor.name: value for tensor, value in zip(spec.inputs, given, strict=True)})
        return [answer[output.name] for output in spec.outputs]

    return call


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
    """Write the records that TensorFlow Serving replays before it calls a version available (warm-up)."""
    import tensorflow as tf
    from tensorflow_serving.apis import prediction_log_pb2

    inputs = spec.examples().named
    if any(map(is_ragged, inputs.values())):
        inputs = joined([*samples(inputs), *samples(spec.samples().named)])
    # Whatever compiles for each shape has then met every one; none is left to a client.
    requests = [(place, 1) for place in _shapes_once(inputs)]
    least = len(requests) + 2 * len(WARMUP_BATCHES)
    requests += [(number, WARMUP_BATCHES[number % len(WARMUP_BATCHES)]) for number in range(WARMUP_REQUESTS)]
    written_bytes = 0
    target = folder / WARMUP
    target.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(target)) as writer:
        for number, (place, batch) in enumerate(requests[:MOST_REQUESTS]):
            if number >= least and written_bytes > WARMUP_BYTES:
                break
            log = prediction_log_pb2.PredictionLog()
            request = log.predict_log.request
            request.model_spec.name = spec.name
            request.model_spec.signature_name = SIGNATURE
            for name, array in _rows(inputs, place, batch).items():
                request.inputs[name].CopyFrom(tf.make_tensor_proto(array))
            record = log.SerializeToString()
            written_bytes += len(record)
            writer.write(record)


def _shapes_once(inputs: Tensors) -> list[int]:
    """Return the first sample of each shape if samples differ in shape, else none."""
    if not any(map(is_ragged, inputs.values())):
        return []
    first: dict[Any, int] = {}
    for place, example in enumerate(samples(inputs)):
        first.setdefault(shapes(example), place)
    return list(first.values())


def _rows(inputs: Tensors, number: int, batch: int) -> dict[str, Array]:
    """Return `batch` samples from `number` on, wrapping at the end; just one if they differ in shape."""
    alike = not any(map(is_ragged, inputs.values()))
    places = [(number + alike * row) % count(inputs) for row in range(batch)]
    return joined([sample(inputs, place) for place in places])
