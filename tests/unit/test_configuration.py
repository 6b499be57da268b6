"""What servers say of their configuration, and what their command lines do: nothing is assumed."""

from types import SimpleNamespace

import pytest

from pipelines.record.implementation import GivenRecord
from pipelines.targets.contained import CONTAINED
from pipelines.targets.container import Inside
from pipelines.targets.python.configuration import from_info
from pipelines.targets.tfserving.configuration import from_flags
from pipelines.targets.torchserve.configuration import from_description

ANSWER = {
    "minWorkers": 1,
    "maxWorkers": 4,
    "batchSize": 8,
    "maxBatchDelay": 50,
    "workers": [{}, {}],
    "jobQueueStatus": {"remainingCapacity": 90, "pendingRequests": 10},
    "customizedMetadata": {"threads_per_worker": 3, "inter_op_threads_count": 5},
}


def test_torchserve_is_taken_at_its_word():
    told = from_description([ANSWER])
    sources = told["sources"]
    assert {name: told[name] for name in told if name != "sources"} == {
        "workers_count": 2,
        "workers_max_count": 4,
        "batch_max_size": 8,
        "batch_delay_ms": 50,
        "queue_max_count": 100,
        "threads_per_worker": 3,
        "inter_op_threads_count": 5,
    }
    assert set(sources) == set(told) - {"sources"}
    assert set(sources.values()) == {"server"}
    GivenRecord.model_validate({"cores": (0,), "memory_limit_bytes": None} | dict(told))


def test_a_queue_that_is_named_is_taken_before_one_that_is_counted():
    assert from_description([{**ANSWER, "jobQueueSize": 1000}])["queue_max_count"] == 1000


@pytest.mark.parametrize("answer", [None, [], {}, [None], "text", [{}], [{"workers": "?"}]])
def test_what_torchserve_does_not_tell_stays_unknown(answer):
    assert from_description(answer) == {"sources": {}}


@pytest.mark.parametrize("told", [None, "", "{", "[]", 3, {"other": 1}])
def test_the_handler_of_somebody_else_says_nothing_of_threads(told):
    found = from_description([{**ANSWER, "customizedMetadata": told}])
    assert "threads_per_worker" not in found
    assert found["workers_count"] == 2


@pytest.mark.parametrize(("embedded", "rest"), [(False, 64), (True, 32)])
def test_without_flags_the_runtimes_rule_holds(embedded, rest):
    found = from_flags(["--rest_api_port=8501"], 16, embedded=embedded)
    assert found["threads_per_worker"] == found["inter_op_threads_count"] == 16
    assert (found["workers_count"], found["batch_max_size"], found["rest_threads_count"]) == (1, 1, rest)
    assert set(found["sources"].values()) == {"rule"}
    assert "queue_max_count" not in found


def test_flags_come_before_the_rule():
    flags = ["--tensorflow_inter_op_parallelism=1", "--rest_api_num_threads", "7", "--port=1"]
    found = from_flags(flags, 16, embedded=False)
    assert (found["inter_op_threads_count"], found["rest_threads_count"]) == (1, 7)
    assert found["threads_per_worker"] == 16
    assert found["sources"]["inter_op_threads_count"] == found["sources"]["rest_threads_count"] == "flag"
    assert found["sources"]["threads_per_worker"] == "rule"


def test_a_number_of_0_is_no_number():
    found = from_flags(["--tensorflow_intra_op_parallelism=0"], 3, embedded=False)
    assert (found["threads_per_worker"], found["sources"]["threads_per_worker"]) == (3, "rule")


def test_one_flag_sets_both_pools():
    found = from_flags(["--tensorflow_session_parallelism=2"], 3, embedded=False)
    assert (found["threads_per_worker"], found["inter_op_threads_count"]) == (2, 2)


def test_unknown_cores_leave_what_depends_on_them_unknown():
    found = from_flags([], None, embedded=False)
    assert not {"threads_per_worker", "rest_threads_count"} & set(found)


@pytest.mark.parametrize("switch", ["--enable_batching", "--enable_batching=true", "--enable_batching=1"])
def test_batching_is_read_from_its_parameters(tmp_path, switch):
    file = tmp_path / "batching.config"
    file.write_text("max_batch_size { value: 32 }\nbatch_timeout_micros: { value: 1500 }\n")
    found = from_flags([switch, f"--batching_parameters_file={file}"], 2, embedded=False)
    assert (found["batch_max_size"], found["batch_delay_ms"]) == (32, 1.5)
    assert found["sources"]["batch_max_size"] == "flag"
    assert found["sources"]["queue_max_count"] == "rule"


@pytest.mark.parametrize("embedded", [True, False])
def test_parameters_that_cannot_be_read_are_unknown_and_so_is_what_depends_on_them(embedded):
    flags = ["--enable_batching", "--batching_parameters_file=/no/such"]
    found = from_flags(flags, 2, embedded=embedded)
    assert not {"batch_max_size", "batch_delay_ms", "queue_max_count"} & set(found)
    # The embedded server has threads enough to gather a batch, and its size is not known.
    assert ("rest_threads_count" in found) is not embedded


def test_batching_that_is_off_is_off():
    assert from_flags(["--enable_batching=false"], 2, embedded=False)["batch_max_size"] == 1


@pytest.mark.parametrize(
    ("argv", "rest"),
    [
        (["tensorflow_model_server", "--model_base_path=/models/x"], 16),
        (["python", "-m", "pipelines.targets.tfserving.embedded", "--model_base_path=/models/x"], 8),
    ],
)
def test_a_containers_server_is_read_from_its_own_command_line(argv, rest):
    init = ["/sbin/docker-init", "--", "/entrypoint.sh", argv[0]]
    inside = Inside(lambda _: (1, ""), [init, [*argv, "--tensorflow_inter_op_parallelism=1"]], 4)
    found = CONTAINED["tfserving"].configuration("x", inside)
    assert (found["inter_op_threads_count"], found["threads_per_worker"]) == (1, 4)
    assert found["rest_threads_count"] == rest


BATCHING = "max_batch_size { value: 32 }\nbatch_timeout_micros { value: 1500 }\n"
BATCHED = [
    "--model_base_path=/models/x",
    "--enable_batching",
    "--batching_parameters_file=/etc/x/batching.config",
]


@pytest.mark.parametrize(("program", "rest"), [("tensorflow_model_server", 16), ("x.embedded", 32)])
def test_a_containers_batching_is_read_inside_it(program, rest):
    """The file is where the server is; the embedded server has a thread for each request of a batch."""
    asked = []

    def execute(command):
        asked.append(command)
        return 0, BATCHING

    found = CONTAINED["tfserving"].configuration("x", Inside(execute, [[program, *BATCHED]], 4))
    assert asked == [["cat", "/etc/x/batching.config"]]
    assert (found["batch_max_size"], found["batch_delay_ms"], found["queue_max_count"]) == (32, 1.5, 10)
    assert found["rest_threads_count"] == rest
    assert found["sources"]["batch_max_size"] == "flag"


def test_batching_that_cannot_be_read_inside_stays_unknown():
    inside = Inside(lambda _: (1, "cat: /etc/x/batching.config: No such file"), [["x.embedded", *BATCHED]], 4)
    found = CONTAINED["tfserving"].configuration("x", inside)
    assert not {"batch_max_size", "batch_delay_ms", "queue_max_count", "rest_threads_count"} & set(found)


def test_the_plain_server_is_not_said_to_tell_of_batching_that_it_does_not_know():
    told = from_info({"workers": 2, "torch_threads": 1})
    assert (told["workers_count"], told["batch_max_size"]) == (2, 1)
    assert told["sources"] == {
        "workers_count": "server",
        "threads_per_worker": "server",
        "batch_max_size": "rule",
    }
    assert from_info(None) == {"sources": {}}


def test_a_container_whose_processes_are_unknown_says_nothing():
    assert CONTAINED["tfserving"].configuration("x", Inside(lambda _: (1, ""), [], 4)) == {}


def test_torchserve_in_a_container_is_asked_inside():
    asked = []

    def execute(command):
        asked.append(command)
        return 0, '[{"workers": [{}], "maxWorkers": 2}]'

    found = CONTAINED["torchserve"].configuration("x", Inside(execute, [], 4))
    assert (found["workers_count"], found["workers_max_count"]) == (1, 2)
    assert asked == [["tandem-probe", "get", "8081", "/models/x?customized=true"]]


def test_a_record_of_before_still_reads():
    old = SimpleNamespace(cores=(0,), workers_count=1, threads_per_worker=1, batch_max_size=1)
    record = GivenRecord(**vars(old), memory_limit_bytes=None)
    assert record.sources == {}
    assert record.queue_max_count is None


def test_metrics_tell_how_many_requests_took_how_many_runs():
    from pipelines.targets.tfserving.server import metric_counts

    text = """# TYPE :tensorflow:serving:request_count counter
:tensorflow:serving:request_count{model_name="m",status="OK"} 30
:tensorflow:serving:request_count{model_name="m",status="INVALID_ARGUMENT"} 2
:tensorflow:serving:batching_session:wrapped_run_count{thread_pool_name="x"} 4
:tensorflow:serving:batching_session:queuing_latency_count{thread_pool_name="x"} 30
"""
    assert metric_counts(text) == (30, 4)
    assert metric_counts("") == (0, 0)
