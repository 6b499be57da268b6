"""The smoke test of real containers: it passes, and whatever is broken is named by a check of its own."""

import shutil
import xml.etree.ElementTree as ET

import pytest
from real_model import ARTIFACTS, MODEL, TARGETS, say_nothing

from pipelines.smoke.stage import CHECKS, CONTAINER_CHECKS, SmokeRequest, smoke
from pipelines.targets.contained import CONTAINED

pytest_plugins = ("real_servers",)
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def run(tmp_path, *targets, **changes):
    return smoke(
        SmokeRequest(MODEL, targets, artifacts=ARTIFACTS, runs=tmp_path / "runs", **changes), say_nothing
    )


def failed(result):
    return [outcome.name for outcome in result.failures]


def states(result):
    return {outcome.name: outcome.state for outcome in result.outcomes}


# Formats and names that these servers do not have.
SKIPPED = {
    *(f"python.{name}" for name in ("rest-columnar", "grpc", "unknown-model")),
    *(f"{target}.{name}" for target in ("triton", "mlserver") for name in ("rest-columnar", "wrong-input")),
}


@pytest.mark.usefixtures("nothing_left", "runner")
def test_a_whole_deployment_passes_every_check(tmp_path):
    result = run(tmp_path, *TARGETS, junit=tmp_path / "ci" / "smoke.xml")
    assert failed(result) == []
    assert {name for name, state in states(result).items() if state == "skipped"} == SKIPPED
    (suite,) = ET.parse(tmp_path / "ci" / "smoke.xml").getroot()  # noqa: S314 - our own
    named = {f"{case.attrib['classname']}.{case.attrib['name']}" for case in suite}
    for target in TARGETS:
        for name, _, _ in (*CHECKS, *CONTAINER_CHECKS):
            assert f"tandem.smoke.{target}.{name}" in named
        assert (result.folder / "logs" / f"{target}.log").stat().st_size > 0
    assert (result.folder / "smoke.xml").read_text() == (tmp_path / "ci" / "smoke.xml").read_text()


@pytest.fixture
def deploy(monkeypatch, tmp_path, spoil, nothing_left):
    """Smokes one target from an image spoilt as told."""

    def build(target, **spoilt):
        monkeypatch.setenv(CONTAINED[target].image_variable, spoil(target, **spoilt))
        return run(tmp_path, target)

    return build


def test_a_false_label_is_named(deploy):
    result = deploy("tfserving", labels={"io.tandem.artifact.sha256": "0" * 64})
    assert failed(result) == ["tfserving.labels"]
    assert "io.tandem.artifact.sha256" in result.failures[0].detail


def test_a_health_check_that_says_no_is_named(deploy):
    wrong = b"predictions 0.0001 0.0001 10 " + b" ".join([b"7.5"] * 10)
    result = deploy("tfserving", files={"/etc/tandem/health/expected.txt": wrong})
    assert failed(result) == ["tfserving.health"]
    assert "expected 7.5" in result.failures[0].detail


def test_a_broken_saved_model_is_named_and_the_rest_still_looked_at(deploy):
    result = deploy("tfserving", files={f"/models/{MODEL}/1/saved_model.pb": b"nonsense"})
    assert failed(result)[0] in {"tfserving.start", "tfserving.ready"}
    assert states(result)["tfserving.rest-row"] == "skipped"
    assert states(result)["stack.down"] == "passed"


def test_a_broken_archive_is_named(deploy):
    result = deploy("torchserve", files={f"/models/{MODEL}.mar": b"nonsense"})
    assert failed(result)[0] in {"torchserve.start", "torchserve.ready"}
    assert states(result)["stack.down"] == "passed"


@pytest.mark.parametrize(
    ("target", "file"), [("torchserve", f"{MODEL}.mar"), ("tfserving", f"{MODEL}/1/saved_model.pb")]
)
def test_an_artifact_that_was_changed_since_its_export_is_named_and_not_replaced(tmp_path, target, file):
    from pipelines.export.stage import export

    export(MODEL, ARTIFACTS, say_nothing, targets=[target])
    copy = tmp_path / "artifacts"
    for name in (target,):
        shutil.copytree(ARTIFACTS / MODEL / name, copy / MODEL / name)
    path = copy / MODEL / target / file
    path.write_bytes(path.read_bytes()[:-7])
    result = smoke(
        SmokeRequest(MODEL, (target,), "local", artifacts=copy, runs=tmp_path / "runs"), say_nothing
    )
    assert failed(result) == [f"{target}.artifact"]
    assert "tandem export" in result.failures[0].detail
    assert states(result)[f"{target}.start"] == "skipped"
