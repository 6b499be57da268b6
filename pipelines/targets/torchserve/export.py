"""PyTorch module → TorchScript (traced, frozen, reloaded) → TorchServe model archive with our handler."""

import json
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from models.spec import ModelSpec
from pipelines.targets.exported import Exported
from pipelines.targets.tracing import Traceable, hushed, prove_module, refusal, traceable

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
    started = time.monotonic()
    script = folder / f"{spec.name}.pt"
    write_torchscript(traceable(spec), script)
    traced = time.monotonic()
    progress("packing the model archive")
    archive = folder / f"{spec.name}.mar"
    write_archive(spec, script, archive)
    return [
        Exported(script.name, "torchscript", "float32", traced - started),
        Exported(archive.name, "torchserve-archive", "float32", time.monotonic() - traced),
    ]


def write_torchscript(model: Traceable, path: Path) -> None:
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

    described = archive.with_name(SIGNATURE_NAME)
    described.write_text(json.dumps(signature(spec)))
    config = ModelArchiverConfig(
        model_name=spec.name,
        version="1.0",
        serialized_file=str(model),
        handler=str(HANDLER),
        extra_files=",".join(map(str, (described, *HANDLER_PARTS))),
        export_path=str(archive.parent),
    )
    with patch.object(zipfile, "time", EARLIEST):
        package_model(config, manifest=ModelExportUtils.generate_manifest_json(config))
    described.unlink()
