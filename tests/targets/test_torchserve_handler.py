"""The handler as TorchServe's worker uses it, with a model that can be computed by hand."""

import ast
import io
import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from pipelines.targets.torchserve.export import HANDLER, HANDLER_PARTS
from pipelines.targets.torchserve.runtime import import_handler

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*torch.jit.*:FutureWarning"),
]

SIGNATURE = {
    "inputs": [{"name": "x", "shape": [2, 3], "dtype": "float32"}],
    "outputs": [{"name": "y", "shape": [2], "dtype": "float32"}],
}
SEVERAL = {
    "inputs": [
        {"name": "image", "shape": [2], "dtype": "float32"},
        {"name": "tokens", "shape": [None], "dtype": "int64"},
    ],
    "outputs": [{"name": name} for name in ("scores", "last", "long")],
}
DTYPES = ("float16", "float32", "float64", "bool", "uint8", "int8", "int16", "int32", "int64")


class Context:
    """What TorchServe hands to a handler; remembers what was set."""

    def __init__(self, folder):
        self.system_properties = {"model_dir": str(folder)}
        self.manifest = {"model": {"serializedFile": "model.pt"}}
        self.status, self.types, self.headers = {}, {}, {}

    def set_response_status(self, code=200, phrase="", idx=0):
        self.status[idx] = (code, phrase)

    def get_request_header(self, idx, key):
        return self.headers.get((idx, key))

    def set_response_content_type(self, idx, value):
        self.types[idx] = value


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    import torch

    class Weighted(torch.nn.Module):
        """Two outputs a sample: the sum of its numbers, and the sum of each times its position."""

        def __init__(self):
            super().__init__()
            self.register_buffer("place", torch.arange(6, dtype=torch.float32))

        def forward(self, x):
            flat = x.reshape(-1, 6)
            return torch.stack([flat.sum(1), (flat * self.place).sum(1)], 1)

    folder = tmp_path_factory.mktemp("model")
    torch.jit.save(torch.jit.script(Weighted()), folder / "model.pt")
    (folder / "signature.json").write_text(json.dumps(SIGNATURE))
    return folder


@pytest.fixture(scope="module")
def several_folder(tmp_path_factory):
    """A model of two inputs and three outputs, nested; it knows the tokens below 5, and lengths from 1."""
    import torch

    class Several(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.words = torch.nn.Embedding(5, 1)
            self.words.weight.data = torch.arange(5.0)[:, None]

        def forward(self, image, tokens):
            scores = image + self.words(tokens).sum(1)
            return scores, (tokens[:, -1], self.words(tokens).squeeze(-1) > 2)

    folder = tmp_path_factory.mktemp("several")
    example = (torch.zeros(2, 2), torch.ones(2, 3, dtype=torch.int64))
    torch.jit.save(torch.jit.trace(Several(), example), folder / "model.pt")
    (folder / "signature.json").write_text(json.dumps(SEVERAL))
    return folder


@pytest.fixture(scope="module")
def several(several_folder):
    return started(several_folder)


def started(folder):
    """The handler with the model in `folder`."""
    handler = import_handler(HANDLER).Handler()
    handler.initialize(Context(folder))
    return handler


@pytest.fixture(scope="module")
def handler(folder):
    return started(folder)


def ask_all(handler, folder, *bodies):
    """Answers to one batch of bodies by one handler, and the context they were given in."""
    context = Context(folder)
    encoded = [body if isinstance(body, bytes) else json.dumps(body).encode() for body in bodies]
    return handler.handle([{"body": body} for body in encoded], context), context


@pytest.fixture
def ask(handler, folder):
    """Answers to one batch of bodies, and the context they were given in."""

    def run(*bodies, key="body"):
        context = Context(folder)
        encoded = [body if isinstance(body, (bytes, dict)) else json.dumps(body).encode() for body in bodies]
        return handler.handle([{key: body} for body in encoded], context), context

    return run


def sample(value):
    return [[value, value + 1, value + 2], [value, 0, 1]]


def truth(value):
    flat = np.asarray(sample(value), np.float32).reshape(-1)
    return [float(flat.sum()), float((flat * np.arange(6)).sum())]


def predictions(answer):
    return json.loads(answer)["predictions"]


def test_one_sample_gets_its_outputs_in_output_order(ask):
    (answer,), context = ask({"instances": [sample(3)]})
    assert predictions(answer) == [truth(3)]
    assert context.types == {0: "application/json"}
    assert context.status == {}


def test_the_samples_of_a_request_are_answered_in_order(ask):
    (answer,), _ = ask({"instances": [sample(n) for n in (5, 1, 9)]})
    assert predictions(answer) == [truth(5), truth(1), truth(9)]


def test_the_requests_of_a_batch_get_their_own_answers_in_order(ask):
    counts = [(7,), (1, 2, 3), (9,), (4, 5)]
    answers, context = ask(*({"instances": [sample(n) for n in values]} for values in counts))
    assert [predictions(a) for a in answers] == [[truth(n) for n in values] for values in counts]
    assert sorted(context.types) == [0, 1, 2, 3]


def test_a_batch_is_one_forward_pass(ask, handler, monkeypatch):
    calls = []
    real = handler.module
    monkeypatch.setattr(handler, "module", lambda rows: calls.append(tuple(rows.shape)) or real(rows))
    ask({"instances": [sample(1)]}, {"instances": [sample(2), sample(3)]})
    assert calls == [(3, 2, 3)]


def test_bad_requests_do_not_disturb_their_neighbours(ask):
    answers, context = ask(
        {"instances": [sample(1)]}, b"not json", {"instances": [sample(2)]}, {}, {"instances": [sample(3)]}
    )
    assert [predictions(answers[n]) for n in (0, 2, 4)] == [[truth(1)], [truth(2)], [truth(3)]]
    assert [list(answers[n]) for n in (1, 3)] == [["error"], ["error"]]
    assert context.status == {1: (400, "Bad Request"), 3: (400, "Bad Request")}


def test_a_request_for_which_there_is_no_memory_costs_no_other_its_answer(ask, handler, monkeypatch):
    decode, forward = handler.decode, handler._forward

    def full(request, *rest):
        if request["body"] == {"instances": [sample(9)]}:
            raise MemoryError
        return decode(request, *rest)

    def narrow(batches):
        if len(batches) > 1:
            raise MemoryError
        return forward(batches)

    monkeypatch.setattr(handler, "decode", full)
    monkeypatch.setattr(handler, "_forward", narrow)
    answers, context = ask(*({"instances": [sample(n)]} for n in (1, 9, 3)))
    assert [predictions(answers[n]) for n in (0, 2)] == [[truth(1)], [truth(3)]]
    assert answers[1] == {"error": "MemoryError"}
    assert context.status == {1: (400, "Bad Request")}


def test_named_inputs_give_the_same_as_plain_ones(ask):
    (plain, named), _ = ask({"instances": [sample(4)]}, {"instances": [{"x": sample(4)}]})
    assert plain == named


def test_a_body_that_torchserve_has_parsed_already_is_taken(ask):
    (answer,), _ = ask({"instances": [sample(2)]}, key="body")
    (parsed,), _ = ask(b'{"instances": []}', key="data")
    (again,), _ = ask(json.dumps({"instances": [sample(2)]}).encode(), key="data")
    assert answer == again
    assert list(parsed) == ["error"]


def test_whole_numbers_are_numbers(ask):
    (answer,), _ = ask({"instances": [[[1, 2, 3], [4, 5, 6]]]})
    assert predictions(answer) == [[21.0, 70.0]]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"{", "the body is not JSON: "),
        (b"\xff", "the body is not UTF-8: "),
        (b"", "the body is not JSON: "),
        (b"[1]", "the body is a JSON list, expected an object"),
        (b"{}", 'expected either the key "instances" or the key "inputs"'),
        (b'{"instances": []}', '"instances" must be a list that is not empty'),
        (b'{"instances": 3}', '"instances" must be a list that is not empty'),
        (b'{"instances": [[1, 2, 3]]}', "a sample has shape (3,), expected (2, 3)"),
        (b'{"instances": [1]}', "a sample has shape (), expected (2, 3)"),
        (b'{"instances": [[[1, 2], [3, 4], [5, 6]]]}', "a sample has shape (3, 2), expected (2, 3)"),
        (b'{"instances": [[[1, 2, 3], [4, 5]]]}', "the lists of numbers differ in length or depth"),
        (b'{"instances": [[["a", 2, 3], [4, 5, 6]]]}', '"a" is not a number'),
        (b'{"instances": [[[null, 2, 3], [4, 5, 6]]]}', "null is not a number"),
        (b'{"instances": [[[true, false, true], [true, true, true]]]}', "true is not a number"),
        (b'{"instances": [{"z": [[1, 2, 3], [4, 5, 6]]}]}', "the inputs are ['z'], expected ['x']"),
        (b'{"instances": [{}]}', "the inputs are [], expected ['x']"),
    ],
)
def test_a_body_that_does_not_fit_is_400_with_the_reason(ask, body, said):
    (answer,), context = ask(body)
    assert context.status == {0: (400, "Bad Request")}
    assert said in answer["error"]
    assert "\n" not in answer["error"]


def test_no_body_at_all_is_400(handler, folder):
    context = Context(folder)
    (answer,) = handler.handle([{}], context)
    assert context.status == {0: (400, "Bad Request")}
    assert list(answer) == ["error"]


def test_a_bottomless_body_does_not_disturb_its_neighbours(ask):
    answers, context = ask({"instances": [sample(1)]}, b'{"instances": ' + b"[" * 100_000)
    assert predictions(answers[0]) == [truth(1)]
    assert context.status == {1: (400, "Bad Request")}


def test_the_file_stands_alone_as_torchserve_wants_it():
    module = import_handler(HANDLER)
    own = [
        one for one in vars(module).values() if isinstance(one, type) and one.__module__ == module.__name__
    ]
    assert len(own) == 1, "TorchServe takes the only class of the file for the handler"
    for path in (HANDLER, *HANDLER_PARTS):
        run = [
            *(node for node in ast.parse(path.read_text()).body if not is_for_types(node)),
            *(
                node
                for part in ast.parse(path.read_text()).body
                if is_for_types(part)
                for node in part.orelse
            ),
        ]
        imports = [
            one for node in run for one in ast.walk(node) if isinstance(one, ast.Import | ast.ImportFrom)
        ]
        names = {
            name.split(".")[0]
            for one in imports
            for name in (
                [one.module] if isinstance(one, ast.ImportFrom) else [each.name for each in one.names]
            )
        }
        own = {path.stem for path in HANDLER_PARTS}
        assert names <= sys.stdlib_module_names | own | {"numpy", "torch"}


def is_for_types(node):
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def test_a_broken_model_file_is_an_error_at_start(handler, tmp_path):
    (tmp_path / "signature.json").write_text(json.dumps(SIGNATURE))
    (tmp_path / "model.pt").write_bytes(b"PK not really")
    with pytest.raises(RuntimeError):
        type(handler)().initialize(Context(tmp_path))


def test_numbers_survive_the_way_through_json(ask):
    values = np.random.default_rng(1).normal(size=(50, 2, 3)).astype(np.float32)
    (answer,), _ = ask({"instances": values.tolist()})
    flat = values.reshape(50, 6)
    np.testing.assert_allclose(
        predictions(answer),
        np.stack([flat.sum(1), flat @ np.arange(6, dtype=np.float32)], 1),
        rtol=1e-5,
        atol=1e-5,
    )


@pytest.mark.parametrize("text", ["NaN", "-NaN", "Inf", "-Inf", "Infinity", "-Infinity"])
def test_every_spelling_that_tensorflow_serving_takes_is_taken(ask, text):
    (answer,), context = ask(f'{{"instances":[[[{text},0,0],[0,0,0]]]}}'.encode())
    assert context.status == {}
    assert not np.isfinite(predictions(answer)[0][0])


def test_the_context_is_the_only_thing_initialize_needs(handler, folder):
    fresh = type(handler)()
    fresh.initialize(SimpleNamespace(**vars(Context(folder))))
    assert (fresh.inputs, fresh.outputs) == (SIGNATURE["inputs"], ["y"])


def row(*tokens, image=(0.5, 1.5)):
    return {"image": list(image), "tokens": list(tokens)}


def right(*tokens, image=(0.5, 1.5)):
    """What the model of several tensors gives for `row`."""
    long = [token > 2 for token in tokens]
    return {"scores": [x + sum(tokens) for x in image], "last": tokens[-1], "long": long}


def test_several_inputs_go_in_by_name_and_several_outputs_come_out_as_objects(several, several_folder):
    rows = {"instances": [row(1, 4), {"tokens": [2, 3], "image": [1, 2]}]}
    columns = {"inputs": {"tokens": [[1, 4]], "image": [[0.5, 1.5]], "not an input": 1}}
    (by_row, by_column), context = ask_all(several, several_folder, rows, columns)
    assert predictions(by_row) == [right(1, 4), right(2, 3, image=(1, 2))]
    whole = {name: [value] for name, value in right(1, 4).items()}
    assert json.loads(by_column) == {"outputs": whole}
    assert '"last": 4' in by_row, "an integer is answered as one"
    assert context.status == {}


def test_requests_of_different_lengths_share_a_pass_with_those_of_their_own(
    several, several_folder, monkeypatch
):
    calls, real = [], several.module
    monkeypatch.setattr(several, "module", lambda *given: calls.append(given[1].shape) or real(*given))
    lengths = [(1,), (2, 3), (4,), (1, 2, 3), (3, 2)]
    answers, context = ask_all(
        several, several_folder, *({"instances": [row(*tokens)]} for tokens in lengths)
    )
    assert [predictions(answer) for answer in answers] == [[right(*tokens)] for tokens in lengths]
    assert sorted(map(tuple, calls)) == [(1, 3), (2, 1), (2, 2)]
    assert context.status == {}


def test_what_the_model_refuses_is_400_and_does_not_disturb_its_neighbours(several, several_folder):
    bodies = [{"instances": [row(*tokens)]} for tokens in ((1, 2), (1, 5), (3, 4), ())]
    answers, context = ask_all(several, several_folder, *bodies)
    assert [predictions(answers[number]) for number in (0, 2)] == [[right(1, 2)], [right(3, 4)]]
    assert context.status == {1: (400, "Bad Request"), 3: (400, "Bad Request")}
    assert "the model refuses the samples: " in answers[1]["error"]
    assert "index out of range" in answers[1]["error"]
    assert "\n" not in answers[1]["error"] + answers[3]["error"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"instances": [[0.5, 1.5]]}, "each instance must be an object with the keys ['image', 'tokens']"),
        ({"instances": [{"image": [1, 2]}]}, "the inputs are ['image'], expected ['image', 'tokens']"),
        ({"instances": [row(1) | {"x": 1}]}, "the inputs are ['image', 'tokens', 'x'], expected"),
        ({"instances": [row(1), row(1, 2)]}, "differ in length or depth, in the values of 'tokens'"),
        ({"instances": [row(1, image=(1, 2, 3))]}, "a sample of 'image' has shape (3,), expected (2,)"),
        ({"instances": [row([1])]}, "a sample of 'tokens' has shape (1, 1), expected (None,)"),
        (
            {"instances": [row(1.5)]},
            "1.5 is not a whole number, which int64 needs, in the values of 'tokens'",
        ),
        ({"instances": [row(1.0)]}, "1.0 is not a whole number"),
        ({"instances": [row(2**63)]}, "9223372036854775808 is beyond"),
        ({"instances": [row(-1, 2**63)]}, "9223372036854775808 is beyond"),
        ({"instances": [row(2**70)]}, "1180591620717411303424 is beyond"),
        ({"instances": [row(True)]}, "true is not a number"),
        ({"instances": [row(1, True)]}, "true is not a number"),
        ({"instances": [row(None)]}, "null is not a number"),
        ({"instances": [row("1")]}, '"1" is not a number'),
        (b'{"instances": [{"image": [1, 2], "tokens": [NaN]}]}', "NaN is not a whole number"),
        ({"inputs": {"image": [[1, 2]]}}, "the inputs are ['image'], expected ['image', 'tokens']"),
        ({"inputs": [[1, 2]]}, "\"inputs\" must be an object with the keys ['image', 'tokens']"),
        (
            {"inputs": {"image": [[1, 2]], "tokens": [[1], [2]]}},
            "different numbers of samples: {'image': 1, 'tokens': 2}",
        ),
    ],
)
def test_several_inputs_that_do_not_fit_are_400_with_the_reason(several, several_folder, body, said):
    (answer,), context = ask_all(several, several_folder, body)
    assert context.status == {0: (400, "Bad Request")}
    assert said in answer["error"]


@pytest.fixture(scope="module", params=DTYPES)
def echo(request, tmp_path_factory):
    """The dtype, and answers of a handler whose model gives back what it got."""
    import torch

    class Echo(torch.nn.Module):
        def forward(self, x):
            return {"y": x.clone()}

    folder = tmp_path_factory.mktemp(request.param)
    example = torch.zeros((1, 2), dtype=getattr(torch, request.param))
    torch.jit.save(torch.jit.trace(Echo(), example, strict=False), folder / "model.pt")
    signature = {
        "inputs": [{"name": "x", "shape": [None], "dtype": request.param}],
        "outputs": [{"name": "y"}],
    }
    (folder / "signature.json").write_text(json.dumps(signature))
    handler = started(folder)
    return request.param, lambda body: ask_all(handler, folder, body)


# TensorFlow Serving 2.20 takes any int32 for small integers and keeps the low bits.
KEPT = {
    "float16": [([1, 0.5], [1.0, 0.5]), ([65504], [65504.0])],
    "float32": [([1, 0.5], [1.0, 0.5]), ([16777217], [16777216.0])],
    "float64": [([0.1, 1e300], [0.1, 1e300])],
    "bool": [([True, False], [True, False]), ([], [])],
    "uint8": [([0, 255], [0, 255]), ([300, -1], [44, 255])],
    "int8": [([127, -128], [127, -128]), ([128], [-128])],
    "int16": [([32767], [32767]), ([32768], [-32768])],
    "int32": [([2**31 - 1, -(2**31)], [2**31 - 1, -(2**31)]), ([], [])],
    "int64": [([2**53 + 1, -(2**63)], [2**53 + 1, -(2**63)])],
}
REFUSED = {
    "float16": [[65536], ["1"], [True]],
    "float32": [[1e39], [None]],
    "float64": [[10**400], [False]],
    "bool": [[1], [0.0], [True, 1], ["true"], [None]],
    "uint8": [[1.5], [1.0], [True], [2**31]],
    "int8": [[1.5], [2**31]],
    "int16": [[-(2**31) - 1]],
    "int32": [[2**31], [3.0], [1, True]],
    "int64": [[2**63], [1e3]],
}


def test_every_dtype_goes_in_and_out_as_it_is(echo):
    dtype, ask = echo
    for given, expected in KEPT[dtype]:
        (answer,), context = ask({"instances": [given]})
        assert context.status == {}, answer
        assert predictions(answer) == [expected]
        assert [type(value) for value in predictions(answer)[0]] == [type(value) for value in expected]


def test_every_dtype_refuses_what_is_not_its_own(echo):
    dtype, ask = echo
    for given in REFUSED[dtype]:
        (answer,), context = ask({"instances": [given]})
        assert context.status == {0: (400, "Bad Request")}, (given, answer)


def test_a_worker_says_how_many_threads_it_has(handler, folder):
    import torch

    context = Context(folder)
    context.headers[0, "describe"] = "True"
    (told,) = handler.handle([{}], context)
    assert told["threads_per_worker"] == torch.get_num_threads()
    assert told["inter_op_threads_count"] == torch.get_num_interop_threads()


def test_a_worker_counts_requests_and_the_passes_that_they_took(folder):
    handler = started(folder)
    ask_all(handler, folder, *({"instances": [sample(value)]} for value in range(5)))
    ask_all(handler, folder, {"instances": [sample(1)]}, {"instances": "nothing"})
    told = handler.describe()
    assert (told["requests_count"], told["passes_count"]) == (6, 2)


NPY, RAW = "application/x-npy", "application/octet-stream"


def npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return bytearray(file.getvalue())


def binary(handler, folder, *requests, kind=NPY):
    """Answers to a batch of requests of one content type, as arrays or as the error's text."""
    context = Context(folder)
    context.headers = {(number, "Content-Type"): kind for number in range(len(requests)) if kind}
    answers = handler.handle([one if isinstance(one, dict) else {"body": one} for one in requests], context)
    return [np.load(io.BytesIO(one)) if isinstance(one, bytes) else one["error"] for one in answers], context


def rows(*values):
    return np.float32([sample(value) for value in values])


@pytest.mark.parametrize("count", [1, 3, 8])
def test_binary_bodies_of_all_kinds_give_what_json_gives(handler, folder, count):
    array = rows(*range(count))
    wanted = np.float32([truth(value) for value in range(count)])
    ways = {NPY: npy(array), RAW: bytearray(array.tobytes()), "": {"x": npy(array)}}
    for kind, request in ways.items():
        (got,), context = binary(handler, folder, request, kind=kind)
        assert got.dtype == np.float32
        assert np.array_equal(got, wanted), kind
        assert context.types == {0: NPY}
        assert context.status == {}


def test_a_batch_of_binary_bodies_is_one_pass_and_each_gets_its_own(handler, folder, monkeypatch):
    module, passes = handler.module, []

    def counted(*arrays):
        passes.append(len(arrays[0]))
        return module(*arrays)

    monkeypatch.setattr(handler, "module", counted)
    bad = [npy(rows(1).astype(np.float64)), bytearray(b"nothing"), npy(np.zeros((1, 2, 2), np.float32))]
    answers, context = binary(handler, folder, npy(rows(1, 2)), bad[0], npy(rows(3)), *bad[1:])
    assert passes == [3]
    assert np.array_equal(answers[0], np.float32([truth(1), truth(2)]))
    assert np.array_equal(answers[2], np.float32([truth(3)]))
    assert context.status == dict.fromkeys((1, 3, 4), (400, "Bad Request"))
    assert "'x' has dtype float64, expected float32" in answers[1]
    assert "no .npy file" in answers[3]
    assert "a sample has shape (2, 2), expected (2, 3)" in answers[4]


def test_json_and_binary_bodies_share_a_pass(handler, folder):
    context = Context(folder)
    context.headers = {(0, "content-type"): "Application/X-NPY; charset=binary"}
    json_body = json.dumps({"instances": [sample(5)]}).encode()
    first, second = handler.handle([{"body": npy(rows(4))}, {"body": json_body}], context)
    assert np.load(io.BytesIO(first)).tolist() == [truth(4)]
    assert predictions(second) == [truth(5)]
    assert context.types == {0: NPY, 1: "application/json"}


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_every_version_and_order_of_a_npy_is_read(handler, folder, order, version):
    file = io.BytesIO()
    np.lib.format.write_array(file, np.array(rows(6, 7), order=order), version=version)
    (got,), _ = binary(handler, folder, bytearray(file.getvalue()))
    assert np.array_equal(got, np.float32([truth(6), truth(7)]))


@pytest.mark.parametrize(
    ("kind", "body", "said"),
    [
        (RAW, b"123", "has 3 bytes, and a sample has 24"),
        (RAW, b"", "the list of samples is empty"),
        (NPY, b"", "no .npy file"),
        (NPY, b"\x93NUMPY\x01\x00\x05\x00{'a':", "cannot be read"),
        (NPY, bytes(npy(np.zeros((1, 2, 3), np.float32)))[:-1], "has 23 bytes of data"),
        (NPY, bytes(npy(np.array([["a"]]))), "numbers and bool are allowed"),
        (NPY, bytes(npy(np.zeros((0, 2, 3), np.float32))), "the list of samples is empty"),
    ],
)
def test_binary_bodies_that_do_not_fit_are_400_with_the_reason(handler, folder, kind, body, said):
    (got,), context = binary(handler, folder, bytearray(body), kind=kind)
    assert said in got
    assert context.status == {0: (400, "Bad Request")}


def test_binary_tensors_are_read_where_they_lie(handler, folder):
    body = npy(rows(1))
    _, (array,) = handler.decode({"body": body}, content_type=NPY)
    body[-4:] = np.float32(9).tobytes()
    assert array[0, -1, -1] == 9, "it is the body's own memory"


def test_several_inputs_go_in_binary_by_name(several, several_folder):
    image, tokens = np.float32([[0.5, 1.5]]), np.int64([[1, 2, 3]])
    file = io.BytesIO()
    np.savez(file, tokens=tokens, image=image)
    context = Context(several_folder)
    context.headers = {(0, "Content-Type"): NPY}
    over_grpc = {"image": npy(image), "tokens": npy(tokens)}
    (first,) = several.handle([{"body": bytearray(file.getvalue())}], context)
    (second,) = several.handle([over_grpc], Context(several_folder))
    asked = json.dumps({"instances": [row(1, 2, 3)]}).encode()
    (text,) = several.handle([{"body": asked}], Context(several_folder))
    (wanted,) = json.loads(text)["predictions"]
    for answer in (first, second):
        got = np.load(io.BytesIO(answer))
        assert {name: got[name][0].tolist() for name in got.files} == wanted
    refused, context = binary(several, several_folder, bytearray(image.tobytes()), kind=RAW)
    assert "raw bytes do not say theirs" in refused[0]
