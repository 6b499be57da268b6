"""Driving one round: the load generator in a process of its own, and what was going on around it."""

import signal
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from loadtests import delivery
from loadtests.arrivals import NS_PER_S, parse_load
from loadtests.plan import RoundPlan
from loadtests.recorder import read_samples
from loadtests.result import RoundResult
from loadtests.rounds import PlannedRound
from loadtests.validity import Invalidity, RoundFacts, invalidities
from pipelines.children import child_environment, python_module
from pipelines.config import MeasureSettings
from pipelines.environment import CpuShares, CpuUse, cpu_shares, read_cpu
from pipelines.errors import MachineError
from pipelines.processes import before_exec, end_group, interrupts_held, last_lines
from pipelines.record import ErrorRecord, GeneratorRecord, LatencyRecord, RoundRecord
from pipelines.runners.engine_cpu import engine_cpu_s
from pipelines.runners.server import Server

# Beyond warm-up, window and timeout: interpreter and Locust start-up, and writing the samples.
START_AND_FINISH_S = 30.0
NOT_SUMMARISED = LatencyRecord(
    p50=None,
    p90=None,
    p95=None,
    p99=None,
    min=None,
    max=None,
    mean=None,
    reasons={"all": "not summarised yet"},
)


@dataclass(frozen=True)
class Driven:
    """One round as it was measured; `stopped` when somebody asked to stop while it ran.

    `found` is every check the round did not pass.
    """

    record: RoundRecord
    found: tuple[Invalidity, ...]
    server_gone: bool
    stopped: bool


def pool_file(folder: Path, name: str) -> Path:
    """Where a contestant's requests and expected answers are kept."""
    return folder / f"payloads-{name}.json"


def drive(
    planned: PlannedRound,
    attempt: int,
    index: int,
    server: Server,
    all_servers: Sequence[Server],
    settings: MeasureSettings,
    run_folder: Path,
    round_s: float | None = None,
) -> Driven:
    """Measure one round against a running server, `round_s` seconds or as long as the profile says.

    Raises:
        MachineError: the generator failed, or left no result.
    """
    samples = (
        run_folder / "samples" / f"{index:03d}-{planned.target}-{planned.load.replace(':', '-')}.parquet"
    )
    with tempfile.TemporaryDirectory(prefix="tandem-round-") as name:
        plan = RoundPlan(
            url_base=server.plan.base_url,
            load=planned.load,
            warmup_limit_s=settings.profile.warmup_limit_s,
            duration_s=round_s or settings.profile.round_s,
            pool_file=pool_file(run_folder, planned.target),
            samples_file=samples,
            result_file=Path(name) / "result.json",
            check_share=settings.check_share,
            # The two sides of a pair get the same payload order, checks and schedule.
            seed=settings.seed + 1000 * planned.block + planned.repetition,
            timeout_s=settings.timeout_s,
            cores=settings.cores.generator,
            cores_shared=settings.cores.shared,
        )
        before, server_before_s = _read_cpu(all_servers), server.cpu_s()
        result, stopped = generate(plan, Path(name))
        shares = cpu_shares(before, _read_cpu(all_servers))
        server_cpu_s = server.cpu_s() - server_before_s
    sent = _delivery(planned, samples, result)
    found = invalidities(_facts(result, sent, shares))
    record = _record(planned, attempt, index, result, sent, shares, samples.relative_to(run_folder), found)
    # A server that ended took its count along.
    counted = record.model_copy(update={"server_cpu_s": server_cpu_s if server_cpu_s > 0 else None})
    return Driven(counted, found, result.server_gone, stopped)


def _read_cpu(servers: Sequence[Server]) -> CpuUse:
    """The machine's CPU clocks; servers, and the engine that carries containers, are ours and not foreign."""
    found = read_cpu()
    engine_s = engine_cpu_s() if any(s.plan.implementation.runner == "docker" for s in servers) else 0.0
    return replace(found, ours_s=found.ours_s + engine_s + sum(server.cpu_s() for server in servers))


def generate(plan: RoundPlan, folder: Path) -> tuple[RoundResult, bool]:
    """Run the load generator in a process of its own; its result, and whether somebody asked to stop.

    Raises:
        MachineError: it failed, or left no result.
        KeyboardInterrupt: somebody asked to stop before there was one.
    """
    plan_file, log = folder / "plan.json", folder / "generator.log"
    plan.save(plan_file)
    process, stopped = None, False
    limit_s = plan.warmup_limit_s + plan.duration_s + plan.timeout_s + START_AND_FINISH_S
    try:
        with log.open("wb") as stderr, interrupts_held():
            process = subprocess.Popen(
                python_module("loadtests.generator", str(plan_file)),
                stdin=subprocess.DEVNULL,
                stdout=stderr,
                stderr=stderr,
                env=child_environment(),
                start_new_session=True,
                preexec_fn=before_exec(),  # noqa: PLW1509 - system calls, no locks
            )
        process.wait(limit_s)
    except KeyboardInterrupt:
        if process is None:
            raise
        # The generator keeps what it measured when it is told to stop; that is worth the wait.
        process.send_signal(signal.SIGINT)
        stopped = True
        _wait_briefly(process, plan.timeout_s + START_AND_FINISH_S)
    except subprocess.TimeoutExpired:
        raise MachineError(
            f"the load generator did not finish within {limit_s:.0f} s: {last_lines(log)}"
        ) from None
    finally:
        if process is not None:
            end_group(process)
    if not plan.result_file.is_file():
        if stopped:
            raise KeyboardInterrupt
        raise MachineError(f"the load generator failed (exit code {process.returncode}): {last_lines(log)}")
    return RoundResult.load(plan.result_file), stopped


def _wait_briefly(process: "subprocess.Popen[bytes]", limit_s: float) -> None:
    try:
        process.wait(limit_s)
    except (KeyboardInterrupt, subprocess.TimeoutExpired):
        return


@dataclass(frozen=True)
class Delivery:
    """How an open load was sent; all None under closed load, which has no schedule to keep."""

    offered_per_s: float | None = None
    achieved_per_s: float | None = None
    late_share: float | None = None


def _delivery(planned: PlannedRound, samples_file: Path, result: RoundResult) -> Delivery:
    if not parse_load(planned.load).is_open or result.window_start_ns is None:
        return Delivery()
    samples = read_samples(samples_file)
    start_ns = result.window_start_ns
    end_ns = start_ns + round(result.window_s * NS_PER_S)
    return Delivery(
        offered_per_s=delivery.offered_rate(samples.scheduled_ns, start_ns, end_ns),
        achieved_per_s=delivery.achieved_rate(samples.scheduled_ns, samples.sent_ns, start_ns, end_ns),
        late_share=delivery.late_share(samples.scheduled_ns, samples.sent_ns),
    )


def _facts(result: RoundResult, sent: Delivery, shares: CpuShares) -> RoundFacts:
    return RoundFacts(
        requests_count=result.requests_count,
        errors_count=result.errors_count,
        wrong_count=result.wrong_count,
        generator_cpu_share=result.generator.cpu_share,
        steal_share=shares.steal,
        foreign_cpu_share=shares.foreign,
        interrupted=result.interrupted or result.server_gone,
        steady=result.steady,
        delivered_share=delivery.delivered_share(sent.offered_per_s, sent.achieved_per_s),
        late_share=sent.late_share,
        generator_waited_share=result.generator.waited_share,
    )


def _record(
    planned: PlannedRound,
    attempt: int,
    index: int,
    result: RoundResult,
    sent: Delivery,
    shares: CpuShares,
    samples_file: Path,
    found: tuple[Invalidity, ...],
) -> RoundRecord:
    return RoundRecord(
        index=index,
        block=planned.block,
        repetition=planned.repetition,
        attempt=attempt,
        target=planned.target,
        load=planned.load,
        started_at_utc=result.started_at_utc,
        window_s=result.window_s,
        warmup_s=result.warmup_s,
        warmup_requests_count=result.warmup_requests_count,
        steady=result.steady,
        samples_file=samples_file.as_posix(),
        requests_count=result.requests_count,
        errors_count=result.errors_count,
        checked_count=result.checked_count,
        wrong_count=result.wrong_count,
        errors=tuple(ErrorRecord(kind=e.kind, count=e.count, example=e.example) for e in result.errors),
        latency_ms=NOT_SUMMARISED,
        throughput_per_s=None,
        generator=GeneratorRecord(
            cpu_s=result.generator.cpu_s,
            cpu_share=result.generator.cpu_share,
            polled_s=result.generator.polled_s,
            cores=result.generator.cores,
            realtime=result.generator.realtime,
            waited_share=result.generator.waited_share,
        ),
        cpu_steal_share=shares.steal,
        foreign_cpu_share=shares.foreign,
        valid=not found,
        invalid_reasons=tuple(map(str, found)),
        failed_checks=tuple(dict.fromkeys(one.check for one in found)),
        interrupted=result.interrupted or result.server_gone,
        offered_per_s=sent.offered_per_s,
        achieved_per_s=sent.achieved_per_s,
        late_share=sent.late_share,
    )
