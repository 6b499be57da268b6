"""PyTorch module → TorchScript (traced, frozen, reloaded) → TorchServe model archive with our handler."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.spec import ModelError, ModelSpec
from models.weights import load_source
from pipelines.targets.exported import Exported

if TYPE_CHECKING:
    import torch

HANDLER = Path(__file__).with_name("handler.py")
SIGNATURE_NAME = "signature.json"
TRACE_BATCH = 2  # a batch of one would let tracing take the batch size for a constant
PROVEN_BATCHES = (1, TRACE_BATCH + 1)


def export(spec: ModelSpec, folder: Path, progress: Callable[[str], None]) -> list[Exported]:
    """Write `NAME.pt` and `NAME.mar` into `folder`."""
    progress("tracing TorchScript")
    started = time.monotonic()
    script = folder / f"{spec.name}.pt"
    write_torchscript(spec, script)
    traced = time.monotonic()
    progress("packing the model archive")
    archive = folder / f"{spec.name}.mar"
    write_archive(spec, script, archive)
    return [
        Exported(script.name, "torchscript", "float32", traced - started),
        Exported(archive.name, "torchserve-archive", "float32", time.monotonic() - traced),
    ]


def write_torchscript(spec: ModelSpec, path: Path) -> None:
    """Trace, freeze, save, and prove that the file loads and takes other batch sizes.

    Raises:
        ModelError: the saved file does not give what the module gives.
    """
    import torch

    source = load_source(spec)
    samples = torch.tensor(spec.samples().inputs[: max(PROVEN_BATCHES)])
    with torch.inference_mode():
        frozen = torch.jit.freeze(torch.jit.trace(source, samples[:TRACE_BATCH]))  # type: ignore[no-untyped-call]
        torch.jit.save(frozen, path)
    _prove(spec, path, source, samples)


def _prove(spec: ModelSpec, path: Path, source: "torch.nn.Module", samples: "torch.Tensor") -> None:
    for batch in PROVEN_BATCHES:
        off = _off(spec, path, source, samples[:batch])
        if off is not None:
            raise ModelError(
                f"source model {spec.name} does not survive tracing: {path.name} {off} on a batch of "
                f"{batch}; avoid Python loops and branches over the batch in forward"
            )


def _off(spec: ModelSpec, path: Path, source: "torch.nn.Module", samples: "torch.Tensor") -> str | None:
    """What is wrong with the file's answers to `samples`; None if they are the module's, within tolerance."""
    import torch

    with torch.inference_mode():
        expected = source(samples.clone())
        try:
            got = torch.jit.load(path)(samples.clone())  # type: ignore[no-untyped-call]
        except RuntimeError as error:
            return f"fails ({str(error).strip().splitlines()[-1]})"
    if got.shape != expected.shape:
        return f"gives shape {tuple(got.shape)}, not {tuple(expected.shape)},"
    if torch.allclose(
        expected,
        got,
        rtol=spec.tolerance_of(spec.output.name).relative,
        atol=spec.tolerance_of(spec.output.name).absolute,
    ):
        return None
    return f"is off by {float((expected - got).abs().max()):.3g}"


def signature(spec: ModelSpec) -> dict[str, Any]:
    """What the handler needs to know about the model, as JSON."""
    return {
        "inputs": [{"name": t.name, "shape": t.shape[1:], "dtype": t.dtype} for t in spec.inputs],
        "outputs": [{"name": t.name, "shape": t.shape[1:], "dtype": t.dtype} for t in spec.outputs],
        "labels": spec.labels,
        "model_digest": spec.digest,
    }


def write_archive(spec: ModelSpec, script: Path, archive: Path) -> None:
    """Pack the TorchScript file, our handler and the signature with torch-model-archiver."""
    from model_archiver.model_archiver_config import ModelArchiverConfig
    from model_archiver.model_packaging import package_model
    from model_archiver.model_packaging_utils import ModelExportUtils

    described = archive.with_name(SIGNATURE_NAME)
    described.write_text(json.dumps(signature(spec)))
    config = ModelArchiverConfig(
        model_name=spec.name,
        version="1.0",
        serialized_file=str(script),
        handler=str(HANDLER),
        extra_files=str(described),
        export_path=str(archive.parent),
    )
    package_model(config, manifest=ModelExportUtils.generate_manifest_json(config))
    described.unlink()
