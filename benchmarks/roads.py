"""Which road takes which model: ten models without a twin, every road, converted and compared.

`python benchmarks/roads.py [--only cnn,text] [--json FILE]` prints a table in Markdown: the largest absolute
error and the seconds of the conversion, or why it was refused. The seconds are without a process's start,
which `tandem export` needs as well. A SavedModel is asked in batches of 1, 3 and 8, a TensorFlow Lite file
one sample at a time, on 48 held-out samples. Environments that are not there are made first.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from road_models import KINDS, write

from models.errors import ModelError
from models.spec import ModelSpec, load_model
from models.tensors import Array
from pipelines.environments.creation import ensure
from pipelines.environments.known import Environment
from pipelines.errors import GateError, first_line
from pipelines.roads.choice import SIGNATURE
from pipelines.roads.conversion import convert_each
from pipelines.roads.known import BY_LITERT, BY_ONNX2TF, BY_TORCHAX, Road
from pipelines.roads.proof import read_truth, require_same, saved_model_call
from pipelines.targets.tflite.export import write_flatbuffer
from pipelines.targets.tflite.runtime import predict
from pipelines.targets.tfserving.export import loaded_function, save_function
from pipelines.tasks.tasks import run_tasks, task_of

LIMIT_S = 7200.0
SAVED, LITE = "SavedModel", "TensorFlow Lite"
COLUMNS = ((SAVED, BY_TORCHAX), (SAVED, BY_ONNX2TF), (LITE, BY_LITERT), (LITE, BY_ONNX2TF))
Truth = dict[str, list[Array]]
Entry = dict[str, Any]


def main() -> None:
    """Try every road with every model and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", help="names of models, comma-separated")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    given = parser.parse_args()
    names = given.only.split(",") if given.only else list(KINDS)
    with TemporaryDirectory(prefix="tandem-roads-") as folder:
        files = {name: write(name, Path(folder)) for name in names}
        found = _measured({name: (load_model(str(file)), file) for name, file in files.items()}, Path(folder))
    if given.json:
        tools = {road.name: road.versions for _, road in COLUMNS}
        given.json.write_text(json.dumps({"tools": tools, "models": found}, indent=2))
    print(_table(found))


def _measured(models: dict[str, tuple[ModelSpec, Path]], folder: Path) -> dict[str, dict[str, Entry]]:
    of_model = {name: {"model": str(file), "digest": spec.digest} for name, (spec, file) in models.items()}
    _run("truth", "write_truth", [one | {"file": str(folder / f"{n}.npz")} for n, one in of_model.items()])
    _run("onnx", "write", [one | {"file": str(folder / f"{n}.onnx")} for n, one in of_model.items()])
    orders = {
        BY_TORCHAX.name: [{**one, "folder": str(folder / f"{n}-torchax")} for n, one in of_model.items()],
        BY_LITERT.name: [{**one, "folder": str(folder / f"{n}-litert")} for n, one in of_model.items()],
        BY_ONNX2TF.name: [_of_onnx(spec, folder) for spec, _ in models.values()],
    }
    outcomes = {
        road.name: _run(road.name, road.convert, orders[road.name], road.environment)
        for road in (BY_TORCHAX, BY_LITERT, BY_ONNX2TF)
    }
    return {
        name: {
            f"{what} by {road.name}": _entry(what, road, spec, folder, outcomes[road.name][place])
            for what, road in COLUMNS
        }
        for place, (name, (spec, _)) in enumerate(models.items())
    }


def _of_onnx(spec: ModelSpec, folder: Path) -> dict[str, Any]:
    told = {
        what: [(one.name, one.dtype, one.shape) for one in tensors]
        for what, tensors in (("inputs", spec.inputs), ("outputs", spec.outputs))
    }
    return {"onnx": str(folder / f"{spec.name}.onnx"), **told, "folder": str(folder / f"{spec.name}-onnx2tf")}


PLACES = {"write_truth": "pipelines.roads.proof", "write": "pipelines.roads.onnx_file"}


def _run(
    title: str, function: str, orders: Sequence[dict[str, Any]], environment: Environment | None = None
) -> list[tuple[float, str | None]]:
    if environment is not None:
        ensure(environment, _tell)
    dotted = function if ":" in function else f"{PLACES[function]}:{function}"
    task = task_of(title, LIMIT_S, convert_each, function=dotted, orders=list(orders))
    task = replace(task, environment=environment)
    (outcome,) = run_tasks([task], lambda name, text: _tell(f"{name}: {text}"))
    return outcome.result


def _tell(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def _entry(what: str, road: Road, spec: ModelSpec, folder: Path, outcome: tuple[float, str | None]) -> Entry:
    seconds, refused = outcome
    if refused is not None:
        return {"refused": refused, "seconds": seconds}
    prove: Callable[[ModelSpec, Path, Truth], float] = _saved if what == SAVED else _lite
    result = folder / f"{spec.name}-{road.name}"
    try:
        error = prove(spec, result, read_truth(spec, folder / f"{spec.name}.npz"))
    except (GateError, ModelError, ValueError) as failure:
        return {"refused": first_line(failure), "seconds": seconds}
    return {"max_abs_error": error, "seconds": seconds}


def _saved(spec: ModelSpec, result: Path, truth: Truth) -> float:
    return require_same(spec, saved_model_call(result, SIGNATURE), truth)


def _lite(spec: ModelSpec, result: Path, truth: Truth) -> float:
    made = result
    if (result / "saved_model.pb").exists():
        made = result.with_name(f"{result.name}-one")
        save_function(spec, loaded_function(spec, result), made, batch=1)
    file = result.with_suffix(".tflite")
    refused = write_flatbuffer(spec, made, file, "float32", None)
    assert refused is None, refused
    outputs = [output.name for output in spec.outputs]
    return require_same(spec, lambda batch: predict(file, "tflite", batch, outputs), truth, batches=(1,))


def _table(found: dict[str, dict[str, Entry]]) -> str:
    names = [f"{what} by {road.name}" for what, road in COLUMNS]
    rows = [
        f"| `{model}` | " + " | ".join(_cell(entries[name]) for name in names) + " |"
        for model, entries in found.items()
    ]
    return "\n".join(("| model | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|", *rows))


def _cell(entry: Entry) -> str:
    if "refused" in entry:
        return f"refused: {entry['refused']}"
    return f"{entry['max_abs_error']:.1e}, {entry['seconds']:.1f} s"


if __name__ == "__main__":
    main()
