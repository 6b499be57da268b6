"""Files from outside, looked through before anything of them is loaded.

What would leave an archive, fill the disk or is no file is refused. What would run code of whoever wrote the
file is named, and taken in only where it is said to be trusted.
"""

import re
import shlex
import zipfile
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from models.given import Kind
from models.pickles import code_of_program, pickles_in
from models.recognised import KINDS, WEIGHTS, kind_of_path
from models.stored import KERAS, TORCHSCRIPT
from pipelines.errors import GateError, RequestError
from pipelines.importing import graph
from pipelines.targets.torchserve.archive import DAMAGED, require_plain, unpack
from pipelines.targets.torchserve.export import HANDLER, HANDLER_PARTS

ZIPS = ("torchscript", "mar", "pt2")
# What TensorFlow computes that reads, writes or runs something else than tensors.
OPERATIONS = re.compile(
    r"(?:Experimental)?(?:"
    r"(?:Eager)?PyFunc(?:Stateless)?|ReadFile|WriteFile|MatchingFiles|ImmutableConst|Skipgram"
    r"|RecordInput|FixedUnigramCandidateSampler|GenerateVocabRemapping|LoadAndRemapMatrix|Debug(?:Identity|NanCount|NumericSummary)"
    r"|CreateSummary(?:File|Db)Writer|Write\w*Summary|ImportEvent"
    r"|(?:TextLine|WholeFile|FixedLengthRecord|TFRecord|LMDB)Reader|Snapshot(?:Nested)?DatasetReader"
    r"|(?:TextLine|FixedLengthRecord|TFRecord|CSV|Sql|LMDB|MatchingFiles|Cache|DataService|Load|Save"
    r"|Snapshot|SnapshotChunk|ListSnapshotChunks|Register)Dataset"
    r"|DatasetToTFRecord|DatasetFromGraph|DistributedSave"
    r")(?:V\d)?|Save(?:Slices)?|Restore(?:Slice)?"
)
PRINT, STREAM = "PrintV2", "output_stream"
STREAMS = {b"stdout", b"stderr", b"log(info)", b"log(warning)", b"log(error)"}
"""Where a graph may print to; everything else may be a file."""
PROTOBUFS, DESCRIPTOR = ("DecodeProtoV2", "EncodeProto"), "descriptor_source"
BUILT_IN = (b"local://", b"bytes://")
"""Where a descriptor of messages may come from; everything else is a file."""
OTHER_GRAPHS = ("saved_model.cpb", "saved_model.pbtxt")
"""Forms of a graph that TensorFlow reads as well, and that nothing here looks into."""
TORCH_OPERATORS = ("aten::save", "aten::from_file", "aten::load", "prim::PythonOp")
REQUIREMENTS = "requirements.txt"
CODE = (".py", ".pyc", ".so", ".pyd")
CODE_LIMIT_BYTES = 2**28
KERAS_METADATA = "keras_metadata.pb"


def require_kind(path: Path, kind: Kind, source: str) -> None:
    """Raise RequestError if the file is of another kind, by its content, and say what to type for that."""
    content_kind = kind_of_path(path)
    if KINDS.get(content_kind or "") == kind:
        return
    option = f"--{kind.replace('_', '-')}"
    right = KINDS.get(content_kind or "")
    hint = f"give it as --{right.replace('_', '-')}" if right else "give the file that was meant"
    if content_kind in (WEIGHTS, KERAS):
        hint = f"`tandem init my_model.py --from {shlex.quote(source)}` writes a model file for it"
    raise RequestError(f"{option} {source} is {content_kind or 'no file that is known here'}; {hint}")


def findings(path: Path, kind: Kind, source: str) -> tuple[str, ...]:
    """List code in the file, each in a few words; nothing where there is none.

    Raises:
        GateError: an archive is damaged, or made to leave its folder or to fill the disk.
    """
    try:
        if kind in ZIPS:
            require_plain(path)
        return tuple(LOOKED[kind](path)) if kind in LOOKED else ()
    except GateError as error:
        raise GateError(f"{source}: {error}") from error
    except (*DAMAGED, RuntimeError, OSError) as error:
        raise GateError(f"{source}: it is damaged: {error!s:.160}") from error


def require_trust(by_source: dict[str, tuple[str, ...]], *, trust: bool) -> None:
    """Raise RequestError if a file holds code, and nobody said that it is trusted."""
    lines = [f"{source}: {', '.join(names)}" for source, names in by_source.items() if names]
    if lines and not trust:
        raise RequestError(
            f"code of whoever wrote the files would run: {'; '.join(lines)}; say --trust if you trust them"
        )


def _pickles(path: Path) -> Iterator[str]:
    for name, calls in pickles_in(path):
        if calls:
            yield f"the pickle {name} calls {', '.join(calls)}"


def _archive(path: Path) -> Iterator[str]:
    """Yield the handler, unless it is ours, other Python, and pickles, also those inside the program."""
    with TemporaryDirectory(prefix="tandem-import-") as folder:
        manifest = unpack(path, Path(folder))
        model = manifest["model"]
        root = Path(folder)
        handler, own = root / model["handler"], {root / part.name: part for part in HANDLER_PARTS}
        if handler.read_bytes() != HANDLER.read_bytes():
            yield f"its own handler {model['handler']}"
        files = [file for file in sorted(root.rglob("*")) if file.is_file()]
        for file in files:
            ours = file == handler or (file in own and file.read_bytes() == own[file].read_bytes())
            if file.suffix in CODE and not ours:
                yield f"its code {file.relative_to(root)}"
        serialized = model.get("serializedFile")
        if serialized and kind_of_path(root / serialized) != TORCHSCRIPT:
            yield f"its {serialized}, which its handler loads and which is no TorchScript"
        elif serialized:
            require_plain(root / serialized)
            yield from _torchscript_code(root / serialized)
        if (root / REQUIREMENTS).is_file():
            yield f"its {REQUIREMENTS}, which TorchServe may install"
        for file in files:
            yield from _pickles(file)


def _saved_model(path: Path) -> Iterator[str]:
    """Yield operations that do more than compute, as the graph's file names them, and Lambda layers."""
    for file in sorted(path.rglob("saved_model.pb")):
        found = {name for node in graph.nodes(file.read_bytes()) if (name := _beyond_tensors(node))}
        yield from (f"its operation {name}" for name in sorted(found))
    metadata = path / KERAS_METADATA
    if metadata.is_file():
        content = metadata.read_bytes()
        if b'"class_name": "Lambda"' in content or b'"class_name":"Lambda"' in content:
            yield f"a Keras Lambda layer in {KERAS_METADATA}"
    for file in sorted(path.rglob("*")):
        if file.suffix in CODE or file.name in OTHER_GRAPHS:
            yield f"its file {file.relative_to(path)}"


def _beyond_tensors(node: memoryview) -> str | None:
    """Return the operation of a node that does more than compute."""
    name = graph.operation_of(node)
    if name == PRINT:
        return None if STREAMS.issuperset(graph.texts_of(node, STREAM)) else f"{PRINT} to a file"
    if name in PROTOBUFS:
        is_file = not all(text.startswith(BUILT_IN) for text in graph.texts_of(node, DESCRIPTOR))
        return f"{name} of a file" if is_file else None
    return name if OPERATIONS.fullmatch(name) else None


def _torchscript_code(path: Path) -> Iterator[str]:
    """Yield operators in a TorchScript program that touch files, as its own code names them."""
    with zipfile.ZipFile(path) as archive:
        files = [info for info in archive.infolist() if info.filename.endswith(".py")]
        short = [info for info in files if info.file_size < CODE_LIMIT_BYTES]
        code = b"".join(map(archive.read, short)).decode(errors="replace")
    yield from (f"its code {info.filename}, too long to read" for info in files if info not in short)
    for operator in TORCH_OPERATORS:
        name = operator.partition("::")[2]
        if f"torch.{name}(" in code or f"ops.aten.{name}(" in code:
            yield f"its operator {operator}"


def _exported(path: Path) -> Iterator[str]:
    for name in code_of_program(path):
        yield f"its pickle {name}"


def _torchscript(path: Path) -> Iterator[str]:
    yield from _torchscript_code(path)
    yield from _pickles(path)


LOOKED = {
    "torchscript": _torchscript,
    "mar": _archive,
    "pt2": _exported,
    "saved_model": _saved_model,
}
