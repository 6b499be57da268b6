"""PyTorch module → TorchScript (traced, frozen, reloaded) → TorchServe model archive with our handler."""

import json
import shutil
import time
import zipfile
from collections.abc import Callable, Iterable
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from models.spec import ModelSpec
from pipelines.artifacts.contents import sha256
from pipelines.targets.exported import Exported
from pipelines.targets.tracing import Traceable, hushed, prove_module, refusal, traceable
from pipelines.tasks.warned import collected, note

HANDLER = Path(__file__).with_name("handler.py")
HANDLER_PARTS = (HANDLER.with_name("tandem_bodies.py"),)
SIGNATURE_NAME = "signature.json"
# A zip file knows no time before 1980, and a board without a battery begins its days in 1970.
EARLIEST = SimpleNamespace(
    time=lambda: 315_532_800.0, localtime=lambda *_: time.struct_time((1980, 1, 1, 0, 0, 0, 1, 1, 0))
)


def export(spec: ModelSpec, folder: Path, progress: Callable[[str], None]) -> list[Exported]:
    """Write `NAME.pt` and `NAME.mar` into `folder`.

    Raises:
        ModelError: the module cannot be traced, or what was traced is another function.
    """
    progress("tracing TorchScript")
    script = folder / f"{spec.name}.pt"
    traced_s = write_torchscript(spec, script)
    progress("packing the model archive")
    traced = time.monotonic()
    archive = folder / f"{spec.name}.mar"
    write_archive(spec, script, archive)
    return [
        Exported(script.name, "torchscript", "float32", traced_s),
        Exported(archive.name, "torchserve-archive", "float32", time.monotonic() - traced),
    ]


@dataclass(frozen=True)
class _Traced:
    """A file that this process has written and proven; `took_s` is the wall time of both, in seconds."""

    spec: ModelSpec
    path: Path
    sha256: str
    warnings: tuple[str, ...]
    took_s: float


_traced: dict[int, _Traced] = {}  # by the spec's identity: not all of it is in its digest


def write_torchscript(spec: ModelSpec, path: Path) -> float:
    """Write the TorchScript file to `path`, and return the seconds that tracing and proving it took.

    A model is traced once by a process: targets that serve the same file get copies of it, with the same
    seconds and the same warnings.

    Raises:
        ModelError: the module cannot be traced, or the saved file does not give what the module gives.
    """
    earlier = _traced.get(id(spec))
    # The first one's folder is emptied if the rest of its export fails.
    if earlier is not None and earlier.path.is_file() and sha256(earlier.path) == earlier.sha256:
        shutil.copyfile(earlier.path, path)
        _pass_on(earlier.warnings)
        return earlier.took_s
    started = time.monotonic()
    warned: list[str] = []
    try:
        with collected(warned):
            trace(traceable(spec), path)
    finally:
        _pass_on(warned)
    took_s = time.monotonic() - started
    _traced[id(spec)] = _Traced(spec, path, sha256(path), tuple(warned), took_s)
    return took_s


def _pass_on(warned: Iterable[str]) -> None:
    for line in warned:
        note(line)


def trace(model: Traceable, path: Path) -> None:
    """Trace, freeze, save, and prove that the file loads and takes other batch sizes and lengths.

    Several outputs are a tuple in the order of the spec's. The file holds the signature too.

    Raises:
        ModelError: the module cannot be traced, or the saved file does not give what the module gives.
    """
    import torch

    try:
        with hushed(), torch.inference_mode():
            frozen = torch.jit.freeze(torch.jit.trace(model.module, model.inputs))  # type: ignore[no-untyped-call]
            torch.jit.save(frozen, path, {SIGNATURE_NAME: json.dumps(signature(model.spec))})
    except Exception as error:
        raise refusal(model.spec, "TorchScript", error) from error
    loaded = torch.jit.load(path)  # type: ignore[no-untyped-call]
    prove_module(model, path, loaded)


def signature(spec: ModelSpec) -> dict[str, Any]:
    """Return what the handler needs to know about the model, as JSON."""
    return {
        "inputs": [{"name": t.name, "shape": t.shape[1:], "dtype": t.dtype} for t in spec.inputs],
        "outputs": [{"name": t.name, "shape": t.shape[1:], "dtype": t.dtype} for t in spec.outputs],
        "labels": spec.labels,
        "model_digest": spec.digest,
    }


def write_archive(spec: ModelSpec, model: Path, archive: Path) -> None:
    """Pack the model's file, our handler and the signature with torch-model-archiver."""
    from model_archiver.model_archiver_config import ModelArchiverConfig
    from model_archiver.model_packaging import package_model
    from model_archiver.model_packaging_utils import ModelExportUtils

    # Names without folders: the archiver splits paths at commas and colons, and takes brackets for wildcards.
    config = ModelArchiverConfig(
        model_name=spec.name,
        version="1.0",
        serialized_file=str(model.absolute()),
        handler=HANDLER.name,
        extra_files=",".join((SIGNATURE_NAME, *(part.name for part in HANDLER_PARTS))),
        export_path=str(archive.parent.absolute()),
    )
    with TemporaryDirectory(prefix="tandem-archive-") as folder:
        (Path(folder) / SIGNATURE_NAME).write_text(json.dumps(signature(spec)))
        for part in (HANDLER, *HANDLER_PARTS):
            shutil.copy2(part, folder)
        with chdir(folder), patch.object(zipfile, "time", EARLIEST):
            package_model(config, manifest=ModelExportUtils.generate_manifest_json(config))
