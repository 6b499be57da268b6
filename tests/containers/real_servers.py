"""Real containers for tests: an engine, the model's artifacts and images, and images spoilt on purpose."""

import io
import tarfile

import pytest
from real_model import ARTIFACTS, MODEL, TARGETS, say_nothing

from models.spec import load_model
from pipelines.runners import docker_ownership as ownership
from pipelines.runners.docker_containers import DockerRunner
from pipelines.runners.docker_images import find_images
from pipelines.serve import readiness
from pipelines.targets.server_plan import ServeRequest
from pipelines.verify.stage import ensure_verified


@pytest.fixture(scope="session")
def client(engine):
    """An engine that answers."""
    return engine


@pytest.fixture(scope="session")
def runner(client, images, artifacts):
    """A runner with an image for every target, all of them built at once if they are missing."""
    return DockerRunner(client, find_images(client, TARGETS, MODEL, artifacts, say_nothing), "test")


@pytest.fixture
def nothing_left(client):
    """Whatever a test starts is gone after it; what others run on the same engine is none of ours."""
    before = {found.project for found in ownership.projects(client)}
    yield
    mine = {found.project for found in ownership.projects(client) if not found.abandoned} - before
    assert not {name for name in mine if name.startswith(("tandem-test-", "tandem-smoke-"))}


@pytest.fixture(scope="session")
def verified(runner):
    return ensure_verified(MODEL, ARTIFACTS, say_nothing)


@pytest.fixture
def request_for(tmp_path):
    """A request for a server on core 0, with a short-named folder of its own."""
    with readiness.work_folder() as work:
        spec = load_model(MODEL)

        def build(target, **changes):
            folder = work / str(len(list(work.iterdir())))
            folder.mkdir()
            return ServeRequest(spec, ARTIFACTS / MODEL / target, folder, cores=(0,), **changes)

        yield build


@pytest.fixture
def spoil(client, runner):
    """Makes an image like a target's, with some files or labels replaced; removed after the test."""
    made = []

    def build(target, files=None, labels=None):
        base = runner.images[target].record.reference
        lines = [
            f"FROM {base}",
        ]
        context = io.BytesIO()
        with tarfile.open(fileobj=context, mode="w") as archive:
            for number, (path, data) in enumerate((files or {}).items()):
                lines.append(f"COPY file{number} {path}")
                _add(archive, f"file{number}", data)
            lines += [f'LABEL {name}="{value}"' for name, value in (labels or {}).items()]
            _add(archive, "Dockerfile", "\n".join(lines).encode())
        context.seek(0)
        tag = f"tandem-test/spoilt:{len(made)}"
        client.images.build(fileobj=context, custom_context=True, tag=tag, rm=True)
        made.append(tag)
        return tag

    yield build
    for tag in made:
        client.images.remove(tag, force=True)


def _add(archive, name, data):
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(data), 0o644
    archive.addfile(info, io.BytesIO(data))
