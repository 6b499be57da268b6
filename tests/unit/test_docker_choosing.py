"""Which runner is used, and that the reason is told wherever it was not simply asked for."""

import json

import pytest

from pipelines.errors import MachineError, RequestError
from pipelines.record import ImageRecord
from pipelines.runners import choosing
from pipelines.runners.images import describe, label_versions
from pipelines.runners.local import LocalRunner

NO_ENGINE = MachineError("no container engine listens at unix:///x; start one")


@pytest.fixture
def told():
    return []


@pytest.fixture
def choose(monkeypatch, told, tmp_path):
    def build(asked, error=None):
        def find(*_):
            if error:
                raise error
            return None, {}

        monkeypatch.setattr(choosing, "find_images", find)
        return choosing.choose(
            asked, ["torchserve"], "digits_cnn", tmp_path, lambda title, text: told.append((title, text))
        )

    return build


def test_local_asks_no_engine(choose, told):
    assert choose("local", AssertionError("asked")) == choosing.Choice("local", None)
    assert told == []


def test_auto_prefers_containers_and_says_so(choose, told):
    found = choose("auto")
    assert found.runner == "docker"
    assert told == [("runner", found.reason)]
    assert "an engine answers" in told[0][1]


def test_auto_without_an_engine_is_local_and_says_why(choose, told):
    found = choose("auto", NO_ENGINE)
    assert found.runner == "local"
    assert told == [("runner", found.reason)]
    assert "no container engine listens" in told[0][1]


def test_docker_by_name_is_never_quietly_replaced(choose):
    with pytest.raises(MachineError, match="no container engine listens"):
        choose("docker", NO_ENGINE)


def test_an_unknown_runner_is_refused_with_the_nearest(choose):
    with pytest.raises(RequestError, match=r"unknown runner 'dokcer'; did you mean docker\? allowed: local,"):
        choose("dokcer")


def test_the_reason_reaches_the_implementation(monkeypatch):
    from pipelines.config import run_settings

    settings = run_settings(profile="smoke", targets="torchserve", model="digits_cnn", runner="local")
    runner = choosing.runner_for(settings.model_copy(update={"runner_reason": "because"}))
    assert isinstance(runner, LocalRunner)
    assert runner.reason == "because"


RECORD = ImageRecord(reference="tandem/x:1", id="sha256:1", size_bytes=5, compressed_bytes=None)


@pytest.mark.parametrize(
    ("target", "implementation", "stand_in"),
    [
        ("tfserving", "tandem embedded server", True),
        ("tfserving", "tensorflow/serving", False),
        ("torchserve", "torchserve", False),
    ],
)
def test_a_stand_in_is_called_one(target, implementation, stand_in):
    found = describe(target, RECORD, {"io.tandem.implementation": implementation})
    assert (found.implementation, found.stand_in) == (implementation, stand_in)
    assert bool(found.note) == stand_in


def test_an_image_without_labels_is_taken_for_nothing():
    found = describe("tfserving", RECORD, {})
    assert (found.implementation, found.version) == ("unlabelled image", "unknown")


def test_versions_come_from_the_label():
    labels = {"io.tandem.versions": json.dumps({"torchserve": "0.12.0", "torch": "2.13.0"})}
    assert describe("torchserve", RECORD, labels).version == "0.12.0"


@pytest.mark.parametrize("label", ["", "{", "[]", "3"])
def test_a_label_that_is_no_object_holds_no_versions(label):
    assert label_versions({"io.tandem.versions": label}) == {}
