"""What the images of servers over a TorchScript file hold, without an engine."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from models.spec import Samples, TensorSpec, Tolerance
from pipelines.package import missing
from pipelines.package.context import entries
from pipelines.package.parts import parts as split
from pipelines.package.recipes import DOCKER, ModelParts, content_bytes, make_recipe
from pipelines.package.settings import read_settings
from pipelines.targets.mlserver.settings import MLServerSettings, configuration
from pipelines.targets.registry import find_target

DIGEST = "ab" * 32
SPEC = SimpleNamespace(
    name="m",
    digest="cd" * 32,
    inputs=(TensorSpec("x", "float32", (None, 2)),),
    outputs=(TensorSpec("y", "float32", (None, 2)),),
    samples=lambda: Samples({"x": np.array([[0.5, 1.5]], np.float32)}),
    tolerance_of=lambda _: Tolerance(0.001, 0.01),
)


@pytest.fixture
def parts(tmp_path):
    """One verified model, as far as recipes look at it."""
    manifests = {}
    for target in ("python", "triton", "mlserver"):
        (tmp_path / target).mkdir()
        (tmp_path / target / "m.pt").write_bytes(b"script")
        artifact = SimpleNamespace(target=target, path="m.pt", format="torchscript", sha256=DIGEST)
        manifests[target] = SimpleNamespace(artifacts=(artifact,), files={"m.pt": DIGEST})
    expected = SimpleNamespace(tensors={"y": np.array([[1.0, -2.5]], np.float32)})
    return ModelParts(SPEC, tmp_path, manifests, expected)


@pytest.mark.parametrize("key", ["python", "triton", "mlserver"])
def test_an_image_holds_the_proven_file_the_runtime_and_the_vendors_defaults(parts, key):
    recipe = make_recipe(key, parts, read_settings({}))
    assert recipe.proven == {"models/m.pt": DIGEST}
    assert (DOCKER / key / "Dockerfile").read_bytes() in recipe.files["Dockerfile"]
    assert {"entrypoint.sh", "trim.txt", "install.sh", "etc/health/request.http"} <= recipe.files.keys()
    runtime = find_target(key).folder or DOCKER.parent / "pipelines" / "targets" / key
    (app,) = (path for name, path in recipe.files.items() if name.startswith("app/"))
    assert app.parent == runtime
    assert recipe.labels["io.tandem.artifact.sha256"] == DIGEST
    said = json.loads(recipe.labels["io.tandem.versions"])
    assert {name: recipe.pins[name] for name in said if name in recipe.pins}["torch"] == recipe.pins["torch"]
    assert "torchserve" not in recipe.pins


@pytest.mark.parametrize("key", ["python", "triton", "mlserver"])
def test_a_second_model_finds_the_server_there(parts, key):
    recipe = make_recipe(key, parts, read_settings({}))
    runtime, image = split(recipe, "debian:12")
    other = SimpleNamespace(**{**vars(SPEC), "name": "other", "digest": "ef" * 32})
    again = make_recipe(key, replace(parts, spec=other), read_settings({}))
    assert split(again, "debian:12")[0].reference == runtime.reference
    assert image.reference == recipe.reference != again.reference
    assert runtime.files.keys() | image.files.keys() == recipe.files.keys()
    assert runtime.files.keys() & image.files.keys() == {"Dockerfile"}
    assert image.files["Dockerfile"].startswith(f"FROM {runtime.reference}\n".encode())
    assert (runtime.pins, image.pins) == (recipe.pins, {})
    assert image.proven == recipe.proven
    assert image.labels == recipe.labels


@pytest.mark.parametrize(("force", "there", "built"), [(False, False, 2), (False, True, 1), (True, True, 2)])
def test_only_what_the_engine_lacks_is_built(parts, monkeypatch, force, there, built):
    """With the server there, no wheel is looked for: another model needs no package index."""
    recipe = make_recipe("python", parts, read_settings({}))
    done, wheels = [], []
    image = SimpleNamespace(reference=recipe.reference)
    monkeypatch.setattr(missing, "find_image", lambda *_: image if done or force else None)
    monkeypatch.setattr(missing, "build", lambda _client, part, *_, **__: done.append(part.reference))
    monkeypatch.setattr(missing, "collect", lambda pins, *_: wheels.append(pins))
    monkeypatch.setattr(missing.base, "debian_base", lambda *_: "debian:12")
    monkeypatch.setattr(missing.base, "has_image", lambda *_: there)
    assert missing._ensure(None, recipe, read_settings({}), lambda *_: None, force=force) is image
    runtime, whole = (part.reference for part in split(recipe, "debian:12"))
    assert done == [runtime, whole][-built:]
    assert wheels == [recipe.pins][: built - 1]


def test_a_server_on_another_base_or_of_other_wheels_is_another(parts):
    recipe = make_recipe("python", parts, read_settings({}))
    changed = replace(recipe, pins={**recipe.pins, "orjson": "0"})
    names = [split(one, base)[0].reference for one in (recipe, changed) for base in ("a", "b")]
    assert len(set(names)) == 4


def test_what_each_server_needs_is_pinned_and_no_more_of_the_others(parts):
    pins = {key: set(make_recipe(key, parts, read_settings({})).pins) for key in parts.manifests}
    assert "fastapi" in pins["python"]
    assert pins["triton"] == {"torch", "numpy", "nvidia-pytriton", "typing-extensions"}
    assert {"mlserver", "jinja2", "markupsafe", "packaging"} <= pins["mlserver"]


def test_triton_is_configured_for_where_the_image_has_the_model(parts):
    files = make_recipe("triton", parts, read_settings({})).files
    text = files["etc/server/config.pbtxt"].decode()
    assert 'value { string_value: "/models/m.pt" }' in text
    assert "max_batch_size: 0" in text
    assert files["etc/server/flags"] == b""


def test_what_mlserver_was_started_with_is_read_from_its_files():
    asked = MLServerSettings(parallel_workers=0, max_batch_size=4, max_batch_time_ms=5)
    files = {name: json.loads(text) for name, text in asked.files(SPEC).items()}
    read = MLServerSettings.read(files["settings.json"], files["model-settings.json"])
    assert read == asked
    found = configuration({"torch_threads": 2, "torch_interop_threads": 1}, read)
    assert (found["workers_count"], found["batch_max_size"], found["batch_delay_ms"]) == (1, 4, 5)
    assert found["sources"]["threads_per_worker"] == "server"
    vendors = MLServerSettings().files(SPEC)
    assert MLServerSettings.read(*map(json.loads, vendors.values())) == MLServerSettings()


@pytest.mark.parametrize(
    ("key", "path", "expected"),
    [
        ("python", b"POST /predict ", b"predictions 0.001 0.01 2\n1.0 -2.5\n"),
        ("triton", b"POST /v2/models/m/infer ", b"outputs>y>data 0.001 0.01 2\n1.0 -2.5\n"),
        ("mlserver", b"POST /v2/models/m/infer ", b"outputs>y>data 0.001 0.01 2\n1.0 -2.5\n"),
    ],
)
def test_health_is_asked_in_the_servers_own_words(parts, key, path, expected):
    files = make_recipe(key, parts, read_settings({})).files
    assert files["etc/health/request.http"].startswith(path)
    assert files["etc/health/expected.txt"] == expected


def test_what_servers_of_pytorch_share_is_built_of_the_same_for_all_of_them(parts, tmp_path):
    """The stage with PyTorch comes from the engine's cache for every image but the first."""
    names = [f"{name}-1-py3-none-any.whl" for name in ("torch", "typing_extensions", "uvicorn", "pip")]
    wheels = [tmp_path / name for name in names]
    for path in wheels:
        path.write_bytes(path.name.encode())
    shared = {}
    for key in ("python", "triton", "mlserver"):
        recipe = make_recipe(key, parts, read_settings({}))
        context = entries(recipe, wheels)
        packages = {name for name in context if name.endswith(".whl")}
        assert packages == {
            *(f"torch/{name}" for name in (names[0], names[1], names[3])),
            *(f"wheels/{name}" for name in names[2:]),
        }
        pins = {folder: context[f"{folder}/requirements.txt"].decode() for folder in ("torch", "wheels")}
        lines = [line for text in pins.values() for line in text.splitlines()]
        assert sorted(lines) == sorted(f"{name}=={version}" for name, version in recipe.pins.items())
        stages = context["Dockerfile"].split(b"FROM torch AS wheels")[0].split(b"FROM tools AS torch")[1]
        files = {name: content_bytes(text) for name, text in context.items() if name.startswith("torch/")}
        shared[key] = stages, files, content_bytes(context["install.sh"])
    assert shared["python"] == shared["triton"] == shared["mlserver"]
