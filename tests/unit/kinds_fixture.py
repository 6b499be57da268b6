"""A run of every kind, and everything that becomes a file of `--output`, made in code."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gate_fixture import gated_run
from report_fixture import make_run
from report_mobile_fixture import make_mobile_run
from report_slo_fixture import make_slo_run
from test_history import keep, scaled
from test_outputs import verified
from test_report_tune import make_tune
from training_fixture import make_training_run

from pipelines.gate.limits import asked_limits
from pipelines.gate.presentation import outputs_facts
from pipelines.gate.self_test import SelfTestRequest, SelfTestResult, _trials, facts_of_self_test
from pipelines.gate.stage import GateRequest, GateResult, gate
from pipelines.history.stage import History, history
from pipelines.judge.tradeoffs import judge_trade_offs
from pipelines.judge.tune import judge_tune
from pipelines.outputs.facts import Facts
from pipelines.outputs.of_failure import facts_of_failure
from pipelines.outputs.of_run import facts_of_run
from pipelines.outputs.of_verify import facts_of_verified
from pipelines.record.run import RunRecord

LIMITS = asked_limits({"p99": "10%", "p50": "5%", "throughput": "5%", "memory": "5%", "cold-start": "10%"})
DAY = "2026-01-01T00:00:00Z"


def make_tune_run() -> RunRecord:
    """A search for a configuration, its claims judged."""
    found = make_slo_run()
    assert found.slo is not None
    judged = judge_tune(make_tune(), found.slo, 20, lambda record: record)
    return found.model_copy(update={"kind": "tune", "tune": judged})


RUNS: dict[str, Callable[[], RunRecord]] = {
    "compare": make_run,
    "slo": make_slo_run,
    "mobile": make_mobile_run,
    "train": make_training_run,
    "tune": make_tune_run,
}


def make_gate(folder: Path, slower: float = 1.3) -> GateResult:
    """The gate's result on one run, of which the new build is slower by this factor."""
    run = gated_run({"base": 1.0, "new": slower}, wrong=("new",) if slower > 1 else ())
    return gate(GateRequest(keep(run, folder), None, LIMITS))


def make_history(folder: Path, runs_count: int = 8) -> History:
    """A history of one run a day whose level moves in its middle, with a run that cannot be read."""
    chance = random.Random(3)  # noqa: S311
    base = make_run()
    versions = {**base.environment.versions, "torch": "2.14.0"}
    new = base.environment.model_copy(update={"versions": versions})
    for place in range(runs_count):
        moved = place >= runs_count // 2
        changes: dict[str, Any] = {"environment": new} if moved else {}
        factor = chance.lognormvariate(0, 0.01) * (1.3 if moved else 1)
        keep(scaled(base, factor, place + 1, **changes), folder)
    (folder / "damaged").mkdir()
    (folder / "damaged" / "run.json").write_text("{}")
    return history(base.model.name, folder)


def make_self_test() -> Facts:
    """What a self-test of the gate says that found both faults."""
    run = gated_run({"same": 1.0, "slow": 1.5, "wrong": 1.0, "base": 1.0}, wrong=("wrong",))
    asked = SelfTestRequest("digits_cnn", "tfserving", 5.0, 1000, LIMITS, Path("artifacts"), Path("runs"))
    return facts_of_self_test(
        SelfTestResult("digits_cnn", _trials(run, asked), Path("runs"), run.started_at_utc)
    )


def every_facts(folder: Path) -> dict[str, Facts]:
    """The facts of every command that takes `--output`, and of those that end early, by name."""
    found = {name: facts_of_run(make()) for name, make in RUNS.items()}
    failing = make_gate(folder / "failing")
    passing = make_gate(folder / "passing", slower=1.0)
    return found | {
        "verify": facts_of_verified("digits_cnn", verified(), DAY),
        "gate": outputs_facts(failing, passed=False),
        "gate that passes": outputs_facts(passing, passed=True),
        "gate --self-test": make_self_test(),
        "broken": facts_of_run(make_run(status="failed", status_reason="the server died")),
        "never begun": facts_of_failure("compare", "digits_cnn", "nobody answers", DAY),
    }


LONG = "a-side-whose-name-goes-on-and-on-until-no-label-of-any-figure-has-room-for-all-of-it"
FIVE = ("torchserve", "tfserving", "triton", "mlserver", "ovms")


def make_five_sides() -> RunRecord:
    """A comparison of five sides, three of which are the first two again under other names."""
    run = make_run()
    sides = {name: run.targets[FIVE[place % 2]] for place, name in enumerate(FIVE)}
    few = {name: one.model_copy(update={"rounds": one.rounds[:4]}) for name, one in sides.items()}
    return _renamed(run, few, run.comparisons + _others(run))


def _others(run: RunRecord) -> tuple[Any, ...]:
    return tuple(
        one.model_copy(update={"candidate": name, "is_primary": False})
        for name in FIVE[2:]
        for one in run.comparisons
    )


def make_long_names() -> RunRecord:
    """A comparison of sides with names of 84 characters, under a model of such a name."""
    run = make_run()
    names = {"torchserve": LONG, "tfserving": f"{LONG[:-3]}two"}
    targets = {names.get(name, name): target for name, target in run.targets.items()}
    comparisons = tuple(
        one.model_copy(update={"candidate": names[one.candidate], "baseline": names[one.baseline]})
        for one in run.comparisons
    )
    model = run.model.model_copy(update={"name": LONG.replace("-", "_")})
    return _renamed(run, targets, comparisons).model_copy(update={"model": model})


def make_long_run(repeats: int = 30) -> RunRecord:
    """A comparison of many hours: every round again and again, in later blocks."""
    run = make_run()
    last = max(one.index for target in run.targets.values() for one in target.rounds)
    targets = {
        name: target.model_copy(
            update={
                "rounds": tuple(
                    one.model_copy(update={"index": one.index + again * last, "block": one.block + 2 * again})
                    for again in range(repeats)
                    for one in target.rounds
                )
            }
        )
        for name, target in run.targets.items()
    }
    return _renamed(run, targets, run.comparisons)


def _renamed(run: RunRecord, targets: dict[str, Any], comparisons: tuple[Any, ...]) -> RunRecord:
    """The run with these sides, its trade-offs judged of them."""
    trade_offs = judge_trade_offs(targets, margin=0.05, seed=1)
    changes = {"targets": targets, "comparisons": comparisons, "trade_offs": trade_offs}
    return run.model_copy(update=changes)
