"""Frozen function → TensorFlow Lite flatbuffers, one per precision, with metadata and a signature.

Without a twin, by a road that gives the flatbuffers themselves or a SavedModel to convert.
"""

import time
import warnings
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from models.spec import ModelError, ModelSpec
from pipelines.errors import first_line
from pipelines.files.atomic import write_atomically
from pipelines.roads.choice import to_lite
from pipelines.roads.known import BY_LITERT, KERAS, TO_LITE, TWIN, Asked, chosen
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
from pipelines.targets.tflite.ready import converted, is_converted
from pipelines.targets.tfserving.export import frozen_function, loaded_function, save_function

FORMAT = "tflite"


ROADS = (TWIN, *TO_LITE)


def export(
    spec: ModelSpec, folder: Path, progress: Callable[[str], None], asked: Asked | None = None
) -> list[Exported | NotExported]:
    """Write `NAME_PRECISION.tflite` for every precision into `folder`.

    The first one's time includes freezing the function, or taking the road, that all share. A precision that
    the converter or the
    runtime refuses is listed with its reason; float32 must convert.

    Raises:
        ModelError: operations that only Flex or custom kernels have.
        RequestError: the road that was asked for needs a twin.
        GateError: no road takes the model.
    """
    started = time.monotonic()
    samples = representative(spec)
    request = asked or Asked(spec.name)
    entries: list[Exported | NotExported] = []
    # Inside `folder`, which the parent process removes, however this one ends.
    with TemporaryDirectory(dir=folder, prefix=".saved-model-") as saved:
        written = Path(saved) / "made"
        road, tools = write_by_road(spec, written, progress, request)
        for precision in PRECISIONS:
            progress(f"converting to TensorFlow Lite {precision}")
            path = folder / f"{spec.name}_{precision}.tflite"
            refusal = write_flatbuffer(spec, written, path, precision, samples)
            took = time.monotonic() - started
            entries.append(refusal or Exported(path.name, FORMAT, precision, took, road=road, tools=tools))
            started = time.monotonic()
    return entries


def write_by_road(
    spec: ModelSpec, folder: Path, progress: Callable[[str], None], request: Asked
) -> tuple[str, dict[str, str]]:
    """Write into `folder` what flatbuffers are made of; the road it came by, and its tools' versions.

    A SavedModel for a batch of one, or flatbuffers. A device computes one sample at a time, and a fixed batch
    lets a delegate plan the whole graph: with a dynamic one, the operations that compute shapes stay outside
    and split it.
    """
    roads = chosen(spec, ROADS, request.road)
    if roads == (TWIN,):
        progress("freezing the function for TensorFlow Lite")
        save_function(spec, frozen_function(spec), folder, batch=1)
        return KERAS if spec.whole else TWIN, {}
    with TemporaryDirectory(dir=folder.parent, prefix=".road-") as work:
        result = Path(work) / "result"
        taken = to_lite(spec, request, roads, result, progress)
        for line in taken.warnings:
            warnings.warn(line, stacklevel=2)
        if taken.road == BY_LITERT.name:
            result.replace(folder)
        else:
            save_function(spec, loaded_function(spec, result), folder, batch=1)
    return taken.road, taken.tools


def write_flatbuffer(
    spec: ModelSpec, written: Path, path: Path, precision: str, samples: Representative | None
) -> NotExported | None:
    """Bring what `write_by_road` made to `path`; a `NotExported` when the precision cannot be had.

    Raises:
        ModelError: TensorFlow Lite lacks operations of the model, or refuses it in float32 already.
    """
    if precision in FULL and samples is None:
        return NotExported(FORMAT, precision, nothing_to_calibrate_on(spec))
    try:
        flat = (
            converted(spec, written, precision)
            if is_converted(written)
            else convert(written, precision, samples)
        )
        content = _finish(spec, flat, precision)
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
    """Raise unless LiteRT loads the file, as it refuses some, such as 16x8 ones with extreme scales.

    Raises:
        RefusedError: LiteRT does not load it, with LiteRT's reason.
    """
    from ai_edge_litert.interpreter import Interpreter

    try:
        Interpreter(model_content=content).allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise RefusedError(f"converted, but LiteRT does not load it: {first_line(error)}") from error
