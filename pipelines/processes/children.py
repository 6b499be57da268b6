"""What every process we start is given: a command, and an environment that no shell decides.

Two people who measure the same model on the same machine shall measure the same thing. What changes a
result or breaks a child, and is set in a shell for another purpose, is left out: see docs/environment.md.
"""

import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from pipelines.import_path import ROOT, VARIABLE

# Families of variables, by the beginning of their names.
LEFT_OUT = (
    "PYTHON",  # PYTHONPATH, PYTHONOPTIMIZE, PYTHONWARNINGS, …: the import path and the language
    *(
        "KERAS_",
        "TF_",
        "XLA_",
        "JAX_",
        "TORCH",
        "PYTORCH_",
        "ATEN_",
        "DNNL_",
        "ONEDNN_",
        "ORT_",
    ),  # what is computed
    *("OMP_", "GOMP_", "KMP_", "MKL_", "OPENBLAS_", "BLIS_"),  # how many threads compute it
    *("MALLOC_", "GLIBC_TUNABLES", "GRPC_", "GEVENT_", "LOCUST_"),  # how it is served and asked
    *("TS_", "JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS", "CLASSPATH"),  # TorchServe's own
    *("LC_", "LANG"),  # how it is written: Java's upper case is another one in Turkish
)
# Python's own variables; PYTHON_PORT and the like are of docker/compose.yaml.
OF_PYTHON = re.compile("PYTHON[A-Z]")
# Of these families, what says where things are.
KEPT = frozenset(
    {"PYTHONHOME", "PYTHONUSERBASE", "PYTHONNOUSERSITE", "PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX"}
    | {"KERAS_HOME", "TORCH_HOME"}
)
PINNED = {
    "PYTHONSAFEPATH": "1",
    "PYTHONUTF8": "1",
    "PYTHONHASHSEED": "0",
    "PYTHONUNBUFFERED": "1",  # the last words of what is killed are in its log
    "PYTHONWARNINGS": "ignore",
    "KERAS_BACKEND": "tensorflow",
    "CUDA_VISIBLE_DEVICES": "",  # nothing may depend on a GPU that happens to be there
    "LC_ALL": "C.UTF-8",
}


def python_module(name: str, *arguments: str, python: Path | None = None) -> list[str]:
    """Return the command that runs our module `name`, in this Python or in `python`.

    Nothing in the working directory gets in its way.
    """
    return [str(python or sys.executable), "-P", "-m", name, *arguments]


def child_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return our environment without `LEFT_OUT`, with `PINNED`, and with `extra` over both."""
    ours = {name: value for name, value in os.environ.items() if name in KEPT or not _is_left_out(name)}
    return {**ours, **PINNED, **_import_path(), **(extra or {})}


def tool_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return our environment and `extra` for other people's programs, without what steers a Python in them.

    `docker-compose` is one in Python: a project on PYTHONPATH would be executed in place of its own modules.
    """
    ours = {name: value for name, value in os.environ.items() if not OF_PYTHON.match(name)}
    return {**ours, **(extra or {})}


def _is_left_out(name: str) -> bool:
    return name.startswith(LEFT_OUT)


def _import_path() -> dict[str, str]:
    """Return our packages, unless they are installed ones, and apart from them the user's entries."""
    users = filter(None, (os.environ.get(VARIABLE), os.environ.get("PYTHONPATH")))
    installed = Path(ROOT).name in {"site-packages", "dist-packages"}
    return {VARIABLE: os.pathsep.join(users)} | ({} if installed else {"PYTHONPATH": ROOT})
