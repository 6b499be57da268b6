"""A comparison on cores that were asked for: more than one for the servers, one also the generator."""

import json
import os

import pytest
from main_job import HASTY, answered, complaint, tandem

pytestmark = pytest.mark.slow


def test_two_server_cores_on_a_two_core_machine(exported):
    first, second = sorted(os.sched_getaffinity(0))[:2]
    asked = ("--server-cores", f"{first},{second}", "--generator-core", str(second))
    short = ("--profile", "smoke", "--rounds", "1", "--round-s", "1", "--loads", "closed:4", "--no-mobile")
    done = tandem("compare", "digits_cnn", *short, *asked, cwd=exported, program=HASTY)
    assert done.returncode == 0, done.stderr
    run = json.loads((exported / "runs" / "latest" / "run.json").read_text())
    environment = run["environment"]
    assert environment["server_cores"] == [first, second]
    assert environment["generator_cores"] == [second]
    given = {name: run["targets"][name]["given"] for name in ("torchserve", "tfserving")}
    assert {name: one["workers_count"] for name, one in given.items()} == {"torchserve": 2, "tfserving": 1}
    assert {name: one["threads_per_worker"] for name, one in given.items()} == {
        "torchserve": 2,
        "tfserving": 2,
    }
    assert set(given["torchserve"]["sources"].values()) == {"server"}
    assert all(one["cores"] == [first, second] for one in given.values())
    assert run["fairness"]["asymmetries"] == []
    assert "shared_core" in {warning["code"] for warning in run["warnings"]}
    assert not any(round_["generator"]["realtime"] for round_ in run["targets"]["tfserving"]["rounds"])
    (row,) = [line.split() for line in done.stdout.splitlines() if line.startswith("workers  ")]
    assert row == ["workers", "2", "(asked)", "1", "(rule)"]


def test_a_machine_with_one_core_still_compares_and_says_what_it_costs(toys):
    core = min(os.sched_getaffinity(0))
    asked = ("--server-cores", str(core), "--generator-core", str(core))
    short = ("--profile", "smoke", "--rounds", "1", "--round-s", "1", "--loads", "closed:2")
    sides = ("--sides", "toy,toy", "--runner", "local")
    done = tandem("compare", "tiny.py", *sides, *short, *asked, cwd=toys, program=HASTY)
    assert done.returncode == 0, done.stderr
    run = json.loads((toys / "runs" / "latest" / "run.json").read_text())
    environment = run["environment"]
    assert environment["server_cores"] == environment["generator_cores"] == [core]
    (warning,) = [one for one in run["warnings"] if one["code"] in ("only_core", "shared_core")]
    assert (warning["code"], warning["figures"]) == ("only_core", {"generator_cores": str(core)})
    rounds = [one for target in run["targets"].values() for one in target["rounds"]]
    assert len(rounds) == 2
    assert all(one["requests_count"] > 0 and one["generator"]["cores"] == [core] for one in rounds)
    # It would starve the server that it loads.
    assert not any(one["generator"]["realtime"] for one in rounds)


@pytest.mark.parametrize("command", [("compare",), ("slo", "--p99-ms", "20"), ("smoke", "--runner", "local")])
def test_cores_are_looked_at_before_anything_is_done(tmp_path, command):
    name, *options = command
    done = answered(name, "digits_cnn", *options, "--server-cores", "1-0", cwd=tmp_path)
    assert done.returncode == 2
    assert "--server-cores is '1-0'" in complaint(done.stderr)
    assert list(tmp_path.iterdir()) == []
