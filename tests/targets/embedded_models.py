"""Write the recorded SavedModels, and more for what the recorded cases do not cover.

Usage: python embedded_models.py FOLDER. Layout: FOLDER/NAME/VERSION.
"""

import runpy
import sys
from pathlib import Path

import tensorflow as tf

RECORDED = Path(__file__).parents[1] / "conformance/tfserving-2.20.0/make_models.py"
INTEGERS = (tf.int8, tf.int16, tf.uint16, tf.int32, tf.uint32, tf.uint64)


def signature(*specs):
    return tf.function(
        input_signature=[tf.TensorSpec(shape, dtype, name=name) for name, shape, dtype in specs]
    )


def save_types(folder):
    module = tf.Module()
    signatures = {}
    for dtype in (*INTEGERS, tf.float16, tf.complex64):
        signatures[dtype.name] = signature(("x", [None], dtype))(lambda x: {"y": tf.identity(x)})
    signatures["two"] = signature(("x", [None], tf.float32))(
        lambda x: {"y": x, "total": tf.reduce_sum(x)[None]}
    )
    tf.saved_model.save(module, str(folder), signatures=signatures)


def save_conv(folder):
    module = tf.Module()
    module.kernel = tf.Variable(tf.ones([3, 3, 1, 2]))
    conv = signature(("x", [None, 8, 8, 1], tf.float32))(
        lambda x: {"y": tf.reduce_sum(tf.nn.conv2d(x, module.kernel, 1, "SAME"), axis=[1, 2])}
    )
    tf.saved_model.save(module, str(folder), signatures={"serving_default": conv})


def save_slow(folder):
    """As many matrix products as the first input says: about a millisecond each."""
    module = tf.Module()

    @signature(("x", [None], tf.float32))
    def work(x):
        matrix = tf.ones([256, 256]) * 0.001
        for _ in tf.range(tf.cast(x[0], tf.int32)):
            matrix = tf.tanh(matrix @ matrix)
        return {"y": x + 0.0 * matrix[0, 0]}

    tf.saved_model.save(module, str(folder), signatures={"serving_default": work})


def save_features(folder):
    """A TF1 model over tf.Example with int, float and bytes features, for classify and regress."""
    v1 = tf.compat.v1
    fixed = tf.io.FixedLenFeature
    with v1.Graph().as_default(), v1.Session() as session:
        example = v1.placeholder(tf.string, [None], name="examples")
        features = {
            "i": fixed([1], tf.int64, 0),
            "f": fixed([1], tf.float32, 0.0),
            "b": fixed([1], tf.string, ""),
        }
        parsed = tf.io.parse_example(example, features)
        total = parsed["f"] + tf.cast(parsed["i"], tf.float32)
        info = v1.saved_model.utils.build_tensor_info
        define = v1.saved_model.signature_def_utils.build_signature_def
        builder = v1.saved_model.builder.SavedModelBuilder(str(folder))
        inputs, method = {"inputs": info(example)}, "tensorflow/serving/"
        signatures = {
            "serving_default": define(inputs, {"outputs": info(total)}, method + "regress"),
            "flat": define(inputs, {"outputs": info(total[:, 0])}, method + "regress"),
            "wide": define(inputs, {"outputs": info(tf.concat([total, total], 1))}, method + "regress"),
            "labels": define(
                inputs, {"classes": info(parsed["b"]), "scores": info(total)}, method + "classify"
            ),
            "only_labels": define(inputs, {"classes": info(parsed["b"])}, method + "classify"),
        }
        builder.add_meta_graph_and_variables(session, ["serve"], signature_def_map=signatures)
        builder.save()


def save_scaled(folder, factor):
    module = tf.Module()
    module.factor = tf.Variable(float(factor))
    scale = signature(("x", [None], tf.float32))(lambda x: {"y": x * module.factor})
    tf.saved_model.save(module, str(folder), signatures={"serving_default": scale})


def save_warmup(folder, input_name, count=1):
    from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

    request = predict_pb2.PredictRequest()
    request.inputs[input_name].CopyFrom(tf.make_tensor_proto([1.0]))
    log = prediction_log_pb2.PredictionLog(predict_log=prediction_log_pb2.PredictLog(request=request))
    extra = Path(folder, "assets.extra")
    extra.mkdir()
    with tf.io.TFRecordWriter(str(extra / "tf_serving_warmup_requests")) as writer:
        for _ in range(count):
            writer.write(log.SerializeToString())


def save_odd(folder):
    """Signatures whose ranks, bias and text are the client's to choose."""
    module = tf.Module()
    module.weights = tf.Variable(tf.ones([4, 8]))

    @signature(("x", [None, 4], tf.float32), ("b", None, tf.float32))
    def biased(x, b):
        return {"y": tf.nn.relu(tf.nn.bias_add(x @ tf.ones([4, 8]), b))}

    signatures = {
        "strings": signature(("x", None, tf.string))(lambda x: {"y": tf.identity(x)}),
        "floats": signature(("x", None, tf.float32))(lambda x: {"y": tf.identity(x)}),
        "size": signature(("x", None, tf.float32))(lambda x: {"y": tf.size(x)[None]}),
        "ranked": signature(("x", [None], tf.int32))(lambda x: {"y": tf.reshape(tf.constant("a"), x)}),
        "numbers": signature(("x", [None], tf.string))(lambda x: {"y": tf.strings.to_number(x)}),
        "biased": biased,
    }
    tf.saved_model.save(module, str(folder), signatures=signatures)


def main(folder):
    runpy.run_path(str(RECORDED))["main"](folder)
    root = Path(folder)
    save_types(root / "types/1")
    save_conv(root / "conv/1")
    save_slow(root / "slow/1")
    save_odd(root / "odd/1")
    save_features(root / "features/1")
    for version in (1, 2, 3):
        save_scaled(root / f"spare/{version}", version)
    save_scaled(root / "warm/1", 1)
    save_warmup(root / "warm/1", "x", 3)
    save_scaled(root / "coldfeet/1", 1)
    save_warmup(root / "coldfeet/1", "no_such_input")
    save_scaled(root / "toomany/1", 1)
    save_warmup(root / "toomany/1", "x", 1001)


if __name__ == "__main__":
    main(sys.argv[1])
