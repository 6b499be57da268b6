"""Finding the spec of a model: of this package by its name, in a file, or of what was imported."""

import difflib
import importlib
import importlib.util
import pkgutil
import re
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

from models.errors import ModelError
from models.given import folder_of, imported_names, parts_of_spec
from models.imported import files_of
from models.model_spec import ModelSpec
from models.recognised import what_to_type
from models.running import run
from models.tolerance import Tolerance

PACKAGES = ("models", "loadtests", "pipelines")


def model_names() -> list[str]:
    """List the names of the models that ship with this package."""
    import models

    return sorted(module.name for module in pkgutil.iter_modules(models.__path__[:1]) if module.ispkg)


def load_model(name: str) -> ModelSpec:
    """Load the spec of a shipped model ("digits_cnn"), of a file ("path/to/file.py"), or of an import.

    An import is found by its name in the usual artifacts folder, or by its own folder in any
    ("path/to/NAME").

    Raises:
        ModelError: unknown name (with the nearest ones), missing file, or no `MODEL` in it.
    """
    imported = None if name.endswith(".py") or name in model_names() else folder_of(name)
    if imported is not None:
        parts = parts_of_spec(imported)
        return ModelSpec(**{**parts, "tolerance": Tolerance(**parts["tolerance"])})
    module = _module_from_file(Path(name)) if name.endswith(".py") else _module_by_name(name)
    spec = getattr(module, "MODEL", None)
    if not isinstance(spec, ModelSpec):
        raise ModelError(f"{name} defines no `MODEL = ModelSpec(...)`; see models/digits_cnn/__init__.py")
    return _with_its_files(spec, Path(name)) if name.endswith(".py") else spec


def _with_its_files(spec: ModelSpec, path: Path) -> ModelSpec:
    """Add the model file's text and what it imports to the sources of its spec, though it names none."""
    if spec.name in model_names():
        raise ModelError(
            f"model file {path} calls its model {spec.name!r}, as a model of this package is called; give it "
            "another name: it names folders, endpoints and files"
        )
    named = {source.resolve() for source in spec.sources}
    sources = (*spec.sources, *(file for file in files_of(path) if file not in named))
    return replace(spec, sources=sources, origin=path)


def load_unchanged(name: str, digest: str) -> ModelSpec:
    """Load the spec of a model that had `digest` when the process that asks for it looked.

    Raises:
        ModelError: as `load_model`, and when its checkpoint or sources were replaced meanwhile.
    """
    spec = load_model(name)
    if spec.digest != digest:
        raise ModelError(f"{spec.name} changed meanwhile (its digest was {digest[:12]}…); run again")
    return spec


def _module_by_name(name: str) -> ModuleType:
    names = model_names()
    if name not in names:
        recognised = what_to_type(Path(name))
        if recognised:
            raise ModelError(f"{name} is no model: {recognised}")
        names += imported_names()
        near = difflib.get_close_matches(name, names, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise ModelError(f"unknown model {name!r}; {hint}known: {', '.join(names)}, or a path ending in .py")
    return importlib.import_module(f"models.{name}")


def _make_importable(folder: Path) -> None:
    """Let a model file import what lies beside it, behind everything else.

    A `models/`, `loadtests/` or `pipelines/` there adds to ours.
    """
    ours = [(sys.modules[name].__path__, folder / name) for name in PACKAGES if name in sys.modules]
    for path, entry in ((sys.path, folder), *ours):
        if str(entry) not in path and entry.is_dir():
            path.append(str(entry))


def _module_from_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise ModelError(f"model file {path} does not exist")
    # A dot would make it a submodule of what is not there, and TorchScript reads no letters but ASCII's.
    name = "tandem_model_" + re.sub(r"\W", "_", path.stem, flags=re.ASCII)
    loader_spec = importlib.util.spec_from_file_location(name, path)
    if loader_spec is None or loader_spec.loader is None:
        raise ModelError(f"model file {path} is not a Python file")
    module = importlib.util.module_from_spec(loader_spec)
    # Where dataclasses and pickles of the file look for what it defines.
    sys.modules[name] = module
    _make_importable(path.resolve().parent)
    loader = loader_spec.loader
    run(f"model file {path} failed to load", lambda: loader.exec_module(module))
    return module
