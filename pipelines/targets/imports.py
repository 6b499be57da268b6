"""What the targets' folders share to take over imported files: by whose names, and how it is recorded."""

from collections.abc import Mapping
from pathlib import Path

from models.given import Given, GivenFile
from models.spec import ModelSpec

AS_IT_IS = "imported as it is"
SIGNED = "imported, with its signature added"
WARMED = "imported, with warm-up records added"
RENAMED = "imported, with its tensors renamed"
PACKED = "packed from the imported program"


def path_of(spec: ModelSpec, file: GivenFile) -> Path:
    """Return where an imported file is."""
    return given_of(spec).path_of(file)


def given_of(spec: ModelSpec) -> Given:
    """Return what was imported of a model that has imported files."""
    assert spec.given is not None  # noqa: S101 - it has files
    return spec.given


def names_of(names: Mapping[str, str]) -> dict[str, str]:
    """Map the file's own names to the model's."""
    return {own: name for name, own in names.items()}


def renames(file: GivenFile) -> bool:
    """Return whether a runtime cannot know which tensor is meant: several have other names."""
    return any(
        len(names) > 1 and any(name != own for name, own in names.items())
        for names in (file.inputs, file.outputs)
    )
