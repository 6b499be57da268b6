"""Write the small SavedModels that the recorded cases were answered with.

Usage: python make_models.py FOLDER
Layout: FOLDER/NAME/VERSION. half_plus_two has versions 1 and 2; the recording server served version 2 of it
as `half_plus_two`, and versions 1 and 2 under the name `hp2_labels` with labels stable=1 and canary=2.
"""

import sys
from pathlib import Path

import tensorflow as tf


def signature(*specs):
    return tf.function(
        input_signature=[tf.TensorSpec(shape, dtype, name=name) for name, shape, dtype in specs]
    )


class HalfPlusTwo(tf.Module):
    def __init__(self):
        super().__init__()
        self.a = tf.Variable(0.5)
        self.b = tf.Variable(2.0)

    @signature(("x", [None], tf.float32))
    def two(self, x):
        return {"y": x * self.a + self.b}

    @signature(("x", [None], tf.float32))
    def three(self, x):
        return {"y": x * self.a + 3.0}


class Multi(tf.Module):
    @signature(("a", [None, 2], tf.float32), ("b", [None], tf.int32))
    def main(self, a, b):
        column = tf.cast(b, tf.float32)[:, None]
        return {"sum": a + column, "prod": a * column, "b64i": tf.cast(b, tf.int64) * 10000000000}


class Strings(tf.Module):
    @signature(("s", [None], tf.string))
    def main(self, s):
        return {"echo": s, "len": tf.strings.length(s)}

    @signature(("s", [None], tf.string))
    def as_bytes(self, s):
        return {"echo_bytes": s, "len": tf.strings.length(s)}


class ScalarOut(tf.Module):
    @signature(("x", [None, 3], tf.float32))
    def main(self, x):
        return {"y": x, "n": tf.constant(7, tf.int32)}


def numeric_outputs(x):
    return {
        "inv": 1.0 / x,
        "log": tf.math.log(x),
        "sci": x * 1e20,
        "small": x * 1e-20,
        "third": x / 3.0,
        "dbl": tf.cast(x, tf.float64) / 3.0,
        "bool": x > 0,
        "u8": tf.cast(x, tf.uint8),
    }


class Dtypes(tf.Module):
    @signature(("x", [None], tf.float32))
    def main(self, x):
        return {**numeric_outputs(x), "half": tf.cast(x / 3, tf.float16)}


class Dtypes2(tf.Module):
    @signature(("x", [None], tf.float32))
    def main(self, x):
        return {
            **numeric_outputs(x),
            "i64": tf.cast(x, tf.int64) * 3074457345618258602,
            "u64": tf.cast(x, tf.uint64) * 6000000000000000000,
        }

    @signature(("x", [None], tf.float32))
    def bf16(self, x):
        return {"y": tf.cast(x, tf.bfloat16)}

    @signature(("x", [None], tf.bool))
    def bool_(self, x):
        return {"y": tf.logical_not(x)}

    @signature(("x", [None], tf.int64))
    def i64(self, x):
        return {"y": x + 0}

    @signature(("x", [None], tf.uint8))
    def u8(self, x):
        return {"y": x + tf.cast(1, tf.uint8)}

    @signature(("x", [None], tf.float64))
    def dbl(self, x):
        return {"y": x / 3}

    @signature(("x", [None], tf.float16))
    def f16(self, x):
        return {"y": tf.cast(x, tf.float32)}

    @signature(("x", [], tf.float32))
    def scalar(self, x):
        return {"y": x * 2}

    @signature(("x", [], tf.float32), ("v", [None], tf.float32))
    def scalar_vec(self, x, v):
        return {"y": x * v}

    @signature(("x", [None, 2, 3], tf.float32))
    def r3(self, x):
        return {"y": x}

    @signature(("image_bytes", [None], tf.string))
    def img(self, image_bytes):
        return {"y_bytes": image_bytes}


def save_classic(folder):
    """A TF1-style SavedModel with regress and classify signatures over serialized tf.Example."""
    v1 = tf.compat.v1
    with v1.Graph().as_default(), v1.Session() as session:
        example = v1.placeholder(tf.string, [None], name="tf_example")
        parsed = tf.io.parse_example(
            example,
            {
                "x": tf.io.FixedLenFeature([1], tf.float32),
                "x2": tf.io.FixedLenFeature([1], tf.float32, default_value=[0.0]),
            },
        )
        y = parsed["x"] * v1.Variable(0.5) + 2.0
        scores = tf.concat([y, y + 1], 1)
        classes = tf.tile(tf.constant([["a", "b"]]), [tf.shape(y)[0], 1])
        session.run(v1.global_variables_initializer())
        info = v1.saved_model.utils.build_tensor_info
        define = v1.saved_model.signature_def_utils.build_signature_def
        builder = v1.saved_model.builder.SavedModelBuilder(str(folder))
        builder.add_meta_graph_and_variables(
            session,
            ["serve"],
            signature_def_map={
                "serving_default": define(
                    {"inputs": info(example)}, {"outputs": info(y)}, "tensorflow/serving/regress"
                ),
                "classify": define(
                    {"inputs": info(example)},
                    {"classes": info(classes), "scores": info(scores)},
                    "tensorflow/serving/classify",
                ),
                "classify_scores": define(
                    {"inputs": info(example)}, {"scores": info(scores)}, "tensorflow/serving/classify"
                ),
                "predict": define({"x": info(parsed["x"])}, {"y": info(y)}, "tensorflow/serving/predict"),
            },
        )
        builder.save()


def main(folder):
    root = Path(folder)
    for version in ("1", "2"):
        model = HalfPlusTwo()
        tf.saved_model.save(
            model,
            str(root / "half_plus_two" / version),
            signatures={"serving_default": model.two, "half_plus_three": model.three},
        )
    multi, strings, scalar, d, d2 = Multi(), Strings(), ScalarOut(), Dtypes(), Dtypes2()
    tf.saved_model.save(multi, str(root / "multi/1"), signatures={"serving_default": multi.main})
    tf.saved_model.save(
        strings, str(root / "strs/1"), signatures={"serving_default": strings.main, "bytes": strings.as_bytes}
    )
    tf.saved_model.save(scalar, str(root / "scalarout/1"), signatures={"serving_default": scalar.main})
    tf.saved_model.save(d, str(root / "dtypes/1"), signatures={"serving_default": d.main})
    tf.saved_model.save(
        d2,
        str(root / "dtypes2/1"),
        signatures={
            "serving_default": d2.main,
            "bf16": d2.bf16,
            "bool": d2.bool_,
            "i64": d2.i64,
            "u8": d2.u8,
            "dbl": d2.dbl,
            "f16": d2.f16,
            "scalar": d2.scalar,
            "scalar_vec": d2.scalar_vec,
            "r3": d2.r3,
            "img": d2.img,
        },
    )
    save_classic(root / "classic/1")


if __name__ == "__main__":
    main(sys.argv[1])
