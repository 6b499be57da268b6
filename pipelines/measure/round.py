"""Driving one round: the load generator in a process of its own, and what was going on around it."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from loadtests import delivery
from loadtests.arrivals import NS_PER_S, parse_load
from loadtests.plan import RoundPlan
from loadtests.recorder import read_samples
from loadtests.reports import Report
from loadtests.result import RoundResult
from loadtests.rounds import PlannedRound
from loadtests.validity import Invalidity, RoundFacts, invalidities
from pipelines.measure.compilers import CompilerClock
from pipelines.measure.cpu import Edges, Neighbours, read_cpu
from pipelines.measure.generator import Listen, of_running, private_headers
from pipelines.measure.machine_speed import Group, MachineSpeed
from pipelines.measure.session import Session
from pipelines.record.reason import reason, recorded
from pipelines.record.rounds import ErrorRecord, GeneratorRecord, LatencyRecord, RoundRecord
from pipelines.runners.server import Server
from pipelines.targets.side import file_stem

NOT_SUMMARISED = LatencyRecord(
    p50=None,
    p90=None,
    p95=None,
    p99=None,
    min=None,
    max=None,
    mean=None,
    reasons={"all": reason("not_summarised")},
)


@dataclass(frozen=True)
class Driven:
    """One round as it was measured; `stopped` when the user asked to stop while it ran.

    `found` is every check the round did not pass.
    """

    record: RoundRecord
    found: tuple[Invalidity, ...]
    server_gone: bool
    stopped: bool


def pool_file(folder: Path, name: str) -> Path:
    """Return where a side's requests and expected answers are kept."""
    return folder / f"payloads-{file_stem(name)}.zip"


def bodies_file(folder: Path, codec: str) -> Path:
    """Return where requests and their answers are kept, for all sides whose bodies are the same."""
    return folder / f"bodies-{codec}.zip"


def drive(
    session: Session,
    planned: PlannedRound,
    attempt: int,
    servers: Mapping[str, Server],
    round_s: float | None = None,
    timeout_s: float | None = None,
) -> Driven:
    """Measure one round against a running server, `round_s` seconds or as long as the run's rounds are.

    Args:
        timeout_s: when a request without an answer has failed; None: as the settings say.

    Raises:
        MachineError: the generator failed, or left no result.
    """
    settings, run_folder, speed = session.settings, session.folder, session.machine_speed
    server, index = servers[planned.target], session.rounds_count
    stem = f"{index:03d}-{file_stem(planned.target)}-{planned.load.replace(':', '-')}"
    samples = run_folder / "samples" / f"{stem}.parquet"
    with tempfile.TemporaryDirectory(prefix="tandem-round-") as name:
        plan = RoundPlan(
            url_base=server.plan.endpoint.base_url,
            load=planned.load,
            warmup_limit_s=settings.profile.warmup_limit_s,
            duration_s=round_s or session.round_s,
            pool_file=pool_file(run_folder, planned.target),
            samples_file=samples,
            result_file=Path(name) / "result.json",
            check_share=settings.check_share,
            # The two sides of a pair get the same payload order, checks and schedule.
            seed=settings.seed + 1000 * planned.block + planned.repetition,
            timeout_s=timeout_s or settings.timeout_s,
            cores=settings.cores.generator,
            cores_shared=settings.cores.shared,
            **of_running(server, settings.max_rate_per_s),
        )
        edges, headers = Edges(), private_headers(server)
        listen = _listen(edges, server, list(servers.values()), speed)
        result, stopped = session.generator.run(plan, Path(name), listen, headers)
    sent = _delivery(planned, samples, result)
    others = edges.neighbours(settings.cores, server.place)
    slowdowns = edges.slowdowns(speed, server.place)
    failed_checks = invalidities(_facts(result, sent, others, slowdowns))
    record = _record(
        planned, attempt, index, result, sent, others, samples.relative_to(run_folder), failed_checks
    )
    counted = record.model_copy(
        update={
            "server_cpu_s": edges.server_cpu_s,
            "compilers_cpu_s": edges.compilers_cpu_s,
            "server_slowdown": slowdowns.get("server"),
            "generator_slowdown": slowdowns.get("generator"),
            "server_probe_ms": edges.server_probe_ms(server.place),
        }
    )
    return Driven(counted, failed_checks, result.server_gone, stopped)


def _listen(edges: Edges, server: Server, servers: Sequence[Server], speed: MachineSpeed) -> Listen:
    """Read the clocks at the window's edges, when the generator says so."""
    compilers = CompilerClock(server.pid)

    def listen(report: Report, generator_pid: int) -> bool:
        if report.kind == "opened":
            edges.before = read_cpu(server, servers, generator_pid, speed, compilers)
        elif report.kind == "closed":
            edges.after = read_cpu(server, servers, generator_pid, speed, compilers)
        return False

    return listen


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


def _facts(
    result: RoundResult, sent: Delivery, others: Neighbours, slowdowns: Mapping[Group, float]
) -> RoundFacts:
    return RoundFacts(
        requests_count=result.requests_count,
        errors_count=result.errors_count,
        wrong_count=result.wrong_count,
        generator_cpu_share=result.generator.cpu_share,
        steal_share=others.steal_share,
        foreign_cores=others.foreign_cores,
        foreign_cpu_share=others.foreign_share,
        interrupted=result.interrupted or result.server_gone,
        steady=result.steady,
        delivered_share=delivery.delivered_share(sent.offered_per_s, sent.achieved_per_s),
        late_share=sent.late_share,
        generator_waited_share=result.generator.waited_share,
        capped_share=result.capped_share,
        server_slowdown=slowdowns.get("server"),
        generator_slowdown=slowdowns.get("generator"),
    )


def _record(
    planned: PlannedRound,
    attempt: int,
    index: int,
    result: RoundResult,
    sent: Delivery,
    others: Neighbours,
    samples_file: Path,
    failed_checks: tuple[Invalidity, ...],
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
        cpu_steal_share=others.steal_share,
        foreign_cpu_share=others.foreign_share,
        foreign_cores=others.foreign_cores,
        valid=not failed_checks,
        invalid_reasons=tuple(map(recorded, failed_checks)),
        failed_checks=tuple(dict.fromkeys(check.check for check in failed_checks)),
        interrupted=result.interrupted or result.server_gone,
        offered_per_s=sent.offered_per_s,
        achieved_per_s=sent.achieved_per_s,
        late_share=sent.late_share,
    )
