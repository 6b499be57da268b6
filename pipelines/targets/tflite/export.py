"""Frozen function → TensorFlow Lite flatbuffer."""

import time
from collections.abc import Callable
from pathlib import Path

from models.spec import ModelSpec
from pipelines.targets.exported import Exported
from pipelines.targets.tfserving.export import frozen_function


def export(spec: ModelSpec, folder: Path, progress: Callable[[str], None]) -> list[Exported]:
    """Write `NAME_float32.tflite` into `folder`. Only built-in operations are allowed: no Flex delegate."""
    import tensorflow as tf

    progress("converting to TensorFlow Lite")
    started = time.monotonic()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([frozen_function(spec)])
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    path = folder / f"{spec.name}_float32.tflite"
    path.write_bytes(converter.convert())
    return [Exported(path.name, "tflite", "float32", time.monotonic() - started)]
