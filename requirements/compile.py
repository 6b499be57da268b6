"""Pin everything: `python requirements/compile.py` resolves all *.in files together with pip, then writes
each share's closure to its *.lock. All shares agree on every version, so any of them may be combined.

A lock holds for every environment in environments.py: a pin that not all of them need carries a marker.
The locks are complete, and installed with `pip install --no-deps`.

Each of roads/*.in is for an environment of its own and resolved by itself. One that says `shares:` sees the
packages of all other locks behind its own, so that it pins only what they lack.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from environments import MACHINES, PYTHONS, environments
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

HERE = Path(__file__).parent
HEADER = "# Written by requirements/compile.py from {source}; change that file, not this one.\n"

# tensorflow-serving-api asks for `tensorflow`, whose wheel for x86-64 is twice the size for GPU kernels that
# nobody here can run; there, tensorflow-cpu provides the same modules under another distribution name.
TENSORFLOW = {"x86_64": "tensorflow-cpu", "aarch64": "tensorflow"}

# What a distribution asks for and nothing here imports, by distribution: exporting to `.pte` and running it
# were tried without. These are for executorch's own tests (expecttest, hypothesis, kgb, parameterized), for
# Apple's Core ML (coremltools, which wants scikit-learn), for language models (pytorch-tokenizers,
# hydra-core, omegaconf) and for developer tools' tables, downloads and CPU listings (pandas, requests,
# py-cpuinfo). Of axe-playwright-python only its script is read.
DROPPED = {
    "axe-playwright-python": frozenset({"playwright"}),
    "executorch": frozenset(
        {
            *("expecttest", "hypothesis", "kgb", "parameterized"),
            *("coremltools", "scikit-learn"),
            *("pytorch-tokenizers", "hydra-core", "omegaconf"),
            *("pandas", "requests", "py-cpuinfo"),
        }
    ),
    # Language models, downloads of them and command lines: converting a module was tried without.
    "ai-edge-litert": frozenset({"litert-lm-builder"}),
    "ai-edge-quantizer": frozenset({"litert-lm-builder"}),
    "litert-torch": frozenset(
        {
            *("transformers", "sentencepiece", "litert-lm-builder", "tokenizers"),
            *("kagglehub", "fire", "pillow"),
        }
    ),
    # Views of trainings, a compiler's parser, and file systems of a cloud.
    "tensorflow": frozenset({"tensorboard", "libclang", "tensorflow-io-gcs-filesystem", "setuptools"}),
    "tensorflow-cpu": frozenset({"tensorboard", "libclang", "tensorflow-io-gcs-filesystem", "setuptools"}),
    # Its Python side, which starts the server for people and talks to it: we start the server itself.
    "nvidia-pytriton": frozenset(
        {
            *("protobuf", "pyzmq", "sh", "tritonclient", "grpcio", "typing-inspect", "wrapt", "typer"),
            *("importlib-metadata", "numpy"),
        }
    ),
    # The same modules without windows.
    "onnx2tf": frozenset({"opencv-python"}),
    "astunparse": frozenset({"wheel"}),
}
SHARING = "shares:"

Package = dict[str, Any]


def resolve(sources: list[Path]) -> dict[str, Package]:
    """Name → metadata of every distribution that pip would install for all sources together."""
    wanted = [argument for source in sources for argument in ("-r", str(source))]
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet"]
    answer = subprocess.run([*command, "--report", "-", *wanted], check=True, stdout=subprocess.PIPE)
    report = json.loads(answer.stdout)
    packages: dict[str, Package] = {
        canonicalize_name(i["metadata"]["name"]): i["metadata"] for i in report["install"]
    }
    # One machine's TensorFlow was resolved; the other's has the same version and asks for the same.
    one = next((packages[name] for name in TENSORFLOW.values() if name in packages), None)
    return packages | (dict.fromkeys(TENSORFLOW.values(), one) if one else {})


def requirements(
    lines: list[str], environment: dict[str, str], extras: frozenset[str] = frozenset()
) -> list[Requirement]:
    """Those that apply to an environment, with one of `extras` or none."""
    parsed = [Requirement(line) for line in lines]
    choices = [{**environment, "extra": extra} for extra in (*extras, "")]
    return [r for r in parsed if r.marker is None or any(r.marker.evaluate(c) for c in choices)]


def named(requirement: Requirement, environment: dict[str, str]) -> str:
    """Return the package that provides a requirement in an environment, in pip's spelling."""
    name = canonicalize_name(requirement.name)
    return TENSORFLOW[environment["platform_machine"]] if name == "tensorflow" else name


def closure(source: Path, packages: dict[str, Package], environment: dict[str, str]) -> dict[str, str]:
    """Return name → version of all that one share needs in an environment.

    Raises:
        KeyError: it needs something that the environment pip ran in does not, so no version was chosen.
    """
    lines = [line.split("#")[0].strip() for line in source.read_text().splitlines()]
    waiting = requirements([line for line in lines if line], environment)
    found: dict[str, str] = {}
    seen: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        requirement = waiting.pop()
        name = named(requirement, environment)
        extras = frozenset(requirement.extras)
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        package = packages[name]
        found[name] = package["version"]
        needed = requirements(package.get("requires_dist") or [], environment, extras)
        waiting += [r for r in needed if canonicalize_name(r.name) not in DROPPED.get(name, ())]
    return found


def locked(source: Path, packages: dict[str, Package], without: frozenset[str] = frozenset()) -> list[str]:
    """Return the lines of a lock: pin, and a marker if not every environment needs it; none of `without`."""
    needing: dict[tuple[str, str], set[tuple[str, str]]] = {}
    for key, environment in environments().items():
        for pin in closure(source, packages, environment).items():
            if pin[0] not in without:
                needing.setdefault(pin, set()).add(key)
    return [f"{name}=={version}{marker(keys)}" for (name, version), keys in sorted(needing.items())]


def marker(keys: set[tuple[str, str]]) -> str:
    """Return the marker that limits a line to the environments in `keys`; "" for all of them."""
    pythons, machines = ({key[axis] for key in keys} for axis in (0, 1))
    if len(keys) != len(pythons) * len(machines):
        raise SystemExit(f"no simple marker says {sorted(keys)}: give compile.py a way to write it")
    parts = [f'platform_machine == "{next(iter(machines))}"'] * (len(machines) < len(MACHINES))
    parts += [f'python_version in "{" ".join(sorted(pythons))}"'] * (len(pythons) < len(PYTHONS))
    return "; " + " and ".join(parts) if parts else ""


def main() -> None:
    """Write every lock."""
    sources = sorted(HERE.glob("*.in"))
    packages = resolve(sources)
    for source in sources:
        lines = locked(source, packages)
        write(source, lines)
    everything = frozenset(name for source in sources for name in pinned(source.with_suffix(".lock")))
    for source in sorted((HERE / "roads").glob("*.in")):
        shared = everything if SHARING in source.read_text() else frozenset()
        write(source, locked(source, resolve([source]), shared))


def pinned(lock: Path) -> list[str]:
    """Return the names in a lock."""
    lines = [line for line in lock.read_text().splitlines() if not line.startswith("#")]
    return [canonicalize_name(Requirement(line).name) for line in lines]


def write(source: Path, lines: list[str]) -> None:
    """Write the lock of a source."""
    lock, name = source.with_suffix(".lock"), source.relative_to(HERE).as_posix()
    lock.write_text(HEADER.format(source=name) + "".join(f"{line}\n" for line in lines))
    sys.stdout.write(f"{lock.relative_to(HERE)}: {len(lines)} packages\n")


if __name__ == "__main__":
    main()
