"""ONNX → onnx2tf → SavedModel; runs in its environment, whose TensorFlow and NumPy are older than ours.

What is imported here at the top has to live with both.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

SIGNATURE = "serving_default"


def convert(
    onnx: str, inputs: list[list[Any]], outputs: list[list[Any]], folder: str, progress: Callable[[str], None]
) -> None:
    """Write the SavedModel of the file `onnx` into `folder`.

    `inputs` and `outputs` are (name, dtype, shape) of the model's tensors, in their order.

    Raises:
        Exception: onnx2tf's own, where it does not take the model.
    """
    import onnx2tf
    import tensorflow as tf

    with TemporaryDirectory(dir=Path(folder).parent, prefix=".onnx2tf-") as raw:
        progress("onnx2tf: rewriting the graph")
        multiplying = str(Path(raw) / "multiplying.onnx")
        multiply_by_reciprocals(onnx, multiplying)
        try:
            onnx2tf.convert(
                input_onnx_file_path=multiplying,
                output_folder_path=raw,
                output_signaturedefs=True,
                # Otherwise it guesses which inputs are images, and turns them to channels last.
                keep_shape_absolutely_input_names=[name for name, _, _ in inputs],
                disable_model_save=False,
                non_verbose=True,
            )
        except SystemExit as error:
            raise RuntimeError("onnx2tf gave up; its log names the operator") from error
        progress("writing the SavedModel")
        loaded = tf.saved_model.load(raw)
        _save(loaded.signatures[SIGNATURE], inputs, outputs, Path(folder))


def multiply_by_reciprocals(onnx: str, changed: str) -> None:
    """Write the file `onnx` to `changed`, with x / constant as x * (1 / constant) for floating-point ones.

    onnx2tf builds a Keras model whose output is the constant of a division to look at its values, and Keras
    refuses that: pixels that are divided by 255 would end every model of images.
    """
    import onnx as library
    from onnx import numpy_helper

    model = library.load(onnx)
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            constants[node.output[0]] = node.attribute[0].t
    for node in model.graph.node:
        if node.op_type != "Div" or node.input[1] not in constants:
            continue
        divisor = numpy_helper.to_array(constants[node.input[1]])
        if divisor.dtype.kind == "f" and divisor.all():
            name = f"{node.output[0]}_reciprocal"
            reciprocal = numpy_helper.from_array((1 / divisor).astype(divisor.dtype), name)
            model.graph.initializer.append(reciprocal)
            node.op_type, node.input[1] = "Mul", name
    library.save(model, changed)


def _save(raw: Any, inputs: list[list[Any]], outputs: list[list[Any]], folder: Path) -> None:
    """Save it frozen, with the model's own names in the place of onnx2tf's."""
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    theirs = _named(raw.structured_outputs, [name for name, _, _ in outputs])
    tensors = [tf.TensorSpec(shape, dtype, name=name) for name, dtype, shape in inputs]
    taken = dict(raw.structured_input_signature[1])

    def call(*given: Any) -> list[Any]:
        named = dict(zip((tensor.name for tensor in tensors), given, strict=True))
        answer = raw(**{name: tf.cast(named[name], tensor.dtype) for name, tensor in taken.items()})
        return [
            tf.ensure_shape(tf.cast(answer[theirs[name]], dtype), shape) for name, dtype, shape in outputs
        ]

    concrete = tf.function(call, input_signature=tensors, autograph=False).get_concrete_function()
    frozen = convert_variables_to_constants_v2(concrete)

    class Served(tf.Module):  # type: ignore[misc]
        @tf.function(input_signature=tensors, autograph=False)  # type: ignore[untyped-decorator]
        def serve(self, *given: Any) -> dict[str, Any]:
            return dict(zip((name for name, _, _ in outputs), frozen(*given), strict=True))

    module = Served()
    tf.saved_model.save(module, str(folder), signatures={SIGNATURE: module.serve})


def _named(theirs: Mapping[str, Any], names: list[str]) -> dict[str, str]:
    """Map each of our names to theirs: the same, or the one of that place, `output_0` and so on."""
    if set(names) <= set(theirs):
        return {name: name for name in names}
    places = sorted(theirs, key=lambda name: [int(digits) for digits in re.findall(r"\d+", name)])
    if len(places) != len(names):
        raise ValueError(f"onnx2tf's result has {len(places)} outputs, the model {len(names)}")
    return dict(zip(names, places, strict=True))
