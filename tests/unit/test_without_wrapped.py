"""Whoever imports scikit-learn gets it, unless it is Keras's wrappers while they are imported themselves."""

import importlib
import sys

import pytest

from pipelines.tasks import lean


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """A scikit-learn and a package of wrappers that asks for it; as Keras's, but without a transformer."""
    (tmp_path / "sklearn").mkdir()
    (tmp_path / "sklearn" / "__init__.py").write_text("")
    (tmp_path / "wrappers.py").write_text(
        "try:\n    import sklearn\nexcept ImportError:\n    sklearn = None\nSKLearnClassifier = object\n"
    )
    before = dict(sys.modules)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(lean, "WRAPPERS", "wrappers")
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    for name in [name for name in sys.modules if name.partition(".")[0] == "sklearn"]:
        monkeypatch.delitem(sys.modules, name)
    lean.import_less()
    yield
    for name in {"sklearn", "wrappers"} - before.keys():
        sys.modules.pop(name, None)


@pytest.mark.usefixtures("packages")
def test_scikit_learn_is_there_again_once_the_wrappers_were_imported():
    assert importlib.import_module("wrappers").sklearn is None
    assert importlib.import_module("sklearn").__name__ == "sklearn"


@pytest.mark.usefixtures("packages")
def test_scikit_learn_that_was_there_before_is_what_the_wrappers_get():
    known = importlib.import_module("sklearn")
    assert importlib.import_module("wrappers").sklearn is known
