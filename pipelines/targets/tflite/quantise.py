"""The converter's settings for each precision, and the samples that full quantisation is calibrated on."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from models.spec import ModelError, ModelSpec
from models.tensors import Array, samples
from pipelines.errors import first_line
from pipelines.targets.asking import contiguous
from pipelines.targets.calibration import draw
from pipelines.targets.tflite import flatbuffer

PRECISIONS = ("float32", "float16", "dynamic-int8", "int8", "int16x8")
# Activations and weights in integers, integers in and out; ranges are learned from samples.
FULL = ("int8", "int16x8")

Representative = Callable[[], Iterator[dict[str, Array]]]


class RefusedError(Exception):
    """This precision is not possible; the message is the tool's own reason, in one line."""


def representative(spec: ModelSpec) -> Representative | None:
    """Return a source of the drawn training samples (1, …), one at a time; None if the model has none."""
    drawn = draw(spec)
    return None if drawn is None else lambda: map(contiguous, samples(drawn))


def convert(saved: Path, precision: str, examples: Representative | None) -> bytes:
    """Convert the SavedModel in `saved` to a flatbuffer of built-in operations, with no Flex or custom ones.

    Raises:
        ModelError: the model needs operations that TensorFlow Lite does not have; all are named.
        RefusedError: the converter cannot write this precision.
    """
    from tensorflow.lite.python.convert_phase import ConverterError

    try:
        content: bytes = _converter(saved, precision, examples).convert()
    except ConverterError as error:
        missing = sorted({data.operator.name.removeprefix("tf.") for data in error.errors} - {""})
        if missing:
            raise ModelError(
                f"TensorFlow Lite has no built-in operation for {', '.join(missing)}; Flex and custom "
                f"operations are refused: {_cure(missing)}, or leave this target out"
            ) from error
        raise RefusedError(first_line(error)) from error
    except (RuntimeError, ValueError) as error:
        raise RefusedError(first_line(error)) from error
    if precision in FULL:
        require_integers(content)
    return content


def _cure(missing: Sequence[str]) -> str:
    if any(name.startswith("TensorList") for name in missing):
        return "unroll the Keras twin's recurrent layers (unroll=True, a fixed length)"
    return "express the Keras twin without"


def _converter(saved: Path, precision: str, examples: Representative | None) -> Any:
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_saved_model(str(saved))
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    if precision != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if precision == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if precision in FULL:
        operations, dtype = {
            "int8": (tf.lite.OpsSet.TFLITE_BUILTINS_INT8, tf.int8),
            "int16x8": (
                tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8,
                tf.int16,
            ),
        }[precision]
        converter.target_spec.supported_ops = [operations]
        converter.inference_input_type = converter.inference_output_type = dtype
        converter.representative_dataset = examples
    return converter


def require_integers(content: bytes) -> None:
    """Raise RefusedError if the converter left operations in floating point without reporting it."""
    floating = flatbuffer.floating_operations(flatbuffer.read(content))
    if floating:
        raise RefusedError(f"the converter left {', '.join(floating)} in floating point")
