"""REST with binary tensors, which Triton takes and MLServer does not."""

import json

import numpy as np
import pytest
from oip_servers import FAULT, INVALID, MARKS, OK, is_right, outputs, tensors
from test_both_roads import OUTPUTS, SPEC

from loadtests.codecs import oip_binary
from models.tensors import sample
from pipelines.http import fetch

pytestmark = MARKS
INFER = "/v2/models/several/infer"
SIZE = b'"binary_data_size":          24'


@pytest.fixture(scope="module")
def triton(oip_servers):
    return oip_servers("triton")


@pytest.fixture(scope="module")
def binary():
    """A right request."""
    return oip_binary.encode([sample(SPEC.samples().named, 0)])


def post(server, body, headers=()):
    """Status and body of a binary request."""
    return fetch(server.rest + INFER, body, headers=oip_binary.headers(body) | dict(headers))


def changed(body, old, new):
    assert old in body
    return body.replace(old, new)


def test_mlserver_takes_no_such_body(oip_servers, binary):
    assert post(oip_servers("mlserver"), binary)[0] == FAULT


def test_binary_in_and_out(triton, binary):
    status, answer = post(triton, binary)
    assert status == OK
    head, end = json.JSONDecoder().raw_decode(answer.decode("latin-1"))
    assert (head["model_name"], head["model_version"]) == ("several", "1")
    assert sum(one["parameters"]["binary_data_size"] for one in head["outputs"]) == len(answer) - end
    is_right(oip_binary.decode(answer))


@pytest.mark.parametrize(
    ("change", "headers", "said"),
    [
        (lambda body: body[:-1], {}, "expecting 1 additional bytes"),
        (lambda body: body + b"x", {}, "unexpected additional input data"),
        (lambda body: changed(body, SIZE, SIZE[:-2] + b"20"), {}, "unexpected"),
        (lambda body: body, {oip_binary.HEADER: "99999"}, "header size"),
    ],
)
def test_binary_tensors_that_do_not_fit_are_refused(triton, binary, change, headers, said):
    status, answer = post(triton, change(binary), headers)
    assert status == INVALID
    assert said in json.loads(answer)["error"]


def test_binary_in_and_json_out_and_the_other_way(triton, binary):
    body = changed(binary, b'"binary_data_output":true', b'"binary_data_output":false')
    status, answer = post(triton, body)
    assert status == OK
    is_right(outputs(json.loads(answer)))
    asked = [{"name": "large", "parameters": {"binary_data": True}}, {"name": "scores"}]
    status, answer = fetch(triton.rest + INFER, json.dumps(tensors() | {"outputs": asked}).encode())
    found = oip_binary.decode(answer)
    assert (status, set(found)) == (OK, {"large", "scores"})
    np.testing.assert_array_equal(found["large"][0], OUTPUTS[0]["large"])
