"""The container engine is restarted, or dies, in the middle of a round: a real one, of this test's own."""

import contextlib
import gc
import re
import subprocess
import threading
from dataclasses import replace

import numpy as np
import pytest
from own_engine import IMAGE, own_engine, why_not

from loadtests.payloads import CheckedOutput, PayloadPool
from models.spec import load_model
from pipelines.config.profiles import Profile
from pipelines.config.settings import MeasureSettings
from pipelines.errors import MachineError
from pipelines.measure.blocks import measure_blocks
from pipelines.measure.session import Session
from pipelines.measure.sides import Side
from pipelines.record.implementation import ImageRecord
from pipelines.runners import compose, docker_containers, docker_ownership
from pipelines.runners.docker_containers import ContainerImage, DockerRunner
from pipelines.targets.server_plan import ServeRequest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.skipif(why_not() is not None, reason=str(why_not())),
]
BODY = b'{"instances": [[0.0]]}'
OUTPUTS = (CheckedOutput("scores", 1e-4, 0.0, classes=True),)
HEADERS = {"Content-Type": "application/json"}
POOL = PayloadPool("POST", "/", HEADERS, (BODY,), ({"scores": np.array((0.1, 0.7, 0.2))},), OUTPUTS)
PROFILE = Profile(
    name="quick",
    blocks=1,
    rounds=1,
    warmup_limit_s=0,
    round_s=0.5,
    loads=("closed:2",),
    control=False,
    null=False,
    retries=0,
)


@pytest.fixture(scope="module")
def engine():
    with own_engine() as started:
        yield started


@pytest.fixture
def client(engine, monkeypatch):
    """The client of a run, whose processes talk to the test's engine as well."""
    monkeypatch.setenv("DOCKER_HOST", engine.host)
    with contextlib.closing(engine.client()) as client:
        yield client
    # Where nobody answers, the engine's client leaves its connections to the garbage collector: here and not
    # in somebody else's test.
    gc.collect()


def side(name, runner, model):
    @contextlib.contextmanager
    def prepare(work):
        with runner.prepare("tfserving", ServeRequest(model, work, work)) as server:
            yield server

    return Side(
        name=name,
        target="tfserving",
        role="compared",
        control_of=None,
        prepare=prepare,
        pool=lambda path: replace(POOL, path=path),
        prove=None,
    )


def measure(client, folder, in_second_round, round_s):
    """Measure two sides; in the second round, `round_s` long, the first one's container is frozen.

    Returns:
        What ended the measurement, and the sides whose rounds are on record.
    """
    for name in ("samples", "logs"):
        (folder / name).mkdir()
    record = ImageRecord(reference=IMAGE, id="sha256:0", size_bytes=1, compressed_bytes=None)
    image = ContainerImage("tfserving", "always the same", "1", True, record)
    runner = DockerRunner(client, {"tfserving": image}, "test")
    begun, acting = [], []

    def told(_title, text):
        if "under" in text:
            begun.append(text)
            if len(begun) == 2:
                session.round_s = round_s
                acting.append(threading.Timer(1.0, in_second_round))
                acting[0].start()

    model = load_model("digits_cnn")
    sides = [side(name, runner, model) for name in ("one", "other")]
    session = Session(MeasureSettings(profile=PROFILE), sides, folder, told)
    try:
        with pytest.raises(MachineError) as caught:
            measure_blocks(session)
    finally:
        for action in acting:
            action.join()
    return str(caught.value), [name for name in ("one", "other") if session.measured[name].rounds]


def test_a_restarted_engine_is_the_reason_and_what_it_held_is_removed_when_it_is_back(
    engine, client, tmp_path, monkeypatch
):
    monkeypatch.setattr(docker_containers, "BACK_LIMIT_S", 120.0)  # on a busy machine

    def restart():
        engine.stop()
        engine.start()

    said, measured = measure(client, tmp_path, restart, round_s=60.0)  # which its server does not live to see
    assert re.search(r"in round 1: its container died \(exit code \d+|container engine does not answer", said)
    assert measured == ["one", "other"]
    assert docker_ownership.projects(client) == []


def test_an_engine_that_is_gone_is_the_reason_and_the_next_command_removes_what_it_held(
    engine, client, tmp_path, monkeypatch
):
    monkeypatch.setattr(docker_containers, "BACK_LIMIT_S", 0.0)
    with subprocess.Popen(["true"]) as ended:
        # What this test makes belongs to a command that has ended, as it would have by then.
        host, _, _, whose_ids = docker_ownership.owner().split("/", 3)
        monkeypatch.setattr(compose, "owner", lambda: f"{host}/{ended.pid}/0/{whose_ids}")
    said, measured = measure(client, tmp_path, engine.kill, round_s=3.0)  # the server goes on
    assert "is gone in round 1: the container engine does not answer" in said
    assert measured == ["one", "other"]
    engine.start()
    assert len(docker_ownership.projects(client)) == 2
    docker_ownership.remove_abandoned(client)
    assert docker_ownership.projects(client) == []
