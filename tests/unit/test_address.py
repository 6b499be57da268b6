"""Sides that are addresses: what is read of them, and what is refused before anything is asked."""

import pytest

from pipelines.builds import is_build
from pipelines.config.asked import run_settings
from pipelines.errors import MachineError, RequestError
from pipelines.measure.fairness import NOT_KNOWN, Given, check, differing
from pipelines.targets.address import is_address, read_address
from pipelines.targets.side import file_stem, parse_sides


@pytest.mark.parametrize(
    ("text", "base_url", "path", "codec", "model"),
    [
        ("tfserving+http://h:8501/v1/models/m", "http://h:8501", "/v1/models/m:predict", "json-rows", "m"),
        ("tfserving+http://h/m#columns", "http://h:80", "/v1/models/m:predict", "json-columns", "m"),
        (
            "tfserving+https://h/team/v1/models/m/versions/3",
            "https://h:443/team",
            "/v1/models/m/versions/3:predict",
            "json-rows",
            "m",
        ),
        (
            "tfserving+grpc://h:8500/m",
            "grpc://h:8500",
            "/tensorflow.serving.PredictionService/Predict",
            "tensor-proto",
            "m",
        ),
        ("torchserve+http://h:8080/predictions/m/2", "http://h:8080", "/predictions/m/2", "json-rows", "m"),
        ("torchserve+http://[::1]:8080/m#npy", "http://[::1]:8080", "/predictions/m", "npy", "m"),
        ("plain+http://h:8000/predict", "http://h:8000", "/predict", "json-rows", "predict"),
        ("plain+https://h/team/v1/score/", "https://h:443/team/v1", "/score", "json-rows", "score"),
        ("oip+http://h:8000/resnet", "http://h:8000", "/v2/models/resnet/infer", "oip-json", "resnet"),
        (
            "oip+http://h:8000/x/v2/models/a.b/versions/1#oip-binary",
            "http://h:8000/x",
            "/v2/models/a.b/versions/1/infer",
            "oip-binary",
            "a.b",
        ),
        (
            "oip+grpcs://h:8001/m",
            "grpcs://h:8001",
            "/inference.GRPCInferenceService/ModelInfer",
            "oip-grpc",
            "m",
        ),
        (
            "oip+grpc://h:1/m/versions/2.0",
            "grpc://h:1",
            "/inference.GRPCInferenceService/ModelInfer",
            "oip-grpc",
            "m/versions/2.0",
        ),
        (
            "tfserving+grpc://h:1/m/labels/stable/",
            "grpc://h:1",
            "/tensorflow.serving.PredictionService/Predict",
            "tensor-proto",
            "m/labels/stable",
        ),
        (
            "torchserve+grpcs://h:1/m/1.0",
            "grpcs://h:1",
            "/org.pytorch.serve.grpc.inference.InferenceAPIsService/Predictions",
            "tensor-map",
            "m/1.0",
        ),
    ],
)
def test_an_address_says_where_and_how(text, base_url, path, codec, model):
    address, protocol = read_address(text)
    assert (address.base_url, protocol.path, protocol.codec, address.model) == (base_url, path, codec, model)
    assert read_address(str(address))[0] == address, "what is written is read again"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("localhost:8501/v1/models/m", "it has no scheme"),
        ("http://h:8501/v1/models/m", "it names no API; write one of tfserving, torchserve, oip, plain"),
        ("tfservin+http://h:8501/m", "unknown API 'tfservin'; did you mean tfserving"),
        ("oip+ftp://h/m", "unknown scheme 'ftp'"),
        ("oip+grpc://h/m", "it has no port"),
        ("oip+http://h:x/m", "it cannot be read"),
        ("oip+http://h:8000", "does not say which model"),
        ("oip+http://h:8000/v2/models/", "does not say which model"),
        ("oip+http://:8000/m", "it has no host"),
        ("tfserving+http://h/v1/models/m/versions", "follows the model's name"),
        ("tfserving+http://h/v1/models/m:predict/x/y", "follows the model's name"),
        ("oip+grpc://h:1/m/2", "'2' follows the model's name; allowed over gRPC: /MODEL/versions/VERSION$"),
        ("oip+grpc://h:1/v2/models/m", "'models/m' follows the model's name; allowed over gRPC"),
        ("torchserve+grpc://h:1/predictions/m", "'m' follows the model's name; .* gRPC: /MODEL/VERSION$"),
        ("torchserve+grpc://h:1/m/versions/2", "'versions/2' follows the model's name"),
        (
            "tfserving+grpc://h:1/m/versions/two",
            "'versions/two' follows .* gRPC: /MODEL/versions/NUMBER or /MODEL/labels/LABEL$",
        ),
        ("tfserving+grpc://h:1/m/versions/99999999999999999999", "follows the model's name"),
        ("tfserving+http://h/v1/models/m/versions/two", "over REST: /v1/models/MODEL/versions/NUMBER or"),
        ("oip+http://h/m/versions/2", "over REST: /v2/models/MODEL/versions/VERSION$"),
        ("oip+http://me:pass-word@h/m", "a user's name or password"),
        ("oip+http://h/m?key=pass-word", "it has a query"),
        ("oip+http//me:pass-word@h:80/m", "it has no scheme"),
        ("me:pass-word@h:80/m", "it has no scheme"),
        ("oip+f://\nme:pass-word@h:80\n/m", "unknown scheme"),
        ("oip+http://h:80//me:pass-word@h/x y", "does not say which model"),
        ("plain+grpc://h:1/predict", "the API plain has no gRPC; allowed are http and https"),
        ("plain+http://h:1/", "no path that takes rows"),
        ("plain+http://h/predict#raw", "unknown kind of body 'raw'; .*rows"),
        ("oip+http://h/m#rows", "unknown kind of body 'rows'; .*oip-json, oip-binary"),
    ],
)
def test_what_is_no_address_is_refused_in_one_line(text, said):
    assert is_address(text)
    with pytest.raises(RequestError, match=said) as caught:
        parse_sides(f"today={text}")
    assert "pass-word" not in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_a_port_of_hundreds_of_digits_is_refused_in_a_short_line():
    with pytest.raises(RequestError) as caught:
        read_address(f"oip+http://h:{'9' * 5000}/m")
    assert len(str(caught.value)) < 500


def test_addresses_and_targets_are_sides_of_one_comparison():
    sides = parse_sides("torchserve,today=tfserving+http://127.0.0.1:8501/v1/models/m,oip+grpc://[::1]:9/m")
    assert [one.name for one in sides] == ["torchserve", "today", "oip-1-9"]
    assert [one.address is None for one in sides] == [True, False, False]
    assert file_stem(sides[2].name) == "oip-1-9"
    assert not is_build("today=tfserving+http://h:1/m")
    assert not is_build("today=localhost:8501/v1/models/m")


def test_the_same_address_twice_is_an_a_a_test():
    same = "oip+http://h:8000/m"
    assert [one.name for one in parse_sides(f"{same},{same}")] == ["oip-h-8000", "oip-h-8000-2"]


def settings(sides, **given):
    return run_settings(profile="smoke", model="digits_cnn", sides=sides, **given)


def test_an_address_outside_this_machine_is_loaded_only_with_a_limit_and_a_word():
    outside = "a=oip+http://192.0.2.1:8000/m"
    for given, missing in (
        ({}, "--max-rate REQUESTS_PER_S and --yes"),
        ({"yes": True}, "with --max-rate REQUESTS_PER_S$"),
        ({"max_rate_per_s": 5.0}, "with --yes$"),
    ):
        with pytest.raises(RequestError, match=f"192.0.2.1.* is outside this machine.*{missing}"):
            settings(outside, **given)
    found = settings(outside, yes=True, max_rate_per_s=5.0)
    assert (found.max_rate_per_s, found.targets, found.mobile) == (5.0, (), False)


def test_an_address_of_this_machine_needs_neither():
    found = settings("torchserve,a=oip+http://127.0.0.1:8000/m")
    assert (found.targets, [one.name for one in found.running], found.mobile) == (
        ("torchserve",),
        ["a"],
        True,
    )


def test_an_open_load_above_the_limit_is_refused():
    with pytest.raises(RequestError, match=r"open:50 .* --max-rate 20"):
        settings("a=oip+http://127.0.0.1:8000/m", loads="closed:1,open:50", max_rate_per_s=20.0)


def test_a_host_that_is_none_is_said():
    with pytest.raises(MachineError, match=r"no host 'nobody\.invalid'"):
        settings("a=oip+http://nobody.invalid:8000/m")


@pytest.mark.parametrize(
    "given",
    [{"headers": ("A: b",)}, {"insecure": True}, {"max_rate_per_s": 3.0}],
    ids=lambda one: next(iter(one)),
)
def test_options_of_running_endpoints_need_one(given):
    with pytest.raises(RequestError, match="is for running endpoints, and --sides names none"):
        settings("torchserve", **given)


def test_what_is_not_known_is_no_asymmetry_and_stays_visible():
    sides = parse_sides("torchserve,a=oip+http://127.0.0.1:8000/m")
    given = {
        "torchserve": Given({"cores": "0", "runner": "local"}),
        "a": Given({"cores": NOT_KNOWN, "runner": "url"}),
    }
    record = check(given, (), differing(sides))
    assert record.checked["cores"] == {"torchserve": "0", "a": NOT_KNOWN}
    assert [(one.field, one.on_purpose) for one in record.asymmetries] == [("runner", True)]
