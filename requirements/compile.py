"""Pin everything: `python requirements/compile.py` resolves all *.in files together with pip, then writes
each share's closure to its *.lock. All shares agree on every version, so any of them may be combined.

The locks are complete, and installed with `pip install --no-deps`.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

HERE = Path(__file__).parent
HEADER = "# Written by requirements/compile.py from {source}; change that file, not this one.\n"

# tensorflow-serving-api asks for `tensorflow`, whose wheel is twice the size for GPU kernels nobody here can
# run; tensorflow-cpu provides the same modules under another distribution name.
REPLACED = {"tensorflow": "tensorflow-cpu"}

# What a distribution asks for and nothing here imports, by distribution: exporting to `.pte` and running it
# were tried without. These are for executorch's own tests (expecttest, hypothesis, kgb, parameterized), for
# Apple's Core ML (coremltools, which wants scikit-learn), for language models (pytorch-tokenizers,
# hydra-core, omegaconf) and for developer tools' tables, downloads and CPU listings (pandas, requests,
# py-cpuinfo).
DROPPED = {
    "executorch": frozenset(
        {
            *("expecttest", "hypothesis", "kgb", "parameterized"),
            *("coremltools", "scikit-learn"),
            *("pytorch-tokenizers", "hydra-core", "omegaconf"),
            *("pandas", "requests", "py-cpuinfo"),
        }
    )
}

Package = dict[str, Any]


def resolve(sources: list[Path]) -> dict[str, Package]:
    """Name → metadata of every distribution that pip would install for all sources together."""
    wanted = [argument for source in sources for argument in ("-r", str(source))]
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet"]
    answer = subprocess.run([*command, "--report", "-", *wanted], check=True, stdout=subprocess.PIPE)
    report = json.loads(answer.stdout)
    return {canonicalize_name(i["metadata"]["name"]): i["metadata"] for i in report["install"]}


def requirements(lines: list[str], extras: frozenset[str] = frozenset()) -> list[Requirement]:
    """Those that apply to this platform, with one of `extras` or none."""
    parsed = [Requirement(line) for line in lines]
    choices = [{"extra": extra} for extra in (*extras, "")]
    return [r for r in parsed if r.marker is None or any(r.marker.evaluate(c) for c in choices)]


def closure(source: Path, packages: dict[str, Package]) -> dict[str, str]:
    """Name → version of all that one share needs."""
    lines = [line.split("#")[0].strip() for line in source.read_text().splitlines()]
    waiting = requirements([line for line in lines if line])
    found: dict[str, str] = {}
    seen: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        name = canonicalize_name(REPLACED.get(name, name))
        extras = frozenset(requirement.extras)
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        package = packages[name]
        found[name] = package["version"]
        needed = requirements(package.get("requires_dist") or [], extras)
        waiting += [r for r in needed if canonicalize_name(r.name) not in DROPPED.get(name, ())]
    return found


def main() -> None:
    """Write every lock."""
    sources = sorted(HERE.glob("*.in"))
    packages = resolve(sources)
    for source in sources:
        pins = closure(source, packages)
        text = HEADER.format(source=source.name) + "".join(f"{n}=={v}\n" for n, v in sorted(pins.items()))
        source.with_suffix(".lock").write_text(text)
        sys.stdout.write(f"{source.with_suffix('.lock').name}: {len(pins)} packages\n")


if __name__ == "__main__":
    main()
