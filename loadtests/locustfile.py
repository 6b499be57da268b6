"""Load one server with Locust itself, with its web page or without:

    locust -f loadtests/locustfile.py --host http://127.0.0.1:8501
    locust -f loadtests/locustfile.py --host http://127.0.0.1:8501 --headless -u 8 -t 30s \
        --payloads runs/latest/payloads-tfserving.zip --record samples.parquet

With `--payloads` the answers are checked against the source model's; without, requests are made from the
held-out samples of `--model` and their answers are not looked into. The percentiles on Locust's page are
bucketed and mix failures in; the figures to quote come from `--record` and `loadtests.statistics`.

Locust's own `--stop-timeout` is 0, which cuts off requests in flight and so hides the slowest; here it is
15 s, above `--timeout-s`, unless given.
"""

# ruff: noqa: E402 - the import path has to be mended before anything of ours can be imported
import sys
from pathlib import Path

_HERE = Path(__file__).resolve().parent
# Locust puts this folder first on the path, where our `statistics` would hide the standard library's, and the
# working directory, where a project's own `models` would hide ours. Afterwards it takes the first entry away.
_OURS, _CWD = str(_HERE.parent), str(Path.cwd())
sys.path[:] = [_OURS, _OURS, *(entry for entry in sys.path if entry not in {str(_HERE), _CWD, ""}), _CWD]

import itertools
import logging
import time
from argparse import ArgumentParser, Namespace
from typing import Any, NoReturn

import gevent  # type: ignore[import-untyped]
from locust import events
from locust.runners import LocalRunner

from loadtests.codecs import json_rows
from loadtests.errors import LoadTestError
from loadtests.ledger import NEVER, Ledger, Phase
from loadtests.payloads import PayloadPool
from loadtests.recorder import Recorder
from loadtests.users.load_user import ClosedUser, wire_of
from loadtests.users.wire import Wire, tls_context

PATHS = {"tfserving": "/v1/models/{}:predict", "torchserve": "/predictions/{}"}
STOP_TIMEOUT_S = 15
logger = logging.getLogger(__name__)


class PredictUser(ClosedUser):
    """Asks for one prediction after the other. What it sends is prepared when the test starts."""

    abstract = False
    wire_type = Wire
    recorder: Recorder | None = None


def add_options(parser: ArgumentParser) -> None:
    """Declare our options beside Locust's own."""
    parser.set_defaults(stop_timeout=str(STOP_TIMEOUT_S))
    group = parser.add_argument_group("Tandem")
    group.add_argument("--payloads", help="payload pool (a zip); its answers are checked")
    group.add_argument("--model", default="digits_cnn", help="model whose samples to send without --payloads")
    group.add_argument(
        "--target", choices=sorted(PATHS), default="tfserving", help="whose URLs to use with --model"
    )
    group.add_argument("--record", help="Parquet file for one record per request")
    group.add_argument("--check-share", type=float, default=0.01, help="share of answers to check, 0 to 1")
    group.add_argument(
        "--timeout-s", type=float, default=10.0, help="silence after which a request has failed"
    )
    group.add_argument(
        "--insecure", action="store_true", help="do not look at the certificate of an https address"
    )
    group.add_argument(
        "--ca-file", help="PEM file of the authorities to trust, in place of the machine's own"
    )
    group.add_argument("--seed", type=int, default=0, help="decides the order of payloads and checks")


def make_pool(environment: Any, **_: Any) -> None:
    """Encode all requests before anything starts."""
    options = environment.parsed_options
    if options.record and not isinstance(environment.runner, LocalRunner | None):
        _fail("--record works in a single process: leave out --processes, --master and --worker")
    try:
        PredictUser.pool = (
            PayloadPool.load(Path(options.payloads)) if options.payloads else model_pool(options)
        )
        PredictUser.wire_type = wire_of(PredictUser.pool.transport)
        if environment.host:
            PredictUser.wire_type.require_url(environment.host)
        if PredictUser.wire_type is Wire or options.ca_file or options.insecure:
            PredictUser.tls = tls_context(ca_file=options.ca_file, insecure=options.insecure)
    except (LoadTestError, ImportError, ValueError) as error:
        _fail(str(error))
    PredictUser.network_timeout = options.timeout_s
    logger.info(
        "answers are %s", "checked" if PredictUser.pool.expected else "not checked, for want of --payloads"
    )
    logger.info("requests in flight at the end are awaited for %s s", environment.stop_timeout)
    # Locust counts --run-time from the event loop's last idea of the time, from before all this work.
    gevent.get_hub().loop.update_now()


def open_ledger(environment: Any, **_: Any) -> None:
    """Begin a fresh ledger, and a fresh recording if one was asked for."""
    options = environment.parsed_options
    try:
        PredictUser.wire_type.require_url(environment.host or "")
    except LoadTestError as error:
        _fail(str(error))
    PredictUser.recorder = Recorder(Path(options.record)) if options.record else None
    phases = [_phase(options, recorder) for recorder in (None, PredictUser.recorder)]
    PredictUser.ledger = Ledger(*phases)
    PredictUser.ledger.open_window(time.monotonic_ns(), NEVER)
    PredictUser.requests = PredictUser.wire_type.encode(PredictUser.pool, environment.host)
    PredictUser.seed = options.seed
    PredictUser.users_count = itertools.count()


def close_recording(**_: Any) -> None:
    """Finish the recording."""
    if PredictUser.recorder is not None:
        PredictUser.recorder.close()
        logger.info("recorded %d requests in %s", PredictUser.recorder.rows_count, PredictUser.recorder.path)


def model_pool(options: Namespace) -> PayloadPool:
    """Make a pool from the held-out samples of a model, without expected answers.

    Raises:
        ValueError: there is no such model.
    """
    from models.spec import load_model
    from models.tensors import samples

    model = load_model(options.model)
    return PayloadPool(
        method="POST",
        path=PATHS[options.target].format(model.name),
        headers={"Content-Type": "application/json"},
        bodies=tuple(json_rows.encode([sample]) for sample in samples(model.samples().named)),
    )


def _phase(options: Namespace, recorder: Recorder | None) -> Phase:
    return Phase(PredictUser.pool, check_share=options.check_share, seed=options.seed, recorder=recorder)


def _fail(message: str) -> NoReturn:
    sys.stderr.write(message + "\n")
    raise SystemExit(2)


hooks: Any = events
hooks.init_command_line_parser.add_listener(add_options)
hooks.init.add_listener(make_pool)
hooks.test_start.add_listener(open_ledger)
hooks.test_stop.add_listener(close_recording)
