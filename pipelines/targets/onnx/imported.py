"""Imported ONNX files in the folder of their target."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from models.given import GivenFile
from models.spec import ModelSpec
from pipelines.files.atomic import copy_file
from pipelines.targets.exported import Exported
from pipelines.targets.imports import AS_IT_IS, RENAMED, names_of, path_of, renames


def place(spec: ModelSpec, file: GivenFile, folder: Path) -> list[Exported]:
    """Copy the file; give its tensors the model's names where a runtime goes by them."""
    path = folder / f"{spec.name}_{file.precision}.onnx"
    copy_file(path_of(spec, file), path)
    if not renames(file):
        return [Exported(path.name, "onnx", file.precision, 0.0, road=AS_IT_IS)]
    rename(path, {**names_of(file.inputs), **names_of(file.outputs)})
    return [Exported(path.name, "onnx", file.precision, 0.0, road=RENAMED)]


def rename(path: Path, names: Mapping[str, str]) -> None:
    """Give the graph's inputs and outputs the model's names; a name that is in use inside makes room."""
    import onnx

    model = onnx.load(path)
    graphs = [*_graphs(model.graph)]
    inner = {name for graph in graphs for name in _names_in(graph)} - set(names)
    renamed = {name: f"{name}_inner" for name in inner & set(names.values())} | dict(names)
    for graph in graphs:
        for node in graph.node:
            for values in (node.input, node.output):
                values[:] = [renamed.get(name, name) for name in values]
        for value in _values(graph):
            value.name = renamed.get(value.name, value.name)
    path.write_bytes(model.SerializeToString(deterministic=True))


def _graphs(graph: Any) -> Iterator[Any]:
    """Yield a graph and those inside its nodes, as the branches of an If, which take tensors from outside."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for body in (attribute.g, *attribute.graphs):
                yield from _graphs(body)


def _names_in(graph: Any) -> set[str]:
    of_nodes = {name for node in graph.node for name in (*node.input, *node.output)}
    return of_nodes | {value.name for value in _values(graph)}


def _values(graph: Any) -> list[Any]:
    return [*graph.input, *graph.output, *graph.value_info, *graph.initializer]
