"""`tandem gate --self-test`: whether the gate fires on this machine, with faults of our own making.

One target is measured four times in one run, all behind the same proxy: `base` and `same` as they are, `slow`
with a delay in front of every request, `wrong` with one wrong answer in so many.
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from loadtests.servers.faulty import Faults
from loadtests.statistics import samples_needed
from pipelines.config.asked import run_settings
from pipelines.config.settings import RunSettings
from pipelines.console import format as fmt
from pipelines.errors import GateError, MachineError, RequestError
from pipelines.gate.baseline import BASE, Pair
from pipelines.gate.decision import findings, overall
from pipelines.gate.finding import Finding, Word
from pipelines.gate.interleaved import GATE_BLOCKS
from pipelines.gate.limits import DEFAULT_LIMIT, METRICS, Limit
from pipelines.gate.presentation import line, name_of
from pipelines.measure.blocks import measure_blocks
from pipelines.measure.sides import Side
from pipelines.outputs.facts import Check, Facts
from pipelines.processes.children import python_module
from pipelines.processes.group import free_ports
from pipelines.record.run import RunRecord
from pipelines.run.failing import Kept, carrying
from pipelines.run.run import Run, conclude, start_run
from pipelines.runners.local import LocalRunner, LocalServer
from pipelines.runners.server import Server
from pipelines.targets.server_plan import ServerPlan
from pipelines.tasks.tasks import Progress

SAME, SLOW, WRONG = "same", "slow", "wrong"
NAMES = (SAME, SLOW, WRONG, BASE)
"""The first side of a comparison is the candidate, so the base comes last."""
UNCONTROLLED = f"{WRONG}-control"
"""Wrong answers are counted, which takes no noise floor."""
LOAD = "closed:1"
"""One request at a time: under more, a server that is busy all the time hides a delay in its queue."""
ROUND_S = 2.0
USUAL_MS = 2.0
SPARE = 1.25
"""A round of `slow` has to hold as many requests as a p99 needs, one after the other."""
LIMITS = tuple(Limit(METRICS[key], DEFAULT_LIMIT) for key in ("p99", "p50", "throughput"))
"""Where none are asked for: a server that is too slow for a p99 still has the other two."""
SPEEDS = frozenset({"p99", "p95", "p50", "throughput"})
MOVED = frozenset({"p50", "throughput"})
"""What a share of p50 slows down by about that share; p99 is larger, so its share is smaller."""
USUAL_DELAY_MS = 5.0
DELAY_LIMIT_MS = 1000.0
SLOWDOWN_LIMIT = 10.0
WRONG_EVERY_LIMIT = 10**6


@dataclass(frozen=True)
class SelfTestRequest:
    """What to inject.

    Attributes:
        delay_ms: in front of every request of `slow`.
        wrong_every: one answer in so many of `wrong` has other numbers.
        slowdown: the delay as a share of the p50 that the server has here, in place of `delay_ms`.
        server_cores, generator_core: as typed, such as "0-2" and "3"; None to choose.
    """

    model: str
    target: str
    delay_ms: float
    wrong_every: int
    limits: tuple[Limit, ...]
    artifacts: Path
    runs: Path
    slowdown: float | None = None
    server_cores: str | None = None
    generator_core: str | None = None

    @property
    def injected(self) -> str:
        """What `slow` has, for people."""
        of_p50 = "" if self.slowdown is None else f", {fmt.percent(self.slowdown)} of p50,"
        return f"{self.delay_ms:.3g} ms{of_p50} before every request"


@dataclass(frozen=True)
class Trial:
    """What the gate said of one side, and what it should have said.

    Attributes:
        expected: metrics of which one at least must fail, and none may pass; none for no failure.
    """

    side: str
    injected: str
    expected: frozenset[str]
    findings: tuple[Finding, ...]

    @property
    def word(self) -> Word:
        """The gate's word."""
        return overall(self.findings)

    @property
    def passed(self) -> bool:
        """Whether what should fail did and none of it passed; without an injected fault, nothing failed."""
        words = {
            finding.word for finding in self.findings if finding.metric in self.expected or not self.expected
        }
        return ("fail" in words and "pass" not in words) if self.expected else "fail" not in words

    @property
    def unsure(self) -> bool:
        """Whether it did not fail only because what should have is undecided, and none of that passed."""
        words = {finding.word for finding in self.findings if finding.metric in self.expected}
        return not self.passed and bool(words) and "pass" not in words


@dataclass(frozen=True)
class SelfTestResult:
    """What the gate made of every fault."""

    model: str
    trials: tuple[Trial, ...]
    folder: Path
    started_at_utc: str

    @property
    def failures(self) -> tuple[Trial, ...]:
        """The faults that the gate did not see, or saw where none was."""
        return tuple(trial for trial in self.trials if not trial.passed)


def self_test(request: SelfTestRequest, command: Sequence[str], progress: Progress) -> SelfTestResult:
    """Measure the four sides and hold the gate's words against what was injected.

    Raises:
        RequestError: a fault that cannot be, or cores that this process may not use.
        MachineError: the server failed, or answered too little for a single wrong answer.
        KeyboardInterrupt: the user asked to stop. Either error carries what was measured (see `carried_by`).
    """
    _require_possible(request)
    if request.slowdown is not None:
        p50_ms = measure_p50_ms(request, command, progress)
        request = replace(request, delay_ms=request.slowdown * p50_ms)
    run = start_run("compare", _settings(request), LocalRunner(), command, progress)
    proven = len(run.verified.expected)
    faults = {
        SLOW: Faults(delay_s=request.delay_ms / 1000),
        WRONG: Faults(wrong_every=request.wrong_every, wrong_after=proven + 1),
    }
    run.session.sides = [
        replace(side, prepare=behind(side, faults.get(side.control_of or side.name, Faults())))
        for side in run.session.sides
        if side.name != UNCONTROLLED
    ]
    progress("self-test", f"{len(NAMES)} sides of {request.target} behind a proxy, into {run.folder}")
    record = conclude(run, _measure)
    with carrying(Kept(record, run.folder)):
        if record.status == "interrupted":
            raise KeyboardInterrupt
        trials = _trials(record, request)
    return SelfTestResult(record.model.name, trials, run.folder, record.started_at_utc)


def _measure(run: Run) -> None:
    measure_blocks(run.session)


def measure_p50_ms(request: SelfTestRequest, command: Sequence[str], progress: Progress) -> float:
    """Measure the p50 of the server behind a proxy without faults, in a run of one round.

    Raises:
        MachineError: the server failed, or the round gave no p50.
        KeyboardInterrupt: the user asked to stop. Either error carries the run.
    """
    settings = _settings_of((BASE,), request, blocks=1, rounds=1)
    run = start_run("compare", settings, LocalRunner(), command, progress)
    run.session.sides = [
        replace(side, prepare=behind(side, Faults())) for side in run.session.sides if side.name == BASE
    ]
    progress("self-test", f"measuring p50 of {request.target} behind a proxy, into {run.folder}")
    record = conclude(run, _measure)
    with carrying(Kept(record, run.folder)):
        if record.status == "interrupted":
            raise KeyboardInterrupt
        return _last_p50_ms(record, request.target, run.folder)


def _last_p50_ms(record: RunRecord, target: str, folder: Path) -> float:
    p50s = [each.latency_ms.p50 for each in record.targets[BASE].rounds if each.latency_ms.p50 is not None]
    if not p50s:
        raise MachineError(
            f"no round of {target} gave a p50 to slow it down by a share of; see {folder}, or "
            "give --delay-ms in place of --slowdown"
        )
    return p50s[-1]


def asked_slowdown(text: str) -> float:
    """Parse a percentage of p50, such as 10%.

    Raises:
        RequestError: it is none, or out of range.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?) ?%", text.strip(), re.ASCII)
    share = float(match[1]) / 100 if match else 0.0
    if not 0 < share <= SLOWDOWN_LIMIT:
        raise RequestError(
            f"--slowdown is {text[:40]!r}; a percentage of p50 is allowed, above 0%, at most "
            f"{SLOWDOWN_LIMIT:.0%}, such as 10%"
        )
    return share


def _require_possible(request: SelfTestRequest) -> None:
    if request.slowdown is None and not 0 < request.delay_ms <= DELAY_LIMIT_MS:
        raise RequestError(
            f"--delay-ms is {request.delay_ms:g}; allowed: above 0, at most {DELAY_LIMIT_MS:g}, such as 5"
        )
    if not 1 <= request.wrong_every <= WRONG_EVERY_LIMIT:
        raise RequestError(
            f"--wrong-every is {request.wrong_every}; allowed: 1 to {WRONG_EVERY_LIMIT}, such as 1000"
        )
    if not any(limit.metric.key in SPEEDS for limit in request.limits):
        raise RequestError(
            "the self-test injects a slowdown, and no limit is about speed; leave the limits out, or give "
            "--max-p99-regression, p95, p50 or throughput"
        )
    if request.slowdown is not None:
        _require_beyond_limits(request.slowdown, request.limits)


def _require_beyond_limits(slowdown: float, limits: Sequence[Limit]) -> None:
    """Raise RequestError if a gate that is right would not say `fail` of such a slowdown."""
    moved = [limit for limit in limits if limit.metric.key in MOVED]
    if not moved:
        raise RequestError(
            "--slowdown is a share of p50, and no limit is about p50 or throughput; leave the limits out, or "
            "give --max-p50-regression or --max-throughput-regression"
        )
    within = [limit for limit in moved if slowdown <= limit.margin]
    if within:
        allowing = ", ".join(f"{limit.metric.option} is {limit.share * 100:g}%" for limit in within)
        least = math.ceil(max(limit.margin for limit in moved) * 1e4) / 100
        raise RequestError(
            f"--slowdown is {slowdown * 100:g}%, of which a gate says no `fail`: {allowing}; allowed: above "
            f"{least:g}%, such as {2 * least:g}%, or give smaller limits"
        )


def _settings(request: SelfTestRequest) -> RunSettings:
    return _settings_of(NAMES, request, **({} if request.slowdown is None else {"blocks": GATE_BLOCKS}))


def _settings_of(names: Sequence[str], request: SelfTestRequest, **changes: int) -> RunSettings:
    settings = run_settings(
        profile="quick",
        sides=",".join(f"{name}={request.target}" for name in names),
        model=request.model,
        loads=LOAD,
        round_s=max(ROUND_S, SPARE * samples_needed(99) * (request.delay_ms + USUAL_MS) / 1000),
        artifacts=request.artifacts,
        runs=request.runs,
        server_cores=request.server_cores,
        generator_core=request.generator_core,
        **changes,
    )
    return settings.model_copy(update={"mobile": False})


def behind(side: Side, faults: Faults) -> Callable[[Path], AbstractContextManager[Server]]:
    """Put a proxy with these faults before the side's server; a side without faults has a proxy too."""

    @contextmanager
    def prepare(work: Path) -> Iterator[Server]:
        with side.prepare(work) as server:
            yield LocalServer(behind_proxy(server.plan, faults))

    return prepare


def behind_proxy(plan: ServerPlan, faults: Faults) -> ServerPlan:
    """Return a plan of the same server behind a proxy that starts it; its status is asked directly."""
    upstream = int(plan.endpoint.base_url.rpartition(":")[2])
    (port,) = free_ports(1, "127.0.0.1")
    argv = python_module(
        "loadtests.servers.faulty",
        f"--port={port}",
        f"--upstream={upstream}",
        f"--delay-ms={faults.delay_s * 1000:g}",
        f"--wrong-every={faults.wrong_every}",
        f"--wrong-after={faults.wrong_after}",
        "--",
        *plan.launch.argv,
    )
    return replace(
        plan,
        launch=replace(plan.launch, argv=tuple(argv)),
        endpoint=replace(plan.endpoint, base_url=f"http://127.0.0.1:{port}"),
    )


def _trials(record: RunRecord, request: SelfTestRequest) -> tuple[Trial, ...]:
    seen = SPEEDS if request.slowdown is None else MOVED
    slower = seen & {limit.metric.key for limit in request.limits}
    expected: Mapping[str, tuple[str, frozenset[str]]] = {
        SAME: ("nothing", frozenset()),
        SLOW: (request.injected, slower),
        WRONG: (f"one wrong answer in {request.wrong_every}", frozenset({"answers"})),
    }
    _require_injected(record, request)
    seed = record.profile.seed if record.profile else 0
    return tuple(
        Trial(
            name,
            injected,
            wanted,
            findings([Pair(name, record, name, record, BASE)], request.limits, seed),
        )
        for name, (injected, wanted) in expected.items()
    )


def _require_injected(record: RunRecord, request: SelfTestRequest) -> None:
    """Raise MachineError if a slow server never came to its first wrong answer."""
    answers = sum(round_.requests_count for round_ in record.targets[WRONG].rounds)
    if answers < request.wrong_every:
        raise MachineError(
            f"the side `{WRONG}` gave {answers} answers, too few for one in {request.wrong_every}; ask for a "
            "smaller --wrong-every"
        )


def told(trial: Trial) -> str:
    """Describe what was injected and what the gate said of it, on one line."""
    failed = [name_of(finding) for finding in trial.findings if finding.word == "fail"]
    outcome = f"fail ({', '.join(failed)})" if failed else trial.word
    right = "as it should" if trial.passed else "NOT as it should"
    return f"{trial.side}, {trial.injected} injected: {outcome}, {right}"


def facts_of_self_test(result: SelfTestResult) -> Facts:
    """Return the facts that --output writes."""
    checks = tuple(
        Check(
            trial.side,
            "the gate",
            f"it sees what was injected: {trial.injected}",
            "passed" if trial.passed else "failed",
            "; ".join(map(line, trial.findings)),
        )
        for trial in result.trials
    )
    return Facts(
        command="gate --self-test",
        model=result.model,
        headline="; ".join(map(told, result.trials)),
        started_at_utc=result.started_at_utc,
        passed=not result.failures,
        checks=checks,
    )


def require(result: SelfTestResult) -> None:
    """Raise GateError if the gate was wrong, MachineError if the machine let it decide nothing."""
    if result.failures and all(trial.unsure for trial in result.failures):
        why = "; ".join(
            line(finding)
            for trial in result.failures
            for finding in trial.findings
            if finding.metric in trial.expected and finding.word == "undecided"
        )
        raise MachineError(f"the self-test decided nothing: {why}; make the machine quiet and run it again")
    if result.failures:
        raise GateError(
            f"the gate's self-test failed: {'; '.join(map(told, result.failures))}; see {result.folder} for "
            "how quiet the machine was, and do not rely on the gate here"
        )
