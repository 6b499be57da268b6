"""Both roads over gRPC, several rows a request, and a target compared with itself over two protocols."""

import json
from pathlib import Path

import pytest
from main_job import HASTY, answered, tandem

pytestmark = pytest.mark.slow

SIDES = (
    {"torchserve:grpc": "tensor-map", "tfserving:grpc": "tensor-proto", "tfserving": "json-rows"},
    {"torchserve:npy": "npy", "torchserve:raw": "raw", "tfserving:columns": "json-columns"},
)


@pytest.mark.parametrize(("sides", "rows"), [*zip(SIDES, (3, 8), strict=True)], ids=["gRPC", "bodies"])
def test_every_protocol_and_body_gives_right_answers_under_load(exported: Path, sides: dict, rows: int):
    done = tandem(
        *("compare", "digits_cnn", "--sides", ",".join(sides), "--rows", str(rows), "--profile", "smoke"),
        *("--rounds", "1", "--round-s", "1", "--loads", "closed:4", "--no-mobile"),
        cwd=exported,
        program=HASTY,
    )
    assert done.returncode == 0, done.stderr
    run = json.loads((exported / "runs" / "latest" / "run.json").read_text())
    assert list(sides) == [name for name, one in run["targets"].items() if one["role"] == "compared"]
    for name, codec in sides.items():
        target = run["targets"][name]
        over = "gRPC" if name.endswith(":grpc") else "REST"
        assert (target["implementation"]["protocol"], target["implementation"]["body"]) == (over, codec)
        assert (target["payload"]["codec"], target["payload"]["rows"]) == (codec, rows)
        assert target["endpoint_parity"]["passed"]
        for one in target["rounds"]:
            assert one["requests_count"] > 0
            assert (one["errors_count"], one["wrong_count"]) == (0, 0)
            assert one["checked_count"] == one["requests_count"]
    assert {one["field"] for one in run["fairness"]["asymmetries"] if not one["on_purpose"]} == set()
    assert "Differs on purpose: " in done.stdout
    assert "The same model over every protocol and body" in done.stdout


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--sides", "tfserving:gprc"), "did you mean grpc"),
        (("--sides", "a=tfserving,a=torchserve"), "two sides are called 'a'"),
        (("--sides", "tfserving", "--rows", "0"), "rows"),
        (("--sides", "tfserving", "--loads", "open:0"), "open:0"),
    ],
)
def test_what_cannot_be_asked_is_refused_before_anything_starts(exported: Path, options, said):
    done = answered("compare", "digits_cnn", *options, cwd=exported)
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
