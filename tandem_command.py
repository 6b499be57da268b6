"""The command `tandem`: starts our packages although PYTHONPATH may name a project with its own `pipelines/`.

A file apart, under a name that nobody else has: a package that is asked for by its name is looked up where
PYTHONPATH says first. Imports nothing that is not loaded at start-up anyway, for the same reason.
"""

import importlib.util
import os
import sys


def main() -> None:
    """Run the command line and exit, as `pipelines.cli.main.main` does."""
    _load_pipelines()
    from pipelines.cli.main import main as run

    run()


def _load_pipelines() -> None:
    """Import the package that lies beside this file; it puts the user's entries last for all that follows."""
    folder = os.path.join(os.path.dirname(os.path.realpath(__file__)), "pipelines")  # noqa: PTH118, PTH120
    spec = importlib.util.spec_from_file_location(
        "pipelines",
        os.path.join(folder, "__init__.py"),  # noqa: PTH118
        submodule_search_locations=[folder],
    )
    assert spec is not None  # noqa: S101 - its name ends in .py
    assert spec.loader is not None  # noqa: S101
    module = importlib.util.module_from_spec(spec)
    sys.modules["pipelines"] = module
    spec.loader.exec_module(module)
