"""Both roads take and refuse the same bodies: one table, asked of both servers."""

import gzip
import http.client
import json
import signal
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import psutil
import pytest
from main_job import folders_left, running

pytestmark = pytest.mark.slow

JSON = {"Content-Type": "application/json"}
GZIP = JSON | {"Content-Encoding": "gzip"}


def image(value: str) -> str:
    """An 8 x 8 x 1 image whose first pixel is written as `value`, the others as 0."""
    return f"[[[{value}]{',[0]' * 7}]{',[[0]' + ',[0]' * 7 + ']'}{(',[[0]' + ',[0]' * 7 + ']') * 6}]"


def instances(*values: str) -> bytes:
    return f'{{"instances":[{",".join(map(image, values))}]}}'.encode()


GOOD = instances("1.5")
IMAGE = image("1.5")
TAKEN = {
    "an image": (GOOD, JSON),
    "two": (instances("1.5", "2"), JSON),
    "a whole number": (instances("1"), JSON),
    "2**70": (instances(str(2**70)), JSON),
    "-2**70": (instances(str(-(2**70))), JSON),
    "1e-50": (instances("1e-50"), JSON),
    "3.4e38": (instances("3.4e38"), JSON),
    "NaN": (instances("NaN"), JSON),
    "Infinity": (instances("Infinity"), JSON),
    "-Infinity": (instances("-Infinity"), JSON),
    "Inf": (instances("Inf"), JSON),
    "-NaN": (instances("-NaN"), JSON),
    "by name": (f'{{"instances":[{{"image":{IMAGE}}}]}}'.encode(), JSON),
    "in columns": (f'{{"inputs":[{IMAGE}]}}'.encode(), JSON),
    "in columns by name": (f'{{"inputs":{{"image":[{IMAGE}]}}}}'.encode(), JSON),
    "in columns by name with one too many": (f'{{"inputs":{{"image":[{IMAGE}],"x":1}}}}'.encode(), JSON),
    "the signature": (f'{{"signature_name":"serving_default","instances":[{IMAGE}]}}'.encode(), JSON),
    "an unknown key": (f'{{"instances":[{IMAGE}],"other":1}}'.encode(), JSON),
    "a key twice": (f'{{"instances":[{IMAGE}],"instances":[1]}}'.encode(), JSON),
    "plain text": (GOOD, {"Content-Type": "text/plain"}),
    "another type": (GOOD, {"Content-Type": "application/vnd.api+json"}),
    "with a charset": (GOOD, {"Content-Type": "application/json; charset=utf-8"}),
    "no type": (GOOD, {}),
    "gzip": (gzip.compress(GOOD), GZIP),
    "a byte order mark": (b"\xef\xbb\xbf" + GOOD, JSON),
    "a line break after it": (GOOD + b"\n", JSON),
}
REFUSED = {
    "1e39": (instances("1e39"), JSON, "beyond float32"),
    "-1e39": (instances("-1e39"), JSON, "beyond float32"),
    "10**40": (instances(str(10**40)), JSON, "beyond float32"),
    "1e400": (instances("1e400"), JSON, "beyond float64"),
    "5000 digits": (instances("9" * 5000), JSON, "digits"),
    "true": (instances("true"), JSON, "true is not a number"),
    "null": (instances("null"), JSON, "null is not a number"),
    "false among numbers": (instances("1", "false"), JSON, "false is not a number"),
    "a string": (instances('"1"'), JSON, "is not a number"),
    "an object for a number": (instances('{"b64":"AAAA"}'), JSON, "is not a number"),
    "nan": (instances("nan"), JSON, "not JSON"),
    "01": (instances("01"), JSON, "not JSON"),
    "ragged": (b'{"instances":[[[[1],[2]],[[3]]]]}', JSON, "differ in length"),
    "two shapes": (f'{{"instances":[{IMAGE},[[1]]]}}'.encode(), JSON, "differ in length"),
    "wrong shape": (b'{"instances":[[1,2,3]]}', JSON, "shape (3,)"),
    "a number for an image": (b'{"instances":[1]}', JSON, "shape ()"),
    "an empty image": (b'{"instances":[[]]}', JSON, "shape (0,)"),
    "nothing": (b"", JSON, "not JSON"),
    "an empty object": (b"{}", JSON, "either the key"),
    "a list": (b"[1]", JSON, "expected an object"),
    "no instances": (b'{"instances":[]}', JSON, "not empty"),
    "instances null": (b'{"instances":null}', JSON, "must be a list"),
    "instances an object": (f'{{"instances":{{"image":{IMAGE}}}}}'.encode(), JSON, "must be a list"),
    "both": (f'{{"instances":[{IMAGE}],"inputs":[{IMAGE}]}}'.encode(), JSON, "either the key"),
    "another signature": (f'{{"signature_name":"no","instances":[{IMAGE}]}}'.encode(), JSON, "no signature"),
    "signature 1": (f'{{"signature_name":1,"instances":[{IMAGE}]}}'.encode(), JSON, "no signature"),
    "another input": (f'{{"instances":[{{"x":{IMAGE}}}]}}'.encode(), JSON, "the inputs are ['x']"),
    "one input too many": (f'{{"instances":[{{"image":{IMAGE},"x":1}}]}}'.encode(), JSON, "inputs are"),
    "some by name": (f'{{"instances":[{{"image":{IMAGE}}},{IMAGE}]}}'.encode(), JSON, "all must be the same"),
    "an empty row": (b'{"instances":[{}]}', JSON, "the inputs are []"),
    "more after it": (GOOD + b"x", JSON, "not JSON"),
    "UTF-16": (GOOD.decode().encode("utf-16"), JSON, "not UTF-8"),
    "not UTF-8": (b'{"instances":["\xff"]}', JSON, "not UTF-8"),
    "very deep": (b'{"instances":' + b"[" * 50_000 + b"]" * 50_000 + b"}", JSON, "not JSON"),
    "half a gzip": (gzip.compress(GOOD)[:-20], GZIP, "ends too early"),
    "gzip that is none": (GOOD, GZIP, "is not"),
    "gzip that is not said": (gzip.compress(GOOD), JSON, "not UTF-8"),
}


@dataclass(frozen=True)
class Standing:
    """The two commands, what they say of their servers, and their temporary folder."""

    processes: list[Any]
    facts: list[dict[str, Any]]
    temporary: Path


@pytest.fixture(scope="module")
def standing(exported, tmp_path_factory):
    """TorchServe and TF Serving, served beside each other."""
    temporary = tmp_path_factory.mktemp("standing")
    with ExitStack() as stack:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TMPDIR", str(temporary))
            processes = [
                stack.enter_context(running("serve", target, "--json", cwd=exported))
                for target in ("torchserve", "tfserving")
            ]
        yield Standing(processes, [json.loads(process.stdout.readline()) for process in processes], temporary)


@pytest.fixture
def urls(standing):
    """Where to POST to the two servers."""
    return [facts["predict_url"] for facts in standing.facts]


def ask(url: str, body: bytes, headers: dict[str, str]) -> tuple[int, str]:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=30)
    try:
        connection.request("POST", parts.path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


@pytest.mark.parametrize("case", TAKEN)
def test_both_take_it_and_answer_under_the_same_key(urls, case):
    answers = [ask(url, *TAKEN[case]) for url in urls]
    assert [status for status, _ in answers] == [200, 200], answers
    torchserve, tfserving = (json.loads(text) for _, text in answers)
    assert torchserve.keys() == tfserving.keys()
    if "nf" in case or "NaN" in case:
        return  # the two frameworks compute differently with what is no number
    (got,), (expected,) = torchserve.values(), tfserving.values()
    assert np.isfinite(expected).all()
    largest = float(np.abs(expected).max())
    assert np.allclose(got, expected, rtol=1e-3, atol=1e-4 * max(1.0, largest))
    for _, text in answers:
        json.loads(text, parse_constant=pytest.fail)


@pytest.mark.parametrize("case", REFUSED)
def test_both_refuse_it_and_the_cause_is_named(urls, case):
    body, headers, cause = REFUSED[case]
    answers = [ask(url, body, headers) for url in urls]
    assert [status for status, _ in answers] == [400, 400], answers
    torchserve, tfserving = (json.loads(text)["error"] for _, text in answers)
    assert cause in torchserve
    assert tfserving


def test_bytes_are_a_tensor_to_torchserve_and_json_to_tensorflow_serving(urls):
    """The one difference: what says that it is bytes is read as such by the handler."""
    raw = {"Content-Type": "application/octet-stream"}
    answers = [ask(url, GOOD, raw) for url in urls]
    assert [status for status, _ in answers] == [400, 200], answers
    assert "256" in json.loads(answers[0][1])["error"]


def test_a_form_is_refused_by_torchserve_with_its_cause(urls):
    """The server's own front end parses forms, and the handler never sees the body."""
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    status, text = ask(urls[0], GOOD, form)
    assert status == 400
    assert "Content-Type: application/json" in json.loads(text)["error"]


def test_ctrl_c_ends_a_standing_server_and_all_it_started(standing):
    """Last: it ends the servers of the other tests."""
    pids = [facts["pid"] for facts in standing.facts]
    trees = [
        one for pid in pids for one in (psutil.Process(pid), *psutil.Process(pid).children(recursive=True))
    ]
    assert len(trees) > len(pids)
    for process in standing.processes:
        process.send_signal(signal.SIGINT)
    assert [process.wait(60) for process in standing.processes] == [0, 0]
    _, alive = psutil.wait_procs(trees, timeout=30)
    assert alive == []
    assert folders_left(standing.temporary) == []
