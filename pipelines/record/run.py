"""A whole run, as `runs/ID/run.json` holds it. Every field is documented in docs/run-json.md.

History of `schema_version`:
1  first version.
2  reasons and warnings are codes with figures instead of sentences; a comparison holds its pairs' ratios.
   `upgrade.py` reads version 1.
"""

from typing import Final, Literal

from pipelines.record.artifact import ArtifactRecord
from pipelines.record.base import Record
from pipelines.record.comparison import ComparisonRecord, ControlRecord
from pipelines.record.environment import EnvironmentRecord
from pipelines.record.fairness import FairnessRecord
from pipelines.record.mobile import MobileRecord
from pipelines.record.model import ModelRecord
from pipelines.record.reason import ReasonRecord
from pipelines.record.sequential import SequentialRecord
from pipelines.record.slo import SloRecord
from pipelines.record.target import PayloadRecord, TargetRecord
from pipelines.record.tradeoff import TradeOffRecord
from pipelines.record.training import TrainingRecord
from pipelines.record.tune import TuneRecord

SCHEMA_VERSION: Final = 2


class ProfileRecord(Record):
    """How long and how often the run measured.

    A warm-up ends at a steady state, after `warmup_limit_s` at the latest, or half a minute where a server is
    too slow to be judged by then. `control` and `null` say whether
    A/A controls and the null server were measured, `control_blocks` whether every block had all controls or
    they took turns (`all first`: all in the first block, then turns), `retries` how many invalid rounds
    might be measured again, for every two compared sides.
    `conditioning_limit_s` is the budget of a fresh server until it had to be steady, 0 for none, and
    `conditioning_awaits_compilers` whether it was not while just-in-time compilers used its CPU; rounds were
    as long as p50's wandering asked for, from `round_s` to `longest_round_s`. `primary` is the metric that
    was judged by itself, `verdicts` whether any were given. `slo_resolution`: rates nearer to each other are
    not told apart by an SLO search, whose rounds are `slo_round_s` at least. `device_threads`: with how many
    threads files for devices were timed where nothing was kept.
    """

    name: str
    blocks: int
    rounds: int
    warmup_limit_s: float
    round_s: float
    loads: tuple[str, ...]
    control: bool
    null: bool
    retries: int
    seed: int
    check_share: float
    margin: float
    control_blocks: Literal["all", "in turn", "all first"] = "all"
    primary: Literal["p50", "p95", "p99", "throughput_per_s"] = "p99"
    verdicts: bool = True
    conditioning_limit_s: float = 0.0
    conditioning_awaits_compilers: bool = True
    longest_round_s: float | None = None
    device_threads: Literal["one", "one and all"] = "one and all"
    slo_resolution: float = 0.05
    slo_round_s: float | None = None


class RunRecord(Record):
    """Everything one command measured."""

    schema_version: Literal[2] = SCHEMA_VERSION
    kind: Literal["compare", "slo", "mobile", "train", "tune"]
    run_id: str
    tandem_version: str
    command: tuple[str, ...]
    started_at_utc: str
    ended_at_utc: str | None
    status: Literal["complete", "interrupted", "failed"]
    status_reason: str | None
    percentile_method: str
    profile: ProfileRecord | None
    model: ModelRecord
    environment: EnvironmentRecord
    payload: PayloadRecord | None
    artifacts: tuple[ArtifactRecord, ...]
    targets: dict[str, TargetRecord]
    fairness: FairnessRecord
    controls: tuple[ControlRecord, ...]
    comparisons: tuple[ComparisonRecord, ...]
    slo: SloRecord | None
    mobile: MobileRecord | None
    warnings: tuple[ReasonRecord, ...]
    sequential: SequentialRecord | None = None
    trade_offs: tuple[TradeOffRecord, ...] = ()
    training: TrainingRecord | None = None
    tune: TuneRecord | None = None
