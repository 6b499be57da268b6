"""Comparisons of servers whose behaviour is known, through the same machinery as `tandem compare`."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from load_harness import ROOT

from loadtests.payloads import CheckedOutput, PayloadPool
from pipelines.config.settings import MeasureSettings
from pipelines.http import fetch
from pipelines.judge.summarise import summarise_round
from pipelines.judge.verdicts import judge
from pipelines.measure import sides as taking
from pipelines.measure.blocks import measure_blocks
from pipelines.measure.session import Session
from pipelines.measure.sides import Side
from pipelines.processes.group import free_ports
from pipelines.record.comparison import ComparisonRecord, ControlRecord
from pipelines.record.implementation import GivenRecord, ImplementationRecord
from pipelines.record.rounds import RoundRecord
from pipelines.record.target import MemoryRecord, TargetRecord
from pipelines.runners.local import LocalServer
from pipelines.runners.server import Server
from pipelines.targets.endpoint import Endpoint
from pipelines.targets.launch import Launch
from pipelines.targets.server_plan import ServerPlan

MARGIN = 0.05
RIGHT = (0.1, 0.7, 0.2)
"""What loadtests/servers/known_delay.py answers."""


@dataclass(frozen=True)
class Outcome:
    """What a comparison said; rounds by side."""

    rounds: dict[str, tuple[RoundRecord, ...]]
    comparisons: tuple[ComparisonRecord, ...]
    controls: tuple[ControlRecord, ...]
    targets: dict[str, TargetRecord]

    @property
    def all_rounds(self) -> list[RoundRecord]:
        return [record for rounds in self.rounds.values() for record in rounds]


def known_delay(name: str, settings: MeasureSettings, *options: str) -> Side:
    """A compared server that behaves as `options` of loadtests/servers/known_delay.py say."""

    @contextmanager
    def prepare(work: Path) -> Iterator[Server]:
        (port,) = free_ports(1)
        command = (sys.executable, "-m", "loadtests.servers.known_delay", "--port", str(port), *options)
        yield LocalServer(_plan(name, work, port, command, settings))

    bodies = tuple(b'{"instances":[[%d.0]]}' % number for number in range(8))
    outputs = (CheckedOutput("scores", 1e-4, 0.0, classes=True),)
    pool = PayloadPool(
        "POST", "/", {"Content-Type": "application/json"}, bodies, ({"scores": np.array(RIGHT)},), outputs
    )
    return Side(
        name=name,
        target=name,
        role="compared",
        control_of=None,
        prepare=prepare,
        pool=lambda path: replace(pool, path=path),
        prove=None,
    )


def _plan(name: str, work: Path, port: int, argv: tuple[str, ...], settings: MeasureSettings) -> ServerPlan:
    url = f"http://127.0.0.1:{port}"
    return ServerPlan(
        target=name,
        implementation=ImplementationRecord(
            name="known delay",
            version="1",
            runner="local",
            preset="default",
            protocol="REST",
            stand_in=False,
            note=None,
        ),
        given=GivenRecord(
            cores=settings.cores.server,
            workers_count=1,
            threads_per_worker=1,
            batch_max_size=None,
            memory_limit_bytes=None,
        ),
        launch=Launch(argv=argv, cwd=ROOT, log=work / "server.log", cores=settings.cores.server),
        endpoint=Endpoint(
            base_url=url,
            predict_path="/",
            model=name,
            status=lambda: None if fetch(url + "/")[0] in (200, 503) else "not yet",
            addresses={"REST": url},
        ),
    )


def compare(
    sides: Sequence[Side],
    settings: MeasureSettings,
    folder: Path,
    *,
    progress: Callable[[str, str], None] = lambda _title, _text: None,
    on_round: Callable[[], None] = lambda: None,
) -> Outcome:
    """Measure and judge as `tandem compare` does, without a model; with controls if the profile has them."""
    for name in ("samples", "logs"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    taking_part = [*sides, *taking.controls(sides, settings.profile)]
    session = Session(settings, taking_part, folder, progress, on_plans=lambda: None, on_round=on_round)
    measure_blocks(session)
    targets = {
        one.name: _target(
            one, tuple(summarise_round(r, folder) for r in session.measured[one.name].rounds), session
        )
        for one in taking_part
    }
    controls, comparisons = judge(targets, margin=MARGIN, seed=settings.seed)
    return Outcome({name: target.rounds for name, target in targets.items()}, comparisons, controls, targets)


def _target(one: Side, rounds: tuple[RoundRecord, ...], session: Session) -> TargetRecord:
    plan = session.measured[one.name].plan
    assert plan is not None
    return TargetRecord(
        role=one.role,
        control_of=one.control_of,
        implementation=plan.implementation,
        given=plan.given,
        artifacts=(),
        parity=(),
        endpoint_parity=None,
        cold_starts=(),
        memory=MemoryRecord(idle_bytes=None, peak_bytes=None),
        summaries=(),
        rounds=rounds,
        log_file=None,
        conditionings=tuple(session.measured[one.name].conditionings),
        drifts=tuple(session.measured[one.name].drifts),
    )
