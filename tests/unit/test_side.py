"""What `--sides` means: a target with a preset, a protocol and a kind of body, and what is refused."""

import dataclasses

import pytest

from models.digits_cnn import MODEL
from models.spec import TensorSpec
from pipelines.errors import RequestError
from pipelines.measure.fairness import Given, check, differing, require_fair
from pipelines.targets.registry import SERVED, TARGETS
from pipelines.targets.side import file_stem, parse_sides, require_readable


def found(text, preset="default"):
    return [
        (side.name, side.target, side.preset.name, side.protocol.transport, side.protocol.codec)
        for side in parse_sides(text, preset)
    ]


def test_a_bare_target_is_asked_as_it_usually_is():
    assert found("torchserve, tfserving") == [
        ("torchserve", "torchserve", "default", "http", "json-rows"),
        ("tfserving", "tfserving", "default", "http", "json-rows"),
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("torchserve:tuned", ("torchserve:tuned", "torchserve", "tuned", "http", "json-rows")),
        ("tfserving:grpc", ("tfserving:grpc", "tfserving", "default", "grpc", "tensor-proto")),
        ("torchserve:grpc", ("torchserve:grpc", "torchserve", "default", "grpc", "tensor-map")),
        ("torchserve:tuned:grpc", ("torchserve:tuned:grpc", "torchserve", "tuned", "grpc", "tensor-map")),
        ("torchserve:grpc:tuned", ("torchserve:grpc:tuned", "torchserve", "tuned", "grpc", "tensor-map")),
        ("torchserve:npy", ("torchserve:npy", "torchserve", "default", "http", "npy")),
        ("torchserve:raw", ("torchserve:raw", "torchserve", "default", "http", "raw")),
        ("tfserving:columns", ("tfserving:columns", "tfserving", "default", "http", "json-columns")),
        ("tfserving:rest:rows", ("tfserving:rest:rows", "tfserving", "default", "http", "json-rows")),
        ("a=tfserving:grpc", ("a", "tfserving", "default", "grpc", "tensor-proto")),
    ],
)
def test_words_after_the_target_stand_in_any_order(text, expected):
    assert found(text) == [expected]


def test_a_side_with_a_preset_of_its_own_keeps_it():
    assert [side.preset.name for side in parse_sides("torchserve,tfserving:default", "tuned")] == [
        "tuned",
        "default",
    ]


def test_a_preset_file_is_read_and_named_by_its_stem(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text("[torchserve]\njob_queue_size = 7\n")
    (side,) = parse_sides(f"torchserve:{file}:grpc")
    assert side.name == "torchserve:mine:grpc"
    assert side.preset.settings.given() == {"job_queue_size": 7}


def test_the_same_side_twice_is_an_a_a_test_under_two_names():
    assert [side.name for side in parse_sides("tfserving,tfserving,tfserving:grpc,tfserving:grpc")] == [
        *("tfserving", "tfserving-2", "tfserving:grpc", "tfserving:grpc-2")
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("tfserving:gprc", "did you mean grpc"),
        ("tfserving:tunde", "did you mean tuned"),
        ("torchserve:npi", "did you mean npy"),
        ("tfservin:grpc", "did you mean tfserving"),
        ("", "unknown target ''"),
        ("tfserving:", "unknown preset, protocol or kind of body ''"),
        ("tfserving:npy", "cannot be asked by npy; allowed: rest rows, rest columns, grpc tensor-proto"),
        ("tfserving:grpc:rows", "cannot be asked by grpc rows"),
        ("tfserving:grpc:rest", "2 protocols, grpc and rest; one is allowed"),
        ("tfserving:tuned:default", "2 presets, tuned and default"),
        ("torchserve:npy:raw", "2 kinds of body"),
        ("torchserve:nowhere.toml", "there is no preset file nowhere.toml"),
        ("a=tfserving,a=torchserve", "two sides are called 'a'"),
        ("tfserving,tfserving=torchserve", "two sides are called 'tfserving'"),
        ("tfserving:grpc,tfserving-grpc=torchserve", "alike in file names"),
        ("null=tfserving", "a side of its own"),
        ("a-control=tfserving", "a side of its own"),
        ("a/b=tfserving", "letters, digits"),
        ("=tfserving", "letters, digits"),
    ],
)
def test_what_is_no_side_is_refused_in_one_line(text, said):
    with pytest.raises(RequestError, match=said) as raised:
        parse_sides(text)
    assert "\n" not in str(raised.value)


def test_names_become_parts_of_file_names():
    assert file_stem("torchserve:tuned:grpc") == "torchserve-tuned-grpc"


@pytest.mark.parametrize("target", SERVED)
def test_every_way_to_ask_a_target_can_be_typed(target):
    for protocol in TARGETS[target].protocols:
        word = "grpc" if protocol.transport == "grpc" else "rest"
        (side,) = parse_sides(f"{target}:{word}:{protocol.body}")
        assert side.protocol == protocol


def given(**fields):
    return Given({"cores": "0", **fields})


def test_what_sides_spell_out_may_differ_and_is_on_purpose():
    sides = parse_sides("torchserve:tuned,tfserving:grpc")
    assert differing(sides) == {"preset", "protocol", "body", "payload_bytes"}
    record = check(
        {
            "torchserve:tuned": given(protocol="REST", preset="tuned"),
            "tfserving:grpc": given(protocol="gRPC", preset="default"),
        },
        (),
        differing(sides),
    )
    assert {(one.field, one.allowed, one.on_purpose) for one in record.asymmetries} == {
        ("protocol", True, True),
        ("preset", True, True),
    }
    require_fair(record)


def test_another_difference_still_stops_the_comparison():
    sides = parse_sides("tfserving,tfserving:grpc")
    record = check({"a": given(cores="0"), "b": given(cores="1")}, (), differing(sides))
    with pytest.raises(Exception, match="cores differs"):
        require_fair(record)
    assert differing(parse_sides("torchserve,tfserving", "tuned")) == frozenset()


READS = dataclasses.replace(MODEL, inputs=(TensorSpec("x", "float16", (None, 4)),))
WRITES = dataclasses.replace(MODEL, outputs=(TensorSpec("y", "float16", (None, 4)),), labels=())


@pytest.mark.parametrize(
    "text", ["torchserve,tfserving", "tfserving:columns", "triton", "triton:oip-json", "mlserver,triton"]
)
def test_float16_in_json_is_refused_before_anything_starts_where_the_server_does_not_know_it(text):
    sides = parse_sides(text)
    require_readable(sides, MODEL)
    for spec, tensor in ((READS, "reads no float16 .*'x' is"), (WRITES, "writes no float16 .*'y' is")):
        with pytest.raises(RequestError, match=rf"(tfserving|triton) {tensor}: .*(tfserving|triton):grpc"):
            require_readable(sides, spec)


@pytest.mark.parametrize(
    "text", ["torchserve,python,mlserver", "tfserving:grpc,triton:grpc,mlserver:grpc", "triton:oip-binary"]
)
def test_float16_is_taken_however_else_it_is_asked(text):
    for spec in (READS, WRITES):
        require_readable(parse_sides(text), spec)
