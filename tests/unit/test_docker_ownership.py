"""What belongs to a dead process is found and removed; what belongs to a live one never is."""

import os
import re
import subprocess
import sys
from types import SimpleNamespace

import psutil
import pytest
from docker.errors import APIError, NotFound

from pipelines.errors import MachineError
from pipelines.processes.group import wait_until
from pipelines.runners import docker_ownership as ownership


class FakeEngine:
    """Containers, networks and volumes as the SDK's collections offer them."""

    def __init__(self, *things):
        self.things = list(things)
        self.containers, self.networks, self.volumes = (
            SimpleNamespace(list=lambda kind=kind, **given: self.find(kind, given["filters"]["label"]))
            for kind in ("container", "network", "volume")
        )

    def find(self, kind, label):
        name, _, value = label.partition("=")
        return [
            thing
            for thing in self.things
            if thing.kind == kind and name in thing.labels and value in {"", thing.labels[name]}
        ]

    def add(self, kind, project, owner):
        labels = {
            ownership.PROJECT_LABEL: project,
            ownership.COMPOSE_LABEL: project,
            **({ownership.OWNER_LABEL: owner} if owner else {}),
        }
        thing = SimpleNamespace(kind=kind, name=f"{project}_{kind}", labels=labels, attrs={"Labels": labels})
        thing.remove = lambda **_: self.things.remove(thing)
        self.things.append(thing)


@pytest.fixture
def dead_owner():
    """The owner label of a process that has ended."""
    code = "from pipelines.runners.docker_ownership import owner; print(owner())"
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()


@pytest.fixture
def engine(dead_owner):
    made = FakeEngine()
    for kind in ("container", "network", "volume"):
        made.add(kind, "tandem-compare-dead", dead_owner)
        made.add(kind, "tandem-compare-mine", ownership.owner())
        made.add(kind, "tandem-up-standing", None)
        made.add(kind, "tandem-compare-elsewhere", "another-host/1/5.00")
    return made


def test_only_what_a_dead_process_owned_is_removed(engine):
    assert ownership.remove_abandoned(engine) == {"tandem-compare-dead": None}
    left = {thing.labels[ownership.PROJECT_LABEL] for thing in engine.things}
    assert left == {"tandem-compare-mine", "tandem-up-standing", "tandem-compare-elsewhere"}
    assert ownership.remains(engine, "tandem-compare-dead") == []


@pytest.mark.parametrize("kind", ["container", "network", "volume"])
def test_one_thing_alone_is_found_too(kind, dead_owner):
    engine = FakeEngine()
    engine.add(kind, "tandem-smoke-half", dead_owner)
    assert ownership.remove_abandoned(engine) == {"tandem-smoke-half": None}
    assert engine.things == []


def refusing(engine, kind, *refusals):
    """Have the engine's one thing of a kind refuse to be removed, once for each refusal."""
    (thing,) = (thing for thing in engine.things if thing.kind == kind)
    remove, left = thing.remove, list(refusals)

    def remove_or_refuse(**given):
        if left:
            raise left.pop(0)
        remove(**given)

    thing.remove = remove_or_refuse


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("container", "removal of container x is already in progress"),
        ("network", "error while removing network: network x has active endpoints"),
        ("volume", "remove x: volume is in use"),
    ],
)
def test_what_is_refused_while_somebody_else_removes_it_as_well_is_tried_until_it_is_gone(
    kind, text, monkeypatch
):
    monkeypatch.setattr(ownership, "LOOK_S", 0)
    engine = FakeEngine()
    for each in ("container", "network", "volume"):
        engine.add(each, "tandem-smoke-both", None)
    refusing(engine, kind, APIError("409 Client Error", explanation=text), APIError("403", explanation=text))
    ownership.remove_project(engine, "tandem-smoke-both")
    assert engine.things == []


def test_what_somebody_else_has_removed_meanwhile_is_no_failure():
    engine = FakeEngine()
    engine.add("network", "tandem-smoke-both", None)
    gone = engine.things[0]

    def remove():
        engine.things.remove(gone)
        raise NotFound("404 Client Error")

    gone.remove = remove
    ownership.remove_project(engine, "tandem-smoke-both")
    assert engine.things == []


def test_a_leftover_that_the_engine_keeps_is_told_and_the_others_go(engine, dead_owner, monkeypatch):
    monkeypatch.setattr(ownership, "GONE_LIMIT_S", 0)
    monkeypatch.setattr(ownership, "LOOK_S", 0)
    engine.add("volume", "tandem-compare-a", dead_owner)
    kept = engine.things[-1]

    def refuse(**_):
        raise APIError("500 Server Error", explanation="device or\nresource busy")

    kept.remove = refuse
    told = ownership.remove_abandoned(engine)
    assert told["tandem-compare-dead"] is None
    assert "tandem-compare-a: device or resource busy" in told["tandem-compare-a"]
    assert kept in engine.things
    with pytest.raises(MachineError, match="tandem-compare-a"):
        ownership.remove_project(engine, "tandem-compare-a")


def test_what_remains_is_named(engine):
    assert ownership.remains(engine, "tandem-compare-mine") == [
        "container tandem-compare-mine_container",
        "network tandem-compare-mine_network",
        "volume tandem-compare-mine_volume",
    ]


def test_a_process_id_that_was_used_again_is_another_owner():
    host, pid, started, whose_ids = ownership.owner().split("/", 3)
    assert int(pid) == os.getpid()
    assert not ownership.is_dead(f"{host}/{pid}/{started}/{whose_ids}")
    assert ownership.is_dead(f"{host}/{pid}/{int(started) - 360_000}/{whose_ids}")


@pytest.mark.parametrize("field", [0, 3, 4])
def test_an_owner_of_another_host_boot_or_namespace_is_not_known_to_be_dead(dead_owner, field):
    assert ownership.is_dead(dead_owner)
    fields = dead_owner.split("/")
    fields[field] += "1"
    assert not ownership.is_dead("/".join(fields))


def test_an_owner_of_an_older_label_which_tells_no_namespace_is_not_known_to_be_dead(dead_owner):
    assert not ownership.is_dead("/".join(dead_owner.split("/")[:3]))


def test_an_owner_that_proc_hides_lives_if_the_kernel_knows_it(monkeypatch):
    label = ownership.owner()

    def hidden(pid):
        raise psutil.NoSuchProcess(pid)

    def not_ours(_pid, _signal):
        raise PermissionError

    monkeypatch.setattr(psutil, "Process", hidden)
    monkeypatch.setattr(os, "kill", not_ours)
    assert not ownership.is_dead(label)


def test_what_stands_is_nobodys_leftover():
    assert not ownership.is_dead(ownership.standing_owner())


def test_a_clock_that_is_set_makes_nobody_dead(monkeypatch):
    label, boot_time = ownership.owner(), psutil.boot_time()
    # What /proc/stat says of the machine's start moves with the clock.
    monkeypatch.setattr(psutil._pslinux, "boot_time", lambda: boot_time + 3600)
    assert not ownership.is_dead(label)


@pytest.mark.parametrize("label", ["", "nonsense", "host/pid/start", "a/b"])
def test_an_owner_that_cannot_be_read_is_left_alone(label):
    assert not ownership.is_dead(label)


def test_projects_never_share_a_name():
    names = {ownership.new_project("compare") for _ in range(200)}
    assert len(names) == 200
    assert all(re.fullmatch(r"tandem-compare-[0-9a-f]{8}", name) for name in names)


def test_the_owner_is_dead_once_it_was_killed_even_if_nobody_has_asked_for_its_exit_code():
    code = "from pipelines.runners.docker_ownership import owner; print(owner(), flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        label = process.stdout.readline().strip()
        assert not ownership.is_dead(label)
        process.kill()
        assert wait_until(lambda: psutil.Process(process.pid).status() == psutil.STATUS_ZOMBIE, 10)
        assert ownership.is_dead(label)
