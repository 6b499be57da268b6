"""Servers and a generator of which nothing is real but the figures: a minute of load takes a moment.

A server's speed is a function of the seconds of load that it has had, as a compiler's or a cache's is.
"""

from collections.abc import Callable, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType, SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from loadtests.arrivals import NS_PER_S, parse_load
from loadtests.plan import RoundPlan
from loadtests.recorder import SCHEMA
from loadtests.reports import Report
from loadtests.result import GeneratorUse, RoundResult
from pipelines.config.profiles import Profile
from pipelines.config.settings import MeasureSettings
from pipelines.measure.session import Session
from pipelines.measure.sides import Side, controls
from pipelines.record.target import TargetRecord

Speed = Callable[[float], float]
"""Requests per second after so many seconds of load."""


def level_wave(_load_s: float) -> float:
    return 1.0


NO_USE = GeneratorUse(cpu_s=0.1, cpu_share=0.1, polled_s=0.0, cores=(1,), realtime=True, waited_share=0.0)


@dataclass
class SimulatedServer:
    """Answers at its speed; `load_s` is how much load it has had since its start.

    Latencies are `wave` times what the speed makes of them: in convoys they move and the speed does not.
    """

    name: str
    speed: Speed
    wave: Speed
    load_s: float = 0.0
    paused: bool = True
    place: str = "cores"
    pid: int = 0

    @property
    def plan(self):
        implementation = SimpleNamespace(name="simulated", version="1", runner="local")
        endpoint = SimpleNamespace(base_url=self.name, predict_path="/", access=None)
        return SimpleNamespace(
            implementation=implementation, endpoint=endpoint, launch=SimpleNamespace(log=Path("no such log"))
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def pause(self):
        self.paused = True

    def resume(self):
        self.paused = False

    def cpu_s(self):
        return 0.9 * self.load_s

    def memory_bytes(self):
        return 1

    def peak_bytes(self):
        return 1

    def require_alive(self, _when):
        return None

    def loaded(self, seconds: float, users: int, start_ns: int):
        """When the requests of that load were done and how long they took, nanoseconds."""
        assert not self.paused
        done, latency = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
        for part in np.arange(0, seconds, 0.25):
            length = min(0.25, seconds - part)
            rate = self.speed(self.load_s)
            count = round(rate * length)
            done.append(
                start_ns + ((part + length * (np.arange(count) + 0.5) / count) * NS_PER_S).astype(int)
            )
            latency.append(np.full(count, self.wave(self.load_s) * users / rate * NS_PER_S, np.int64))
            self.load_s += length
        return np.concatenate(done), np.concatenate(latency)


@dataclass
class SimulatedGenerator:
    """Carries out the plans of rounds and of conditioning; `servers` are by their address.

    `warmup_s` of load comes before the window of a round. `windows` says of each round how much load its
    server had had when the window opened.
    """

    warmup_s: float = 1.0
    servers: dict[str, SimulatedServer] = field(default_factory=dict)
    windows: dict[str, float] = field(default_factory=dict)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def run(self, plan: RoundPlan, _folder, listen, _headers):
        server, users = self.servers[plan.url_base], round(parse_load(plan.load).value)
        warmup_s = min(self.warmup_s, plan.warmup_limit_s)
        start_ns = round((1000 + server.load_s + warmup_s) * NS_PER_S)
        server.loaded(warmup_s, users, start_ns)
        self.windows[plan.samples_file.name] = server.load_s
        if plan.reports_seconds:
            done, latency, window_s = self._seconds(server, plan, users, start_ns, listen)
        else:
            window_s = plan.duration_s
            done, latency = server.loaded(window_s, users, start_ns)
        write(plan.samples_file, done, latency)
        return result(start_ns, window_s, warmup_s, len(done)), False

    def _seconds(self, server, plan, users, start_ns, listen):
        """Report every whole second, until the one who listens has seen enough."""
        parts, told_s = [], 0
        listen(Report("opened"), 1)
        while told_s + 1 <= plan.duration_s:
            parts.append(server.loaded(1.0, users, start_ns + told_s * NS_PER_S))
            told_s += 1
            done, latency = parts[-1]
            p50_ms = float(np.median(latency)) / 1e6
            if listen(Report("second", len(done), p50_ms), 1):
                break
        listen(Report("closed"), 1)
        return *(np.concatenate(column) for column in zip(*parts, strict=True)), float(told_s)


def write(path, done_ns, latency_ns, status=None):
    """A samples file as a closed load leaves it."""
    sent = np.asarray(done_ns, np.int64) - np.asarray(latency_ns, np.int64)
    count = len(sent)
    columns = [sent, sent, sent + np.asarray(latency_ns, np.int64)]
    columns += [np.full(count, 200, np.int16) if status is None else np.asarray(status, np.int16)]
    columns += [np.full(count, 9, np.int32), pa.nulls(count, pa.bool_())]
    pq.write_table(pa.table(columns, schema=SCHEMA), path)


def result(start_ns, window_s, warmup_s, count):
    return RoundResult(
        started_at_utc="2026-11-28T10:00:00Z",
        window_start_ns=start_ns,
        window_s=window_s,
        warmup_s=warmup_s,
        steady=True,
        warmup_requests_count=0,
        requests_count=count,
        errors_count=0,
        checked_count=1,
        wrong_count=0,
        errors=(),
        bytes_received=1,
        generator=NO_USE,
        server_gone=False,
        interrupted=False,
    )


def session(
    profile: Profile,
    speeds: dict[str, Speed],
    folder,
    warmup_s: float = 1.0,
    waves: Mapping[str, Speed] = MappingProxyType({}),
) -> Session:
    """A session of fresh servers with these speeds, and waves where they have some; controls are alike."""
    for name in ("samples", "logs"):
        (folder / name).mkdir()
    generator = SimulatedGenerator(warmup_s)
    pool = SimpleNamespace(save=lambda *_: None, codec="json")

    def side(name: str, speed: Speed) -> Side:
        @contextmanager
        def prepare(_work):
            place = f"http://127.0.0.1:{len(generator.servers) + 1}"
            generator.servers[place] = SimulatedServer(place, speed, waves.get(name, level_wave))
            yield generator.servers[place]

        return Side(name, name, "compared", None, prepare, lambda _path: pool, prove=None)

    sides = [side(name, speed) for name, speed in speeds.items()]
    return Session(
        MeasureSettings(profile=profile, seed=3),
        [*sides, *controls(sides, profile)],
        folder,
        lambda *_: None,
        generator=generator,
        machine_speed=SimpleNamespace(probing=lambda _cores: nullcontext(), read=dict),
    )


def targets(measured: Session, summarised) -> dict[str, TargetRecord]:
    """What a run's record holds of the sides, as far as verdicts go by it."""
    return {
        side.name: TargetRecord.model_construct(
            role=side.role,
            control_of=side.control_of,
            rounds=tuple(summarised(one, measured.folder) for one in measured.measured[side.name].rounds),
            conditionings=tuple(measured.measured[side.name].conditionings),
            drifts=tuple(measured.measured[side.name].drifts),
        )
        for side in measured.sides
    }
