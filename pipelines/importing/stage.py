"""The import stage: files that exist become a model that every other command takes by its name.

All is done in a folder beside the place where it will be, which it takes only when every file was found to be
the same model: what fails leaves nothing behind, and replaces nothing.
"""

import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from models import tensors
from models.given import (
    FOLDER,
    PROGRAMS,
    RECORD,
    SAMPLES,
    Given,
    GivenFile,
    Kind,
    digest_of_path,
    write_record,
)
from models.recognised import kind_of_path
from models.signature import NAME
from models.spec import ModelSpec, load_model, model_names
from models.stored import TORCHSCRIPT
from pipelines.errors import GateError, RequestError
from pipelines.export.stage import export
from pipelines.files.atomic import disk_error, swap, write_atomically
from pipelines.files.leftovers import note_elsewhere
from pipelines.imported.placement import files_for
from pipelines.imported.saved_model import FLOAT32, Read, Tensor
from pipelines.importing import inspection
from pipelines.importing.answers import answer_here, guess_here, observed
from pipelines.importing.copies import take_copy
from pipelines.importing.file_facts import FRAMEWORKS, read_here
from pipelines.importing.joint_signature import Joined, inputs_of, join, spec_of
from pipelines.importing.samples import fitted, random_samples, read_samples, shaped
from pipelines.targets.torchserve.archive import unpack
from pipelines.tasks.tasks import Progress, run_tasks, task_of
from pipelines.verify.stage import Verified, verify

LIMIT_S = 600.0
PATHS: dict[Kind, str] = {
    "torchscript": "program.pt",
    "mar": "archive.mar",
    "pt2": "program.pt2",
    "saved_model": "saved_model",
    "tflite": "model.tflite",
    "onnx": "model.onnx",
}
PROGRAM_OF_ARCHIVE = "archive.pt"
TOLERANCE = {"absolute": 1e-4, "relative": 1e-4}
TRIED: tuple[Kind, ...] = ("torchscript", "mar")
"""What is tried with the shapes that its weights suggest."""
# A target that serves or runs each kind of file; others are made of the same files when they are asked for.
FIRST_TARGETS = ("torchserve", "tfserving", "tflite", "onnx")


@dataclass(frozen=True)
class ImportRequest:
    """Files to import, in the order in which they were typed, under a name; `samples` None: random ones."""

    name: str
    files: Mapping[Kind, Path]
    artifacts: Path
    samples: Path | None = None
    trust: bool = False
    force: bool = False


@dataclass(frozen=True)
class Imported:
    """What was imported, and how near each file is to the reference; in its place unless `verified` fails."""

    spec: ModelSpec
    verified: Verified
    samples_count: int

    @property
    def given(self) -> Given:
        """The files."""
        assert self.spec.given is not None  # noqa: S101 - it was imported
        return self.spec.given


def take_in(request: ImportRequest, progress: Progress) -> Imported:
    """Copy, look through, read and compare the files; put them in place if all are one model.

    Raises:
        RequestError: no file, another kind of file, code that is not trusted, a name that is taken.
        GateError: a file is damaged or hostile, or says that it is another model.
        ModelError: the reference does not answer, or not by the sample alone.
        MachineError: a process died, or the disk refused.
    """
    _require(request)
    with _beside(request) as root:
        folder = root / FOLDER
        folder.mkdir(parents=True)
        files = _copied(request, folder, progress)
        spec, count = _described(request, folder, files, progress)
        targets = [name for name in FIRST_TARGETS if files_for(spec, name)]
        export(str(root), root.parent, progress, targets=targets)
        verified = verify(str(root), root.parent, progress, targets)
        placed = request.artifacts / request.name
        if not verified.failures:
            try:
                swap(root, placed)
            except OSError as error:
                raise disk_error(placed, error) from error
            spec = load_model(str(placed))
    return Imported(spec, verified, count)


def _require(request: ImportRequest) -> None:
    """Raise RequestError if there is nothing to import, or nowhere to put it."""
    if not request.files:
        options = ", ".join(f"--{kind.replace('_', '-')}" for kind in PATHS)
        raise RequestError(f"nothing to import; give at least one of {options}")
    if not NAME.fullmatch(request.name):
        raise RequestError(
            f"{request.name!r:.80} cannot name a model; letters, digits (not first) and _ are allowed"
        )
    if request.name in model_names():
        raise RequestError(f"{request.name} is a model of this package; give the import another name")
    place = request.artifacts / request.name
    if (place / FOLDER / RECORD).exists():
        if not request.force:
            raise RequestError(f"{place} holds an import already; --force replaces it")
    elif place.exists() and any(entry.name != ".lock" for entry in place.iterdir()):
        raise RequestError(f"{place} holds artifacts of another model of that name; choose another name")


@contextmanager
def _beside(request: ImportRequest) -> Iterator[Path]:
    """Make a folder of the model's name below a temporary one in the artifacts folder."""
    try:
        request.artifacts.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=request.artifacts, prefix=f".import-{request.name}-"))
        note_elsewhere(str(temporary))
    except OSError as error:
        raise disk_error(request.artifacts, error) from error
    try:
        yield temporary / request.name
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _copied(request: ImportRequest, folder: Path, progress: Progress) -> list[GivenFile]:
    """Copy the files to where they stay, and look through them.

    Raises:
        RequestError, GateError: as `take_in`.
    """
    files, by_source = [], {}
    for kind, source in request.files.items():
        progress("import", f"looking through {source.name}")
        path, typed = folder / PATHS[kind], str(source)
        size = take_copy(source, path)
        inspection.require_kind(path, kind, typed)
        by_source[typed] = inspection.findings(path, kind, typed)
        files.append(GivenFile(kind, PATHS[kind], typed, digest_of_path(path) or "", size, FLOAT32, {}, {}))
    inspection.require_trust(by_source, trust=request.trust)
    files = [replace(file, findings=by_source[file.source]) for file in files]
    return [_with_program(file, folder) if file.kind == "mar" else file for file in files]


def _with_program(file: GivenFile, folder: Path) -> GivenFile:
    """Take the TorchScript program out of an archive, if it holds one."""
    program = _program_in(folder)
    return (
        file
        if program is None
        else replace(file, program=program, program_sha256=digest_of_path(folder / program))
    )


def _program_in(folder: Path) -> str | None:
    """Take the TorchScript program out of an archive; return None if it holds none."""
    with tempfile.TemporaryDirectory(dir=folder, prefix=".mar-") as inside:
        model = unpack(folder / PATHS["mar"], Path(inside))["model"]
        script = Path(inside) / str(model.get("serializedFile", ""))
        if "serializedFile" not in model or kind_of_path(script) != TORCHSCRIPT:
            return None
        shutil.move(script, folder / PROGRAM_OF_ARCHIVE)
    return PROGRAM_OF_ARCHIVE


def _described(
    request: ImportRequest, folder: Path, files: list[GivenFile], progress: Progress
) -> tuple[ModelSpec, int]:
    """Write down the model that the files are, beside them; return it and its number of samples."""
    reads = _read(folder, files, progress)
    base = _base(files, reads)
    inputs = join("input", inputs_of(reads), base)
    random = request.samples is None
    if request.samples is not None:
        samples = fitted(
            read_samples(request.samples, [inputs.own[base], *inputs.own.values()]), inputs.tensors
        )
        known_inputs = shaped(inputs.tensors, samples)
    else:
        known_inputs = _guessed(folder, files, base, inputs, progress)
        samples = dict(random_samples(known_inputs))
    tensors.save(folder / SAMPLES, samples)
    reference = _reference(files, reads)
    dynamic = any(None in (tensor.shape or ())[1:] for tensor in known_inputs)
    try:
        outputs = _outputs(folder, files, reads, inputs, (base, reference), dynamic, progress)
    except GateError as error:
        reason = str(error)
        for file in files:  # by the names that were typed: the copies are gone in a moment
            reason = reason.replace(str(_path(folder, file)), file.source)
        if random and "--samples" not in reason:
            reason += "; its samples are random, give --samples FILE.npz with real inputs"
        raise GateError(reason) from error
    recorded_files = tuple(
        replace(
            file,
            precision=reads[file.kind].precision if file.kind in reads else FLOAT32,
            inputs=inputs.own.get(file.kind, _same(inputs)),
            outputs=outputs.own.get(file.kind, _same(outputs)),
        )
        for file in files
    )
    given = Given(folder, recorded_files, reference, random, reads[reference].parameters_count)
    signature = tuple(map(spec_of, known_inputs)), tuple(map(spec_of, outputs.tensors))
    write_atomically(folder / RECORD, write_record(given, request.name, signature, TOLERANCE) + "\n")
    spec = load_model(str(folder.parent))
    return spec, len(spec.samples())


def _same(joined: Joined) -> dict[str, str]:
    return {tensor.name: tensor.name for tensor in joined.tensors}


def _path(folder: Path, file: GivenFile) -> Path:
    return folder / (file.program or file.path)


def _read(folder: Path, files: Sequence[GivenFile], progress: Progress) -> dict[Kind, Read]:
    """Read what each file says; of an archive its program, and nothing where it has none."""
    by_framework: dict[str, dict[Kind, Path]] = {}
    for file in files:
        if file.kind != "mar" or file.program:
            by_framework.setdefault(FRAMEWORKS[file.kind], {})[file.kind] = folder / file.path
    tasks = [
        task_of(f"{name} files", LIMIT_S, read_here, files=paths) for name, paths in by_framework.items()
    ]
    reads: dict[Kind, Read] = {}
    for outcome in run_tasks(tasks, progress):
        reads |= outcome.result
    return {file.kind: reads[file.kind] for file in files if file.kind in reads}


def _base(files: Sequence[GivenFile], reads: Mapping[Kind, Read]) -> Kind:
    """Return the file whose order of tensors is the model's: a program's, which takes them by position.

    Raises:
        RequestError: nothing says what goes in and out.
    """
    if not reads:
        raise RequestError(
            "the archive holds no TorchScript program and does not say what goes in and out; import a file "
            "that does beside it: --torchscript, --onnx, --saved-model, --tflite or --pt2"
        )
    programs: list[Kind] = [kind for kind in PROGRAMS if kind in reads]  # type: ignore[misc]
    return programs[0] if programs else _reference(files, reads)


def _reference(files: Sequence[GivenFile], reads: Mapping[Kind, Read]) -> Kind:
    """Return the exported program if there is one, else the first file in float32, else the first."""
    readable = [file.kind for file in files if file.kind in reads]
    if "pt2" in readable:
        return "pt2"
    return next((kind for kind in readable if reads[kind].precision == FLOAT32), readable[0])


def _guessed(
    folder: Path, files: Sequence[GivenFile], base: Kind, inputs: Joined, progress: Progress
) -> tuple[Tensor, ...]:
    """Return the inputs, with shapes that a program takes where no file states them.

    Raises:
        RequestError: it takes none of those tried, or is no program of TorchScript, which alone is tried.
    """
    if all(tensor.shape is not None and tensor.dtype is not None for tensor in inputs.tensors):
        return inputs.tensors
    if base not in TRIED:
        unknown = next(tensor.name for tensor in inputs.tensors if None in (tensor.shape, tensor.dtype))
        raise RequestError(
            f"the {base} does not say the shape of its input {inputs.own[base][unknown]!r}; give --samples "
            "FILE.npz with real inputs"
        )
    file = next(file for file in files if file.kind == base)
    names = list(inputs.own[base].values())
    task = task_of(base, LIMIT_S, guess_here, path=_path(folder, file), names=names)
    (outcome,) = run_tasks([task], progress)
    if outcome.result is None:
        raise RequestError(
            f"a {base} does not say the shapes of its inputs ({', '.join(names)}), and what its weights "
            "suggest it does not take; give --samples FILE.npz with real inputs"
        )
    return tuple(
        replace(tensor, dtype=dtype, shape=shape)
        for tensor, (dtype, shape) in zip(inputs.tensors, outcome.result, strict=True)
    )


def _outputs(
    folder: Path,
    files: Sequence[GivenFile],
    reads: Mapping[Kind, Read],
    inputs: Joined,
    pair: tuple[Kind, Kind],
    dynamic: bool,
    progress: Progress,
) -> Joined:
    """Ask program and reference for the samples; return the outputs, in the program's order."""
    kinds = tuple(dict.fromkeys(pair))
    tasks = []
    for kind in kinds:
        file = next(file for file in files if file.kind == kind)
        declared = reads[kind].outputs
        # A program's answers show its outputs; only an archive has names for what its program gives.
        shown = declared is None or (kind in PROGRAMS and kind != "mar")
        own = None if shown else [output.name for output in declared or ()]
        task = task_of(
            kind,
            LIMIT_S,
            answer_here,
            kind=kind,
            path=_path(folder, file),
            samples=folder / SAMPLES,
            names=inputs.own[kind],
            outputs=own,
        )
        tasks.append(task)
    answered = {
        kind: observed(outcome.result, reads[kind].outputs, dynamic=dynamic)
        for kind, outcome in zip(kinds, run_tasks(tasks, progress), strict=True)
    }
    by_kind: dict[Kind, Sequence[Tensor]] = dict(answered)
    for kind, read in reads.items():
        if kind not in by_kind and read.outputs is not None:
            by_kind[kind] = [_loosely(output) for output in read.outputs]
    return join("output", by_kind, pair[0])


def _loosely(tensor: Tensor) -> Tensor:
    """Drop the float dtype of an output that was not asked: other files may have another precision there."""
    return replace(tensor, dtype=None) if tensor.dtype and tensor.dtype.startswith("float") else tensor


def require_same(imported: Imported) -> None:
    """Raise GateError if a file is another model, or does not run; then nothing was put in place."""
    if imported.verified.failures:
        raise GateError(f"nothing was imported: {'; '.join(imported.verified.failures)}")
