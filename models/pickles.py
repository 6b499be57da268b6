"""What a pickle would call, read from its opcodes without running any of them."""

import io
import json
import pickletools
import re
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

PICKLES = (".pkl", ".pickle")
# In archives of PyTorch's: what its own files name, and its reader makes without running anything else.
HARMLESS = (
    *("torch", "torch._utils", "torch.serialization", "torch.storage", "torch.jit._pickle"),
    *("torch._tensor", "torch.nn.parameter", "collections", "__torch__"),
)
HARMLESS_CALLS = (
    *("_codecs.encode", "builtins.set", "builtins.complex", "builtins.bytearray"),
    *("numpy.dtype", "numpy.ndarray", "numpy.core.multiarray._reconstruct"),
    *("numpy._core.multiarray._reconstruct", "numpy.core.multiarray.scalar"),
)
STRINGS = ("SHORT_BINUNICODE", "BINUNICODE", "UNICODE", "BINUNICODE8")
PUTS = ("MEMOIZE", "BINPUT", "LONG_BINPUT", "PUT")
GETS = ("BINGET", "LONG_BINGET", "GET")
SIZE_LIMIT_BYTES = 2**31


def called(content: bytes) -> tuple[str, ...]:
    """Name what a pickle imports, as module.name, in order; `?` is what cannot be read further."""
    imports: dict[str, None] = {}
    recent: list[str] = []
    memo: dict[object, str] = {}
    last = ""
    try:
        for opcode, argument, place in _opcodes(content):
            name = opcode.name
            if name in STRINGS:
                last = str(argument)
                recent = [*recent[-1:], last]
            elif name in PUTS:
                memo[argument if name != "MEMOIZE" else len(memo)] = last
            elif name in GETS:
                last = memo.get(argument, "?")
                recent = [*recent[-1:], last]
            elif name in ("GLOBAL", "INST"):
                imports[_global_at(content, place or 0)] = None
            elif name == "STACK_GLOBAL":
                imports[".".join(recent) if len(recent) > 1 else "?"] = None
            elif name in ("EXT1", "EXT2", "EXT4"):
                imports["?"] = None
            elif (
                name != "FRAME"
            ):  # that may stand between two texts; anything else may take them off the stack
                last, recent = "", []
    except (ValueError, IndexError, KeyError, UnicodeDecodeError):
        imports["?"] = None
    return tuple(imports)


def _global_at(content: bytes, place: int) -> str:
    """Return what the opcode at `place` imports: the two lines after it, which pickletools would unescape.

    A name with a space in it is none: `?`.
    """
    end = content.index(b"\n", content.index(b"\n", place) + 1)
    name = content[place + 1 : end].decode().replace("\n", ".")
    return "?" if " " in name else name


def _opcodes(content: bytes) -> "Iterator[tuple[pickletools.OpcodeInfo, Any, int | None]]":
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of odd escapes in texts
        yield from pickletools.genops(content)


def suspicious(content: bytes) -> tuple[str, ...]:
    """Return what a pickle imports that PyTorch's own files do not."""
    return tuple(name for name in called(content) if not _is_harmless(name))


def _is_harmless(name: str) -> bool:
    module, _, last = name.rpartition(".")
    if name in HARMLESS_CALLS or module.startswith("__torch__"):
        return True
    return module in HARMLESS and not (module == "torch" and last in ("load", "save", "compile"))


def pickles_in(path: Path) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield every pickle in a file, also in nested zip files: its name, and what is suspicious in it."""
    with path.open("rb") as file:
        head = file.read(2)
    if head == b"PK":
        with zipfile.ZipFile(path) as archive:
            yield from _in_zip(archive, "")
    elif head[:1] == b"\x80":
        yield path.name, suspicious(path.read_bytes())


def _in_zip(archive: zipfile.ZipFile, above: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    for info in archive.infolist():
        name = f"{above}{info.filename}"
        if info.is_dir() or info.file_size > SIZE_LIMIT_BYTES:
            continue
        with archive.open(info) as entry:
            head = entry.read(2)
        if head == b"PK" and not above:
            with zipfile.ZipFile(io.BytesIO(archive.read(info))) as inner:
                yield from _in_zip(inner, f"{name}/")
        elif name.endswith(PICKLES) or (head[:1] == b"\x80" and name.endswith((".pt", ".pth", ".bin"))):
            yield name, suspicious(archive.read(info))


# Of an exported program, entries that torch reads as text or as plain numbers.
PLAIN = re.compile(
    r"archive_format|archive_version|byteorder|version|\.data/\w+|extra/.*|models/[^/]+\.json"
    r"|data/weights/[^/]+_weights_config\.json|data/constants/[^/]+_constants_config\.json"
)
NUMBERS = re.compile(r"data/(?:weights/weight_\d+|constants/tensor_\d+)")
CONFIG = re.compile(r"data/(weights|constants)/[^/]+_config\.json")
EXAMPLES = re.compile(r"data/sample_inputs/[^/]+\.pt")


def code_of_program(file: IO[bytes] | Path) -> tuple[str, ...]:
    """List parts of an exported program that `torch.export.load` would unpickle with all that may run.

    It falls back to that by itself, and is asked only for files of which this gives nothing.

    Raises:
        zipfile.BadZipFile: it is damaged.
    """
    with zipfile.ZipFile(file) as archive:
        names = archive.namelist()
        tops = {name.partition("/")[0] for name in names}
        if len(tops) != 1 or len(set(names)) != len(names):
            return ("entries that hide each other",)
        return tuple(name for name in names if not _is_data(archive, name))


def _is_data(archive: zipfile.ZipFile, name: str) -> bool:
    inner = name.partition("/")[2]
    if CONFIG.fullmatch(inner):
        return not _pickled(archive.read(name))
    if EXAMPLES.fullmatch(inner):
        return _is_read_safely(archive.read(name))
    return bool(PLAIN.fullmatch(inner) or NUMBERS.fullmatch(inner))


def _pickled(config: bytes) -> bool:
    """Return whether weights or constants are declared as anything but plain numbers."""
    try:
        declared = json.loads(config)["config"].values()
        return any(
            entry["use_pickle"] is not False or not re.fullmatch(r"(weight|tensor)_\d+", entry["path_name"])
            for entry in declared
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return True


def _is_read_safely(content: bytes) -> bool:
    import torch

    try:
        torch.load(io.BytesIO(content), weights_only=True)
    except Exception:  # noqa: BLE001 - whatever it is, torch would go on and unpickle it all
        return False
    return True
