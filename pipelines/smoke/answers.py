"""Checks of what a server answers: status, metadata, predictions over every protocol, and its errors."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from loadtests.codecs import find_codec, is_bytes, named, of_values, request_headers
from loadtests.codecs.json_rows import listed
from models.spec import ModelSpec
from models.tensors import Array, Tensors, ask, count, sample, samples
from pipelines.http import fetch
from pipelines.smoke.checklist import CheckError, NotApplicableError, require
from pipelines.smoke.subject import Subject
from pipelines.targets.own_checks import OwnChecks, own_checks
from pipelines.targets.protocols import Protocol
from pipelines.targets.registry import find_target

OK, BAD_REQUEST, NOT_FOUND = 200, 400, 404
SAMPLES = 16
ROWS, COLUMNS = "json-rows", "json-columns"
GRPC_ADDRESSES = ("gRPC", "OIP gRPC")  # among an endpoint's addresses
NO_MODEL, NO_INPUT = "no_such_model", "no_such_input"
# A value that a dtype's values may not be written as, by the kind of the dtype.
WRONG_VALUES = {
    "b": (1, "numbers for true and false"),
    "f": (True, "true for numbers"),
    "S": (1, "numbers for text"),
}
FRACTION = (1.5, "fractions for whole numbers")


def status(subject: Subject) -> str:
    """Check that the server reports it is up, and that its API agrees."""
    unready = subject.server.plan.endpoint.status()
    require(unready is None, f"it says: {unready}")
    return _own(subject).status(subject.running)


def metadata(subject: Subject) -> str:
    """Name, version and signature, against the artifact and the model."""
    return _own(subject).metadata(subject.running)


def _own(subject: Subject) -> OwnChecks:
    own = own_checks(subject.target)
    if own is None:
        raise NotApplicableError(f"the target {subject.target} names no checks of its own")
    return own


def rest_row(subject: Subject) -> str:
    """Check the row format, or the target's usual one; samples of one shape in one request."""
    if not _takes_rows(subject):
        return _right(subject, lambda batch: _by_codec(subject, batch), "predictions over REST")
    url = subject.server.plan.endpoint.predict_url
    return _right(
        subject,
        lambda batch: _answer(subject, _predict(url, _rows_body(batch)), "predictions"),
        "predictions over REST",
    )


def _takes_rows(subject: Subject) -> bool:
    return _protocol(subject, lambda protocol: protocol.codec == ROWS) is not None


def _protocol(subject: Subject, wanted: Callable[[Protocol], bool]) -> Protocol | None:
    """Return the first way to ask the target's server that is as wanted; None if it has none."""
    return next(filter(wanted, find_target(subject.target).protocols), None)


def _by_codec(subject: Subject, batch: Tensors) -> Tensors:
    """Return the answers to one request in the format of the subject's pool."""
    return _asked(subject, batch, subject.pool.codec, subject.server.plan.endpoint.predict_url)


def _asked(subject: Subject, batch: Tensors, codec_name: str, url: str) -> Tensors:
    codec = find_codec(codec_name)
    body = codec.encode(list(samples(batch)), subject.spec.name)
    headers = request_headers(codec, body)
    code, answer = fetch(url, body, headers=headers)
    text = answer[:200].decode(errors="replace")
    require(code == OK, f"it answers {code}: {text}")
    outputs = named(codec.decode(answer), [output.name for output in subject.spec.outputs])
    if outputs is None:
        raise CheckError(f"it answers {text}, expected the model's outputs")
    return outputs


def rest_columnar(subject: Subject) -> str:
    """Check the columnar format, of a target whose server takes it."""
    protocol = _protocol(subject, lambda protocol: protocol.codec == COLUMNS)
    if protocol is None:
        raise NotApplicableError(f"{subject.target} has no columnar format")
    url = subject.url + protocol.path_of(subject.spec.name)

    def columns(batch: Tensors) -> dict[str, Array]:
        lists = {name: listed(array) for name, array in batch.items()}
        values = lists if len(lists) > 1 else next(iter(lists.values()))
        return _answer(subject, _predict(url, json.dumps({"inputs": values}).encode()), "outputs")

    return _right(subject, columns, "outputs over REST")


def grpc(subject: Subject) -> str:
    """Check the same samples over gRPC, by the method and in the messages that the target names."""
    protocol = _protocol(subject, lambda protocol: protocol.transport == "grpc")
    if protocol is None:
        raise NotApplicableError(f"{subject.target} has no gRPC")
    addresses = subject.server.plan.endpoint.addresses
    address = next((addresses[name] for name in GRPC_ADDRESSES if name in addresses), None)
    require(address is not None, f"{subject.target} says that it has gRPC, and nothing listens for it")
    url = f"grpc://{address}{protocol.path_of(subject.spec.name)}"
    return _right(subject, lambda batch: _asked(subject, batch, protocol.codec, url), "predictions over gRPC")


def _right(subject: Subject, call: Callable[[Tensors], Tensors], what: str) -> str:
    """Ask for the first samples, those of one shape at once, and require right answers."""

    def rows(batch: Tensors) -> Tensors:
        answer = call(batch)
        for name, array in answer.items():
            require(
                array.ndim > 0 and len(array) == count(batch),
                f"{what}: {name} has shape {array.shape} for {count(batch)} samples",
            )
        return answer

    inputs = subject.inputs(SAMPLES)
    subject.require_right(ask(rows, inputs, SAMPLES), what)
    return f"{count(inputs)} samples right"


def _rows_body(batch: Tensors) -> bytes:
    return _body(
        [{name: _value(array) for name, array in one_sample.items()} for one_sample in samples(batch)]
    )


def _value(array: Array) -> Any:
    """Convert one sample's tensor to what JSON has."""
    return listed(array[None])[0]


def _body(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Encode rows; a single input goes without its name."""
    return json.dumps(
        {"instances": [row if len(row) != 1 else next(iter(row.values())) for row in rows]}
    ).encode()


def _answer(subject: Subject, answer: Any, key: str) -> dict[str, Array]:
    """Return an answer's outputs by name, from rows (`predictions`) or columns (`outputs`)."""
    names = [output.name for output in subject.spec.outputs]
    values = answer.get(key)
    require(isinstance(values, list | dict), f"the answer has no {key}: {json.dumps(answer)[:200]}")
    if isinstance(values, list):
        named_rows = [
            row if isinstance(row, dict) and not is_bytes(row) else {names[0]: row} for row in values
        ]
        values = {name: [row[name] for row in named_rows] for name in names}
    arrays = of_values({name: values[name] for name in names})
    if arrays is None:
        raise CheckError(f"its {key} are no numbers, truth values or text: {json.dumps(answer)[:200]}")
    return arrays


def wrong_bodies(spec: ModelSpec) -> dict[str, bytes]:
    """Return bodies that no server may take for the model, by what is wrong with them."""
    row = {name: _value(array) for name, array in sample(spec.samples().named, 0).items()}
    first = spec.inputs[0].name
    bodies = {
        "a body that is not JSON": b"{instances",
        "a body without instances": b'{"nothing": []}',
        "two instances of different shapes": _body([row, row | {first: [row[first]]}]),
    }
    numbers = [tensor.name for tensor in spec.inputs if not tensor.is_text]
    if numbers:
        bodies["text for numbers"] = _body([row | {numbers[0]: "text"}])
    for tensor in spec.inputs:
        kind = "S" if tensor.is_text else np.dtype(tensor.dtype).kind
        value, what = WRONG_VALUES.get(kind, FRACTION)
        filled = np.full(np.shape(row[tensor.name]), value)
        if filled.size:
            bodies[f"{what} in {tensor.name}"] = _body([row | {tensor.name: filled.tolist()}])
    if len(row) > 1:
        bodies[f"an instance without {first}"] = json.dumps(
            {"instances": [{name: value for name, value in row.items() if name != first}]}
        ).encode()
        bodies["an instance with an input too many"] = _body([row | {NO_INPUT: row[first]}])
    return bodies


def wrong_input(subject: Subject) -> str:
    """Check for status 400 and an error in the server's own form, after which the server goes on."""
    if not _takes_rows(subject):
        raise NotApplicableError(f"{subject.target} takes no JSON rows, which the wrong bodies are made of")
    url, bodies = subject.server.plan.endpoint.predict_url, wrong_bodies(subject.spec)
    for what, body in bodies.items():
        code, answer = fetch(url, body)
        text = answer[:200].decode(errors="replace")
        require(code == BAD_REQUEST, f"{what} gets status {code}, expected {BAD_REQUEST}: {text}")
        error = _parsed(answer).get("error")
        require(isinstance(error, str) and bool(error), f'{what} gets {text}, expected {{"error": "…"}}')
    return f"{len(bodies)} kinds of wrong input get status {BAD_REQUEST} and say why"


def unknown_model(subject: Subject) -> str:
    """Check for status 404 in the server's own form."""
    endpoint = subject.server.plan.endpoint
    if subject.spec.name not in endpoint.predict_path:
        raise NotApplicableError(f"{subject.target} serves one model, whose name is not in its URL")
    url = subject.url + endpoint.predict_path.replace(subject.spec.name, NO_MODEL)
    code, answer = fetch(url, subject.pool.bodies[0])
    text = answer[:200].decode(errors="replace")
    require(code == NOT_FOUND, f"it gets status {code}, expected {NOT_FOUND}: {text}")
    _own(subject).unknown_model(_parsed(answer))
    return f"status {NOT_FOUND}, in the server's own form"


def _predict(url: str, body: bytes) -> Any:
    code, answer = fetch(url, body)
    require(code == OK, f"it answers {code}: {answer[:200].decode(errors='replace')}")
    return _parsed(answer)


def _parsed(answer: bytes) -> Any:
    try:
        return json.loads(answer)
    except ValueError:
        raise CheckError(f"the answer is not JSON: {answer[:200].decode(errors='replace')}") from None
