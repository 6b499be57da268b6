"""What can go wrong with images without an engine: each is one line that says what to do."""

import io
import shlex
import subprocess
import sys
import tarfile
import zlib
from collections import deque
from types import SimpleNamespace

import pytest
from docker.errors import APIError
from requests.exceptions import RequestException
from urllib3.exceptions import ProtocolError

from pipelines.errors import MachineError
from pipelines.package import base, build, engine, image, stage, wheels
from pipelines.package.image import Image
from pipelines.package.recipes import Recipe
from pipelines.package.settings import Settings


@pytest.mark.parametrize(
    ("said", "remedy"),
    [
        ("('Connection aborted.', PermissionError(13, 'Permission denied'))", "group `docker`"),
        (
            "('Connection aborted.', FileNotFoundError(2, 'No such file or directory'))",
            "apt install docker.io",
        ),
        (
            "('Connection aborted.', ConnectionRefusedError(111, 'Connection refused'))",
            "apt install docker.io",
        ),
        (
            "UnixHTTPConnectionPool(host='localhost', port=None): Read timed out. (read timeout=60)",
            "restart it",
        ),
        ("Invalid bind address protocol: nonsense", "check DOCKER_HOST"),
    ],
)
def test_an_engine_that_cannot_be_used_comes_with_its_remedy(said, remedy):
    line = engine.explain("unix:///run/x.sock", OSError(said))
    assert remedy in line
    assert "unix:///run/x.sock" in line


@pytest.mark.parametrize(
    "error",
    [
        ProtocolError("Connection broken: IncompleteRead(0 bytes read)"),
        RequestException("Connection aborted"),
        APIError("500 Server Error", explanation="no space left on device"),
    ],
)
def test_an_engine_that_breaks_off_is_a_fault_of_the_machine_and_its_client_is_closed(monkeypatch, error):
    closed = []
    monkeypatch.setattr(engine, "connect", lambda: SimpleNamespace(close=lambda: closed.append(1)))
    with pytest.raises(MachineError, match=r"broken|aborted|no space left"), engine.engine():
        raise error
    assert closed


def test_a_size_that_breaks_off_is_a_fault_of_the_machine(monkeypatch, tmp_path):
    def broken(_):
        yield b"x" * 100
        raise ProtocolError("Connection broken")

    client = SimpleNamespace(api=SimpleNamespace(get_image=broken), close=lambda: None)
    monkeypatch.setattr(engine, "connect", lambda: client)
    monkeypatch.setattr(stage, "SIZES", tmp_path / "sizes.json")
    own = Image("locust", None, "tandem/locust:1", "sha256:1", 5, None, {})
    with pytest.raises(MachineError, match="Connection broken"):
        stage._sized(own, lambda *_: None, measure=True)


@pytest.mark.slow
def test_no_engine_is_found_out_by_asking(tmp_path):
    """In a process of its own: the SDK forgets to close the socket that did not connect."""
    done = subprocess.run(
        [sys.executable, "-c", "from pipelines.package import connect; connect()"],
        env={"DOCKER_HOST": f"unix://{tmp_path}/none.sock", "PATH": ""},
        cwd=wheels.ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "MachineError: no container engine is available at unix://" in done.stderr.splitlines()[-1]


def follow(events):
    lines, shown = deque(maxlen=build.LAST_LINES), []
    failed = [build._follow("k", event, lines, lambda *said: shown.append(said[1])) for event in events]
    return failed, list(lines), shown


def test_a_build_shows_its_steps_and_keeps_the_last_lines_of_the_failing_one():
    failed, lines, shown = follow(
        [
            {"stream": "Step 1/2 : FROM x\n"},
            {"stream": " ---> 0123456789ab\n"},
            {"stream": "of the first step\n"},
            {"stream": "Step 2/2 : RUN y\n"},
            {"stream": "\x1b[91mwhy it failed\n\x1b[0m"},
            {"errorDetail": {"code": 1}, "error": "returned a non-zero code: 1"},
        ]
    )
    assert failed == [False] * 5 + [True]
    assert lines == ["why it failed"]
    assert shown == ["Step 1/2 : FROM x", "Step 2/2 : RUN y"]


def test_a_failed_build_is_one_line():
    line = str(build.failure("torchserve", "step\nfailed", ["first", "second"]))
    assert (
        line == "the image torchserve could not be built: step failed; the step's last lines: first | second"
    )


@pytest.mark.parametrize(
    ("error", "lines"),
    [
        ("write /x: no space left on device", []),
        ("returned a non-zero code: 1", ["cp: error writing '/x': No space left on device"]),
    ],
)
def test_a_full_disk_is_recognised(error, lines):
    line = str(build.failure("torchserve", error, lines))
    assert "disk of the container engine is full" in line
    assert "docker image prune" in line


@pytest.fixture
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("TANDEM_WHEELS", str(tmp_path))
    for name in (
        "pip-26.3-py3-none-any.whl",
        "torch-2.13.0+cpu-cp311-cp311-linux_x86_64.whl",
        "zope_event-6.2-py3-none-any.whl",
    ):
        (tmp_path / name).write_bytes(b"")
    return tmp_path


def test_wheels_in_the_cache_need_no_index(cache, monkeypatch):
    monkeypatch.setattr(wheels, "_fetch", lambda *_: pytest.fail("pip was asked"))
    found = wheels.collect({"torch": "2.13.0+cpu", "zope-event": "6.2"}, lambda *_: None, "t")
    assert [path.name.split("-")[0] for path in found] == ["torch", "zope_event", "pip"]


def test_another_version_in_the_cache_does_not_do(cache, monkeypatch):
    asked = []
    monkeypatch.setattr(wheels, "_fetch", lambda *given: asked.extend(given[0]))
    with pytest.raises(MachineError, match="no such wheel is in"):
        wheels.collect({"torch": "2.12.0+cpu"}, lambda *_: None, "t")
    assert asked == ["torch==2.12.0+cpu"]


@pytest.mark.slow
def test_wheels_that_cannot_be_had_are_named_with_the_cache(cache, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    with pytest.raises(MachineError) as failed:
        wheels.collect({"tandem-no-such-thing": "1.0"}, lambda *_: None, "t")
    line = str(failed.value)
    assert str(cache) in line
    assert "tandem-no-such-thing" in line
    assert "\n" not in line


def engine_without_images():
    """An engine that has no image and whose registry cannot be reached."""
    from docker.errors import APIError, ImageNotFound

    def get(reference):
        raise ImageNotFound(reference)

    def pull(reference):
        raise APIError("x", explanation="lookup registry: no such host")

    return SimpleNamespace(images=SimpleNamespace(get=get, pull=pull))


def test_a_base_that_cannot_be_pulled_nor_made_says_what_is_lacking(monkeypatch, tmp_path):
    monkeypatch.setattr(base, "ROOT", tmp_path)
    monkeypatch.setattr(base.os, "geteuid", lambda: 1000)
    monkeypatch.setattr(base.shutil, "which", lambda _: None)
    with pytest.raises(MachineError) as failed:
        base.debian_base(engine_without_images(), Settings(None, "x"), lambda *_: None)
    line = str(failed.value)
    assert "no such host" in line
    assert "needs root and debootstrap" in line
    assert "DEBIAN_BASE" in line


def test_a_base_given_by_name_is_never_replaced():
    with pytest.raises(MachineError, match=r"mirror/debian:12 is not on the engine .* DEBIAN_BASE"):
        base.debian_base(engine_without_images(), Settings("mirror/debian:12", "x"), lambda *_: None)


def test_a_script_that_fails_leaves_its_last_words(monkeypatch, tmp_path):
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\necho E: cannot reach the mirror >&2\nexit 1\n")
    script.chmod(0o755)
    monkeypatch.setattr(base, "SCRIPT", script)
    with pytest.raises(MachineError, match=r"E: cannot reach the mirror.*DEBIAN_MIRROR"):
        base._run_script(tmp_path / "out", tmp_path / "log")


def test_the_offline_base_is_named_after_the_script_and_the_mirror(monkeypatch):
    monkeypatch.delenv("DEBIAN_MIRROR", raising=False)
    first = base.offline_reference()
    assert first == base.offline_reference()
    monkeypatch.setenv("DEBIAN_MIRROR", "http://mirror.example/debian")
    assert base.offline_reference() != first


IMAGE = Image("torchserve", "torchserve", "tandem/torchserve:x", "sha256:1", 100, None, {})


def test_the_official_image_is_optional_unless_asked_for(monkeypatch, tmp_path):
    def ensure(model, artifacts, keys, progress, *, force):
        if "tfserving" in keys:
            raise MachineError("it cannot be pulled")
        return dict.fromkeys(keys, IMAGE)

    monkeypatch.setattr(stage, "ensure_images", ensure)
    monkeypatch.setattr(stage, "SIZES", tmp_path / "sizes.json")
    built = stage.make_images("m", tmp_path, (), lambda *_: None)
    assert set(built.images) == {"torchserve", "tfserving-embedded", "locust"}
    assert built.not_built == {"tfserving": "it cannot be pulled"}
    with pytest.raises(MachineError):
        stage.make_images("m", tmp_path, ("tfserving",), lambda *_: None)


def gzipped(data):
    squeeze = zlib.compressobj(6, wbits=31)
    return len(squeeze.compress(data) + squeeze.flush())


def saved(files, chunk_bytes):
    """A client whose engine saves an image as these files, in chunks of a size that fits nothing."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    stream = io.BytesIO(archive.getvalue())
    return SimpleNamespace(
        api=SimpleNamespace(get_image=lambda _: iter(lambda: stream.read(chunk_bytes), b""))
    )


@pytest.mark.parametrize("chunk_bytes", [97, 65536, 10**7])
def test_compressed_size_is_that_of_gzip_layer_by_layer(tmp_path, chunk_bytes):
    files = {"ab/layer.tar": b"layer" * 100_000, "cd/layer.tar": b"other" * 50_000, "manifest.json": b"{}"}
    size = image.compressed_bytes(saved(files, chunk_bytes), IMAGE, tmp_path / "sizes.json")
    assert size == sum(map(gzipped, files.values()))
    kept = image.remembered(tmp_path / "sizes.json")
    assert kept.keys() == {IMAGE.image_id, "ab/layer.tar", "cd/layer.tar"}
    assert kept[IMAGE.image_id] == size


def test_a_layer_that_is_known_is_not_compressed_again(tmp_path):
    cache = tmp_path / "sizes.json"
    image.remember(cache, {"ab/layer.tar": 7})
    files = {"ab/layer.tar": b"layer" * 100_000, "cd/layer.tar": b"other" * 50_000}
    assert image.compressed_bytes(saved(files, 65536), IMAGE, cache) == 7 + gzipped(files["cd/layer.tar"])
    assert image.remembered(cache)["cd/layer.tar"] == gzipped(files["cd/layer.tar"])


def test_a_compressed_size_is_remembered_by_image(tmp_path):
    cache = tmp_path / "sizes.json"
    assert image.remembered(cache) == {}
    image.remember(cache, {"sha256:1": 10})
    image.remember(cache, {"sha256:2": 20})
    assert image.remembered(cache) == {"sha256:1": 10, "sha256:2": 20}
    cache.write_text("[]")
    assert image.remembered(cache) == {}


def test_all_labels_are_one_step_and_read_back_as_they_are():
    labels = {"a.b": 'he said "$HOME \\ {x}"', "c": "plain words"}
    recipe = build._labelled(Recipe("k", "k", "r:", {"Dockerfile": b"FROM scratch"}, {}), labels)
    first, last = recipe.files["Dockerfile"].decode().splitlines()
    assert first == "FROM scratch"
    word, *pairs = shlex.split(last.replace("\\$", "$"))
    assert word == "LABEL"
    assert dict(pair.split("=", 1) for pair in pairs) == labels
    assert "\\$HOME" in last


def test_the_script_names_the_base_that_it_makes_as_we_do(monkeypatch):
    for mirror in (None, "http://mirror.example/debian"):
        if mirror:
            monkeypatch.setenv("DEBIAN_MIRROR", mirror)
        told = subprocess.run([str(base.SCRIPT), "--reference"], capture_output=True, text=True, check=True)
        assert told.stdout.strip() == base.offline_reference()
