"""What a killed command leaves on a real engine: no frozen container, and builds leave no stages behind."""

import gzip
import io
import shutil
import subprocess
import sys
import tarfile
import uuid

import pytest

from pipelines.package.image import compressed_bytes, find_image
from pipelines.package.missing import BUILDER_LABEL, remove_builders
from pipelines.processes.group import wait_until
from pipelines.runners import docker_ownership as ownership

DOCKERFILE = f"""
FROM scratch AS python
COPY pause /
FROM python AS tools
LABEL {BUILDER_LABEL}=yes
COPY more /
FROM tools AS wheels
COPY made /
FROM python
COPY --from=wheels /made /
"""
KILLED = """
import sys, time
from pipelines.processes.guard import guarded
from pipelines.package import connect
from pipelines.files.leftovers import note_engine
from pipelines.runners import docker_ownership as o

image, project = sys.argv[1:]
with guarded():
    note_engine()
    labels = {o.PROJECT_LABEL: project, o.COMPOSE_LABEL: project, o.OWNER_LABEL: o.owner()}
    container = connect().containers.run(image, ["/pause"], labels=labels, network_mode="none", detach=True)
    container.pause()
    print("frozen", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def image(engine, tmp_path):
    """An image of one program that waits, built in stages."""
    if shutil.which("gcc") is None:
        pytest.skip("needs gcc")
    source = b"#include <unistd.h>\nint main() { for (;;) pause(); }\n"
    subprocess.run(["gcc", "-static", "-xc", "-", "-o", tmp_path / "pause"], input=source, check=True)
    files = {
        "Dockerfile": DOCKERFILE.encode(),
        "pause": (tmp_path / "pause").read_bytes(),
        "more": b"1",
        "made": uuid.uuid4().bytes,
    }
    name = f"tandem-test/pause:{uuid.uuid4().hex[:8]}"
    list(engine.api.build(fileobj=packed(files), custom_context=True, tag=name, rm=True, decode=True))
    yield name
    engine.images.remove(name, force=True)


def packed(files):
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(data), 0o755
            tar.addfile(member, io.BytesIO(data))
    archive.seek(0)
    return archive


def test_a_frozen_container_goes_with_the_killed_command(engine, image):
    project = f"tandem-test-{uuid.uuid4().hex[:8]}"
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, image, project], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout.readline() == "frozen\n"
        process.kill()
        process.wait()
        assert wait_until(lambda: ownership.remains(engine, project) == [], limit_s=20)
    finally:
        process.kill()
        process.communicate()
        ownership.remove_project(engine, project)


def test_the_compressed_size_of_an_image_is_about_that_of_what_is_in_it(engine, image, tmp_path):
    found = find_image(engine, "pause", "pause", image)
    program = (tmp_path / "pause").read_bytes()
    # Beside the program there are headers and descriptions in JSON.
    assert len(gzip.compress(program)) < compressed_bytes(engine, found, tmp_path / "sizes") < len(program)


def test_stages_without_a_name_are_removed_and_the_image_is_not(engine, image):
    remove_builders(engine)
    left = engine.images.list(all=True, filters={"dangling": True, "label": BUILDER_LABEL})
    assert left == []
    assert engine.images.get(image)
