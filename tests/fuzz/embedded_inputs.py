"""Random requests to a model server: nearly right ones, wrong ones, and bytes that are neither."""

import gzip
import json
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1] / "targets"))
from embedded_grpc import METHODS

SIGNATURES = {
    "odd": ("strings", "floats", "size", "ranked", "numbers", "biased"),
    "types": ("int8", "int16", "int32", "uint16", "uint32", "uint64", "float16", "complex64", "two"),
    "conv": ("serving_default",),
    "features": ("serving_default", "flat", "wide", "labels", "only_labels"),
    "nobody": ("serving_default",),
}
_ODD_VALUES = (
    None, True, False, 0, -1, 1, 255, 2**31, 2**63, 2**64, -(2**63), 10**30, 0.0, -0.0, 1e-45, 1e39, 1e308,
    "", "x", "ä" * 20, "\0", "\ud7ff", "x" * 3000, {"b64": "aGk="}, {"b64": "//79"}, {"b64": "a"}, {"b64": 1},
    {}, {"x": 1}, [], [[]], [None],
)  # fmt: skip
_KEYS = ("instances", "inputs", "signature_name", "examples", "context", "x", "b", "i", "f", "", "instances ")
_VERBS = ("predict",) * 6 + ("classify", "regress", "explain", "")
_WHERES = ("",) * 8 + ("/versions/1", "/versions/2", "/versions/" + "9" * 30, "/labels/a", "/labels/%ff")
_TOKENS = (
    b"[",
    b"]",
    b"{",
    b"}",
    b",",
    b":",
    b'"',
    b"\\",
    b"NaN",
    b"-Infinity",
    b"1e999",
    b"\\ud800",
    b"\xff",
)


def value(rng: random.Random, depth: int = 0) -> Any:
    kind = rng.random()
    if depth < 5 and kind < 0.45:
        item = value(rng, depth + 1)
        regular = rng.random() < 0.7
        size = rng.choice((0, 1, 2, 3) if depth else (0, 1, 2, 3, 8, 30, 1000))
        return [item if regular else value(rng, depth + 1) for _ in range(size)]
    if depth < 4 and kind < 0.55:
        return {rng.choice(_KEYS): value(rng, depth + 1) for _ in range(rng.randrange(4))}
    if kind < 0.7:
        return rng.choice(_ODD_VALUES)
    return rng.choice((rng.uniform(-9, 9), rng.randrange(-99, 99), rng.randrange(2**33)))


def deep(rng: random.Random) -> Any:
    """A scalar inside as many lists as make trouble."""
    found = rng.choice(_ODD_VALUES)
    for _ in range(rng.choice((7, 31, 32, 33, 34, 63, 64, 65, 100, 254, 255, 300))):
        found = [found]
    return found


def _fitting(rng: random.Random) -> Any:
    """What some signature takes."""
    size = rng.choice((1, 2, 8, 200))
    return rng.choice(
        (
            [rng.uniform(-9, 9)] * size,
            [rng.randrange(9)] * size,
            [rng.choice(("1", "2.5", "x"))] * size,
            [[[[rng.random()]] * 8] * 8] * 2,
            [{"i": rng.randrange(9), "f": 0.5, "b": "x"}] * size,
            {"x": [[0.5] * 4] * size, "b": [rng.random()] * rng.choice((8, 8, 5))},
        )
    )


def document(rng: random.Random, model: str) -> Any:
    body: dict[str, Any] = {"signature_name": rng.choice(SIGNATURES[model])}
    kind = rng.random()
    content = deep(rng) if kind < 0.1 else _fitting(rng) if kind < 0.4 else value(rng)
    if rng.random() < 0.3:
        content = {"x": content, "b": value(rng)}
        content = [content] * rng.randrange(1, 4) if rng.random() < 0.5 else content
    body[rng.choice(("instances", "inputs", "examples"))] = content
    if rng.random() < 0.15:
        body[rng.choice(_KEYS)] = value(rng)
    return body


def mutated(rng: random.Random, data: bytes, most: int = 6) -> bytes:
    """The same bytes with some of them changed, gone, doubled or put elsewhere."""
    found = bytearray(data)
    for _ in range(rng.randrange(1, most)):
        at, size = rng.randrange(len(found) + 1), rng.choice((1, 1, 1, 2, 8, 100))
        kind = rng.randrange(5)
        if kind == 0:
            found[at : at + size] = rng.randbytes(size)
        elif kind == 1:
            del found[at : at + size]
        elif kind == 2:
            found[at:at] = found[at : at + size] * rng.choice((1, 2, 50))
        elif kind == 3:
            found[at:at] = rng.choice(_TOKENS) * rng.choice((1, 1, 2, 40))
        else:
            other = rng.randrange(len(found) + 1)
            found[at:at] = found[other : other + size]
    return bytes(found)


def rest_request(rng: random.Random) -> tuple[str, str, bytes, dict[str, str]]:
    """Method, path, body and headers."""
    model = rng.choice(list(SIGNATURES))
    body = json.dumps(document(rng, model), ensure_ascii=rng.random() < 0.5).encode("utf-8", "surrogatepass")
    if rng.random() < 0.3:
        body = mutated(rng, body)
    headers: dict[str, str] = {}
    if rng.random() < 0.15:
        packed = gzip.compress(body if rng.random() < 0.7 else b"[1," * rng.randrange(50_000), 1)
        body = mutated(rng, packed) if rng.random() < 0.3 else packed
        headers["Content-Encoding"] = "gzip"
    path = f"/v1/models/{model}{rng.choice(_WHERES)}:{rng.choice(_VERBS)}"
    return rng.choice(("POST",) * 12 + ("GET", "PUT", "OPTIONS", "DELETE")), path, body, headers


# gRPC


def _tensor(rng: random.Random, tensor: Any) -> None:
    tensor.dtype = rng.choice(
        (1, 1, 1, 3, 7, 7, 2, 4, 5, 6, 8, 9, 10, 14, 17, 18, 19, 20, 21, 22, 23, 0, 99, 101)
    )
    rank = rng.choice((0, 1, 1, 1, 2, 2, 4, 31, 32, 33, 64, 65, 255))
    sizes = (1,) * 6 + ((0, 2, 3, 8, -1, 2**26, 2**40, 2**62) if rank < 5 else (1, 0))
    for _ in range(rank):
        tensor.tensor_shape.dim.add(size=rng.choice(sizes), name=rng.choice(("", "", "n")))
    tensor.tensor_shape.unknown_rank = rng.random() < 0.02
    count = rng.choice((0, 1, 1, 2, 8, 300))
    fillers: tuple[Callable[[], Any], ...] = (
        lambda: tensor.float_val.extend([rng.uniform(-9, 9)] * count),
        lambda: tensor.int_val.extend([rng.randrange(-(2**31), 2**31)] * count),
        lambda: tensor.string_val.extend([rng.randbytes(rng.choice((0, 3, 30, 3000)))] * count),
        lambda: tensor.half_val.extend([rng.randrange(2**16)] * count),
        lambda: tensor.int64_val.extend([rng.randrange(-9, 9)] * count),
        lambda: tensor.bool_val.extend([True] * count),
        lambda: tensor.uint64_val.extend([2**64 - 1] * count),
        lambda: setattr(tensor, "tensor_content", rng.randbytes(4 * count)),
    )
    for _ in range(rng.choice((1, 1, 2))):
        rng.choice(fillers)()


def _example(rng: random.Random, example: Any) -> None:
    for name in rng.sample(("i", "f", "b", "other"), rng.randrange(4)):
        feature = example.features.feature[name]
        kind = rng.randrange(3)
        if kind == 0:
            feature.int64_list.value.extend([rng.randrange(-(2**63), 2**63)] * rng.randrange(3))
        elif kind == 1:
            feature.float_list.value.extend([rng.uniform(-9, 9)] * rng.randrange(3))
        else:
            feature.bytes_list.value.extend([rng.randbytes(9)] * rng.randrange(3))


def _model_spec(rng: random.Random, spec: Any) -> str:
    model = rng.choice(list(SIGNATURES))
    spec.name, spec.signature_name = model, rng.choice((*SIGNATURES[model], "", "no"))
    if rng.random() < 0.1:
        spec.version.value = rng.choice((1, 2, -1, 2**63 - 1))
    elif rng.random() < 0.05:
        spec.version_label = rng.choice(("a", "", "ä"))
    return model


def grpc_request(rng: random.Random, new: Callable[[str], Any]) -> tuple[str, bytes]:
    """Method and serialized message; `new` makes an empty request of a method."""
    method = rng.choice(("Predict",) * 8 + METHODS)
    request = new(method)
    if method == "MultiInference":
        for _ in range(rng.randrange(3)):
            task = request.tasks.add(
                method_name=f"tensorflow/serving/{rng.choice(('classify', 'regress', 'x'))}"
            )
            _model_spec(rng, task.model_spec)
    elif method != "HandleReloadConfigRequest" and rng.random() < 0.97:
        _model_spec(rng, request.model_spec)
    if method == "Predict":
        for name in rng.sample(("x", "b", "inputs", ""), rng.choice((1, 1, 1, 2, 0))):
            _tensor(rng, request.inputs[name])
        request.output_filter.extend(rng.sample(("y", "total", "no"), rng.choice((0, 0, 0, 1, 2))))
    elif method in ("Classify", "Regress", "MultiInference"):
        kind = rng.choice((request.input.example_list, request.input.example_list_with_context))
        for _ in range(rng.randrange(4)):
            _example(rng, kind.examples.add())
    elif method == "GetModelMetadata":
        request.metadata_field.append(rng.choice(("signature_def", "", "x")))
    raw = request.SerializeToString()
    return method, mutated(rng, raw) if rng.random() < 0.4 else raw


# HTTP framing

_BODY = b'{"signature_name": "floats", "inputs": [1.0]}'
_HEADERS = (
    b"Host: x", b"Connection: keep-alive", b"Connection: close", b"Connection: Upgrade, HTTP2-Settings",
    b"Upgrade: h2c", b"Upgrade: websocket", b"Expect: 100-continue", b"X: " + b"y" * 5000,
    b"Content-Length: 3", b"Content-Length: -1", b"Content-Length: 999999999999999999999", b"Origin: a",
    b"Transfer-Encoding: chunked", b"Transfer-Encoding: gzip, chunked", b"Transfer-Encoding: identity",
    b"Content-Encoding: gzip", b"bad header", b" folded", b"Name : x", b"\0: x", b": x", b"A:", b"Trailer: T",
)  # fmt: skip
_LINES = (
    b"POST /v1/models/odd:predict HTTP/1.1", b"GET /v1/models/odd HTTP/1.1", b"GET /v1/models/odd HTTP/1.0",
    b"HEAD /v1/models/odd HTTP/1.1", b"OPTIONS * HTTP/1.1", b"CONNECT a:1 HTTP/1.1", b"GET / HTTP/2.0",
    b"GET http://x/v1/models/odd HTTP/1.1", b"GET  HTTP/1.1", b"get / HTTP/1.1", b"PRI * HTTP/2.0",
    b"GET /" + b"a" * 3000 + b" HTTP/1.1", b"GET /v1/models/odd", b"FOO / HTTP/1.1", b"GET /\xff\0 HTTP/1.1",
)  # fmt: skip
GOOD = b"POST /v1/models/odd:predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(_BODY) + _BODY


def _chunked(rng: random.Random, body: bytes) -> bytes:
    found, end = b"", rng.choice((b"\r\n", b"\r\n", b"\r\n", b"\n", b""))
    while body:
        size = rng.randrange(1, len(body) + 1)
        extension = rng.choice((b"", b"", b"", b";a=b", b";" + b"e" * 2000))
        found += b"%x" % size + extension + b"\r\n" + body[:size] + end
        body = body[size:]
    return found + b"0\r\n" + rng.choice((b"", b"", b"T: v\r\n", b"T: v\r\n" * 300)) + b"\r\n"


def _message(rng: random.Random) -> bytes:
    if rng.random() < 0.4:
        return GOOD
    headers = rng.sample(_HEADERS, rng.randrange(5))
    body = _BODY if rng.random() < 0.7 else b""
    if rng.random() < 0.4:
        headers.append(b"Transfer-Encoding: chunked")
        body = _chunked(rng, body)
    elif rng.random() < 0.7:
        headers.append(b"Content-Length: %d" % (len(body) + rng.choice((0, 0, 0, 0, 1, -1))))
    return b"\r\n".join([rng.choice(_LINES), *headers, b"", body])


def http_stream(rng: random.Random) -> list[bytes]:
    """What one connection sends, in pieces, and how many good requests it begins with, as separate pieces."""
    pieces = [GOOD] * rng.randrange(3)
    rest = b"".join(_message(rng) for _ in range(rng.randrange(1, 6)))
    if rng.random() < 0.5:
        rest = mutated(rng, rest)
    while rest:
        size = rng.choice((1, 3, 20, 200, 100_000))
        pieces.append(rest[:size])
        rest = rest[size:]
        if len(pieces) > 30:
            break
    return [*pieces, rest] if rest else pieces
