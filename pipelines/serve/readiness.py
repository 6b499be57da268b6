"""Bringing a server to the point where it answers right, and checking what a live endpoint answers."""

import math
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from loadtests.codecs import Codec, find_codec, json_rows, named, request_headers
from loadtests.errors import PayloadError
from loadtests.payloads import CheckedOutput, PayloadPool, check_answer
from models.spec import ModelSpec
from models.tensors import Array, Sample, Tensors, count, is_text, joined, sample, shapes
from pipelines.access import Access
from pipelines.errors import GateError, MachineError, RequestError
from pipelines.files.atomic import short_folder
from pipelines.files.leftovers import note_elsewhere
from pipelines.parity import agreement as parity
from pipelines.parity.quality import Expectation, Expectations
from pipelines.record.parity import ParityRecord
from pipelines.record.target import ColdStartRecord
from pipelines.runners.server import Server
from pipelines.targets.protocols import Protocol
from pipelines.verify.stage import Verified

HTTP_OK = 200
JSON_ROWS = Protocol()
SHOWN = 4  # enough values to recognise an answer
CANARY_SAMPLE = 0
POOL_BYTES = 16_000_000
ANSWER_BYTES = 8  # a float64
# The fractional parts of its multiples are evenly spread, however many there are.
GOLDEN = (math.sqrt(5) - 1) / 2
# Every server takes as much as this, however it is configured.
SAFE_BODY_BYTES = 6_500_000


@dataclass(frozen=True)
class Ready:
    """How long a server took from its start: to its own readiness, and to the first right answer."""

    ready_s: float
    first_right_answer_s: float

    def as_record(self, block: int) -> ColdStartRecord:
        """Return the cold start as run.json holds it."""
        return ColdStartRecord(
            block=block,
            ready_s=round(self.ready_s, 3),
            first_right_answer_s=round(self.first_right_answer_s, 3),
        )


def payload_pool(
    spec: ModelSpec,
    expected: Expectations,
    path: str,
    limit_bytes: int = POOL_BYTES,
    *,
    protocol: Protocol = JSON_ROWS,
    rows: int = 1,
    model: str | None = None,
) -> PayloadPool:
    """Request bodies for the held-out samples, `rows` of them each, with the source model's answers.

    Where bodies and answers of all samples are more than `limit_bytes`, as many as fit, but at least one, and
    evenly spread over the set: every round reads the pool, and hundreds of different images measure nothing
    that dozens do not. Which ones does not depend on the protocol, so that all sides ask about the same.
    `model` is the name it is served under, where that is another.

    Raises:
        RequestError: the samples cannot be sent like that.
    """
    by_output, inputs = expected.by_output, spec.samples().named
    places, texts = _chosen(inputs, by_output, limit_bytes)
    codec, groups = find_codec(protocol.codec), grouped(inputs, places, rows)
    bodies = texts
    if protocol.codec != JSON_ROWS.codec or rows != 1:
        bodies = _encoded(
            spec, protocol, [[sample(inputs, place) for place in group] for group in groups], model
        )
    return PayloadPool(
        method="POST",
        path=path,
        headers={} if protocol.transport == "grpc" else request_headers(codec, bodies[0]),
        bodies=bodies,
        expected=tuple(
            {
                name: np.concatenate([np.ravel(expectation.outputs[place]) for place in group])
                for name, expectation in by_output.items()
            }
            for group in groups
        ),
        outputs=tuple(_checked(spec, name, expectation) for name, expectation in by_output.items()),
        rows=(rows,) * len(bodies),
        samples=places if rows == 1 else None,
        codec=protocol.codec,
        transport=protocol.transport,
    )


def _encoded(
    spec: ModelSpec, protocol: Protocol, groups: Sequence[Sequence[Tensors]], model: str | None
) -> tuple[bytes, ...]:
    """Encode each group of samples as one request.

    Raises:
        RequestError: they cannot be sent like that.
    """
    codec = find_codec(protocol.codec)
    try:
        return tuple(codec.encode(group, model or spec.name) for group in groups)
    except PayloadError as error:
        raise RequestError(
            f"{spec.name} cannot be asked with {len(groups[0])} rows of {protocol.body} a request: {error}"
        ) from error


def grouped(inputs: Tensors, places: Sequence[int], rows: int) -> list[tuple[int, ...]]:
    """Group samples into requests, every one at least once and only samples of one shape together.

    The last request of each shape is filled up from the beginning.
    """
    alike: dict[object, list[int]] = {}
    for place in places:
        # Alone in its request, a sample's place does not depend on its shape.
        alike.setdefault(shapes(sample(inputs, place)) if rows > 1 else None, []).append(place)
    return [
        tuple(own[place % len(own)] for place in range(begin, begin + rows))
        for own in alike.values()
        for begin in range(0, len(own), rows)
    ]


def _checked(spec: ModelSpec, name: str, expected: Expectation) -> CheckedOutput:
    return CheckedOutput(
        name,
        expected.tolerance.absolute,
        expected.tolerance.relative,
        classes=expected.task == "classes",
        is_bool=spec.find_output(name).dtype == "bool",
        is_text=spec.find_output(name).is_text,
    )


def _chosen(
    inputs: Tensors, by_output: Mapping[str, Expectation], limit_bytes: int
) -> tuple[tuple[int, ...], tuple[bytes, ...]]:
    """Choose the samples that a pool holds, and return their places in order and their bodies."""
    bodies: dict[int, bytes] = {}
    left = limit_bytes
    for place in sorted(range(count(inputs)), key=lambda place: place * GOLDEN % 1):
        body = json_rows.encode([sample(inputs, place)])
        left -= len(body) + sum(
            ANSWER_BYTES * np.size(expectation.outputs[place]) for expectation in by_output.values()
        )
        if left < 0 and bodies:
            break
        bodies[place] = body
    places = tuple(sorted(bodies))
    return places, tuple(bodies[place] for place in places)


@contextmanager
def work_folder() -> Iterator[Path]:
    """Make a short-named folder for one server, gone when the block ends.

    Raises:
        MachineError: no folder for temporary files has a short name.
    """
    parent = short_folder()
    with tempfile.TemporaryDirectory(prefix="tandem-", dir=parent, ignore_cleanup_errors=True) as name:
        note_elsewhere(name)
        yield Path(name)


def wait_until_right(server: Server, pool: PayloadPool) -> Ready:
    """Wait until the server is ready by its own word and answers one real sample right.

    Raises:
        MachineError: it died or never became ready.
        GateError: it is ready and its answer is wrong.
    """
    ready_s = server.wait_ready()
    url = server.plan.endpoint.predict_url
    try:
        status, body = _post(server, pool, pool.bodies[CANARY_SAMPLE])
    except OSError as error:
        server.require_alive("at its first request")
        hint = _limit_hint(server, pool.bodies[CANARY_SAMPLE])
        raise MachineError(
            f"{server.plan.target} is ready but does not answer at {url}: {error}{hint}"
        ) from error
    if status != HTTP_OK or not check_answer(pool, CANARY_SAMPLE, body):
        raise GateError(
            f"{server.plan.target} is ready but its first answer is wrong: sample {CANARY_SAMPLE}, expected "
            f"{_short(pool)}, got status {status}, {_quoted(server, body)!r}{_refusal_hint(server, status)}"
        )
    ready = Ready(ready_s, time.monotonic() - server.started)
    server.read_configuration()
    return ready


def check_endpoint(server: Server, pool: PayloadPool, inputs: Tensors, verified: Verified) -> ParityRecord:
    """Ask the live endpoint every held-out sample, `inputs` by name, and compare with the source model.

    The bodies of the pool are sent as they are; only samples that it does not hold are encoded here.

    Raises:
        GateError: an answer is an error or is outside tolerance.
        MachineError: the server stopped answering.
    """
    codec = find_codec(pool.codec)
    held = dict(zip(pool.samples, pool.bodies, strict=True)) if pool.samples else {}
    rows, model = (pool.rows_counts[0] or 1), server.plan.endpoint.model
    answers: dict[int, Sample] = {}
    for group in grouped(inputs, range(count(inputs)), rows):
        body = held.get(group[0]) or codec.encode([sample(inputs, place) for place in group], model)
        answers |= zip(group, _ask(server, pool, codec, body, group), strict=True)
    got = typed(joined([answers[place] for place in range(count(inputs))]), verified.expected.tensors)
    record = parity.compare_all(f"{server.plan.target} endpoint", got, verified.expected)
    parity.require(record, verified.expected.primary.reference)
    return record


def typed(answers: Tensors, wanted: Tensors) -> dict[str, Array]:
    """Give answers the float dtypes of `wanted`: JSON has none, and only what the model gives counts."""
    return {
        name: array.astype(wanted[name].dtype) if name in wanted and wanted[name].dtype.kind == "f" else array
        for name, array in answers.items()
    }


def _ask(
    server: Server, pool: PayloadPool, codec: Codec, body: bytes, group: tuple[int, ...]
) -> list[Sample]:
    """Return the outputs for the samples of one request, by name and without the batch dimension."""
    try:
        status, answer = _post(server, pool, body)
    except OSError as error:
        server.require_alive("while its answers were checked")
        url = server.plan.endpoint.predict_url
        hint = _limit_hint(server, body)
        raise MachineError(f"{server.plan.target} stopped answering at {url}: {error}{hint}") from error
    names = [output.name for output in pool.outputs]
    predictions = named(codec.decode(answer), names) if status == HTTP_OK else None
    texts = {output.name for output in pool.outputs if output.is_text}
    if (
        predictions is None
        or {*map(len, predictions.values())} != {len(group)}
        or {name for name, array in predictions.items() if is_text(array)} != texts
    ):
        raise GateError(
            f"{server.plan.target} answered sample {group[0]} with status {status} and "
            f"{_quoted(server, answer)!r}, expected predictions of {', '.join(names)}"
            f"{_refusal_hint(server, status)}"
        )
    return [{name: predictions[name][row] for name in names} for row in range(len(group))]


def _post(server: Server, pool: PayloadPool, body: bytes) -> tuple[int, bytes]:
    return server.plan.endpoint.ask(body, pool.headers)


def _quoted(server: Server, answer: bytes) -> str:
    return (server.plan.endpoint.access or Access()).quoted(answer)


def _refusal_hint(server: Server, status: int) -> str:
    """Add what is known of why a server may refuse a request."""
    hint = server.plan.endpoint.hint
    return f"; {hint}" if hint and status != HTTP_OK else ""


def _limit_hint(server: Server, body: bytes) -> str:
    """Suggest the likely cause when a server drops the connection instead of answering."""
    limit = server.plan.given.max_request_bytes
    if limit is None or len(body) <= min(limit, SAFE_BODY_BYTES):
        return ""
    return (
        f"; the body has {len(body)} bytes and the server may take fewer: its limit was set to {limit} "
        "(max_request_size in TorchServe's configuration), unless its image or preset sets another"
    )


def _short(pool: PayloadPool) -> str:
    """Write the first values of the answer expected to the canary; of strings a pool has digests alone."""
    answer = pool.expected_of(CANARY_SAMPLE)
    texts = {name: ", ".join(f"{value:.4g}" for value in values[:SHOWN]) for name, values in answer.items()}
    texts |= {output.name: "strings" for output in pool.outputs if output.is_text}
    parts = [f"[{texts[name]}{', …' if len(answer[name]) > SHOWN else ''}]" for name in answer]
    return parts[0] if len(parts) == 1 else ", ".join(f"{n} {p}" for n, p in zip(texts, parts, strict=True))
