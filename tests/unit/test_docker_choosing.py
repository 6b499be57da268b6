"""Which runner is used, and that the reason is told wherever it was not simply asked for."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest

import pipelines.package
from pipelines.config.asked import run_settings
from pipelines.errors import MachineError, RequestError
from pipelines.package.image import Image
from pipelines.package.missing import Status
from pipelines.record.implementation import ImageRecord
from pipelines.runners import choice, docker_images
from pipelines.runners.docker_containers import ContainerImage, DockerRunner
from pipelines.runners.docker_images import describe, label_versions, with_sizes
from pipelines.runners.local import LocalRunner

NO_ENGINE = MachineError("no container engine is available at unix:///x; start one")


@pytest.fixture
def told():
    return []


class Client:
    """An engine's client that knows how often it was closed."""

    def __init__(self):
        self.closed = 0

    def close(self):
        self.closed += 1


RECORD = ImageRecord(reference="tandem/x:1", id="sha256:1", size_bytes=5, compressed_bytes=None)
IMAGES = {"torchserve": ContainerImage("torchserve", "torchserve", "0.12.0", False, RECORD)}


@pytest.fixture
def engine(monkeypatch):
    """What was asked of an engine; `fails` is raised by the look for images, `missing` by the engine."""
    made = SimpleNamespace(clients=[], looks=0, sizes=0, cleared=0, leftovers={}, fails=None, missing=None)

    def connect():
        if made.missing:
            raise made.missing
        made.clients.append(Client())
        return made.clients[-1]

    def find_images(client, *_):
        made.looks += 1
        if made.fails:
            raise made.fails
        return IMAGES

    def compressed_bytes(*_):
        made.sizes += 1
        return 3

    def remove_abandoned(_):
        made.cleared += 1
        return made.leftovers

    monkeypatch.setattr(pipelines.package, "connect", connect)
    monkeypatch.setattr(choice, "find_images", find_images)
    monkeypatch.setattr(pipelines.package, "compressed_bytes", compressed_bytes)
    monkeypatch.setattr(pipelines.package.image, "remember", lambda *_: None)
    monkeypatch.setattr(choice.ownership, "remove_abandoned", remove_abandoned)
    return made


@pytest.fixture
def choose(engine, told, tmp_path):
    def build(asked, wanted=True):
        images = choice.Wanted(["torchserve"], "digits_cnn", tmp_path) if wanted else None
        with choice.choose(asked, images, lambda title, text: told.append((title, text))) as found:
            assert not any(client.closed for client in engine.clients)
            return found

    return build


def test_local_asks_no_engine(choose, engine, told):
    engine.missing = AssertionError("asked")
    assert choose("local") == choice.Choice()
    assert told == []


def test_auto_prefers_containers_and_says_so(choose, engine, told):
    found = choose("auto")
    assert (found.runner, found.images) == ("docker", IMAGES)
    assert told == [("runner", found.reason)]
    assert "an engine answers" in told[0][1]


@pytest.mark.parametrize("which", ["missing", "fails"])
def test_auto_without_an_engine_or_an_image_is_local_and_says_why(choose, engine, told, which):
    setattr(engine, which, NO_ENGINE)
    found = choose("auto")
    assert found.runner == "local"
    assert told == [("runner", found.reason)]
    assert "no container engine is available" in told[0][1]
    assert [client.closed for client in engine.clients] == ([1] if which == "fails" else [])


@pytest.mark.parametrize("which", ["missing", "fails"])
def test_docker_by_name_is_never_quietly_replaced(choose, engine, which):
    setattr(engine, which, NO_ENGINE)
    with pytest.raises(MachineError, match="no container engine is available"):
        choose("docker")
    assert all(client.closed == 1 for client in engine.clients)


def test_an_unknown_runner_is_refused_with_the_nearest(choose):
    with pytest.raises(RequestError, match=r"unknown runner 'dokcer'; did you mean docker\? allowed: local,"):
        choose("dokcer")


def test_the_engine_alone_is_enough_where_no_image_is_wanted(choose, engine):
    assert choose("docker", wanted=False).images is None
    assert engine.looks == 0


@pytest.mark.parametrize("asked", ["docker", "auto"])
def test_a_run_looks_images_up_once_and_closes_its_one_client(engine, asked):
    settings = run_settings(profile="smoke", sides="torchserve", model="digits_cnn", runner=asked)
    with choice.settled(settings, lambda *_: None) as (known, runner):
        assert isinstance(runner, DockerRunner)
        assert runner.client is engine.clients[0]
        assert runner.images["torchserve"].record.compressed_bytes == 3
        assert (known.runner, known.runner_reason is None) == ("docker", asked == "docker")
    assert (engine.looks, engine.sizes, engine.cleared) == (1, 1, 1)
    assert [client.closed for client in engine.clients] == [1]


def test_a_leftover_that_cannot_be_removed_is_told_and_stops_no_run(engine, told):
    engine.leftovers = {"tandem-a": None, "tandem-b": "the engine does not remove tandem-b: busy"}
    settings = run_settings(profile="smoke", sides="torchserve", model="digits_cnn", runner="docker")
    with choice.settled(settings, lambda title, text: told.append((title, text))) as (_, runner):
        assert isinstance(runner, DockerRunner)
    assert ("runner", "the engine does not remove tandem-b: busy") in told
    assert any("tandem-a" in text for _, text in told)


def test_a_client_is_closed_whatever_ends_the_run(engine):
    settings = run_settings(profile="smoke", sides="torchserve", model="digits_cnn", runner="docker")
    with pytest.raises(KeyboardInterrupt), choice.settled(settings, lambda *_: None):
        raise KeyboardInterrupt
    assert [client.closed for client in engine.clients] == [1]


def test_a_size_that_is_known_is_not_measured_again(engine):
    known = replace(IMAGES["torchserve"], record=RECORD.model_copy(update={"compressed_bytes": 9}))
    assert with_sizes(Client(), {"torchserve": known}, lambda *_: None) == {"torchserve": known}
    assert engine.sizes == 0


def test_the_reason_reaches_the_implementation(engine):
    engine.missing = NO_ENGINE
    settings = run_settings(profile="smoke", sides="torchserve", model="digits_cnn", runner="auto")
    with choice.settled(settings, lambda *_: None) as (known, runner):
        assert isinstance(runner, LocalRunner)
        assert runner.reason == known.runner_reason
        assert "not available" in runner.reason


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


class Images:
    """The package's own look-ups and builds, which take a client and the artifacts each time; noted."""

    def __init__(self, there=(), cannot=(), unknown=()):
        self.there, self.cannot, self.unknown = set(there), set(cannot), set(unknown)
        self.looks, self.builds = [], []

    def status(self, _model, _artifacts, keys, _progress):
        self.looks.append(tuple(keys))
        for key in keys:
            if key in self.unknown:
                raise MachineError(f"{key} cannot be exported here")
        return [Status(key, f"tandem/{key}:1", image_of(key) if key in self.there else None) for key in keys]

    def ensure(self, _model, _artifacts, keys, _progress):
        self.builds.append(tuple(keys))
        for key in keys:
            if key in self.cannot:
                raise MachineError(f"{key} cannot be pulled")
        self.there |= set(keys)
        return {key: image_of(key) for key in keys}


def image_of(key):
    labels = {"io.tandem.implementation": f"tandem {key} server"}
    return Image(key, key, f"tandem/{key}:1", f"sha256:{key}", 5, 3, labels)


EVERY = ("torchserve", "tfserving", "python", "mlserver", "triton")


@pytest.fixture
def find(monkeypatch, tmp_path):
    def look(images, targets=EVERY):
        monkeypatch.setattr(pipelines.package, "image_status", images.status)
        monkeypatch.setattr(pipelines.package, "ensure_images", images.ensure)
        found = docker_images.find_images(Client(), targets, "digits_cnn", tmp_path, lambda *_: None)
        return {target: image.record.reference for target, image in found.items()}

    return look


def test_the_images_of_five_sides_are_looked_up_at_once(find):
    images = Images(there=EVERY)
    assert find(images, (*EVERY, "tfserving")) == {target: f"tandem/{target}:1" for target in EVERY}
    assert len(images.looks) == 1
    assert images.builds == []


def test_what_is_missing_is_built_at_once(find):
    images = Images(there={"torchserve"})
    assert set(find(images)) == set(EVERY)
    assert (len(images.looks), images.builds) == (1, [("python", "mlserver", "triton"), ("tfserving",)])


def test_an_image_that_cannot_be_had_gives_way_to_the_next_and_keeps_no_other_from_being_built(find):
    images = Images(cannot={"tfserving"})
    found = find(images, ("torchserve", "tfserving"))
    assert found == {"torchserve": "tandem/torchserve:1", "tfserving": "tandem/tfserving-embedded:1"}
    assert images.builds == [("torchserve",), ("tfserving",), ("tfserving-embedded",)]


def test_a_vendors_image_that_cannot_be_had_leaves_the_others_one_build(find):
    """What they share is built once, and removed after each build."""
    images = Images(cannot={"tfserving"})
    assert find(images)["tfserving"] == "tandem/tfserving-embedded:1"
    assert images.builds[0] == ("torchserve", "python", "mlserver", "triton")
    assert not set(images.builds[0]) & {key for build in images.builds[1:] for key in build}


def test_an_image_that_cannot_even_be_looked_up_gives_way_to_the_next(find):
    images = Images(there={"torchserve", "tfserving-embedded"}, unknown={"tfserving"})
    assert find(images, ("torchserve", "tfserving")) == {
        "torchserve": "tandem/torchserve:1",
        "tfserving": "tandem/tfserving-embedded:1",
    }
    assert images.builds == []
    with pytest.raises(MachineError, match="no image for python: python cannot be exported here"):
        find(Images(there=EVERY, unknown={"python"}))


def test_what_stands_in_is_taken_from_the_engine_once_the_product_cannot_be_had(find):
    images = Images(there={"torchserve", "tfserving-embedded"}, cannot={"tfserving"})
    assert find(images, ("torchserve", "tfserving"))["tfserving"] == "tandem/tfserving-embedded:1"
    assert (len(images.looks), images.builds) == (1, [("tfserving",)])


def test_a_target_without_any_image_is_named_with_why_the_first_failed(find):
    with pytest.raises(MachineError, match="no image for tfserving: tfserving cannot be pulled"):
        find(Images(cannot={"tfserving", "tfserving-embedded"}))


def test_an_image_that_a_variable_names_is_not_looked_up_among_ours(find, monkeypatch):
    asked = SimpleNamespace(id="sha256:9", attrs={"Size": 7}, labels={})
    monkeypatch.setenv("TORCHSERVE_IMAGE", "mine:1")
    monkeypatch.setattr(Client, "images", SimpleNamespace(get=lambda _: asked), raising=False)
    images = Images(there=EVERY)
    assert find(images, ("torchserve", "python")) == {"torchserve": "mine:1", "python": "tandem/python:1"}
    assert images.looks == [("python",)]
    assert find(Images(), ("torchserve",)) == {"torchserve": "mine:1"}
