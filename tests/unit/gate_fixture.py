"""Runs for the gate with known differences: rounds drawn around a factor, controls judged as in real runs."""

import random
from collections.abc import Sequence
from typing import Any

from report_fixture import bare_target, make_round, make_run
from report_parts import PROFILE, parity

from pipelines.judge.verdicts import judge
from pipelines.record.run import RunRecord
from pipelines.record.target import BlockPeakRecord, ColdStartRecord, MemoryRecord, TargetRecord

LOAD = "closed:8"


def gated_run(
    factors: dict[str, float],
    *,
    blocks: int = 3,
    rounds: int = 4,
    noise: float = 0.01,
    seed: int = 1,
    wrong: Sequence[str] = (),
    controlled: bool = True,
    **changes: Any,
) -> RunRecord:
    """A run with a compared side per factor, which all its figures are times 10 ms, 800/s, 400 MB and 5 s."""
    chance = random.Random(seed)  # noqa: S311
    drawn = lambda factor: factor * chance.lognormvariate(0, noise)  # noqa: E731
    targets: dict[str, TargetRecord] = {}
    for name, factor in factors.items():
        targets[name] = _target(name, factor, blocks, rounds, drawn, wrong=name in wrong)
    for name, factor in factors.items() if controlled else ():
        control = _target(f"{name}-control", factor, blocks, rounds, drawn, wrong=False)
        targets[f"{name}-control"] = control.model_copy(update={"role": "control", "control_of": name})
    controls, comparisons = judge(targets, margin=0.05, seed=1)
    profile = PROFILE.model_copy(update={"loads": (LOAD,), "null": False, "blocks": blocks, "rounds": rounds})
    made = {"targets": targets, "controls": controls, "comparisons": comparisons, "profile": profile}
    return make_run(**(made | changes))


def _target(name: str, factor: float, blocks: int, rounds: int, drawn: Any, *, wrong: bool) -> TargetRecord:
    made = []
    for block in range(blocks):
        for repetition in range(rounds):
            times = drawn(factor)
            one = make_round(
                [10.0 * times] * 800,
                index=len(made),
                target=name,
                load=LOAD,
                block=block,
                repetition=repetition,
                checked_count=800,
                wrong_count=1 if wrong and not made else 0,
            )
            made.append(one.model_copy(update={"throughput_per_s": 800 / times}))
    peaks = tuple(BlockPeakRecord(block=b, peak_bytes=round(4e8 * drawn(factor))) for b in range(blocks))
    starts = tuple(
        ColdStartRecord(block=b, ready_s=5.0, first_right_answer_s=5 * drawn(factor)) for b in range(blocks)
    )
    return bare_target(
        "torchserve",
        rounds=tuple(made),
        cold_starts=starts,
        memory=MemoryRecord(idle_bytes=1, peak_bytes=4 * 10**8, source="pss", block_peaks=peaks),
        endpoint_parity=parity("rest", accuracy=0.98),
    )
