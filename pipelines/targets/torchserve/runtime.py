"""Outputs of TorchScript files and model archives, from the files alone."""

import importlib.util
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from models.spec import FloatArray
from pipelines.errors import GateError, first_line
from pipelines.targets.torchserve.archive import unpack


def predict(artifact: Path, artifact_format: str, inputs: FloatArray) -> FloatArray:
    """Outputs (n, …) for inputs (n, …).

    Raises:
        GateError: the file cannot be loaded, or the archive's handler refuses a sample.
    """
    if artifact_format == "torchserve-archive":
        return _archive(artifact, inputs)
    return _torchscript(artifact, inputs)


def _torchscript(path: Path, inputs: FloatArray) -> FloatArray:
    import torch

    try:
        module = torch.jit.load(path)  # type: ignore[no-untyped-call]
    except (RuntimeError, ValueError) as error:
        raise GateError(f"{path} does not load as TorchScript: {first_line(error)}") from error
    with torch.inference_mode():
        outputs: FloatArray = module(torch.tensor(inputs)).numpy()
    return outputs


def _archive(path: Path, inputs: FloatArray) -> FloatArray:
    """What the archive's own handler answers to JSON bodies, without a server around it."""
    body = json.dumps({"instances": inputs.tolist()}).encode()
    with tempfile.TemporaryDirectory(prefix="tandem-mar-", ignore_cleanup_errors=True) as name:
        manifest = unpack(path, Path(name))
        with _blamed(path):
            handler, context = _start_handler(Path(name), manifest)
            (answer,) = handler.handle([{"body": body}], context)
            if not isinstance(answer, str):
                raise GateError(f"the handler in {path} refused the held-out samples: {str(answer)[:200]}")
            return np.asarray(json.loads(answer)["predictions"], np.float32)


@contextmanager
def _blamed(path: Path) -> Iterator[None]:
    """Whatever a stranger's code raises is one line about the archive, also what would end the process."""
    try:
        yield
    except GateError:
        raise
    except (Exception, SystemExit) as error:
        said = f"{type(error).__name__}: {str(error)[:200]}"
        raise GateError(f"the handler in {path} gives no predictions: {said}") from error


def _start_handler(folder: Path, manifest: dict[str, Any]) -> tuple[Any, Any]:
    """The handler of an unpacked archive, initialised the way TorchServe's worker does it."""
    source = folder / manifest["model"]["handler"]
    spec = importlib.util.spec_from_file_location("tandem_archive_handler", source)
    if spec is None or spec.loader is None:
        raise GateError(f"the archive's handler {source.name} is not Python")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    context = SimpleNamespace(
        system_properties={"model_dir": str(folder)},
        manifest=manifest,
        get_request_header=lambda *_: None,
        set_response_status=lambda **_: None,
        set_response_content_type=lambda *_: None,
    )
    handler = module.Handler()
    handler.initialize(context)
    return handler, context
