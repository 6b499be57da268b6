"""Outputs of TorchScript files, packages of AOTInductor and model archives, from the files alone."""

import importlib.util
import json
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

from models.tensors import Array, Tensors, samples
from pipelines.errors import GateError, first_line
from pipelines.targets.asking import ask_in_batches, named
from pipelines.targets.torchserve.archive import signature_in, unpack
from pipelines.targets.tracing import last_line


def predict(
    artifact: Path, artifact_format: str, inputs: Tensors, outputs: Sequence[str]
) -> dict[str, Array]:
    """Answer inputs (n, …), taken by their order, with outputs (n, …).

    Raises:
        GateError: the file cannot be loaded, has other inputs or outputs, or the archive's handler refuses a
            sample.
    """
    if artifact_format == "torchserve-archive":
        return _archive(artifact, inputs, outputs)
    load = load_package if artifact_format == "aotinductor" else load_torchscript
    return _module(artifact, load(artifact), inputs, outputs)


def load_torchscript(path: Path) -> Any:
    """Load what the file holds, to be called with tensors.

    Raises:
        GateError: it does not load.
    """
    import torch

    try:
        return torch.jit.load(path)  # type: ignore[no-untyped-call]
    except (RuntimeError, ValueError) as error:
        raise GateError(f"{path} does not load as TorchScript: {first_line(error)}") from error


def load_package(path: Path) -> Any:
    """Load what AOTInductor compiled, to be called with tensors.

    Raises:
        GateError: it does not load.
    """
    from torch._inductor import aoti_load_package

    if not zipfile.is_zipfile(path):
        raise GateError(f"{path} does not load as a package of AOTInductor: it is no zip file")
    try:
        return aoti_load_package(str(path))
    except (RuntimeError, ValueError, OSError, KeyError) as error:
        raise GateError(f"{path} does not load as a package of AOTInductor: {first_line(error)}") from error


def open_call(
    artifact: Path,
    artifact_format: str,
    threads_count: int,
    outputs: Sequence[str],  # noqa: ARG001 - as every target's
) -> Callable[[Tensors], object]:
    """Return the model as a function of a batch of inputs, on that many threads; answers are not kept.

    Raises:
        GateError: the file cannot be loaded.
    """
    import torch

    torch.set_num_threads(threads_count)
    load = load_package if artifact_format == "aotinductor" else load_torchscript
    module = load(artifact)

    def call(batch: Tensors) -> object:
        with torch.inference_mode():
            return module(*map(torch.from_numpy, batch.values()))

    return call


def _module(path: Path, module: Any, inputs: Tensors, outputs: Sequence[str]) -> dict[str, Array]:
    import torch

    def call(batch: dict[str, Array]) -> dict[str, Array]:
        try:
            with torch.inference_mode():
                answer = module(*(torch.tensor(array) for array in batch.values()))
        except RuntimeError as error:
            raise GateError(f"{path} refuses its inputs: {last_line(error)}") from error
        return {name: tensor.numpy() for name, tensor in named(path, answer, outputs).items()}

    return ask_in_batches(path, call, inputs)


def _archive(path: Path, inputs: Tensors, outputs: Sequence[str]) -> dict[str, Array]:
    """Return what the archive's own handler answers to JSON bodies, without a server around it."""
    with tempfile.TemporaryDirectory(prefix="tandem-mar-", ignore_cleanup_errors=True) as name:
        manifest = unpack(path, Path(name))
        with _blamed(path):
            handler, context = _start_handler(Path(name), manifest)
            dtypes = _dtypes(Path(name), manifest, outputs)

            def call(batch: dict[str, Array]) -> dict[str, Array]:
                body = json.dumps({"instances": _rows(batch)}).encode()
                (answer,) = handler.handle([{"body": body}], context)
                if not isinstance(answer, str):
                    raise GateError(
                        f"the handler in {path} refused the held-out samples: {str(answer)[:200]}"
                    )
                predictions = json.loads(answer)["predictions"]
                if len(outputs) == 1:
                    return {outputs[0]: _numbers(predictions, dtypes[outputs[0]])}
                rows = [named(path, row, outputs) for row in predictions]
                return {name: _numbers([row[name] for row in rows], dtypes[name]) for name in outputs}

            return ask_in_batches(path, call, inputs)


def _rows(batch: dict[str, Array]) -> list[Any]:
    """Write samples in TensorFlow Serving's rows: a single input without its name."""
    if len(batch) == 1:
        (only,) = batch.values()
        return only.tolist()  # type: ignore[no-any-return]
    return [{name: array.tolist() for name, array in sample.items()} for sample in samples(batch)]


def _numbers(values: Any, dtype: str | None) -> Array:
    """Raise ValueError if what JSON held is something else."""
    array = np.asarray(values, dtype)
    if array.dtype.kind not in "biuf":
        raise ValueError(f"its predictions are {array.dtype}, no numbers")
    return array


def _dtypes(folder: Path, manifest: dict[str, Any], outputs: Sequence[str]) -> dict[str, str | None]:
    """Return the outputs' dtypes, as JSON has none; None where nothing says it and the numbers have to."""
    signed = (signature_in(folder, manifest) or {"outputs": []})["outputs"]
    if len(signed) == len(outputs) == 1:
        return {outputs[0]: signed[0]["dtype"]}
    dtypes = {output["name"]: output["dtype"] for output in signed}
    return {name: dtypes.get(name) for name in outputs}


@contextmanager
def _blamed(path: Path) -> Iterator[None]:
    """Turn whatever a stranger's code raises, even to end the process, into one line on the archive."""
    try:
        yield
    except GateError:
        raise
    except (Exception, SystemExit) as error:
        reason = f"{type(error).__name__}: {str(error)[:200]}"
        raise GateError(f"the handler in {path} gives no predictions: {reason}") from error


def _start_handler(folder: Path, manifest: dict[str, Any]) -> tuple[Any, Any]:
    """Start the handler of an unpacked archive, initialised the way TorchServe's worker does it."""
    module = import_handler(folder / manifest["model"]["handler"])
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


def import_handler(source: Path) -> ModuleType:
    """Import the handler, which finds the files beside it by name as in a worker; leave no module behind.

    Raises:
        GateError: it is not Python.
    """
    spec = importlib.util.spec_from_file_location("tandem_archive_handler", source)
    if spec is None or spec.loader is None:
        raise GateError(f"the archive's handler {source.name} is not Python")
    module = importlib.util.module_from_spec(spec)
    beside = {path.stem for path in source.parent.glob("*.py")} - set(sys.modules)
    sys.path.insert(0, str(source.parent))
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(source.parent))
        for name in beside & set(sys.modules):
            del sys.modules[name]  # another archive's has the same name
    return module
