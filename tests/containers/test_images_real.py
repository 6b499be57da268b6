"""The images on a real engine: what is in them, what their health checks notice, what building leaves."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from real_model import ARTIFACTS, MODEL, ROOT, SERVERS, say_nothing

from models.spec import load_model
from pipelines.artifacts.manifest import read_manifest
from pipelines.errors import MachineError
from pipelines.package import missing
from pipelines.package.base import debian_base
from pipelines.package.build import build
from pipelines.package.recipes import IMAGES, Recipe, make_recipe
from pipelines.package.settings import Settings, read_settings
from pipelines.targets.contained import CONTAINED

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
BUILT = (*SERVERS, "locust")
SECOND_NS = 10**9


@contextmanager
def running(engine, reference, **settings) -> Iterator:
    """A container with the limits of the compose file, gone when the block ends."""
    container = engine.containers.run(
        reference,
        detach=True,
        read_only=True,
        tmpfs={"/tmp": "mode=1777", **settings.pop("tmpfs", {})},  # noqa: S108 - inside the container
        cap_drop=["ALL"],
        security_opt=["no-new-privileges:true"],
        mem_limit="2g",
        **settings,
    )
    try:
        yield container
    finally:
        container.remove(force=True, v=True)


LOGS = {"/var/log/torchserve": "uid=10001,gid=10001"}


def health(every_s: int = 1) -> dict:
    """The image's own check, only more often."""
    return {"interval": every_s * SECOND_NS, "retries": 1, "start_period": 120 * SECOND_NS}


def wait_health(container, wanted: str, limit_s: float = 240) -> str:
    deadline = time.monotonic() + limit_s
    while True:
        container.reload()
        state = container.attrs["State"]
        assert state["Running"], container.logs(tail=20).decode()
        found = state["Health"]["Status"]
        if found == wanted or time.monotonic() > deadline:
            assert found == wanted, state["Health"]["Log"][-1:]
            return found
        time.sleep(0.5)


@pytest.mark.parametrize("key", SERVERS)
def test_labels_say_what_is_inside(images, key):
    labels, target = images[key].labels, images[key].target
    manifest = read_manifest(ARTIFACTS / MODEL / target)
    baked = next(a for a in manifest.artifacts if a.format == IMAGES[key][1].artifact_format)
    assert labels["io.tandem.artifact.sha256"] == baked.sha256
    assert labels["io.tandem.model"] == MODEL
    assert labels["io.tandem.model.digest"] == load_model(MODEL).digest
    assert labels["io.tandem.target"] == target
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"


@pytest.mark.parametrize("key", SERVERS)
def test_the_versions_in_the_label_are_those_installed(engine, images, key):
    said = json.loads(images[key].labels["io.tandem.versions"])
    for name in IMAGES[key][1].versions:  # no distributions of their own
        said.pop(name)
    assert said
    ask = (
        "import sys, json; from importlib.metadata import version; "
        "print(json.dumps({name: version(name) for name in sys.argv[1:]}))"
    )
    answer = engine.containers.run(
        images[key].reference, ["-c", ask, *said], entrypoint="python", remove=True, network_disabled=True
    )
    assert json.loads(answer) == said


@pytest.mark.parametrize("key", BUILT)
def test_nothing_that_only_builds_is_inside(engine, images, key):
    look = "command -v gcc pip pip3 curl debootstrap; ls -d /wheels /install.sh 2>/dev/null; id -u; true"
    answer = engine.containers.run(
        images[key].reference, ["-c", look], entrypoint="sh", remove=True, network_disabled=True
    )
    assert answer.decode().split() == ["10001"]


# The last of the ten values that the health check expects becomes another.
WRONG = """cp -r /etc/tandem/health /tmp/other && cd /tmp/other
sed -i '$s/[^ ]*$/777/' expected.txt && exec tandem-probe check "$1" /tmp/other"""
# Where those answer that have the variable TANDEM_METRICS.
METRICS = {
    "torchserve": ("8082", "/metrics", "ts_inference_requests_total"),
    "tfserving-embedded": ("8501", "/monitoring/prometheus/metrics", ":tensorflow:serving:request_count"),
}


@pytest.mark.parametrize("key", SERVERS)
def test_healthy_means_right_metrics_are_where_prometheus_looks_and_stopping_is_graceful(engine, images, key):
    """One container for all of it. The health check says no where one value is not as expected, though the
    server is well by its own word; what the engine makes of that, the tests of `tandem smoke` know."""
    settings = {"environment": {"TANDEM_METRICS": "prometheus"}, "healthcheck": health()}
    port = str(CONTAINED[images[key].target].rest_port)
    with running(engine, images[key].reference, tmpfs=LOGS, **settings) as container:
        wait_health(container, "healthy")
        if key in METRICS:
            metrics_port, path, metric = METRICS[key]
            code, output = container.exec_run(["tandem-probe", "get", metrics_port, path])
            assert code == 0, output
            assert metric in output.decode()
        code, output = container.exec_run(["sh", "-c", WRONG, "sh", port])
        assert code == 1, output
        assert b"value 9 is " in output
        assert b", expected 777" in output
        container.stop(timeout=60)
        container.reload()
        # 137 would be the kill after the grace period.
        assert container.attrs["State"]["ExitCode"] in (0, 143)


def test_an_unknown_setting_ends_the_container_with_a_line(engine, images):
    for key in METRICS:
        with running(engine, images[key].reference, environment={"TANDEM_METRICS": "yes"}) as container:
            assert container.wait(timeout=60)["StatusCode"] == 2
            assert "allowed: off prometheus" in container.logs().decode()


def test_the_official_dockerfile_bakes_starts_and_checks(engine, images):
    """With a stand-in for the official base image, which cannot be pulled everywhere: a file called
    `tensorflow_model_server` that starts the embedded server. Everything else is the Dockerfile's own."""
    server = b'#!/bin/sh\nexec python -m pipelines.targets.tfserving.embedded --host=0.0.0.0 "$@"\n'
    dockerfile = (
        f"FROM {images['tfserving-embedded'].reference}\nUSER root\nRUN rm -rf /models /etc/tandem "
        "/usr/local/bin/tandem-*\nCOPY --chown=0:0 server.sh /usr/local/bin/tensorflow_model_server\n"
        "HEALTHCHECK NONE\nENTRYPOINT []\n"
    ).encode()
    base, reference = "tandem-test/stand-in-base:1", None
    stand_in = Recipe(
        "stand-in", "tfserving", base.removesuffix("1"), {"Dockerfile": dockerfile, "server.sh": server}, {}
    )
    try:
        build(engine, stand_in, "scratch", [], say_nothing)
        settings = Settings(None, stand_in.reference)
        parts = missing.model_parts(MODEL, ARTIFACTS, say_nothing)
        recipe = make_recipe("tfserving", parts, settings)
        reference = recipe.reference
        assert recipe.labels["io.tandem.implementation"] == f"docker {stand_in.reference}"
        build(engine, recipe, debian_base(engine, settings, say_nothing), [], say_nothing)
        with running(engine, reference, healthcheck=health()) as container:
            wait_health(container, "healthy")
            assert container.attrs["Config"]["User"] == "10001:10001"
            container.stop(timeout=60)
            container.reload()
            assert container.attrs["State"]["ExitCode"] in (0, 143)
    finally:
        for name in filter(None, (reference, stand_in.reference)):
            engine.api.remove_image(name, force=True)


def recipe_of(dockerfile: str) -> Recipe:
    return Recipe("trial", "trial", "tandem-test/trial:", {"Dockerfile": dockerfile.encode()}, {})


def containers(engine) -> set[str]:
    return {container.id for container in engine.containers.list(all=True, ignore_removed=True)}


def test_a_failing_build_is_one_line_with_its_last_words_and_leaves_no_tag(engine, images):
    recipe = recipe_of("ARG BASE\nFROM ${BASE}\nRUN echo first; echo the reason >&2; exit 7\n")
    base = debian_base(engine, read_settings(), say_nothing)
    with pytest.raises(MachineError) as failed:
        build(engine, recipe, base, [], say_nothing)
    assert "the reason" in str(failed.value)
    assert "7" in str(failed.value)
    assert "\n" not in str(failed.value)
    assert not engine.images.list(name=recipe.reference)


INTERRUPTED = """
import signal, sys
from pipelines.package.build import build
from pipelines.package.engine import connect
from pipelines.package.recipes import Recipe
recipe = Recipe("trial", "trial", "tandem-test/trial:", {"Dockerfile": sys.argv[2].encode()}, {})
def say(title, text):
    print(text, flush=True)
build(connect(), recipe, sys.argv[1], [], say)
"""


def test_ctrl_c_during_a_build_leaves_no_container_and_no_tag(engine, images):
    marker = f"sleep 6{os.getpid()}"
    dockerfile = f"ARG BASE\nFROM ${{BASE}}\nRUN {marker}\n"
    base = debian_base(engine, read_settings(), say_nothing)
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, base, dockerfile],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )

    def ours() -> list[str]:
        found = engine.api.containers(all=True)
        return [entry["Id"] for entry in found if marker in entry["Command"]]

    try:
        deadline = time.monotonic() + 120
        while not ours() and time.monotonic() < deadline:
            time.sleep(0.2)
        assert ours()
        process.send_signal(signal.SIGINT)
        process.wait(30)
        while ours() and time.monotonic() < deadline:
            time.sleep(0.2)
        assert ours() == []
        assert not engine.images.list(name="tandem-test/trial")
    finally:
        process.kill()
        process.communicate()
