"""A short load, to see that a server bears one without an error. It measures nothing."""

import tempfile
from pathlib import Path

from loadtests.payloads import PayloadPool
from loadtests.plan import RoundPlan
from pipelines.measure.generator import generate, of_running, private_headers
from pipelines.runners.server import Server
from pipelines.smoke.checklist import require
from pipelines.smoke.subject import Subject

LOAD = "closed:2"
WARMUP_S = 0.5
DURATION_S = 2.5
TIMEOUT_S = 10.0


def load(subject: Subject) -> str:
    """Load the server with two connections for a few seconds and check every answer."""
    return short_load(subject.server, subject.pool, subject.generator_cores)


def short_load(
    server: Server, pool: PayloadPool, cores: tuple[int, ...], max_rate_per_s: float | None = None
) -> str:
    """Put a short load on any server; on a running endpoint at most `max_rate_per_s`, with its time-out."""
    access = server.plan.endpoint.access
    with tempfile.TemporaryDirectory(prefix="tandem-smoke-") as name:
        folder = Path(name)
        pool.save(folder / "pool.zip")
        plan = RoundPlan(
            url_base=server.plan.endpoint.base_url,
            load=LOAD,
            warmup_limit_s=WARMUP_S,
            duration_s=DURATION_S,
            pool_file=folder / "pool.zip",
            samples_file=folder / "samples.parquet",
            result_file=folder / "result.json",
            check_share=1.0,
            seed=0,
            timeout_s=TIMEOUT_S if access is None else access.timeout_s,
            cores=cores,
            **of_running(server, max_rate_per_s),
        )
        result, stopped = generate(plan, folder, lambda _report, _pid: False, private_headers(server))
    if stopped:
        raise KeyboardInterrupt
    kinds = ", ".join(f"{error.count} {error.kind}: {error.example}" for error in result.errors)
    require(result.requests_count > 0, "no request was answered")
    require(result.errors_count == 0, f"{result.errors_count} of {result.requests_count} failed: {kinds}")
    require(result.wrong_count == 0, f"{result.wrong_count} of {result.checked_count} answers were wrong")
    return f"{result.requests_count} requests in {result.window_s:.1f} s, none failed, every answer right"
