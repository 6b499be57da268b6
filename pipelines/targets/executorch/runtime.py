"""Outputs, timing and contents of `.pte` and `.ptl` files, from the files alone.

`.pte` runs on ExecuTorch's C++ runtime through its Python extension, without the exporter around it. The
package's build has optimised kernels in the place of some portable ones, so a portable program is a little
faster here than with a runtime that was built from portable kernels alone. `.ptl` runs on torch itself.
"""

import ctypes
from importlib import metadata
from pathlib import Path
from platform import machine
from typing import Any
from weakref import WeakSet

import numpy as np

from models.spec import FloatArray
from pipelines.errors import GateError, MachineError, RequestError, first_line
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


def predict(artifact: Path, artifact_format: str, inputs: FloatArray) -> FloatArray:
    """Float32 outputs (n, …) for inputs (n, …); a `.pte` takes one at a time, a `.ptl` all at once.

    Raises:
        GateError: the file cannot be loaded, or does not take such inputs.
    """
    model = open_model(artifact, artifact_format, threads_count=1)
    if isinstance(model, PtlModel):
        return model.compute(inputs)
    outputs = []
    for sample in inputs:
        model.set_input(sample)
        model.invoke()
        outputs.append(model.output())
    return np.stack(outputs)


def open_model(artifact: Path, artifact_format: str, threads_count: int) -> InProcessModel:
    """The artifact, loaded, computing with `threads_count` threads.

    ExecuTorch has one pool of threads per process, torch one setting: the number is the process's.

    Raises:
        GateError: the file cannot be loaded.
        RequestError: another program is loaded with another number of threads.
    """
    if artifact_format == "ptl":
        return PtlModel(artifact, threads_count)
    return PteModel(artifact, threads_count)


class PteModel:
    """An `InProcessModel` on ExecuTorch's runtime."""

    def __init__(self, artifact: Path, threads_count: int) -> None:
        check_file(artifact)
        extension = _extension()
        _set_threads(extension, threads_count)
        self._artifact = artifact
        try:
            self._program = extension._load_program(str(artifact))
            self._method = self._program.load_method(METHOD)
            about = self._method.method_meta().input_tensor_meta(0)
        except RuntimeError as error:
            raise GateError(
                f"{artifact} does not load as an ExecuTorch program: {first_line(error)}"
            ) from error
        self._sample_shape = tuple(about.sizes())[1:]
        self._input: Any = None
        _loaded.add(self)

    def set_input(self, sample: FloatArray) -> None:
        """Hand over one float32 sample without its batch dimension.

        Raises:
            GateError: the file's input has another shape.
        """
        import torch

        if sample.shape != self._sample_shape:
            raise GateError(
                f"{self._artifact} takes samples of shape {self._sample_shape}, given {sample.shape}"
            )
        self._input = torch.from_numpy(np.ascontiguousarray(sample[None]))

    def invoke(self) -> None:
        """Compute the outputs of the input that was set.

        The runtime copies the input into memory that it planned and that computing writes over, so an
        application hands it over before every call, and so does this: the copy is part of the time.
        """
        self._method.set_inputs([self._input])
        self._method.execute()

    def output(self) -> FloatArray:
        """The float32 output of the last `invoke`, without its batch dimension."""
        values: FloatArray = self._method.get_outputs()[0].numpy()[0].copy()
        return values


def _extension() -> Any:
    """ExecuTorch's native module with every kernel our programs name.

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
    found = extension._threadpool_get_thread_count()
    if found == count:
        return
    if len(_loaded):
        raise RequestError(
            f"ExecuTorch computes with {found} threads in this process and a program is loaded, so it cannot "
            f"change to {count}; open the other number of threads in a process of its own"
        )
    extension._unsafe_reset_threadpool(count)


class PtlModel:
    """An `InProcessModel` on torch's lite interpreter."""

    def __init__(self, artifact: Path, threads_count: int) -> None:
        import torch
        from torch.jit.mobile import _load_for_lite_interpreter

        torch.set_num_threads(threads_count)
        self._artifact = artifact
        try:
            self._module = _load_for_lite_interpreter(str(artifact))  # type: ignore[no-untyped-call]
        except (RuntimeError, ValueError) as error:
            raise GateError(
                f"{artifact} does not load in the lite interpreter: {first_line(error)}"
            ) from error
        self._input: Any = None
        self._output: Any = None

    def compute(self, inputs: FloatArray) -> FloatArray:
        """Outputs (n, …) for inputs (n, …).

        Raises:
            GateError: the file does not take such inputs.
        """
        import torch

        try:
            with torch.inference_mode():
                outputs: FloatArray = self._module(torch.tensor(inputs)).numpy()
        except RuntimeError as error:
            raise GateError(f"{self._artifact} refuses inputs of shape {inputs.shape}") from error
        return outputs

    def set_input(self, sample: FloatArray) -> None:
        """Hand over one float32 sample without its batch dimension."""
        import torch

        self._input = torch.from_numpy(np.ascontiguousarray(sample[None]))

    def invoke(self) -> None:
        """Compute the outputs of the input that was set."""
        import torch

        with torch.inference_mode():
            self._output = self._module(self._input)

    def output(self) -> FloatArray:
        """The float32 output of the last `invoke`, without its batch dimension."""
        values: FloatArray = self._output.numpy()[0].copy()
        return values


def inspect(artifact: Path, artifact_format: str) -> Inspection:
    """What is inside the file; neither format is run for it.

    Raises:
        GateError: the file cannot be read.
    """
    return _inspect_lite(artifact) if artifact_format == "ptl" else inspect_program(artifact)


def _inspect_lite(artifact: Path) -> Inspection:
    """From the TorchScript that a `.ptl` carries beside its bytecode: both are written from one graph."""
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
    """What a file of that format needs beside itself, as installed here: a Python build, no phone's.

    Raises:
        MachineError: the package is not installed, or its files are called something else.
    """
    if artifact_format == "ptl":
        return _library(
            "PyTorch (lite interpreter)", "torch", _torch_folder(), ("lib/libtorch_cpu.so", "lib/libc10.so")
        )
    return _library("ExecuTorch", "executorch", package_folder(), LIBRARIES)


def _torch_folder() -> Path:
    import torch

    return Path(torch.__file__).parent


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
