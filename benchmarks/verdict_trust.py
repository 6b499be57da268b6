"""How often a verdict or a gate is wrong, and how often a real difference is seen, on this machine.

    python benchmarks/verdict_trust.py same      # 20 quick comparisons of the embedded server with itself
    python benchmarks/verdict_trust.py slower    # 10 quick comparisons of a server of 10 ms with one of 11 ms
    python benchmarks/verdict_trust.py ending    # 20 of the embedded server with itself, until it is decided
    python benchmarks/verdict_trust.py twofold   # 5 of it with itself at twice the p50, in both designs
    python benchmarks/verdict_trust.py gates     # 10 self-tests of the gate

All run through the machinery of `tandem compare` as it is: fresh servers per block, rotated rounds, A/A
controls, all validity checks.

`same` and `ending`: every verdict but `equivalent` and `inconclusive` is a false one, and one comparison in
twenty may have one. `slower`: the primary metric, p99, has to be called `better` (for the server of 10 ms) in
nine of ten, and no verdict of any metric may have the wrong direction. `twofold`: a delay of the server's own
p50 in front of one side has to be called every time by both designs, by p50, and by the one that ends when it
is decided in some half of the time of `quick`. `gates`: nothing may fail that is as the
baseline, the slowdown has to fail in nine of ten, and one wrong answer in a thousand always; `--slowdown` is
the delay, of the p50 that each self-test measures first, and four blocks are the default profile for gates.

Each takes three to five minutes, and what was measured is kept in a JSON file after each: a second command
goes on where the first one ended, today or on another day. --afresh begins anew. --quick makes one of seconds
(`ending`, `twofold` and `gates`: of minutes), to see that all of it runs; nothing is judged or kept then, but
in --out.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "e2e")]

from known_session import compare, known_delay  # noqa: E402 - after the path is mended

from loadtests.servers.faulty import Faults  # noqa: E402
from models.spec import load_model  # noqa: E402
from pipelines.compare import stage as comparing  # noqa: E402
from pipelines.config.asked import run_settings  # noqa: E402
from pipelines.config.settings import RunSettings  # noqa: E402
from pipelines.export.stage import export  # noqa: E402
from pipelines.gate.presentation import line  # noqa: E402
from pipelines.gate.self_test import (  # noqa: E402
    LIMITS,
    LOAD,
    SAME,
    SLOW,
    WRONG,
    SelfTestRequest,
    asked_slowdown,
    behind,
    measure_p50_ms,
    self_test,
)
from pipelines.judge.verdicts import PRIMARY  # noqa: E402
from pipelines.measure.sides import Side, make_sides  # noqa: E402
from pipelines.record.comparison import ComparisonRecord  # noqa: E402
from pipelines.record.rounds import RoundRecord  # noqa: E402
from pipelines.record.run import RunRecord  # noqa: E402
from pipelines.run.run import conclude, start_run  # noqa: E402
from pipelines.runners.local import LocalRunner  # noqa: E402
from pipelines.verify.stage import ensure_verified  # noqa: E402

MODEL = "digits_cnn"
QUICK = {"blocks": 1, "rounds": 2, "round_s": 0.5, "loads": "closed:2"}
ALARMS_ALLOWED = 0.05
SEEN_NEEDED = 0.9
TIME_ALLOWED = 0.55
"""Half of the servers and rounds of `quick` (docs/statistics.md), and what every run begins with."""
QUICK_DESIGN, DECIDING = "quick", "until decided"
QUIET_WORDS = ("equivalent", "inconclusive", None)
Result = dict[str, Any]
Options = argparse.Namespace
Sides = Callable[[RunSettings], Sequence[Side]]


def model_itself(settings: RunSettings) -> Sequence[Side]:
    """Make two sides of one served target; the comparison adds the control."""
    spec = load_model(settings.model)
    export(settings.model, settings.artifacts, _silent, targets=settings.targets[:1])
    verified = ensure_verified(settings.model, settings.artifacts, _silent, targets=settings.targets[:1])
    return [one for one in make_sides(settings, spec, verified, LocalRunner()) if one.role == "compared"]


def known_delays(settings: RunSettings) -> Sequence[Side]:
    """Make two servers that differ by 10 %."""
    return [
        known_delay("ten", settings, "--delay", "constant:10"),
        known_delay("eleven", settings, "--delay", "constant:11"),
    ]


def _silent(_title: str, _text: str) -> None:
    return


def of_fixed_design(sides: Sides, seed: int, folder: Path, options: Options) -> Result:
    """Carry out one comparison of the profile `quick`."""
    profile, changes = ("smoke", QUICK) if options.quick else ("quick", {})
    settings = run_settings(profile=profile, model=MODEL, sides="tfserving,tfserving", seed=seed, **changes)
    outcome = compare(sides(settings), settings, folder)
    return _verdicts(outcome.all_rounds, outcome.comparisons)


def until_decided(seed: int, folder: Path, options: Options) -> Result:
    """Carry out one comparison of a server with itself that ends when it is decided."""
    settings = run_settings(
        profile="quick",
        model=MODEL,
        sides="one=tfserving,other=tfserving",
        seed=seed,
        runs=folder,
        decide_within=options.within,
        **({name: QUICK[name] for name in ("rounds", "round_s")} if options.quick else {}),
    ).model_copy(update={"mobile": False})
    record, _ = comparing.compare(settings, LocalRunner(), [], _silent)
    if record.status != "complete":
        raise KeyboardInterrupt
    rounds = [one for target in record.targets.values() for one in target.rounds]
    sequential = record.sequential
    looks = sequential.looks if sequential else ()
    assert looks
    return _verdicts(rounds, record.comparisons) | {"looks": len(looks), "decided": looks[-1].decided}


def of_gate(_seed: int, folder: Path, options: Options) -> Result:
    """Carry out one self-test of the gate."""
    slowdown = asked_slowdown(options.slowdown)
    found = self_test(_self_test(folder, options, slowdown), [], _silent)
    return {
        "words": {trial.side: trial.word for trial in found.trials},
        "findings": {trial.side: [line(one) for one in trial.findings] for trial in found.trials},
        "factors": {
            trial.side: {one.metric: one.factor for one in trial.findings if one.factor is not None}
            for trial in found.trials
        },
    }


def _self_test(folder: Path, options: Options, slowdown: float | None = None) -> SelfTestRequest:
    artifacts = ROOT / "artifacts"
    return SelfTestRequest(MODEL, options.target, 0.0, 1000, LIMITS, artifacts, folder, slowdown)


def of_twofold(seed: int, folder: Path, options: Options) -> Result:
    """Compare a server with itself at twice its p50 in both designs, and time each from start to end.

    The load is of one request at a time: under more a busy server hides a delay in its queue.
    """
    p50_ms = measure_p50_ms(_self_test(folder, options), [], _silent)
    designs: dict[str, dict[str, Any]] = {QUICK_DESIGN: {}, DECIDING: {"decide_within": options.within}}
    timed = {name: _delayed(p50_ms, seed, folder, options, changes) for name, changes in designs.items()}
    return {
        "p50_ms": p50_ms,
        "words": {name: f"{verdict} in {elapsed_s:.0f} s" for name, (verdict, elapsed_s) in timed.items()},
        "called": {name: verdict for name, (verdict, _) in timed.items()},
        "elapsed": {name: elapsed_s for name, (_, elapsed_s) in timed.items()},
    }


def _delayed(
    delay_ms: float, seed: int, folder: Path, options: Options, changes: dict[str, Any]
) -> tuple[str | None, float]:
    """Return the verdict on p50 of the delayed side, and the seconds that the whole run took."""
    quick = {name: QUICK[name] for name in ("rounds", "round_s")} if options.quick else {}
    settings = run_settings(
        profile="quick",
        model=MODEL,
        sides=f"{SLOW}={options.target},{SAME}={options.target}",
        loads=LOAD,
        primary="p50",
        seed=seed,
        runs=folder,
        artifacts=ROOT / "artifacts",
        **(quick | changes),
    ).model_copy(update={"mobile": False})
    started_s = time.monotonic()
    run = start_run("compare", settings, LocalRunner(), [], _silent)
    faults = {SLOW: Faults(delay_s=delay_ms / 1000)}
    run.session.sides = [
        replace(side, prepare=behind(side, faults.get(side.control_of or side.name, Faults())))
        for side in run.session.sides
    ]
    record = conclude(run, partial(comparing._measure, progress=_silent))
    if record.status != "complete":
        raise KeyboardInterrupt
    return _primary(record), round(time.monotonic() - started_s, 1)


def _primary(record: RunRecord) -> str | None:
    return next((one.verdict for one in record.comparisons if one.is_primary), None)


def _verdicts(rounds: Sequence[RoundRecord], comparisons: Sequence[ComparisonRecord]) -> Result:
    return {
        "invalid_rounds": sum(not record.valid for record in rounds),
        "rounds": len(rounds),
        "verdicts": {one.metric: one.verdict for one in comparisons},
        "ratios": {one.metric: one.ratio for one in comparisons},
        "intervals": {one.metric: one.interval for one in comparisons},
        "noise_floors": {one.metric: one.noise_floor for one in comparisons},
    }


def judge_same(results: Sequence[Result]) -> bool:
    """Judge that at most one comparison in twenty sees a difference, in any metric."""
    words = Counter(str(word) for result in results for word in result["verdicts"].values())
    alarms = sum(any(word not in QUIET_WORDS for word in one["verdicts"].values()) for one in results)
    print(f"verdicts: {dict(words)}; comparisons with a false alarm: {alarms} of {len(results)}")
    return alarms <= ALARMS_ALLOWED * len(results)


def judge_slower(results: Sequence[Result]) -> bool:
    """Judge whether nine of ten comparisons called the primary metric, and none the wrong direction."""
    called = sum(one["verdicts"][PRIMARY] == "better" for one in results)
    wrong = sum("worse" in one["verdicts"].values() for one in results)
    print(f"{PRIMARY} called in {called} of {len(results)}; wrong direction in {wrong}")
    return called >= SEEN_NEEDED * len(results) and wrong == 0


def judge_gates(results: Sequence[Result]) -> bool:
    """Judge that nothing failed that is alike, and that what was injected did."""
    words = {side: Counter(one["words"][side] for one in results) for side in (SAME, SLOW, WRONG)}
    print("; ".join(f"{side}: {dict(counted)}" for side, counted in words.items()))
    seen = words[SLOW]["fail"] >= SEEN_NEEDED * len(results) and words[WRONG]["fail"] == len(results)
    return seen and not words[SAME]["fail"]


def judge_twofold(results: Sequence[Result]) -> bool:
    """Judge that both designs called every difference, and the deciding one in less time."""
    called = {name: Counter(str(one["called"][name]) for one in results) for name in (QUICK_DESIGN, DECIDING)}
    shares = [one["elapsed"][DECIDING] / one["elapsed"][QUICK_DESIGN] for one in results]
    print("; ".join(f"{name}: {dict(counted)}" for name, counted in called.items()))
    print(
        f"time until decided over that of {QUICK_DESIGN}: median {median(shares):.2f}, most {max(shares):.2f}"
    )
    seen = all(counted["worse"] == len(results) for counted in called.values())
    return seen and median(shares) <= TIME_ALLOWED


@dataclass(frozen=True)
class Question:
    """What is repeated, how often, and what is made of all the results."""

    times: int
    carry_out: Callable[[int, Path, Options], Result]
    judge: Callable[[Sequence[Result]], bool]


QUESTIONS: Mapping[str, Question] = {
    "same": Question(20, partial(of_fixed_design, model_itself), judge_same),
    "slower": Question(10, partial(of_fixed_design, known_delays), judge_slower),
    "ending": Question(20, until_decided, judge_same),
    "twofold": Question(5, of_twofold, judge_twofold),
    "gates": Question(10, of_gate, judge_gates),
}


def repeat(question: Question, times: int, results: list[Result], out: Path, options: Options) -> None:
    """Add results until there are `times`, each with a seed of its own; keep and print each."""
    for number in range(len(results), times):
        started_s = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="tandem-trust-") as name:
            found = question.carry_out(options.seed + number, Path(name), options)
        elapsed_s = round(time.monotonic() - started_s, 1)
        told = {"number": number, "elapsed_s": elapsed_s, "asked": _asked(options)}
        results.append({**told, **_now(), **found})
        out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        print(_line(results[-1]), flush=True)


def _now() -> Result:
    commit = subprocess.run(
        ["git", "-C", str(ROOT), "describe", "--always", "--dirty"],
        capture_output=True,
        text=True,
        check=False,
    )
    return {"date": datetime.now(UTC).date().isoformat(), "commit": commit.stdout.strip() or None}


def _line(result: Result) -> str:
    head = f"{result['number'] + 1:>2}  {result['elapsed_s']:5.0f} s"
    if "words" in result:
        return f"{head}  " + "  ".join(f"{side} {word}" for side, word in result["words"].items())
    said = "  ".join(_verdict(result, metric) for metric in result["verdicts"])
    return f"{head}  {result['invalid_rounds']} of {result['rounds']} rounds invalid  {said}"


def _verdict(result: Result, metric: str) -> str:
    ratio, interval = result["ratios"][metric], result["intervals"][metric]
    figures = f" {ratio:.3f} ({interval[0]:.3f}-{interval[1]:.3f})" if ratio and interval else ""
    return f"{metric} {result['verdicts'][metric]}{figures}"


def tell(results: Sequence[Result]) -> None:
    """Print what all results show, a line per metric or injected fault."""
    commits = ", ".join(sorted({str(one["commit"]) for one in results}))
    minutes = sum(one["elapsed_s"] for one in results) / 60
    print(f"{len(results)} in {minutes:.0f} min; commits: {commits}")
    for metric in results[0].get("ratios", ()):
        counted = dict(Counter(str(one["verdicts"][metric]) for one in results))
        ratios = [one["ratios"][metric] for one in results if one["ratios"][metric]]
        ends = [one["intervals"][metric] for one in results if one["intervals"][metric]]
        spread = f"{min(ratios):.3f}, {median(ratios):.3f}, {max(ratios):.3f}" if ratios else "none"
        width = f"{median((high - low) / 2 for low, high in ends):.1%}" if ends else "none"
        print(f"{metric}: {counted}; ratios (least, median, largest): {spread}; half an interval: {width}")
    for side in results[0].get("factors", ()):
        for metric in results[0]["factors"][side]:
            factors = [one["factors"][side][metric] for one in results if metric in one["factors"][side]]
            print(
                f"{side}, {metric}: factors (least, median, largest): "
                f"{min(factors):.3f}, {median(factors):.3f}, {max(factors):.3f}"
            )


def main() -> int:
    """Parse the command line, measure what is missing, and return 0 when the verdicts can be trusted."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("question", choices=tuple(QUESTIONS))
    parser.add_argument("--times", type=int, help="how often; default 20 or 10")
    parser.add_argument("--afresh", action="store_true", help="do not go on with what the file holds")
    parser.add_argument("--quick", action="store_true", help="one of seconds, nothing is judged")
    parser.add_argument("--seed", type=int, default=1000)
    parser.add_argument("--within", default="6min", help="time of each of `ending` and `twofold`")
    parser.add_argument("--target", default="tfserving", help="of `gates` and `twofold`")
    parser.add_argument("--slowdown", default="10%", help="of `gates`, of the p50 measured first")
    parser.add_argument("--out", type=Path, help="JSON file; default docs/trust/QUESTION.json")
    options = parser.parse_args()
    question = QUESTIONS[options.question]
    if options.quick:
        repeat(question, 1, [], options.out or Path(os.devnull), options)
        return 0
    out = options.out or ROOT / "docs" / "trust" / f"{options.question}.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    results = [] if options.afresh or not out.exists() else json.loads(out.read_text(encoding="utf-8"))
    if any(one["asked"] != _asked(options) for one in results):
        parser.error(f"{out} holds results of other options; give those, another --out, or --afresh")
    repeat(question, options.times or question.times, results, out, options)
    tell(results)
    return 0 if question.judge(results) else 1


def _asked(options: Options) -> Result:
    """Return the options that make results comparable."""
    of_question = {
        "ending": ("within",),
        "twofold": ("within", "target"),
        "gates": ("target", "slowdown"),
    }
    return {name: getattr(options, name) for name in of_question.get(options.question, ())}


if __name__ == "__main__":
    sys.exit(main())
