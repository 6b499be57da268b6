"""A checkpoint on disk: a safetensors file, a state dict of PyTorch, or a folder of parts.

Files are recognised by their content. Nothing here executes code of a file: safetensors holds none, PyTorch
reads state dicts with `weights_only=True`, and of its programs only the weights are used.
"""

import hashlib
import io
import json
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from models.checkpoint import CheckpointError, read_tensors
from models.pickles import code_of_program

if TYPE_CHECKING:
    import torch

INDEX_SUFFIX = ".index.json"
# What Hugging Face's libraries call them, the best first, and PyTorch's usual suffixes.
PATTERNS = (
    *("*.safetensors.index.json", "model.safetensors", "*.safetensors"),
    *("*.bin.index.json", "pytorch_model.bin", "*.bin", "*.pt", "*.pth"),
)
INDEX_LIMIT_BYTES = 100_000_000
ZIP, PICKLE, HDF5 = b"PK\x03\x04", b"\x80", b"\x89HDF"
# Under one of these a training script keeps the state dict beside an epoch and an optimiser.
NESTED = ("state_dict", "model_state_dict", "model", "module")
PARALLEL = "module."
ARCHIVE, KERAS = "a TorchServe archive", "a Keras model"
TORCHSCRIPT, EXPORTED = "a TorchScript program", "an exported program"
# What is a zip file beside state dicts, by an entry that it has.
OTHER_ZIPS = (
    ("MAR-INF/", ARCHIVE),
    ("config.json", KERAS),
    ("constants.pkl", TORCHSCRIPT),
    ("archive_format", EXPORTED),
)


def files_of_checkpoint(path: Path) -> tuple[Path, ...]:
    """List the file itself; of a folder or of an index, the index and all its parts.

    Raises:
        CheckpointError: it is missing, holds no checkpoint, or its index is none or names missing files.
    """
    if path.is_dir():
        path = _within(path)
    if not path.is_file():
        error = CheckpointError("it is missing")
        error.missing = True
        raise error
    if not path.name.endswith(INDEX_SUFFIX):
        return (path,)
    return (path, *(path.parent / name for name in sorted(set(_weight_map(path).values()))))


def _within(folder: Path) -> Path:
    """Find the checkpoint in a folder, as Hugging Face's libraries look for it."""
    for pattern in PATTERNS:
        matches = sorted(folder.glob(pattern))
        if len(matches) > 1:
            raise CheckpointError(
                f"the folder holds {matches[0].name}, {matches[1].name} and no index; give one of them"
            )
        if matches:
            return matches[0]
    raise CheckpointError(f"the folder holds none of {', '.join(PATTERNS)}")


def _weight_map(index: Path) -> dict[str, str]:
    """Read which tensor is in which file beside the index."""
    if index.stat().st_size > INDEX_LIMIT_BYTES:
        raise CheckpointError(f"{index.name} is larger than an index")
    try:
        weight_map = json.loads(index.read_text("utf-8"))["weight_map"]
        named = {str(name): str(file) for name, file in weight_map.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{index.name} is no JSON with a weight_map of tensors to files") from error
    if not named:
        raise CheckpointError(f"{index.name} names no tensors")
    for file in sorted(set(named.values())):
        if Path(file).name != file or file in ("", ".", ".."):
            raise CheckpointError(f"{index.name} names {file!r:.80}, a file beside it is needed")
        if not (index.parent / file).is_file():
            raise CheckpointError(f"{file} is missing, which {index.name} names")
    return named


def digest_of_files(digests: Mapping[str, str]) -> str:
    """Return a checkpoint's SHA-256 from its files': a single file's own, else over names and digests."""
    if len(digests) == 1:
        return next(iter(digests.values()))
    lines = "".join(f"{name}\0{digest}\n" for name, digest in sorted(digests.items()))
    return hashlib.sha256(lines.encode(errors="surrogateescape")).hexdigest()


def read_stored(path: Path) -> tuple[dict[str, npt.NDArray[Any]], str]:
    """Read all tensors of a checkpoint by name, bfloat16 widened to float32, and the digest of what was read.

    Raises:
        CheckpointError: as `files_of_checkpoint`, or a file is none that can be read.
    """
    files = files_of_checkpoint(path)
    state: dict[str, npt.NDArray[Any]] = {}
    digests = {}
    for file in files:
        content = file.read_bytes()
        digests[file.name] = hashlib.sha256(content).hexdigest()
        if file.name.endswith(INDEX_SUFFIX):
            continue
        try:
            tensors = _read(content)
        except CheckpointError as error:
            raise CheckpointError(f"{file.name}: {error}" if len(files) > 1 else str(error)) from error
        twice = sorted(set(tensors) & set(state))
        if twice:
            raise CheckpointError(f"{twice[0]!r} is in {file.name} and in another part")
        state |= tensors
    if len(files) > 1:
        lacking = sorted(set(_weight_map(files[0])) - set(state))
        if lacking:
            raise CheckpointError(f"{lacking[0]!r} is in none of the parts, though the index names it")
    return state, digest_of_files(digests)


def _read(content: bytes) -> dict[str, npt.NDArray[Any]]:
    if content.startswith(HDF5):
        raise CheckpointError("it is an HDF5 file, such as Keras writes; weights of PyTorch are needed")
    # The header of safetensors begins here; its length before may begin like a pickle.
    if content[8:9] != b"{" and content.startswith((ZIP, PICKLE)):
        return _read_torch(content)
    return read_tensors(content)


def _read_torch(content: bytes) -> dict[str, npt.NDArray[Any]]:
    """Read the tensors of a state dict as `torch.save` wrote it."""
    import torch

    kind = kind_of(content) if content.startswith(ZIP) else "weights"
    if kind in (ARCHIVE, KERAS):
        raise CheckpointError(f"it is {kind}, not a state dict; give the weights alone")
    file = io.BytesIO(content)
    try:
        if kind == TORCHSCRIPT:
            loaded: Any = load_torchscript(file).state_dict()
        elif kind == EXPORTED:
            _require_data(content)
            loaded = torch.export.load(file).state_dict
        else:
            loaded = torch.load(file, map_location="cpu", weights_only=True)
    except CheckpointError:
        raise
    except Exception as error:  # a damaged file fails in as many ways as there are to damage one
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise CheckpointError(
            f"PyTorch does not read it with weights_only=True: {reason:.160}; save a state dict "
            "(torch.save(model.state_dict(), …)) or safetensors"
        ) from error
    named = dict(_named_tensors(loaded))
    if named and all(name.startswith(PARALLEL) for name in named):
        named = {name.removeprefix(PARALLEL): tensor for name, tensor in named.items()}
    return {name: _array(name, tensor) for name, tensor in named.items()}


def _require_data(content: bytes) -> None:
    """Raise CheckpointError if an exported program holds pickles that could run anything."""
    code = code_of_program(io.BytesIO(content))
    if code:
        raise CheckpointError(
            f"it is an exported program whose {code[0]!r:.80} may run code when it is read; save a state "
            "dict or safetensors"
        )


def load_torchscript(file: IO[bytes] | str) -> Any:
    """Load a TorchScript program without the warning that the format is deprecated, which helps no one."""
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return torch.jit.load(file, map_location="cpu")  # type: ignore[no-untyped-call]


def kind_of(content: bytes) -> str:
    """Return what a zip file is: one of `OTHER_ZIPS`, or weights.

    Raises:
        CheckpointError: it is damaged.
    """
    return kind_of_file(io.BytesIO(content))


def kind_of_file(file: Path | IO[bytes]) -> str:
    """Return what `kind_of` does, reading no more of the file than the list of its entries."""
    try:
        with zipfile.ZipFile(file) as archive:
            entries = [name.partition("/")[2] or name for name in archive.namelist()] + archive.namelist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        raise CheckpointError(f"it is a damaged zip file: {error}") from error
    kinds = (what for entry, what in OTHER_ZIPS if any(name.startswith(entry) for name in entries))
    return next(kinds, "weights")


def _named_tensors(loaded: Any) -> "Iterator[tuple[str, torch.Tensor]]":
    import torch

    if not isinstance(loaded, Mapping):
        raise CheckpointError(f"it holds a {type(loaded).__name__}; a state dict is needed, tensors by name")
    nested = [name for name in NESTED if isinstance(loaded.get(name), Mapping)]
    if nested and not any(isinstance(value, torch.Tensor) for value in loaded.values()):
        loaded = loaded[nested[0]]
    if not loaded:
        raise CheckpointError("it holds no tensors")
    for name, value in loaded.items():
        if not isinstance(value, torch.Tensor):
            raise CheckpointError(
                f"{name!r:.80} is a {type(value).__name__}; a state dict is needed, tensors by name"
            )
        yield str(name), value


def _array(name: str, tensor: "torch.Tensor") -> npt.NDArray[Any]:
    import torch

    if tensor.layout != torch.strided or tensor.is_complex() or tensor.is_quantized:
        raise CheckpointError(f"{name!r:.80} is no plain tensor of real numbers")
    plain = tensor.float() if tensor.dtype == torch.bfloat16 else tensor
    return np.array(plain.detach().numpy(force=True))
