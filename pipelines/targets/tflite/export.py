"""Frozen function → TensorFlow Lite flatbuffers, one per precision, with metadata and a signature."""

import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from models.spec import ModelError, ModelSpec
from pipelines.errors import first_line
from pipelines.files.atomic import write_atomically
from pipelines.targets.calibration import nothing_to_calibrate_on
from pipelines.targets.exported import Exported, NotExported
from pipelines.targets.tflite import flatbuffer, metadata
from pipelines.targets.tflite.quantise import (
    FULL,
    PRECISIONS,
    RefusedError,
    Representative,
    convert,
    representative,
)
from pipelines.targets.tfserving.export import frozen_function, save_function

FORMAT = "tflite"


def export(spec: ModelSpec, folder: Path, progress: Callable[[str], None]) -> list[Exported | NotExported]:
    """Write `NAME_PRECISION.tflite` for every precision into `folder`.

    The first one's time includes freezing the function that all share. A precision that the converter or the
    runtime refuses is listed with its reason; float32 must convert.

    Raises:
        ModelError: no Keras twin, or operations that only Flex or custom kernels have.
    """
    progress("freezing the function for TensorFlow Lite")
    started = time.monotonic()
    samples = representative(spec)
    entries: list[Exported | NotExported] = []
    # Inside `folder`, which whoever started this process removes, however it ends.
    with TemporaryDirectory(dir=folder, prefix=".saved-model-") as saved:
        # A device computes one sample at a time, and a fixed batch lets a delegate plan the whole graph: with
        # a dynamic one, the operations that compute shapes stay outside and split it.
        save_function(spec, frozen_function(spec), Path(saved), batch=1)
        for precision in PRECISIONS:
            progress(f"converting to TensorFlow Lite {precision}")
            path = folder / f"{spec.name}_{precision}.tflite"
            refusal = write_flatbuffer(spec, Path(saved), path, precision, samples)
            took = time.monotonic() - started
            entries.append(refusal or Exported(path.name, FORMAT, precision, took))
            started = time.monotonic()
    return entries


def write_flatbuffer(
    spec: ModelSpec, saved: Path, path: Path, precision: str, samples: Representative | None
) -> NotExported | None:
    """Convert the SavedModel in `saved` to `path`; a `NotExported` when the precision cannot be had.

    Raises:
        ModelError: TensorFlow Lite lacks operations of the model, or refuses it in float32 already.
    """
    if precision in FULL and samples is None:
        return NotExported(FORMAT, precision, nothing_to_calibrate_on(spec))
    try:
        content = _finish(spec, convert(saved, precision, samples), precision)
        _require_loadable(content)
    except ModelError as error:
        raise ModelError(f"{spec.name}: {error}") from error
    except RefusedError as error:
        if precision == "float32":
            raise ModelError(f"{spec.name} does not convert to TensorFlow Lite: {error}") from error
        return NotExported(FORMAT, precision, str(error))
    write_atomically(path, content)
    return None


def _finish(spec: ModelSpec, converted: bytes, precision: str) -> bytes:
    model = flatbuffer.read(converted)
    inputs, outputs = flatbuffer.slim(model)
    about = metadata.describe(spec, precision, inputs, outputs)
    flatbuffer.add_metadata(model, metadata.BUFFER_NAME, about)
    return metadata.with_labels(flatbuffer.pack(model), metadata.label_files(spec))


def _require_loadable(content: bytes) -> None:
    """The converter writes files that the runtime then refuses, 16x8 ones with extreme scales for instance.

    Raises:
        RefusedError: LiteRT does not load it, with LiteRT's reason.
    """
    from ai_edge_litert.interpreter import Interpreter

    try:
        Interpreter(model_content=content).allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise RefusedError(f"converted, but LiteRT does not load it: {first_line(error)}") from error
