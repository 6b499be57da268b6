"""Which environments there are, and what decides each one's content."""

import hashlib
import os
import platform
import sys
import sysconfig
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata
from pathlib import Path

from pipelines.environments.system import (
    require_glibc,
    require_processor,
    require_python_library,
    require_shared_memory,
)
from pipelines.errors import MachineError, unknown
from pipelines.import_path import ROOT

FOLDER_VARIABLE = "TANDEM_ENVIRONMENTS"
SHARED_VARIABLE = "TANDEM_SHARED_PACKAGES"
LOCKS = Path(ROOT) / "requirements" / "roads"
DIGITS = 12


@dataclass(frozen=True)
class Environment:
    """One environment.

    Attributes:
        name: of its lock, `requirements/roads/NAME.lock`.
        purpose: what it is for, in a few words.
        disk_mb: what it takes on disk, in megabytes; its downloads are a third of that or less.
        shares: distributions it takes from the environment we run in, in the versions that are there; none:
            it sees nothing of ours.
        pythons: versions of Python that its packages have wheels for.
        locks: the folder of its lock.
        processor: the only one its packages are built for; None for those that Tandem runs on.
        glibc: the oldest that its packages run with; None for whatever Tandem itself runs with.
        libpython: whether something in it loads the shared library of this Python.
        shared_memory: whether its processes talk through POSIX shared memory.
    """

    name: str
    purpose: str
    disk_mb: int
    shares: tuple[str, ...] = ()
    pythons: tuple[str, ...] = ("3.11", "3.12", "3.13")
    locks: Path = LOCKS
    processor: str | None = None
    glibc: tuple[int, int] | None = None
    libpython: bool = False
    shared_memory: bool = False

    @property
    def lock(self) -> Path:
        """Its pins, complete: they are installed without looking at what they ask for."""
        return self.locks / f"{self.name}.lock"

    @cached_property
    def pins(self) -> dict[str, str]:
        """Name → version of what is installed into it, on whatever machine.

        Raises:
            MachineError: the lock is not there.
        """
        try:
            lines = self.lock.read_text().splitlines()
        except OSError as error:
            raise MachineError(
                f"the lock {self.lock} of the environment {self.name} cannot be read: {error.strerror}; run "
                "Tandem from a clone of its repository"
            ) from error
        pinned = [
            line.partition(";")[0].split()[0] for line in lines if line and not line.startswith(("#", " "))
        ]
        return dict(pin.split("==", 1) for pin in pinned)

    @property
    def shared(self) -> dict[str, str]:
        """Name → version of what it takes from us.

        Raises:
            MachineError: something is not installed here.
        """
        try:
            return {name: metadata.version(name) for name in self.shares}
        except metadata.PackageNotFoundError as error:
            raise MachineError(
                f"the environment {self.name} takes {error.name} from Tandem's own, which lacks it; run "
                "`make setup`"
            ) from error

    @property
    def versions(self) -> dict[str, str]:
        """Name → version of all that works in it, taken and installed."""
        return {**self.shared, **self.pins}

    @property
    def folder(self) -> Path:
        """Where it is, or will be: another one for other pins, other shared versions or another Python."""
        self.pins  # noqa: B018 - refuses before a digest of nothing
        facts = [self.lock.read_bytes().decode(), str(sorted(self.shared.items())), platform.machine()]
        digest = hashlib.sha256("\0".join(facts).encode()).hexdigest()[:DIGITS]
        return root() / f"{self.name}-{digest}-{platform.python_version()}"

    @property
    def python(self) -> Path:
        """Its interpreter, once it is made."""
        return self.folder / "bin" / "python"

    @property
    def made(self) -> bool:
        """Whether it is there: a folder of that name is whole, or is not."""
        return os.access(self.python, os.X_OK)  # False in a home folder that is not ours to look into

    @property
    def variables(self) -> dict[str, str]:
        """What its processes need to find what it takes from us."""
        paths = dict.fromkeys(sysconfig.get_path(kind) for kind in ("purelib", "platlib"))
        return {SHARED_VARIABLE: os.pathsep.join(paths) if self.shares else ""}

    def require_python(self) -> None:
        """Raise MachineError if the packages have no wheels for this Python."""
        version = ".".join(map(str, sys.version_info[:2]))
        if version not in self.pythons:
            raise MachineError(
                f"the environment {self.name} cannot be made with Python {version}: its packages have "
                f"wheels for {', '.join(self.pythons)}; run `make setup PYTHON=python{self.pythons[-1]}`, "
                "or do without this road"
            )

    def require_system(self) -> None:
        """Raise MachineError if this machine lacks what the packages need and cannot bring."""
        if self.processor:
            require_processor(self.name, self.processor)
        if self.glibc:
            require_glibc(self.name, self.glibc)
        if self.libpython:
            require_python_library(self.name)
        if self.shared_memory:
            require_shared_memory(f"the environment {self.name}")


def root() -> Path:
    """Return the folder of all environments: `TANDEM_ENVIRONMENTS`, or one in the user's cache.

    Raises:
        MachineError: neither is set, and the user has no home folder.
    """
    chosen = os.environ.get(FOLDER_VARIABLE)
    cache = os.environ.get("XDG_CACHE_HOME")
    try:
        if chosen:
            return Path(chosen).expanduser().absolute()
        below = Path(cache) if cache and Path(cache).is_absolute() else Path.home().absolute() / ".cache"
    except RuntimeError as error:
        raise MachineError(
            f"this user has no home folder (HOME is {os.environ.get('HOME')!r}); set HOME, or "
            f"{FOLDER_VARIABLE} to a folder for environments"
        ) from error
    return below / "tandem" / "environments"


TORCHAX = Environment(
    "torchax",
    "PyTorch to SavedModel by torchax and JAX",
    disk_mb=360,
    shares=("torch", "numpy", "scipy"),
)
LITERT = Environment(
    "litert",
    "PyTorch to TensorFlow Lite by litert-torch and ai-edge-quantizer",
    disk_mb=660,
    shares=("torch", "ai-edge-litert", "numpy", "scipy"),
)
ONNX2TF = Environment(
    "onnx2tf",
    "ONNX to TensorFlow by onnx2tf, with a TensorFlow of its own",
    disk_mb=1600,
    # numpy 1.26 and TensorFlow 2.19 have no wheels for 3.13.
    pythons=("3.11", "3.12"),
)
MLSERVER = Environment(
    "mlserver",
    "MLServer, which needs a protobuf before 7",
    disk_mb=190,
    shares=("torch", "numpy", "jinja2", "typing-extensions"),
    pythons=("3.11",),
)
TRITON = Environment(
    "triton",
    "NVIDIA Triton as nvidia-pytriton bundles it",
    disk_mb=150,
    shares=("torch", "numpy"),
    pythons=("3.11",),
    processor="x86_64",
    glibc=(2, 35),
    libpython=True,
    shared_memory=True,
)
ENVIRONMENTS = {environment.name: environment for environment in (MLSERVER, TRITON, TORCHAX, LITERT, ONNX2TF)}


def find(name: str) -> Environment:
    """Return the environment called `name`.

    Raises:
        RequestError: there is none.
    """
    if name not in ENVIRONMENTS:
        raise unknown("environment", name, ENVIRONMENTS)
    return ENVIRONMENTS[name]
