"""Which road takes which model: ten models without a twin, every road, converted and compared.

`python benchmarks/roads.py [--only cnn,text] [--json FILE]` prints a table in Markdown: the largest absolute
error and the seconds of the conversion, or why it was refused. A SavedModel is asked in batches of 1, 3, 8, a
TensorFlow Lite file one sample at a time, on 48 held-out samples. Environments that are not there are made
first.
"""

import argparse
import json
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from road_models import KINDS, write

from models.errors import ModelError
from models.spec import ModelSpec, load_model
from models.tensors import Array
from pipelines.errors import UserError
from pipelines.roads.known import BY_LITERT, BY_ONNX2TF, BY_TORCHAX, Asked, Road
from pipelines.roads.proof import read_truth, require_same, saved_model_call, write_truth
from pipelines.roads.taking import SIGNATURE, convert
from pipelines.targets.tflite.export import write_by_road, write_flatbuffer
from pipelines.targets.tflite.runtime import predict

COLUMNS = (
    ("SavedModel", BY_TORCHAX),
    ("SavedModel", BY_ONNX2TF),
    ("TensorFlow Lite", BY_LITERT),
    ("TensorFlow Lite", BY_ONNX2TF),
)
SHORTEST = 1e-12
Truth = dict[str, list[Array]]


def main() -> None:
    """Try every road with every model and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", help="names of models, comma-separated")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    given = parser.parse_args()
    names = given.only.split(",") if given.only else list(KINDS)
    found: dict[str, list[dict[str, Any]]] = {}
    with TemporaryDirectory(prefix="tandem-roads-") as folder:
        for name in names:
            found[name] = _tried(write(name, Path(folder)), Path(folder))
            if given.json:
                given.json.write_text(json.dumps(found, indent=2))
    print(_table(found))


def _tried(file: Path, folder: Path) -> list[dict[str, Any]]:
    spec, truth_file = load_model(str(file)), folder / f"{file.stem}.npz"
    write_truth(str(file), spec.digest, str(truth_file), lambda _: None)
    truth = read_truth(spec, truth_file)
    return [_one(what, road, spec, file, truth) for what, road in COLUMNS]


def _one(what: str, road: Road, spec: ModelSpec, file: Path, truth: Truth) -> dict[str, Any]:
    started, call = time.monotonic(), _saved if what == "SavedModel" else _lite
    entry: dict[str, Any] = {"to": what, "road": road.name, "tools": road.versions}
    with TemporaryDirectory(prefix="tandem-road-") as work:
        try:
            result = Path(work) / "result"
            entry["max_abs_error"] = call(spec, Asked(str(file), road.name), road, result, truth)
        except (UserError, ModelError) as error:
            entry["refused"] = str(error)
    entry["seconds"] = round(time.monotonic() - started, 1)
    print(spec.name, {key: value for key, value in entry.items() if key != "tools"}, flush=True)
    return entry


def _saved(spec: ModelSpec, asked: Asked, road: Road, result: Path, truth: Truth) -> float:
    convert(spec, asked, road, result, lambda _: None)
    return require_same(spec, saved_model_call(result, SIGNATURE), truth)


def _lite(spec: ModelSpec, asked: Asked, _: Road, result: Path, truth: Truth) -> float:
    write_by_road(spec, result, lambda _: None, asked)
    file = result.with_suffix(".tflite")
    refused = write_flatbuffer(spec, result, file, "float32", None)
    assert refused is None, refused
    outputs = [output.name for output in spec.outputs]
    return require_same(spec, lambda batch: predict(file, "tflite", batch, outputs), truth, batches=(1,))


def _table(found: dict[str, list[dict[str, Any]]]) -> str:
    head = "| model | " + " | ".join(f"{what} by {road.name}" for what, road in COLUMNS) + " |"
    rows = [f"| `{name}` | " + " | ".join(map(_cell, entries)) + " |" for name, entries in found.items()]
    return "\n".join((head, "|---" * (len(COLUMNS) + 1) + "|", *rows))


def _cell(entry: dict[str, Any]) -> str:
    if "refused" in entry:
        return f"refused: {entry['refused']}"
    return f"{entry['max_abs_error'] + SHORTEST:.1e}, {entry['seconds']:.0f} s"


if __name__ == "__main__":
    main()
