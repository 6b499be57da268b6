"""The embedded server's pure parts: flags, JSON, numbers, tensors, paths, versions.

Fast, without tensorflow.
"""

import json
import math
import subprocess
import sys
import time
import tracemalloc
import weakref
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.errors import RequestError
from pipelines.targets.tfserving.embedded.base64_text import decode_base64
from pipelines.targets.tfserving.embedded.budget import Budget
from pipelines.targets.tfserving.embedded.decimals import float32_text, float64_text, float_texts
from pipelines.targets.tfserving.embedded.dtypes import (
    DT_BOOL,
    DT_FLOAT,
    DT_INT8,
    DT_INT32,
    DT_INT64,
    DT_STRING,
    DT_UINT8,
    DT_UINT64,
    TensorSpec,
    dtype_of,
    numpy_dtype,
)
from pipelines.targets.tfserving.embedded.feeds_check import feeds_a_bias
from pipelines.targets.tfserving.embedded.flags import help_text, parse_flags
from pipelines.targets.tfserving.embedded.json_response import column_body, error_body, row_body
from pipelines.targets.tfserving.embedded.json_tensor import Hints, TensorBuilder, hints_of, quick_array
from pipelines.targets.tfserving.embedded.json_text import Members, parse_object, value_text
from pipelines.targets.tfserving.embedded.memory_cost import json_cost
from pipelines.targets.tfserving.embedded.metrics import Metrics
from pipelines.targets.tfserving.embedded.predict_request import _quoted, parse_predict
from pipelines.targets.tfserving.embedded.routes import Route, find_route
from pipelines.targets.tfserving.embedded.status import Code, ServingError
from pipelines.targets.tfserving.embedded.tensor_proto import _varint
from pipelines.targets.tfserving.embedded.versions import VersionPolicy, version_folders
from pipelines.targets.tfserving.embedded.wire_cost import predict_cost
from pipelines.targets.tfserving.embedded.workers import Job, Workers

MODEL = "--model_base_path=/models/m"


def test_importing_the_package_and_its_flags_does_not_import_tensorflow() -> None:
    code = "import sys, pipelines.targets.tfserving.embedded.__main__; print('tensorflow' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.strip() == "False"


# flags


def test_flags_have_the_real_servers_defaults() -> None:
    flags = parse_flags([MODEL])
    assert (flags.port, flags.rest_api_port, flags.model_name) == (8500, 0, "default")
    assert (flags.enable_model_warmup, flags.file_system_poll_wait_seconds) == (True, 1.0)
    assert (flags.host, flags.rest_api_timeout_in_ms) == ("127.0.0.1", 30000)


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("--enable_model_warmup", True),
        ("--enable_model_warmup=true", True),
        ("--enable_model_warmup=false", False),
        ("--noenable_model_warmup", False),
    ],
)
def test_booleans_are_written_in_every_usual_way(argument: str, expected: bool) -> None:
    assert parse_flags([MODEL, argument]).enable_model_warmup is expected


def test_a_value_may_follow_its_flag() -> None:
    assert parse_flags(["--model_base_path", "/m", "--rest_api_port", "8501"]).rest_api_port == 8501


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--modelname=x"], "Unknown argument '--modelname=x'"),
        ([MODEL, "serve"], "Unknown argument 'serve'"),
        ([MODEL, "--noport"], "Unknown argument '--noport'"),
        ([MODEL, "--port=abc"], "--port must be a whole number, not 'abc'"),
        ([MODEL, "--port=70000"], "--port must be from 0 to 65535, not 70000"),
        ([MODEL, "--port=8501", "--rest_api_port=8501"], "must differ"),
        ([MODEL, "--port=0"], "at most one of them may be 0"),
        ([MODEL, "--enable_model_warmup=maybe"], "must be true or false, not 'maybe'"),
        ([MODEL, "--drain_s=-1"], "--drain_s must not be negative"),
        ([MODEL, "--drain_s=nan"], "--drain_s must not be negative"),
        ([], "Give --model_base_path"),
        (["--model_config_file=/no/such/file"], "there is no such file"),
        (["--model_base_path", __file__], "it must be a folder"),
        ([MODEL, "--port"], "--port needs a value: gRPC port"),
    ],
)
def test_wrong_flags_say_what_is_wrong_on_one_line(arguments: list[str], problem: str) -> None:
    with pytest.raises(RequestError) as caught:
        parse_flags(arguments)
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)


def test_help_names_every_flag() -> None:
    assert "--rest_api_num_threads" in help_text()
    assert parse_flags(["--help"]).help


def test_help_and_wrong_flags_need_no_tensorflow_and_no_traceback() -> None:
    command = [sys.executable, "-m", "pipelines.targets.tfserving.embedded", "--bogus=1"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "Unknown argument '--bogus=1'" in done.stderr


# JSON


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"", "The document is empty"),
        (b"  ", "The document is empty. at offset: 2"),
        (b"\xef\xbb\xbf{x", "Missing a name for object member. at offset: 4"),
        (b'{"a": 01}', "Missing a comma or '}' after an object member. at offset: 7"),
        (b'{"a": "\xff"}', "Invalid encoding in string. at offset: 7"),
        (b'{"a": 1}\0', "Invalid value. at offset: 8"),
        (b'{"a": 1E400}', "Number too big to be stored in double. at offset: 6"),
        (b'{"a": "\\x"}', "Invalid escape character in string. at offset: 7"),
        (b"[" * 100_000, "arrays and objects are nested too deeply"),
    ],
)
def test_parse_errors_are_those_of_the_real_parser(body: bytes, problem: str) -> None:
    with pytest.raises(ServingError) as caught:
        parse_object(body)
    assert caught.value.code is Code.INVALID_ARGUMENT
    assert caught.value.message == f"JSON Parse error: {problem}"


def test_objects_keep_order_and_duplicates_and_the_first_wins() -> None:
    document = parse_object(b'{"b": 1, "a": 2, "b": [NaN, -Infinity, 18446744073709551615, 1.0]}')
    assert [key for key, _ in document] == ["b", "a", "b"]
    assert document.first("b") == 1
    assert not document.has("c")
    assert [type(item) for item in document[2][1]] == [float, float, int, float]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (3.5, "3.5"),
        (0.1, "0.1"),
        (1e300, "1e+300"),
        (math.pi, "3.14159274"),
        ([1.0, 1e-5, 1e-7, 1e16, 1e20, 1e21, 0.1], "[1.0, 0.00001, 1e-7, 10000000000000000.0, "
         "100000000000000000000.0, 1e21, 0.1]"),
        (Members([]), "{}"),
        ([True, None, "ä\n"], '[true, null, "ä\\n"]'),
        (Members([("a", [Members([("b", 1)])])]), '{\n    "a": [{\n            "b": 1\n        }]\n}'),
    ],
)  # fmt: skip
def test_values_are_printed_as_in_the_real_servers_messages(value: Any, text: str) -> None:
    assert value_text(value) == text


@given(st.floats(width=32))
def test_float32_text_reads_back_exactly(value: float) -> None:
    text = float32_text(value)
    back = float(text.replace("Infinity", "inf"))
    assert np.array_equal(np.float32(back), np.float32(value), equal_nan=True)
    assert "." in text or "e" in text or text in ("NaN", "Infinity", "-Infinity")


@given(st.floats())
def test_float64_text_reads_back_exactly(value: float) -> None:
    back = float(float64_text(value).replace("Infinity", "inf"))
    assert back == value or (math.isnan(back) and math.isnan(value))


@pytest.mark.slow
@given(st.lists(st.floats(width=32), min_size=12, max_size=40))
def test_many_floats_at_once_read_like_one_by_one(values: list[float]) -> None:
    assert float_texts(np.array(values, dtype=np.float32)) == [float32_text(value) for value in values]


@pytest.mark.parametrize(
    "value", [0.0, -0.0, 1.0, 999999.0, 1e6, 1234567.0, 16777216.0, 1e9, 1e10, 0.1, 1e-7, 3e38]
)
def test_edges_of_number_formats(value: float) -> None:
    assert float_texts(np.full(20, value, dtype=np.float32)) == [float32_text(float(np.float32(value)))] * 20


@pytest.mark.parametrize("text", ["aGVsbG8=", "aGVsbG8", " aGVs\nbG8= "])
def test_base64_with_and_without_padding(text: str) -> None:
    assert decode_base64(text) == b"hello"


@pytest.mark.parametrize("text", ["***", "a", "aGVsbG8==", "aGVsb-8=", "a=Gk"])
def test_wrong_base64_is_refused(text: str) -> None:
    with pytest.raises(ServingError, match="Unable to base64 decode"):
        decode_base64(text)


# tensors


def careful(value: Any, dtype: int) -> Any:
    builder = TensorBuilder(dtype)
    try:
        return builder.build(builder.add(value).shape)
    except ServingError as error:
        return error


leaves = st.one_of(
    st.integers(-(2**64), 2**65 - 1),
    st.floats(),
    st.booleans(),
    st.none(),
    st.text(max_size=2),
    st.just(Members()),
)
nested = st.recursive(leaves, lambda inner: st.lists(inner, max_size=3), max_leaves=6)
regular = st.one_of(
    st.lists(st.integers(-300, 2**40), max_size=4),
    st.lists(st.lists(st.floats(), min_size=2, max_size=2), max_size=3),
    st.lists(st.booleans(), max_size=3),
)


@given(
    st.one_of(nested, regular),
    st.sampled_from([DT_FLOAT, DT_INT8, DT_INT32, DT_INT64, DT_UINT64, DT_BOOL, DT_STRING]),
)
def test_the_quick_way_accepts_only_what_the_careful_way_gives(value: Any, dtype: int) -> None:
    expected = careful(value, dtype)
    try:
        found = quick_array(value, dtype, Hints("True" in repr(value) or "False" in repr(value), False))
    except ServingError as error:
        assert str(error) == str(expected)
        return
    if found is not None:
        assert isinstance(expected, np.ndarray), expected
        assert found.dtype == expected.dtype
        assert np.array_equal(found, expected, equal_nan=dtype == DT_FLOAT)


def test_small_integers_wrap_and_large_floats_are_refused() -> None:
    assert quick_array([256, -1], DT_UINT8, Hints(False, False)).tolist() == [0, 255]  # type: ignore[union-attr]
    assert careful([256, -1], DT_UINT8).tolist() == [0, 255]
    assert careful([math.inf], DT_FLOAT).tolist() == [math.inf]
    assert "beyond float32" in str(careful([1e39], DT_FLOAT))
    with pytest.raises(ServingError, match="beyond float32"):
        quick_array([1e39], DT_FLOAT, Hints(False, False))


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ([[1, 2], 3], "JSON Value: 3 found at incorrect level: 2 in the JSON DOM. Expected at level: 2"),
        ([1, [2]], "Encountered list at unexpected level: 1 expected < 1"),
        ([[1], [1, 2]], "Encountered list at unexpected size: 2 at level: 1 expected size: 1"),
        (["1"], 'JSON Value: "1" Type: String is not of expected type: float'),
        ([False], "JSON Value: false Type: False is not of expected type: float"),
    ],
)
def test_the_careful_way_names_the_mistake(value: Any, problem: str) -> None:
    assert str(careful(value, DT_FLOAT)) == problem


def specs(**dtypes: int) -> dict[str, TensorSpec]:
    return {name: TensorSpec(f"{name}:0", dtype, None) for name, dtype in sorted(dtypes.items())}


def test_named_rows_in_any_order_of_keys() -> None:
    body = b'{"instances": [{"a": [1], "b": "x"}, {"b": {"b64": "eQ=="}, "a": [2]}]}'
    parsed = parse_predict(body, lambda _: specs(a=DT_INT32, b=DT_STRING))
    assert parsed.by_row
    assert parsed.inputs["a"].tolist() == [[1], [2]]
    assert parsed.inputs["b"].tolist() == [b"x", b"y"]


def test_the_first_of_two_equal_keys_wins_inside_a_row_too() -> None:
    parsed = parse_predict(b'{"instances": [{"a": 1, "a": 2}]}', lambda _: specs(a=DT_INT32))
    assert parsed.inputs["a"].tolist() == [1]


def test_a_long_string_among_numbers_does_not_take_its_size_for_each() -> None:
    body = b'{"instances": ["' + b"x" * 100_000 + b'"' + b", 1" * 100_000 + b"]}"
    assert hints_of(body, lambda: 1) == Hints(booleans=False, strings=True)
    with pytest.raises(ServingError, match="Failed to process element: 0"):
        parse_predict(body, lambda _: specs(a=DT_FLOAT))


def test_numbers_in_large_bodies_are_known_to_be_numbers() -> None:
    rows = b", ".join([b'{"a": 1.5, "b": 2}'] * 1000)
    found = []
    for body in (
        b'{"signature_name": "s", "instances": [' + rows + b"]}",
        b'{"inputs": {"a": [' + b"1," * 9000 + b"1]}}",
    ):
        document = parse_object(body)
        found.append(hints_of(body, lambda document=document: _quoted(document)))
    assert found == [Hints(False, False)] * 2


def test_numpy_types_and_numbers_agree() -> None:
    for number in (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 14, 17, 18, 19, 22, 23):
        found = numpy_dtype(number)
        assert found is not None
        assert dtype_of(found) == number


# answers


def test_answers_parse_and_keep_the_types() -> None:
    outputs = {"f": np.array([[1, 2.5]], np.float32), "s_bytes": np.array([b"\0"], object)}
    assert json.loads(row_body(outputs)) == {"predictions": [{"f": [1.0, 2.5], "s_bytes": {"b64": "AA=="}}]}
    assert json.loads(column_body(outputs)) == {"outputs": {"f": [[1.0, 2.5]], "s_bytes": [{"b64": "AA=="}]}}
    assert row_body({"y": np.array([1, 2], np.float32)}) == b'{\n    "predictions": [1.0, 2.0\n    ]\n}'
    assert json.loads(column_body({"y": np.float32([])})) == {"outputs": []}
    assert json.loads(row_body({"y": np.zeros((2, 0), np.float32)})) == {"predictions": [[], []]}
    assert json.loads(column_body({"y": np.array(b"\xff", object)})) == {"outputs": "�"}
    assert json.loads(error_body('a "quoted"\nline')) == {"error": 'a "quoted"\nline'}


@pytest.mark.parametrize("dtype", [np.float16, np.complex64, np.uint16])
def test_types_json_cannot_hold_are_refused(dtype: Any) -> None:
    with pytest.raises(ServingError, match="Failed to write JSON value for tensor type"):
        row_body({"y": np.zeros(1, dtype)})


# paths, versions, metrics


def test_paths() -> None:
    assert find_route("POST", "/v1/models/m:predict") == Route("predict", "m", None, None)
    assert find_route("POST", "/v1/models/m/versions/7:regress") == Route("regress", "m", 7, None)
    assert find_route("GET", "/v1/models/a%20b/labels/x%C3%A4/metadata") == Route(
        "metadata", "a b", None, "xä"
    )
    assert find_route("GET", "/v1/models/m") == Route("status", "m", None, None)


@pytest.mark.parametrize(
    ("method", "path", "problem"),
    [
        ("GET", "/v1/models", "Missing model name in request."),
        ("GET", "/v1/models/m:predict", "Malformed request: GET /v1/models/m:predict"),
        ("PUT", "/v1/models/m:predict", "Malformed request: PUT /v1/models/m:predict"),
        (
            "GET",
            "/v1/models/m/versions/9223372036854775808",
            "Failed to convert version: 9223372036854775808",
        ),
    ],
)
def test_wrong_paths(method: str, path: str, problem: str) -> None:
    with pytest.raises(ServingError) as caught:
        find_route(method, path)
    assert problem in caught.value.message


def test_version_policies() -> None:
    assert VersionPolicy(latest=1).choose([1, 3, 2]) == {3}
    assert VersionPolicy(latest=2).choose([1, 3, 2]) == {2, 3}
    assert VersionPolicy().choose([1, 3]) == {1, 3}
    assert VersionPolicy(specific=frozenset([1, 9])).choose([1, 3]) == {1}
    assert VersionPolicy(latest=1).choose([]) == set()


def test_only_folders_with_a_number_are_versions(tmp_path: Path) -> None:
    for name in ("1", "002", "v3", "4.5", "tmp"):
        (tmp_path / name).mkdir()
    (tmp_path / "7").touch()
    assert sorted(version_folders(tmp_path)) == [1, 2]
    with pytest.raises(FileNotFoundError):
        version_folders(tmp_path / "missing")


def test_metrics_add_up() -> None:
    metrics = Metrics()
    metrics.record('m"', "Predict", "REST", "OK", 0.001)
    metrics.record('m"', "Predict", "REST", "OK", 1e9)
    page = metrics.page()
    assert ':tensorflow:serving:request_count{model_name="m\\"",status="OK"} 2\n' in page
    assert 'entrypoint="REST",le="+Inf"} 2\n' in page
    assert (
        ':tensorflow:serving:request_latency_count{model_name="m\\"",API="Predict",entrypoint="REST"} 2\n'
        in page
    )


# limits


def test_paths_that_are_remembered_do_not_fill_the_memory() -> None:
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for number in range(300):
            find_route("GET", f"/v1/models/{number}{'x' * 60_000}")
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 2_000_000


def test_a_budget_is_shared_given_back_and_not_touched_by_small_requests() -> None:
    budget = Budget(request_bytes=1_000_000, total_bytes=1_600_000)  # an eighth stays free
    first, second, small = budget.open(), budget.open(), budget.open()
    first.take(400_000)
    first.take(600_000)
    with pytest.raises(ServingError) as caught:
        first.take(1)
    assert (caught.value.code, caught.value.http_status) == (Code.RESOURCE_EXHAUSTED, 413)
    with pytest.raises(ServingError) as caught:
        second.take(400_001)
    assert (caught.value.code, caught.value.http_status) == (Code.RESOURCE_EXHAUSTED, 429)
    small.take(60_000)
    assert left_bytes(budget, 400_000)  # of the 1,400,000 that may be used, and the small one has none of it
    first.keep(100_000)
    with closing(budget.open()) as third:
        third.take(900_000)
        assert left_bytes(budget, 400_000)
    for allowance in (first, second, small, first):
        allowance.close()
    with closing(budget.open()) as third:
        third.take(1_000_000)
        assert left_bytes(budget, 400_000)


def left_bytes(budget: Budget, count: int) -> bool:
    """Whether one more request may take so many bytes and not one more."""
    with closing(budget.open()) as more, pytest.raises(ServingError):
        more.take(count + 1)
    with closing(budget.open()) as more:
        more.take(count)
    return True


def test_freed_memory_counts_until_the_system_has_it_back() -> None:
    returned: list[str] = []
    budget = Budget(1_000_000, 1_600_000, lambda: returned.append("freed"))
    for _ in range(3):  # 600,000 each; 1,400,000 may be used
        with closing(budget.open()) as allowance:
            allowance.take(600_000)
    assert len(returned) == 1  # before the third had its share
    with closing(budget.open()) as first, closing(budget.open()) as second:
        first.take(800_000)
        assert len(returned) == 1  # 600,000 freed and 800,000 used fit
        second.take(100_000)
        assert len(returned) == 2
        with pytest.raises(ServingError):
            second.take(500_001)
    assert len(returned) == 2  # nothing was freed meanwhile


def test_one_request_may_never_take_more_than_all() -> None:
    with closing(Budget(request_bytes=1_600_000, total_bytes=1_600_000).open()) as allowance:
        with pytest.raises(ServingError) as caught:
            allowance.take(1_400_001)
        assert caught.value.http_status == 413  # to send it again would be in vain


def test_a_thread_that_waits_holds_no_job() -> None:
    class Request:
        pass

    request = Request()
    kept = weakref.ref(request)

    def job_of(request: Request) -> Job:
        return lambda: request and None

    workers = Workers(1)
    workers.submit(job_of(request))
    del request
    end = time.monotonic() + 5
    while kept() is not None and time.monotonic() < end:
        time.sleep(0.001)
    assert kept() is None
    assert workers.stop(5)


@pytest.mark.slow
@given(st.binary(max_size=300))
def test_any_bytes_have_a_cost(raw: bytes) -> None:
    padded = raw + b"\x12" * 70_000
    assert predict_cost(padded) >= len(padded)


def test_what_is_large_but_plain_costs_little() -> None:
    """A tensor of 64 MB as one field is not taken for 64 million dimensions."""
    content = 64_000_000
    tensor = b"\x08\x01\x22" + _varint(content) + bytes(content)
    entry = b"\x0a\x01x\x12" + _varint(len(tensor)) + tensor
    assert predict_cost(b"\x12" + _varint(len(entry)) + entry) < 3 * content
    assert json_cost(b"[" + b"0.123456789012345678," * 500_000 + b"1]") < 6 * 10_500_000


@pytest.mark.slow
def test_a_fed_bias_is_found_wherever_it_is_added() -> None:
    graph_pb2 = pytest.importorskip("tensorflow.core.framework.graph_pb2")

    def graph(*nodes: tuple[str, str, tuple[str, ...]]) -> Any:
        found = graph_pb2.GraphDef()
        for name, kind, inputs in nodes:
            found.node.add(name=name, op=kind, input=inputs)
        return found

    x, w = ("x", "Placeholder", ()), ("w", "Const", ())
    product = ("p", "MatMul", ("x", "w"))
    cast = ("c", "Cast", ("x",))
    assert not feeds_a_bias(graph(x, w, product, ("y", "BiasAdd", ("p", "w"))))
    assert feeds_a_bias(graph(x, w, product, ("y", "BiasAdd", ("p", "x"))))
    assert feeds_a_bias(graph(x, w, product, cast, ("y", "AddV2", ("c:0", "p"))))
    assert not feeds_a_bias(graph(x, w, product, ("y", "AddV2", ("x", "w"))))
    inner = graph(x, w, ("call", "PartitionedCall", ("w", "x")))
    inner.node[2].attr["f"].func.name = "body"
    function = inner.library.function.add()
    function.signature.name = "body"
    for name in ("a", "b"):
        function.signature.input_arg.add(name=name)
    function.node_def.add(name="p", op="MatMul", input=("b", "a"))
    added = function.node_def.add(name="y", op="BiasAdd", input=("p:product:0", "a"))
    assert not feeds_a_bias(inner)
    added.input[1] = "b"
    assert feeds_a_bias(inner)
