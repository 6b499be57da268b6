"""Outputs, timing and contents of `.pte` and `.ptl` files, from the files alone.

`.pte` runs on ExecuTorch's C++ runtime through its Python extension, without the exporter around it. The
package's build has optimised kernels in the place of some portable ones, so a portable program is a little
faster here than with a runtime that was built from portable kernels alone. `.ptl` runs on torch itself.
"""

import ctypes
from collections.abc import Iterable, Sequence
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from platform import machine
from typing import Any
from weakref import WeakSet

from models.tensors import Array, Sample, Tensors
from pipelines.errors import GateError, MachineError, RequestError, first_line
from pipelines.targets.asking import ask_in_batches, ask_one_by_one, contiguous, named
from pipelines.targets.executorch.program import check_file, inspect_program, package_folder
from pipelines.targets.in_process import InProcessModel, Inspection, RuntimeLibrary

METHOD = "forward"
QUANTISED_KERNELS = "lib/libexecutorch_kernels_quantized.so"
# What a program of ours makes the Python build load: the runtime, the kernels, XNNPACK and its threads.
LIBRARIES = (
    "lib/libexecutorch.so",
    "lib/libexecutorch_threadpool.so",
    "lib/libexecutorch_kernels_optimized.so",
    QUANTISED_KERNELS,
    "lib/libexecutorch_backend_xnnpack.so",
)

# Loaded programs keep the address of the one pool of threads, so it may not be replaced under them.
_loaded: "WeakSet[PteModel]" = WeakSet()


def predict(
    artifact: Path, artifact_format: str, inputs: Tensors, outputs: Sequence[str]
) -> dict[str, Array]:
    """Answer inputs (n, …) with outputs (n, …); a `.pte` takes one at a time, a `.ptl` several at once.

    Raises:
        GateError: the file cannot be loaded, or has other inputs or outputs.
    """
    model = open_model(artifact, artifact_format, 1, outputs)
    if isinstance(model, PtlModel):
        return ask_in_batches(artifact, model.compute, inputs)
    return ask_one_by_one(model, inputs)


def open_model(
    artifact: Path, artifact_format: str, threads_count: int, outputs: Sequence[str]
) -> InProcessModel:
    """Load the artifact, to be computed with `threads_count` threads.

    ExecuTorch has one pool of threads per process, torch one setting: the number is the process's.

    Raises:
        GateError: the file cannot be loaded.
        RequestError: another program is loaded with another number of threads.
    """
    if artifact_format == "ptl":
        return PtlModel(artifact, threads_count, outputs)
    return PteModel(artifact, threads_count, outputs)


class PteModel:
    """An `InProcessModel` on ExecuTorch's runtime. A program knows its inputs and outputs by their order."""

    def __init__(self, artifact: Path, threads_count: int, outputs: Sequence[str]) -> None:
        check_file(artifact)
        extension = _extension()
        _set_threads(extension, threads_count)
        self._artifact, self._names = artifact, outputs
        try:
            self._program = extension._load_program(str(artifact))
            self._method = self._program.load_method(METHOD)
            about = self._method.method_meta()
            tensors = [about.input_tensor_meta(number) for number in range(about.num_inputs())]
        except RuntimeError as error:
            raise GateError(
                f"{artifact} does not load as an ExecuTorch program: {first_line(error)}"
            ) from error
        # Without the batch; of a dynamic dimension the largest size.
        self._shapes = [tuple(tensor.sizes())[1:] for tensor in tensors]
        self._given: list[Any] = []
        _loaded.add(self)

    def set_inputs(self, sample: Sample) -> None:
        """Hand over one sample without its batch dimension.

        Raises:
            GateError: the file's inputs have other shapes.
        """
        import torch

        shapes = [array.shape for array in sample.values()]
        if len(shapes) != len(self._shapes) or not all(map(_within, shapes, self._shapes)):
            raise GateError(
                f"{self._artifact} takes samples of shape {_told(self._shapes)}, given {_told(shapes)}"
            )
        self._given = [torch.from_numpy(array) for array in contiguous(sample).values()]

    def invoke(self) -> None:
        """Compute the outputs of the inputs that were set.

        The runtime copies the inputs into memory that it planned and that computing writes over, so an
        application hands them over before every call, and so does this: the copy is part of the time.

        Raises:
            GateError: the program fails on them.
        """
        try:
            self._method.set_inputs(self._given)
            self._method.execute()
        except RuntimeError as error:
            raise GateError(f"{self._artifact} refuses its inputs: {first_line(error)}") from error

    def outputs(self) -> Sample:
        """Return the outputs of the last `invoke`, without the batch dimension."""
        tensors = named(self._artifact, list(self._method.get_outputs()), self._names)
        return {name: tensor.numpy()[0].copy() for name, tensor in tensors.items()}


def _within(shape: tuple[int, ...], largest: tuple[int, ...]) -> bool:
    return len(shape) == len(largest) and all(map(int.__le__, shape, largest))


def _told(shapes: Sequence[tuple[int, ...]]) -> str:
    return ", ".join(map(str, shapes))


def missing_operators(names: Iterable[str]) -> list[str]:
    """Return which of the operators "namespace::name.overload" no kernel of this runtime is for."""
    return sorted(set(names).difference(_extension()._get_operator_names()))


def _extension() -> Any:
    """Import ExecuTorch's native module with every kernel our programs name.

    `executorch.runtime` would import the exporter and torchao with it, seconds and 130 MB that no program
    needs.

    Raises:
        MachineError: ExecuTorch is not installed.
    """
    import torch  # noqa: F401 - the extension is linked to its libraries

    folder = package_folder()
    from executorch.extension.pybindings import _C

    ctypes.CDLL(str(folder / QUANTISED_KERNELS))
    return _C


def _set_threads(extension: Any, count: int) -> None:
    """Make ExecuTorch's pool `count` threads strong, the caller's own included.

    Raises:
        RequestError: a loaded program uses the pool as it is.
    """
    threads_count = extension._threadpool_get_thread_count()
    if threads_count == count:
        return
    if len(_loaded):
        raise RequestError(
            f"ExecuTorch computes with {threads_count} threads in this process and a program is loaded, so "
            f"it cannot change to {count}; open the other number of threads in a process of its own"
        )
    extension._unsafe_reset_threadpool(count)


class PtlModel:
    """An `InProcessModel` on torch's lite interpreter, with inputs and outputs by their order."""

    def __init__(self, artifact: Path, threads_count: int, outputs: Sequence[str]) -> None:
        import torch
        from torch.jit.mobile import _load_for_lite_interpreter

        torch.set_num_threads(threads_count)
        self._artifact, self._names = artifact, outputs
        try:
            self._module = _load_for_lite_interpreter(str(artifact))  # type: ignore[no-untyped-call]
        except (RuntimeError, ValueError) as error:
            raise GateError(
                f"{artifact} does not load in the lite interpreter: {first_line(error)}"
            ) from error
        self._given: list[Any] = []
        self._answer: Any = None

    def compute(self, batch: Tensors) -> dict[str, Array]:
        """Answer inputs (n, …) of one shape with outputs (n, …).

        Raises:
            GateError: the file does not take such inputs.
        """
        import torch

        try:
            with torch.inference_mode():
                answer = self._module(*(torch.tensor(array) for array in batch.values()))
        except RuntimeError as error:
            shapes = _told([array.shape for array in batch.values()])
            raise GateError(f"{self._artifact} refuses inputs of shape {shapes}") from error
        return {name: tensor.numpy() for name, tensor in named(self._artifact, answer, self._names).items()}

    def set_inputs(self, sample: Sample) -> None:
        """Hand over one sample without its batch dimension."""
        import torch

        self._given = [torch.from_numpy(array) for array in contiguous(sample).values()]

    def invoke(self) -> None:
        """Compute the outputs of the inputs that were set."""
        import torch

        with torch.inference_mode():
            self._answer = self._module(*self._given)

    def outputs(self) -> Sample:
        """Return the outputs of the last `invoke`, without the batch dimension."""
        tensors = named(self._artifact, self._answer, self._names)
        return {name: tensor.numpy()[0].copy() for name, tensor in tensors.items()}


def inspect(artifact: Path, artifact_format: str) -> Inspection:
    """Inspect a file without running it.

    Raises:
        GateError: the file cannot be read.
    """
    return _inspect_lite(artifact) if artifact_format == "ptl" else inspect_program(artifact)


def _inspect_lite(artifact: Path) -> Inspection:
    """Inspect the TorchScript that a `.ptl` carries beside its bytecode: both are written from one graph."""
    import torch

    try:
        graph = torch.jit.load(artifact).inlined_graph  # type: ignore[no-untyped-call]
    except (RuntimeError, ValueError) as error:
        raise GateError(
            f"{artifact} does not load as a lite interpreter's file: {first_line(error)}"
        ) from error
    constants = [
        node for node in graph.nodes() if node.kind() == "prim::Constant" and node.hasAttribute("value")
    ]
    tensors = [node.t("value") for node in constants if node.kindOf("value") == "t"]
    return Inspection(
        parameters_count=sum(tensor.numel() for tensor in tensors if tensor.dim()),
        ops_count=sum(node.kind().startswith("aten::") for node in graph.nodes()),
        delegated_ops_count=0,
        delegate=None,
    )


def runtime_library(artifact_format: str) -> RuntimeLibrary:
    """Return what a file of that format needs beside itself, as installed here: a Python build, no phone's.

    Raises:
        MachineError: the package is not installed, or its files are called something else.
    """
    if artifact_format == "ptl":
        return _library(
            "PyTorch (lite interpreter)", "torch", _torch_folder(), ("lib/libtorch_cpu.so", "lib/libc10.so")
        )
    return _library("ExecuTorch", "executorch", package_folder(), LIBRARIES)


def _torch_folder() -> Path:
    """Return where torch is, without the seconds that importing it takes."""
    package_spec = find_spec("torch")
    if package_spec is None or package_spec.origin is None:
        raise MachineError("torch is not installed; run `make setup`")
    return Path(package_spec.origin).parent


def _library(name: str, package: str, folder: Path, files: tuple[str, ...]) -> RuntimeLibrary:
    missing = [file for file in files if not (folder / file).is_file()]
    if missing:
        raise MachineError(f"{package} has no {', '.join(missing)} in {folder}; run `make setup`")
    version = metadata.version(package)
    return RuntimeLibrary(
        name=name,
        version=version,
        size_bytes=sum((folder / file).stat().st_size for file in files),
        source=f"{', '.join(files)} of the package {package} {version}, Python build for {machine()}",
    )
