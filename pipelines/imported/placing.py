"""Imported files in the folders of their targets, with the model's own names where a server goes by them.

A file is copied as it is wherever it can be: its record says so, and says what was added or renamed.
"""

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from models.errors import ModelError
from models.given import Given, GivenFile, load_program
from models.spec import ModelSpec
from pipelines.files.atomic import copy_file, disk_error
from pipelines.targets.exported import Exported, NotExported
from pipelines.targets.torchserve.archive import unpack
from pipelines.targets.torchserve.export import SIGNATURE_NAME, signature, write_archive
from pipelines.targets.torchserve.runtime import signature_in

SOURCE = Path(__file__)
AS_IT_IS = "imported as it is"
SIGNED = "imported, with its signature added"
WARMED = "imported, with warm-up records added"
RENAMED = "imported, with its tensors renamed"
PACKED = "packed from the imported program"
KINDS = {
    "torchserve": ("mar", "torchscript"),
    "python": ("torchscript", "mar"),
    "mlserver": ("torchscript", "mar"),
    "triton": ("torchscript", "mar"),
    "tfserving": ("saved_model",),
    "tflite": ("tflite",),
    "onnx": ("onnx",),
}
"""By target the kinds of files that it is made of, the best first."""

Written = list[Exported | NotExported]


def files_for(spec: ModelSpec, target: str) -> tuple[GivenFile, ...]:
    """Return the imported files that a target is made of; none if it has to be exported from a program."""
    given = spec.given
    if given is None:
        return ()
    files = [file for kind in KINDS.get(target, ()) if (file := given.find(kind))]
    if target == "torchserve":
        return tuple(files)
    return tuple(file for file in files if file.kind != "mar" or file.program)[:1]


def is_exported(spec: ModelSpec, target: str) -> bool:
    """Return whether a target is traced from a program, as of any model, and not made of an imported file."""
    return not files_for(spec, target) and (spec.given is None or spec.given.program is not None)


def place(spec: ModelSpec, target: str, folder: Path, progress: Callable[[str], None]) -> Written:
    """Write into `folder` what the target is made of.

    Raises:
        ModelError: no file of that kind was imported, and there is no program to make one of.
        MachineError: the disk refused.
    """
    given, files = spec.given, files_for(spec, target)
    if given is None or not files:
        kinds = KINDS.get(target, ())
        options = " or ".join(f"--{kind.replace('_', '-')}" for kind in kinds)
        with_file = f"a file for it ({options}), or " if options else ""
        raise ModelError(
            f"{spec.name} was imported as {', '.join(f.kind for f in given.files) if given else 'nothing'}; "
            f"import {with_file}a program to make one of (--torchscript, --pt2 or --mar)"
        )
    progress("taking over what was imported")
    started = time.monotonic()
    written: Written = []
    for file in files:
        exported = PLACERS[target](spec, file, folder)
        now = time.monotonic()
        written += [_timed(each, now - started) for each in exported]
        started = now
    return _once(written)


def _timed(exported: Exported, took_s: float) -> Exported:
    return Exported(
        exported.path, exported.format, exported.precision, took_s, exported.variant, exported.road
    )


def _once(written: Written) -> Written:
    """Keep the given archive and the given program where both were given; pack neither again."""
    by_path: dict[str, Exported | NotExported] = {}
    for entry in written:
        if isinstance(entry, Exported):
            by_path.setdefault(entry.path, entry)
    return list(by_path.values())


def _for_torchserve(spec: ModelSpec, file: GivenFile, folder: Path) -> list[Exported]:
    archive = folder / f"{spec.name}.mar"
    if file.kind == "mar":
        return [_archive(spec, file, archive)]
    script = folder / f"{spec.name}.pt"
    copy_file(_path(spec, file), script)
    written = [Exported(script.name, "torchscript", file.precision, 0.0, road=AS_IT_IS)]
    if archive.exists():
        return written
    write_archive(spec, script, archive)
    return [*written, Exported(archive.name, "torchserve-archive", file.precision, 0.0, road=PACKED)]


def _archive(spec: ModelSpec, file: GivenFile, archive: Path) -> Exported:
    """Copy the archive; pack it anew where only its signature knows its tensors by other names."""
    given = _given(spec)
    if file.program and renames(file) and _goes_by_its_signature(given.path_of(file)):
        write_archive(spec, given.folder / file.program, archive)
        return Exported(archive.name, "torchserve-archive", file.precision, 0.0, road=RENAMED)
    copy_file(given.path_of(file), archive)
    return Exported(archive.name, "torchserve-archive", file.precision, 0.0, road=AS_IT_IS)


def _goes_by_its_signature(archive: Path) -> bool:
    with TemporaryDirectory(prefix="tandem-mar-") as folder:
        return signature_in(Path(folder), unpack(archive, Path(folder))) is not None


def _with_signature(spec: ModelSpec, file: GivenFile, folder: Path) -> list[Exported]:
    """Write the signature into the file itself, where its server reads inputs and outputs."""
    import torch

    script = folder / f"{spec.name}.pt"
    program = load_program(_given(spec).folder, file)
    torch.jit.save(program, script, {SIGNATURE_NAME: json.dumps(signature(spec))})
    return [Exported(script.name, "torchscript", file.precision, 0.0, road=SIGNED)]


def _for_tfserving(spec: ModelSpec, file: GivenFile, folder: Path) -> list[Exported]:
    from pipelines.targets.tfserving.export import VERSION, WARMUP, write_warmup

    version = folder / spec.name / VERSION
    _copy_folder(_path(spec, file), version)
    road = AS_IT_IS
    if not (version / WARMUP).exists():
        write_warmup(spec, version)
        road = WARMED
    return [Exported(f"{spec.name}/{VERSION}", "saved-model", file.precision, 0.0, road=road)]


def _copy_folder(source: Path, target: Path) -> None:
    """Every file of it; TensorFlow writes a folder for assets also where there are none."""
    try:
        shutil.copytree(source, target, copy_function=shutil.copyfile)
        for folder, _, _ in os.walk(target, topdown=False):
            if not any(Path(folder).iterdir()):
                Path(folder).rmdir()
    except OSError as error:
        raise disk_error(target, error) from error


def _for_tflite(spec: ModelSpec, file: GivenFile, folder: Path) -> list[Exported]:
    from pipelines.targets.tflite import flatbuffer

    path = folder / f"{spec.name}_{file.precision}.tflite"
    copy_file(_path(spec, file), path)
    if not renames(file):
        return [Exported(path.name, "tflite", file.precision, 0.0, road=AS_IT_IS)]
    model = flatbuffer.read(path.read_bytes())
    flatbuffer.rename_all(model, _names_of(file.inputs), _names_of(file.outputs))
    path.write_bytes(flatbuffer.pack(model))
    return [Exported(path.name, "tflite", file.precision, 0.0, road=RENAMED)]


def _for_onnx(spec: ModelSpec, file: GivenFile, folder: Path) -> list[Exported]:
    path = folder / f"{spec.name}_{file.precision}.onnx"
    copy_file(_path(spec, file), path)
    if not renames(file):
        return [Exported(path.name, "onnx", file.precision, 0.0, road=AS_IT_IS)]
    _rename_onnx(path, {**_names_of(file.inputs), **_names_of(file.outputs)})
    return [Exported(path.name, "onnx", file.precision, 0.0, road=RENAMED)]


def _rename_onnx(path: Path, names: Mapping[str, str]) -> None:
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


def _names_of(names: Mapping[str, str]) -> dict[str, str]:
    """Map the file's own names to the model's."""
    return {own: name for name, own in names.items()}


def renames(file: GivenFile) -> bool:
    """Return whether a runtime cannot know which tensor is meant: several have other names."""
    return any(
        len(names) > 1 and any(name != own for name, own in names.items())
        for names in (file.inputs, file.outputs)
    )


def _path(spec: ModelSpec, file: GivenFile) -> Path:
    return _given(spec).path_of(file)


def _given(spec: ModelSpec) -> Given:
    assert spec.given is not None  # noqa: S101 - it has files
    return spec.given


PLACERS: dict[str, Callable[[ModelSpec, GivenFile, Path], list[Exported]]] = {
    "torchserve": _for_torchserve,
    "python": _with_signature,
    "mlserver": _with_signature,
    "triton": _with_signature,
    "tfserving": _for_tfserving,
    "tflite": _for_tflite,
    "onnx": _for_onnx,
}
