"""A model that came as files and has no source: what was imported of it, and the spec that follows.

`tandem import` writes ARTIFACTS/NAME/imported/ with the files, samples and a record of both; everything else
reads them here. The files are data: what code they hold was looked for before they were taken in.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from models import tensors
from models.errors import ModelError
from models.samples import Samples
from models.signature import TensorSpec
from models.stored import load_torchscript

if TYPE_CHECKING:
    import torch


FOLDER, RECORD, SAMPLES = "imported", "import.json", "samples.npz"
DEFAULT_ROOT = Path("artifacts")
SCHEMA_VERSION = 1
RECORD_LIMIT_BYTES = 16 * 2**20
CHUNK_BYTES = 2**20
LABELS = "labels of samples"
Kind = Literal["torchscript", "mar", "saved_model", "tflite", "onnx", "pt2"]
PROGRAMS = ("pt2", "torchscript", "mar")
"""Kinds that hold a program of PyTorch, the one that goes down most roads first."""


@dataclass(frozen=True)
class GivenFile:
    """One file or folder that was imported.

    Attributes:
        kind: what it is.
        path: where it is now, relative to the folder of imports.
        source: what was typed for it.
        sha256: of its content; of a folder over the names and digests of its files.
        size_bytes: of all its files together.
        precision: what it computes in, as far as the file says.
        inputs: the model's names of its inputs by its own, in its order.
        outputs: the same of its outputs.
        program: of an archive the TorchScript file taken out of it, relative as `path`; None if it has none.
        program_sha256: of that file.
        findings: code in it that was found and trusted, and what else is worth knowing.
    """

    kind: Kind
    path: str
    source: str
    sha256: str
    size_bytes: int
    precision: str
    inputs: dict[str, str]
    outputs: dict[str, str]
    program: str | None = None
    program_sha256: str | None = None
    findings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Given:
    """What was imported.

    Attributes:
        folder: where it is.
        files: in the order in which they were typed.
        reference: the kind that all others are held against.
        random: whether the samples are random numbers.
        parameters_count: numbers in the reference that inference uses.
    """

    folder: Path
    files: tuple[GivenFile, ...]
    reference: Kind
    random: bool
    parameters_count: int

    def find(self, kind: str) -> GivenFile | None:
        """Return the file of that kind, if there is one."""
        return next((file for file in self.files if file.kind == kind), None)

    @property
    def referred(self) -> GivenFile:
        """The file that all others are held against."""
        return next(file for file in self.files if file.kind == self.reference)

    @property
    def program(self) -> GivenFile | None:
        """The file with a program of PyTorch, which other targets can be exported from; None without one."""
        programs = (self.find(kind) for kind in PROGRAMS)
        return next((file for file in programs if file and (file.kind != "mar" or file.program)), None)

    @property
    def refers_to_program(self) -> bool:
        """Whether the reference is that very program."""
        return self.program is self.referred

    def path_of(self, file: GivenFile) -> Path:
        """Return a file's path."""
        return self.folder / file.path

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes that belong beside every figure of this model."""
        reference = self.referred
        lines = [f"the reference is the imported {reference.kind} ({reference.source}), there is no source"]
        if self.random:
            lines.append("samples are random numbers: they show a wrong file and say nothing of accuracy")
        return tuple(lines)


def folder_of(name: str) -> Path | None:
    """Find a model's imports by its artifacts' folder, or its name in the usual one; None without any."""
    places = (Path(name), DEFAULT_ROOT / name) if Path(name).name == name else (Path(name),)
    return next((place / FOLDER for place in places if (place / FOLDER / RECORD).is_file()), None)


def imported_names(root: Path = DEFAULT_ROOT) -> list[str]:
    """List the names of the imported models in an artifacts folder."""
    return sorted(path.parent.parent.name for path in root.glob(f"*/{FOLDER}/{RECORD}"))


def write_record(
    given: Given, name: str, signature: tuple[tuple[TensorSpec, ...], ...], tolerance: Any
) -> str:
    """Write the record's text: the files, the signature (inputs, outputs), and the tolerance."""
    inputs, outputs = signature
    return json.dumps(
        {
            "schema_version": SCHEMA_VERSION,
            "name": name,
            "inputs": [asdict(tensor) for tensor in inputs],
            "outputs": [asdict(tensor) for tensor in outputs],
            "tolerance": tolerance,
            "reference": given.reference,
            "random": given.random,
            "parameters_count": given.parameters_count,
            "files": [asdict(file) for file in given.files],
        },
        indent=2,
    )


def parts_of_spec(folder: Path) -> dict[str, Any]:
    """Read what a `ModelSpec` takes of the model imported into `folder`; the tolerance as its own parts.

    Raises:
        ModelError: the record is damaged, or a file is not the one that was imported.
    """
    path = folder / RECORD
    try:
        if path.stat().st_size > RECORD_LIMIT_BYTES:
            raise ValueError("it is too large")
        record = json.loads(path.read_text("utf-8"))
        if record["schema_version"] != SCHEMA_VERSION:
            raise ValueError(f"schema_version {record['schema_version']!r} is none of this version's")
        files = tuple(_file(entry) for entry in record["files"])
        given = Given(folder, files, record["reference"], record["random"], record["parameters_count"])
        inputs, outputs = ([_tensor(entry) for entry in record[what]] for what in ("inputs", "outputs"))
        tolerance = {part: float(record["tolerance"][part]) for part in ("absolute", "relative")}
        name, reference = record["name"], given.referred
    except (OSError, ValueError, KeyError, TypeError, AttributeError, StopIteration, RecursionError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise ModelError(
            f"{path} is no record of an import: {reason:.160}; import the files again"
        ) from error
    return {
        "name": name,
        "inputs": tuple(inputs),
        "outputs": tuple(outputs),
        "tolerance": tolerance,
        "checkpoint": given.path_of(reference),
        "build_torch": _loader(name, given),
        "test_samples": lambda: _samples(folder / SAMPLES),
        "origin": path,
        "given": given,
    }


def read_given(folder: Path) -> Given:
    """Read what was imported into `folder`.

    Raises:
        ModelError: as `parts_of_spec`.
    """
    given: Given = parts_of_spec(folder)["given"]
    return given


def _file(entry: dict[str, Any]) -> GivenFile:
    file = GivenFile(**{**entry, "findings": tuple(entry["findings"])})
    for path in (file.path, *(() if file.program is None else (file.program,))):
        if not isinstance(path, str) or Path(path).is_absolute() or ".." in Path(path).parts or "\0" in path:
            raise ValueError(f"{path!r} leads out of the folder")
    return file


def _tensor(entry: dict[str, Any]) -> TensorSpec:
    return TensorSpec(entry["name"], entry["dtype"], tuple(entry["shape"]))


def _samples(path: Path) -> Samples:
    try:
        arrays = tensors.load(path)
    except Exception as error:  # a damaged file fails in as many ways as there are to damage one
        raise ModelError(f"{path} cannot be read: {error!s:.160}; import the files again") from error
    labels = arrays.pop(LABELS, None)
    return Samples(arrays, labels)


def _loader(name: str, given: Given) -> "Callable[[], torch.nn.Module]":
    def load() -> "torch.nn.Module":
        program = given.program
        if program is None:
            kinds = ", ".join(file.kind for file in given.files)
            raise ModelError(
                f"{name} was imported as {kinds}: there is no PyTorch program to make anything else of; "
                "import one too (--torchscript, --pt2 or --mar), or the file itself"
            )
        return load_program(given.folder, program)

    return load


def load_program(folder: Path, file: GivenFile) -> "torch.nn.Module":
    """Load the PyTorch program in an imported file."""
    import torch

    if file.kind == "pt2":
        module: torch.nn.Module = torch.export.load(folder / file.path).module()
        return module
    script: torch.nn.Module = load_torchscript(str(folder / (file.program or file.path)))
    return script.eval()


def digest_of_given(given: Given) -> str:
    """Return the SHA-256 over all imported files, each of them read again.

    Raises:
        ModelError: one is missing or is not what was imported.
    """
    hasher = hashlib.sha256()
    for file in given.files:
        hasher.update(f"{file.kind}\0{_unchanged(given, file, file.path, file.sha256)}\n".encode())
        if file.program is not None:
            digest = _unchanged(given, file, file.program, file.program_sha256)
            hasher.update(f"{file.kind} program\0{digest}\n".encode())
    return hasher.hexdigest()


def _unchanged(given: Given, file: GivenFile, path: str, sha256: str | None) -> str:
    """Return the digest of what is at a path of an import's; raise ModelError if it is another one."""
    place = given.folder / path
    digest = digest_of_path(place)
    if digest is not None and digest == sha256:
        return digest
    if digest is None:
        what = "is missing"
    elif sha256 is None:
        what = "has no sha256 in the record of its import"
    else:
        what = f"has sha256 {digest:.12}…, not {sha256!s:.12}…"
    raise ModelError(f"{place} {what}; it was imported from {file.source}: import the files again")


def digest_of_path(path: Path) -> str | None:
    """Return the SHA-256 of a file; of a folder over the names and digests of its files, as of artifacts."""
    if not path.exists():
        return None
    if path.is_file():
        return _sha256(path)
    whole = hashlib.sha256()
    for file in _files_below(path):
        name = file.relative_to(path).as_posix()
        whole.update(f"{name}\0{_sha256(file)}\n".encode(errors="surrogateescape"))
    return whole.hexdigest()


def _files_below(folder: Path) -> Iterator[Path]:
    paths = [Path(top) / name for top, _, names in os.walk(folder) for name in names]
    return iter(sorted(paths, key=lambda file: file.relative_to(folder).as_posix().split("/")))


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
