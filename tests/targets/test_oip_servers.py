"""The real Triton and MLServer as Tandem's targets; what they answer field by field is in test_oip_*."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from oip_servers import MARKS, OK, body_of, pool
from test_both_roads import SPEC, expectations
from told_times import require_within, told

from models.tensors import sample
from pipelines.errors import GateError
from pipelines.http import fetch
from pipelines.serve import readiness
from pipelines.smoke import answers
from pipelines.smoke.subject import Subject
from pipelines.targets import oip, oip_grpc
from pipelines.targets.registry import find_target

pytestmark = MARKS
# What a body of many rows makes longer.
BODIES = {"triton": "encode", "mlserver": "codec"}


@pytest.fixture(scope="module")
def subject(oip_server):
    first = pool(find_target(oip_server.name).protocols[0])
    return Subject(
        *(oip_server.name, SPEC, oip_server.folder, SimpleNamespace(), oip_server.started, ()),
        *(expectations(), first),
    )


@pytest.mark.parametrize(
    "check", [answers.status, answers.metadata, answers.rest_row, answers.grpc, answers.unknown_model]
)
def test_it_does_what_every_deployment_must(subject, check):
    assert check(subject)


def test_every_sample_is_right_however_it_is_asked(oip_server):
    verified = SimpleNamespace(expected=expectations())
    plan = oip_server.started.plan
    for protocol in find_target(oip_server.name).protocols:
        endpoint = replace(
            plan.endpoint,
            base_url=oip_server.grpc if protocol.transport == "grpc" else oip_server.rest,
            predict_path=protocol.path_of("several"),
        )
        asked = SimpleNamespace(plan=replace(plan, endpoint=endpoint))
        record = readiness.check_endpoint(asked, pool(protocol), SPEC.samples().named, verified)
        assert [one.output for one in record.outputs] == ["scores", "double", "large"], protocol


def test_another_signature_is_seen_with_the_tensor(subject):
    inputs = (replace(SPEC.inputs[0], dtype="float64"), *SPEC.inputs[1:])
    with pytest.raises(GateError, match="'image' is FP32, expected FP64"):
        answers.metadata(replace(subject, spec=replace(SPEC, inputs=inputs)))


def test_its_metadata_is_the_models_signature_over_both(oip_server):
    for told_metadata in (
        oip.metadata(oip_server.rest, "several"),
        oip_grpc.metadata(oip_server.grpc, "several"),
    ):
        oip.require_signature(SPEC, told_metadata)


def test_its_configuration_is_its_own_word(oip_server):
    given = oip_server.started.plan.given
    assert (given.workers_count, given.threads_per_worker, given.batch_max_size) == (1, 1, 1)
    assert given.sources["threads_per_worker"] == "server"


@pytest.mark.parametrize("transport", ["http", "grpc"])
def test_where_the_time_of_its_requests_goes_is_its_own_count(oip_server, transport):
    protocol = next(one for one in find_target(oip_server.name).protocols if one.transport == transport)
    path, headers = protocol.path_of("several"), pool(protocol).headers
    url = {"http": oip_server.rest, "grpc": oip_server.grpc}[transport] + path

    def asking(rows):
        body = body_of(protocol.codec, [sample(SPEC.samples().named, 0)] * rows)
        return lambda: require_right(fetch(url, body, headers=headers))

    queue = ["queue"] if oip_server.name == "triton" else []
    parts = {"frontend", "inference", BODIES[oip_server.name], *queue}
    usual = told(oip_server.started, [asking(1)] * 5)
    require_within(usual, 5, parts)
    large = told(oip_server.started, [asking(10_000)])
    require_within(large, 1, parts)
    if transport == "http":
        assert large.parts[BODIES[oip_server.name]] > usual.parts[BODIES[oip_server.name]]


def require_right(answer):
    assert answer[0] == OK, answer


def test_a_message_over_grpc_is_not_held_to_four_megabytes(oip_server):
    one = sample(SPEC.samples().named, 0)
    large = {**one, "tokens": np.resize(one["tokens"], 600_000)}
    body = body_of("oip-grpc", [large])
    assert len(body) > 4 * 2**20
    assert oip_server.call("ModelInfer", body)[0] == OK
