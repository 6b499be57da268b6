"""PyTorch module → torch.export → AOTInductor: compiled code with its weights in a `.pt2` package → archive.

The code is compiled for the processor it was made on, and runs on those that know the same instructions.
"""

import os
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from models.spec import ModelSpec
from pipelines.machine.compiler import find_compiler
from pipelines.targets.exported import Exported
from pipelines.targets.torchserve.export import write_archive
from pipelines.targets.tracing import (
    Traceable,
    dynamic_axes,
    hushed,
    in_one_tuple,
    prove_module,
    refusal,
    traceable,
)

FORMAT = "aotinductor"
MANY_THREADS = 4
CACHE_VARIABLE = "TORCHINDUCTOR_CACHE_DIR"


def export(spec: ModelSpec, folder: Path, progress: Callable[[str], None]) -> list[Exported]:
    """Write `NAME.pt2` and `NAME.mar` into `folder`.

    Raises:
        MachineError: there is no C++ compiler.
        ModelError: the module cannot be compiled, or what was compiled is another function.
    """
    compiler = find_compiler()
    progress("compiling with AOTInductor, which takes a minute")
    started = time.monotonic()
    package = folder / f"{spec.name}.pt2"
    write_package(traceable(spec), package, compiler.executable)
    compiled = time.monotonic()
    progress("packing the model archive")
    archive = folder / f"{spec.name}.mar"
    write_archive(spec, package, archive)
    tools = {"C++ compiler": compiler.version}
    return [
        Exported(package.name, FORMAT, "float32", compiled - started, tools=tools),
        Exported(archive.name, "torchserve-archive", "float32", time.monotonic() - compiled, tools=tools),
    ]


def write_package(model: Traceable, path: Path, compiler: str) -> None:
    """Export with the spec's dynamic dimensions, compile, and prove other batch sizes and lengths.

    Raises:
        ModelError: the module cannot be exported or compiled, or the package does not give what it gives.
    """
    import torch

    spec = model.spec
    # DYNAMIC and not AUTO: a length taken for a constant is an error here, and unchecked memory in the code.
    shapes = tuple(dict.fromkeys(dynamic_axes(tensor), torch.export.Dim.DYNAMIC) for tensor in spec.inputs)
    try:
        with hushed(), _quiet(), _own_cache(), torch.no_grad():
            program = torch.export.export(
                model.module, model.inputs, dynamic_shapes=in_one_tuple(model.module, shapes), strict=False
            )
            torch._inductor.aoti_compile_and_package(
                program, package_path=str(path), inductor_configs=options(spec, compiler)
            )
            loaded = torch._inductor.aoti_load_package(str(path))
    except Exception as error:
        raise refusal(spec, "a package of AOTInductor", error) from error
    prove_module(model, path, loaded)


def options(spec: ModelSpec, compiler: str) -> dict[str, Any]:
    """Return the compiler's options: weights folded and packed, as many threads as a worker gets.

    What looks up values by index checks them, and in a loop over threads a failed check ends the process: a
    wrong number in one request would end the server. Models of integers therefore get loops of one thread,
    where it is an error of that request; products of matrices use all threads all the same.
    """
    looks_up = any(np.dtype(tensor.dtype).kind in "iu" for tensor in spec.inputs)
    return {
        "freezing": True,
        "cpp.cxx": (None, compiler),
        "cpp.dynamic_threads": not looks_up,  # there is a loop over threads even for one of them
        "cpp.threads": 1 if looks_up else MANY_THREADS,
        # They take longer than they save: this is one compilation, with a cache of its own.
        "cpp_cache_precompile_headers": False,
        "aot_inductor.precompile_headers": False,
    }


@contextmanager
def _own_cache() -> Iterator[None]:
    """Compile in a temporary cache, so that nothing is left anywhere."""
    before = os.environ.get(CACHE_VARIABLE)
    with tempfile.TemporaryDirectory(prefix="tandem-aoti-", ignore_cleanup_errors=True) as name:
        os.environ[CACHE_VARIABLE] = name
        try:
            yield
        finally:
            os.environ.pop(CACHE_VARIABLE)
            if before is not None:
                os.environ[CACHE_VARIABLE] = before


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence what torch warns of about its own code."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=FutureWarning, message=".*treespec")
        yield
