"""What Triton, MLServer and the plain server tell of their requests' time, in words recorded from them."""

import pytest

from pipelines.targets.mlserver import timings as mlserver
from pipelines.targets.prometheus import metric_sum
from pipelines.targets.python import timings as python
from pipelines.targets.timings import Timings, parts_ms
from pipelines.targets.triton import timings as triton

# `GET /v2/models/several/stats` of Triton 2.51.0 before and after 20 requests.
STATS = {
    "success": {"count": 20, "ns": 48794689},
    "fail": {"count": 0, "ns": 0},
    "queue": {"count": 20, "ns": 469667},
    "compute_input": {"count": 20, "ns": 650539},
    "compute_infer": {"count": 20, "ns": 46475707},
    "compute_output": {"count": 20, "ns": 1166126},
    "cache_hit": {"count": 0, "ns": 0},
    "cache_miss": {"count": 0, "ns": 0},
}
# Metrics of MLServer 1.7.1 with two worker processes after 20 requests, without the buckets of histograms.
MLSERVER = """\
# HELP tandem_handled_total Multiprocess metric
# TYPE tandem_handled_total counter
tandem_handled_total 20.0
# HELP tandem_handled_seconds_total Multiprocess metric
# TYPE tandem_handled_seconds_total counter
tandem_handled_seconds_total{part="decode"} 0.003245779
tandem_handled_seconds_total{part="inference"} 0.061455976999999995
tandem_handled_seconds_total{part="encode"} 0.003015014
model_infer_request_failure_total{model="several",version="None"} 0.0
model_infer_request_success_total{model="several",version="None"} 20.0
parallel_request_queue_sum 24.0
parallel_request_queue_count 23.0
rest_server_request_duration_seconds_sum{app_name="mlserver",method="GET",path="/v2/models/{model_name}",status_code="200"} 0.0022080199998981698
rest_server_request_duration_seconds_count{app_name="mlserver",method="GET",path="/v2/models/{model_name}",status_code="200"} 1.0
rest_server_request_duration_seconds_sum{app_name="mlserver",method="POST",path="/v2/models/{model_name}/infer",status_code="200"} 0.10029596000026686
rest_server_request_duration_seconds_count{app_name="mlserver",method="POST",path="/v2/models/{model_name}/infer",status_code="200"} 20.0
model_infer_request_duration_count{model="several",version="None"} 20.0
model_infer_request_duration_sum{model="several",version="None"} 0.08980244199983645
"""  # noqa: E501 - as the server writes it
GRPC = """\
grpc_server_handling_seconds_sum{grpc_method="ModelInfer",grpc_service="inference.GRPCInferenceService",grpc_type="UNARY"} 0.05
grpc_server_handling_seconds_count{grpc_method="ModelInfer",grpc_service="inference.GRPCInferenceService",grpc_type="UNARY"} 10.0
grpc_server_handling_seconds_sum{grpc_method="ModelReady",grpc_service="inference.GRPCInferenceService",grpc_type="UNARY"} 7.0
grpc_server_handling_seconds_count{grpc_method="ModelReady",grpc_service="inference.GRPCInferenceService",grpc_type="UNARY"} 1.0
"""  # noqa: E501 - as the server writes it
# `GET /metrics` of the plain server with threads.
PLAIN = """\
# TYPE plain_server_request_seconds summary
plain_server_request_seconds_sum 0.08
plain_server_request_seconds_count 40
# TYPE plain_server_part_seconds_total counter
plain_server_part_seconds_total{part="queue"} 0.0041
plain_server_part_seconds_total{part="decode"} 9.1e-05
plain_server_part_seconds_total{part="inference"} 0.0312
plain_server_part_seconds_total{part="encode"} 0.0004
"""


def stats(changes=None):
    return {"model_stats": [{"name": "several", "inference_stats": STATS | (changes or {})}]}


def test_tritons_statistics_without_its_parts_leave_the_way_to_the_model():
    nothing = triton.from_stats(stats({name: {"count": 0, "ns": 0} for name in STATS}))
    found = triton.from_stats(stats())
    assert found.whole == (pytest.approx(0.048794689), 20)
    parts = {"queue": 469667, "inference": 46475707, "encode": 1166126, "frontend": 48794689 - 48111500}
    assert parts_ms(nothing, found) == pytest.approx(
        {part: ns / 20e6 for part, ns in parts.items()}, abs=1e-6
    )


@pytest.mark.parametrize("answer", [None, {"error": "none"}, {"model_stats": []}, {"model_stats": [{}]}])
def test_a_triton_that_tells_nothing_tells_nothing(answer):
    assert triton.from_stats(answer) == Timings({})


def test_mlservers_own_reading_and_writing_and_our_runtimes_are_one_part():
    found = parts_ms(mlserver.from_metrics(fresh(MLSERVER)), mlserver.from_metrics(MLSERVER))
    whole, inside, handled = 0.10029596, 0.08980244, 0.003245779 + 0.061455977 + 0.003015014
    parts = {
        "frontend": inside - handled,
        "inference": 0.061455977,
        "codec": whole - inside + 0.003245779 + 0.003015014,
    }
    assert found == pytest.approx({part: 50 * seconds for part, seconds in parts.items()}, abs=2e-6)


def fresh(text):
    """The same before anybody asked: our runtime's counts at 0, and none of MLServer's."""
    own = [line.rpartition(" ")[0] for line in text.splitlines() if line.startswith("tandem_")]
    return "".join(f"{name} 0.0\n" for name in own)


def test_requests_over_grpc_count_as_those_over_rest():
    assert mlserver.from_metrics(MLSERVER + GRPC).whole == (pytest.approx(0.15029596), 30)
    assert mlserver.from_metrics(GRPC).whole == (pytest.approx(0.05), 10)


def test_rows_of_a_batch_that_mlserver_made_weigh_as_requests():
    """Two runs of 10 rows each for 20 requests of 2 rows: 40 rows waited 40 ms."""
    weighted = MLSERVER.replace("tandem_handled_total 20.0", "tandem_handled_total 40.0")
    found = parts_ms(mlserver.from_metrics(fresh(MLSERVER)), mlserver.from_metrics(weighted))
    assert found["inference"] == pytest.approx(1000 * 0.061455977 / 40, abs=1e-6)
    assert sum(found.values()) == pytest.approx(1000 * 0.10029596 / 20, abs=1e-5)


def test_without_our_runtimes_counts_nothing_of_mlserver_is_called_the_rest():
    other = "".join(line for line in MLSERVER.splitlines(keepends=True) if "tandem" not in line)
    assert mlserver.from_metrics(other).rest is None
    assert set(parts_ms(mlserver.from_metrics(""), mlserver.from_metrics(other))) == {"codec"}


def test_the_plain_servers_parts_without_the_whole_leave_fastapis():
    before = Timings(dict.fromkeys(python.COUNTED, (0.0, 0)), (0.0, 0), "frontend")
    found = parts_ms(before, python.from_metrics(PLAIN))
    seconds = {"queue": 0.0041, "decode": 9.1e-05, "inference": 0.0312, "encode": 0.0004}
    expected = {**seconds, "frontend": 0.08 - sum(seconds.values())}
    assert found == pytest.approx({part: own * 25 for part, own in expected.items()}, abs=2e-6)
    assert python.from_metrics('{"detail":"Not Found"}') == Timings({})


def test_a_metric_is_summed_over_its_labels_and_its_name_is_no_prefix():
    text = 'a{x="{1}",y="2"} 1\na{x="3"} 2.5e1\na_total 7\nba 9\n# a 5\na_created{x="3"} 4\n'
    assert metric_sum(text, "a") == 26.0
    assert metric_sum(text, "a", x="3") == 25.0
    assert metric_sum(text, "a_total") == 7.0
    assert metric_sum(text, "a", x=".*1.*", y="2") == 1.0
    assert metric_sum(text, "a", x="4") is None
    assert metric_sum(text, "a", z=".+") is None
    assert metric_sum(text, "c") is None


def test_what_is_no_metrics_has_none():
    assert metric_sum("a page of words\nthat is none", "a") is None
