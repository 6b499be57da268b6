"""Runs one round with Locust as a library. Importing this makes the process a gevent one."""

import gc
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import gevent  # type: ignore[import-untyped]
from locust.env import Environment

from loadtests.arrivals import NS_PER_S
from loadtests.last_moment import LastMoment, ahead_ns
from loadtests.ledger import Ledger, Phase
from loadtests.pace import Pace
from loadtests.payloads import PayloadPool
from loadtests.plan import RoundPlan
from loadtests.private import blotted
from loadtests.recorder import Recorder
from loadtests.reports import Report, Seconds
from loadtests.result import GeneratorUse, RoundResult
from loadtests.users.load_user import round_user
from loadtests.users.wire import tls_context
from loadtests.warmup import WarmUp

LOOK_UP_S: Final = 0.05
"""How often the round looks whether it has been told to stop."""

GRACE_S: Final = 0.5
"""Beyond a request's own timeout, before a request in flight at the end is cut off."""

OPENING_NS: Final = 150_000_000
"""From the decision to the opening: users that wait for an arrival look up more often (LOOK_UP_NS)."""

SCHEDSTAT: Final = Path("/proc/self/schedstat")

StopRequests = Callable[[], int]
"""Returns how many times the round has been told to stop; the second time it does not wait for answers."""


def run_round(
    plan: RoundPlan,
    stop_requests: StopRequests,
    *,
    core_is_ours: bool,
    private_headers: Mapping[str, str] | None = None,
) -> RoundResult:
    """Carry out `plan` and leave its samples on disk.

    Args:
        plan: what to do.
        stop_requests: see above.
        core_is_ours: no server runs on the generator's cores, so that it may stay awake before each arrival.
        private_headers: sent with every request; what they hold is blotted out of every text in the result.

    Raises:
        LoadTestError: the pool or the certificates cannot be read, or the requests not recorded.
    """
    private = dict(private_headers or {})
    pool = PayloadPool.load(plan.pool_file)
    pool = replace(pool, headers={**pool.headers, **private}) if private else pool
    _prepare(pool)
    with Recorder(plan.warmup_file) as warmup, Recorder(plan.samples_file) as samples:
        ledger = Ledger(_phase(plan, pool, warmup), _phase(plan, pool, samples))
        last_moment = _last_moment(plan, core_is_ours=core_is_ours)
        pace = Pace(plan.max_rate_per_s) if plan.max_rate_per_s and not plan.parsed_load.is_open else None
        times = _drive(plan, pool, ledger, last_moment, stop_requests, pace)
    if ledger.error is not None:
        raise ledger.error
    result = _result(ledger, times)
    errors = tuple(
        replace(group, example=blotted(group.example, private.values())) for group in result.errors
    )
    return replace(result, errors=errors, capped_share=_capped_share(pace, result.requests_count))


def _capped_share(pace: Pace | None, requests_count: int) -> float | None:
    return None if pace is None or not requests_count else min(1.0, pace.held_count / requests_count)


@dataclass(frozen=True)
class _Clocks:
    """What this process had used when they were read, seconds; `cpu_s` holds `polled_s` as well."""

    cpu_s: float
    polled_s: float
    waited_s: float | None


@dataclass
class _Times:
    """What the clocks said while the round ran; `before` and `after` the window, None if it never opened."""

    started_at_utc: str
    started_ns: int
    steady: bool | None = None
    before: _Clocks | None = None
    after: _Clocks | None = None
    interrupted: bool = False


def _prepare(pool: PayloadPool) -> None:
    """Do now what would otherwise be done, or be cleaned up, in the middle of the measurement."""
    _ = pool.rows_counts, pool.allowed
    gc.collect()
    gc.freeze()


def _phase(plan: RoundPlan, pool: PayloadPool, recorder: Recorder) -> Phase:
    return Phase(pool, check_share=plan.check_share, seed=plan.seed, recorder=recorder)


def _last_moment(plan: RoundPlan, *, core_is_ours: bool) -> LastMoment:
    load = plan.parsed_load
    # On a core that a server needs, polling would be a load of its own.
    return LastMoment(ahead_ns(load.value) if load.is_open and core_is_ours else 0)


def _drive(
    plan: RoundPlan,
    pool: PayloadPool,
    ledger: Ledger,
    last_moment: LastMoment,
    stop_requests: StopRequests,
    pace: Pace | None,
) -> _Times:
    runner, users = _runner(plan, pool, ledger, last_moment, pace)
    times = _Times(datetime.now(UTC).isoformat(timespec="milliseconds"), time.monotonic_ns())
    warm_up = _begin(plan, ledger)
    # Without a warm-up users know beforehand when the window opens, and send nothing until then.
    seconds = _open_window(plan, ledger) if warm_up is None else None
    runner.start(users, spawn_rate=users)
    runner.spawning_greenlet.get()
    try:
        if warm_up is not None:
            _wait(ledger, stop_requests, times, warm_up.is_over)
            times.steady = warm_up.steady
            seconds = _open_window(plan, ledger)
        _measure(ledger, seconds, stop_requests, times, last_moment)
        _drain(runner, plan.timeout_s + GRACE_S, stop_requests)
    finally:
        runner.quit()
    return times


def _measure(
    ledger: Ledger,
    seconds: Seconds | None,
    stop_requests: StopRequests,
    times: _Times,
    last_moment: LastMoment,
) -> None:
    """Wait for the window's beginning and for its end; the clocks are read at these two edges."""
    _wait(ledger, stop_requests, times, lambda now_ns: now_ns >= ledger.window_start_ns)
    times.before = _clocks(last_moment)
    Report("opened").say()
    _wait(ledger, stop_requests, times, ledger.is_over, seconds)
    times.after = _clocks(last_moment)
    Report("closed").say()


def _runner(
    plan: RoundPlan, pool: PayloadPool, ledger: Ledger, last_moment: LastMoment, pace: Pace | None
) -> tuple[Any, int]:
    """Return a runner and how many users it shall start."""
    load = plan.parsed_load
    user_class = round_user(
        load.is_open,
        ledger=ledger,
        pool=pool,
        url_base=plan.url_base,
        seed=plan.seed,
        timeout_s=plan.timeout_s,
        rate_per_s=load.value,
        last_moment=last_moment,
        tls=_tls(plan),
        pace=pace,
    )
    environment = Environment(user_classes=[user_class], host=plan.url_base)
    return environment.create_local_runner(), 1 if load.is_open else int(load.value)


def _tls(plan: RoundPlan) -> Any:
    """Return how to check the server's certificate; None if nothing is encrypted."""
    if not plan.url_base.startswith(("https:", "grpcs:")):
        return None
    return tls_context(ca_file=plan.ca_file or None, insecure=plan.insecure)


def _begin(plan: RoundPlan, ledger: Ledger) -> WarmUp | None:
    """Begin the warm-up and return what watches it; None without one."""
    if plan.warmup_limit_s == 0:
        return None
    limit_ns, load = round(plan.warmup_limit_s * NS_PER_S), plan.parsed_load
    rate_per_s, users_count = (load.value, 1) if load.is_open else (None, int(load.value))
    warm_up = WarmUp(time.monotonic_ns(), limit_ns, rate_per_s, users_count)
    ledger.begin_warmup(warm_up)
    return warm_up


def _open_window(plan: RoundPlan, ledger: Ledger) -> Seconds | None:
    """Let the window open in a moment; return what counts its seconds, if the plan asks for that."""
    start_ns = time.monotonic_ns() + OPENING_NS
    seconds = Seconds(start_ns) if plan.reports_seconds else None
    ledger.open_window(start_ns, start_ns + round(plan.duration_s * NS_PER_S), seconds)
    return seconds


def _wait(
    ledger: Ledger,
    stop_requests: StopRequests,
    times: _Times,
    is_time: Callable[[int], bool],
    seconds: Seconds | None = None,
) -> None:
    """Wait until it `is_time`, asked with the monotonic clock's nanoseconds, or until the round's end.

    Every one of the `seconds` is said when it is over.
    """
    while not (is_time(now_ns := time.monotonic_ns()) or ledger.is_over(now_ns)):
        if stop_requests():
            times.interrupted = True
            ledger.stop(now_ns)
        for report in seconds.ended(now_ns) if seconds else ():
            report.say()
        gevent.sleep(max(0.0, min(LOOK_UP_S, (_next_edge_ns(ledger, now_ns) - now_ns) / NS_PER_S)))


def _next_edge_ns(ledger: Ledger, now_ns: int) -> int:
    """Return when the window opens, or when it ends if it is open."""
    return ledger.window_start_ns if now_ns < ledger.window_start_ns else ledger.end_ns


def _drain(runner: Any, patience_s: float, stop_requests: StopRequests) -> None:
    """Wait for the answers still due, but not if the round has been told to stop twice."""
    deadline = time.monotonic() + patience_s
    told_twice = 2
    while time.monotonic() < deadline and stop_requests() < told_twice:
        if runner.user_greenlets.join(timeout=LOOK_UP_S):
            return


def _result(ledger: Ledger, times: _Times) -> RoundResult:
    window_s = max(0, ledger.end_ns - ledger.window_start_ns) / NS_PER_S
    opened = window_s > 0
    window_start_ns = ledger.window_start_ns if opened else ledger.end_ns
    window = ledger.window
    return RoundResult(
        started_at_utc=times.started_at_utc,
        window_start_ns=ledger.window_start_ns if opened else None,
        window_s=window_s,
        warmup_s=(window_start_ns - times.started_ns) / NS_PER_S,
        steady=times.steady,
        warmup_requests_count=ledger.warmup.requests_count,
        requests_count=window.requests_count,
        errors_count=window.errors_count,
        checked_count=window.checked_count,
        wrong_count=window.wrong_count,
        errors=window.errors,
        bytes_received=window.bytes_received,
        generator=_generator_use(times, window_s),
        server_gone=ledger.server_gone,
        interrupted=times.interrupted,
    )


def _clocks(last_moment: LastMoment) -> _Clocks:
    return _Clocks(time.process_time(), last_moment.polled_ns / NS_PER_S, waited_s())


def _generator_use(times: _Times, window_s: float) -> GeneratorUse:
    cores = tuple(sorted(os.sched_getaffinity(0)))
    realtime = os.sched_getscheduler(0) == os.SCHED_FIFO
    before, after = times.before, times.after
    if window_s <= 0 or before is None or after is None:
        return GeneratorUse(
            cpu_s=0.0, cpu_share=None, polled_s=0.0, cores=cores, realtime=realtime, waited_share=None
        )
    polled_s = after.polled_s - before.polled_s
    cpu_s = after.cpu_s - before.cpu_s - polled_s
    waited = None
    if before.waited_s is not None and after.waited_s is not None:
        waited = (after.waited_s - before.waited_s) / window_s
    return GeneratorUse(
        cpu_s=cpu_s,
        cpu_share=cpu_s / window_s,
        polled_s=polled_s,
        cores=cores,
        realtime=realtime,
        waited_share=waited,
    )


def waited_s() -> float | None:
    """Return how long this process's main thread has been ready to run and had no core, in seconds.

    From /proc, see "schedstat" in the kernel's documentation; None where the kernel does not keep count.
    """
    try:
        _, waited_ns, _ = SCHEDSTAT.read_text().split()
    except (OSError, ValueError):
        return None
    return int(waited_ns) / NS_PER_S
