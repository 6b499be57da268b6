"""Bringing a server to the point where it answers right, and checking what a live endpoint answers."""

import itertools
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from loadtests.codecs import Codec, find_codec, json_rows
from loadtests.payloads import PayloadPool, check_answer
from models.spec import FloatArray, ModelSpec
from pipelines.errors import GateError, MachineError
from pipelines.files.atomic import short_folder
from pipelines.files.leftovers import note_elsewhere
from pipelines.http import fetch
from pipelines.parity import compare as parity
from pipelines.parity.quality import Expectation
from pipelines.record.parity import ParityRecord
from pipelines.record.target import ColdStartRecord
from pipelines.runners.server import Server
from pipelines.verify.stage import Verified

HTTP_OK = 200
CANARY_SAMPLE = 0
POOL_BYTES = 8_000_000
POOL_LEAST = 32
# Every server takes as much as this, however it is configured.
SAFE_BODY_BYTES = 6_500_000


@dataclass(frozen=True)
class Ready:
    """How long a server took from its start: to its own readiness, and to the first right answer."""

    ready_s: float
    first_right_answer_s: float

    def as_record(self, block: int) -> ColdStartRecord:
        """The same, as run.json holds it."""
        return ColdStartRecord(
            block=block,
            ready_s=round(self.ready_s, 3),
            first_right_answer_s=round(self.first_right_answer_s, 3),
        )


def payload_pool(spec: ModelSpec, expected: Expectation, path: str) -> PayloadPool:
    """A request body per held-out sample, with the source model's answer to it.

    Of large samples only the first ones, as many as `POOL_BYTES` hold but at least `POOL_LEAST`: every round
    reads the pool, and hundreds of different images measure nothing that dozens do not.
    """
    bodies = _bodies(spec.samples().inputs)
    flat = expected.outputs.reshape(len(expected.outputs), -1)[: len(bodies)]
    return PayloadPool(
        method="POST",
        path=path,
        headers={"Content-Type": json_rows.CONTENT_TYPE},
        bodies=bodies,
        expected=tuple(map(tuple, flat.tolist())),
        absolute_tolerance=spec.tolerance_of(spec.output.name).absolute,
        relative_tolerance=spec.tolerance_of(spec.output.name).relative,
        rows=(1,) * len(bodies),
    )


def _bodies(inputs: FloatArray) -> tuple[bytes, ...]:
    bodies: list[bytes] = []
    size_bytes = 0
    for sample in inputs:
        if size_bytes > POOL_BYTES and len(bodies) >= POOL_LEAST:
            break
        bodies += json_rows.encode([sample])
        size_bytes += len(bodies[-1])
    return tuple(bodies)


@contextmanager
def work_folder() -> Iterator[Path]:
    """A short-named folder of a server's own, gone when the block ends.

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
        status, body = fetch(url, pool.bodies[CANARY_SAMPLE])
    except OSError as error:
        server.require_alive("at its first request")
        hint = _limit_hint(server, pool.bodies[CANARY_SAMPLE])
        raise MachineError(
            f"{server.plan.target} is ready but does not answer at {url}: {error}{hint}"
        ) from error
    if status != HTTP_OK or not check_answer(pool, CANARY_SAMPLE, body):
        raise GateError(
            f"{server.plan.target} is ready but its first answer is wrong: sample {CANARY_SAMPLE}, expected "
            f"{_short(pool.expected[CANARY_SAMPLE] if pool.expected else ())}, got status {status}, "
            f"{body[:200].decode(errors='replace')!r}"
        )
    ready = Ready(ready_s, time.monotonic() - server.started)
    server.read_configuration()
    return ready


def check_endpoint(server: Server, pool: PayloadPool, inputs: FloatArray, verified: Verified) -> ParityRecord:
    """Ask the live endpoint every held-out sample, `inputs` (n, …), and compare with the source model.

    The bodies of the pool are sent as they are; only samples beyond those that it holds are encoded here.

    Raises:
        GateError: an answer is an error or is outside tolerance.
        MachineError: the server stopped answering.
    """
    codec, held = find_codec(pool.codec), len(pool.bodies)
    bodies = itertools.chain(pool.bodies, (codec.encode([sample])[0] for sample in inputs[held:]))
    answers = np.stack([_ask(server, codec, body, number) for number, body in enumerate(bodies)])
    expected = verified.expected
    got: FloatArray = answers.reshape(expected.outputs.shape)
    record = parity.compare(f"{server.plan.target} endpoint", got, expected)
    parity.require_parity(record, got, expected)
    return record


def _ask(server: Server, codec: Codec, body: bytes, number: int) -> FloatArray:
    url = server.plan.endpoint.predict_url
    try:
        status, answer = fetch(url, body)
    except OSError as error:
        server.require_alive("while its answers were checked")
        hint = _limit_hint(server, body)
        raise MachineError(f"{server.plan.target} stopped answering at {url}: {error}{hint}") from error
    predictions = codec.decode(answer)
    if predictions is None:
        raise GateError(
            f"{server.plan.target} answered sample {number} with status {status} and "
            f"{answer[:200].decode(errors='replace')!r}, expected predictions"
        )
    return predictions.astype(np.float32)


def _limit_hint(server: Server, body: bytes) -> str:
    """What may be the cause when a server breaks the connection off instead of answering."""
    limit = server.plan.given.max_request_bytes
    if limit is None or len(body) <= min(limit, SAFE_BODY_BYTES):
        return ""
    return (
        f"; the body has {len(body)} bytes and the server may take fewer: its limit was set to {limit} "
        "(max_request_size in TorchServe's configuration), unless its image or preset sets another"
    )


def _short(values: tuple[float, ...]) -> str:
    shown = ", ".join(f"{value:.4g}" for value in values[:4])
    return f"[{shown}{', …' if len(values) > 4 else ''}]"  # noqa: PLR2004 - enough to recognise it
