"""Keeps Keras, which comes with TensorFlow, from importing scikit-learn for its wrappers: half a second."""

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Final

WRAPPERS: Final = "keras.src.wrappers"


class WithoutWrapped(MetaPathFinder):
    """Says that there is no scikit-learn, as long as it is Keras's wrappers that ask.

    Keras does without it then. Whoever else asks, at any time, gets it.
    """

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,  # noqa: ARG002 - as every finder
        target: ModuleType | None = None,  # noqa: ARG002 - as above
    ) -> ModuleSpec | None:
        """Return None, which leaves the module to the other finders.

        Raises:
            ModuleNotFoundError: it is scikit-learn, and the wrappers are being imported.
        """
        if fullname == "sklearn" and _wrappers_are_imported():
            raise ModuleNotFoundError("No module named 'sklearn'", name="sklearn")
        return None


def _wrappers_are_imported() -> bool:
    # The import system itself marks a module so, until its last line has run.
    spec = getattr(sys.modules.get(WRAPPERS), "__spec__", None)
    return bool(getattr(spec, "_initializing", False))


def import_less() -> None:
    """Do so from now on in this process."""
    sys.meta_path.insert(0, WithoutWrapped())
