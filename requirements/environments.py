"""The environments that every lock is made for: each supported Python on both machines."""

from packaging.markers import default_environment

PYTHONS = ("3.11", "3.12", "3.13")
MACHINES = ("x86_64", "aarch64")
# The oldest C library of a distribution that has such a Python: Ubuntu 22.04's is 2.35, Debian 12's 2.36.
NEWEST_GLIBC_MINOR = 35
# Pins of roads/*.lock that no index has a wheel for, by the machine or the Python that lacks it. There pip
# has to build them, for which a compiler, CMake and HDF5's headers are needed: docs/platforms.md.
WITHOUT_WHEEL = {
    "litert": {"aarch64": ("litert-converter",)},
    "onnx2tf": {
        "aarch64": ("h5py", "onnxoptimizer", "onnxsim", "psutil", "tensorflow-cpu"),
        "3.12": ("onnxsim",),
    },
}


def environments() -> dict[tuple[str, str], dict[str, str]]:
    """Return what markers are evaluated against, by Python version and machine."""
    return {(python, machine): _environment(python, machine) for python in PYTHONS for machine in MACHINES}


def _environment(python: str, machine: str) -> dict[str, str]:
    return {
        **{name: str(value) for name, value in default_environment().items()},
        "python_version": python,
        "python_full_version": f"{python}.0",
        "implementation_version": f"{python}.0",
        "platform_machine": machine,
    }
