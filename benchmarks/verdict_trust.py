"""How often a verdict is wrong, and how often a real difference is called, in `quick` comparisons.

    python benchmarks/verdict_trust.py same         # one target against itself, on the model's own server
    python benchmarks/verdict_trust.py slower       # a server of 10 ms against one of 11 ms

Both run through the machinery of `tandem compare`, with the profile `quick` as it is: fresh servers per
block, rotated rounds, A/A controls, all validity checks. `same` compares the embedded server with itself
twenty times: every verdict but `equivalent` and `inconclusive` is a false one, and one of the twenty may have
one. `slower` compares known-delay servers ten times: the primary metric, p99, has to be called `better` (for
the server of 10 ms) in nine of them, and no verdict of any metric may have the wrong direction. A comparison
takes some three minutes. What was measured goes to a JSON file after each, so that an interrupted run is not
lost.
`--quick` makes one comparison of a few seconds, to see that all of it runs; nothing is judged then.
"""

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "e2e")]

from known_session import Outcome, compare, known_delay  # noqa: E402 - after the path is mended

from models.spec import load_model  # noqa: E402
from pipelines.config.asked import run_settings  # noqa: E402
from pipelines.config.settings import RunSettings  # noqa: E402
from pipelines.export.stage import export  # noqa: E402
from pipelines.judge.verdicts import PRIMARY  # noqa: E402
from pipelines.measure.sides import Side, make_sides  # noqa: E402
from pipelines.runners.local import LocalRunner  # noqa: E402
from pipelines.verify.stage import ensure_verified  # noqa: E402

QUICK = {"blocks": 1, "rounds": 2, "round_s": 0.5, "loads": "closed:2"}
FALSE_ALARMS_ALLOWED = 1
CALLED_NEEDED = 0.9
QUIET_WORDS = ("equivalent", "inconclusive", None)
Sides = Callable[[RunSettings], Sequence[Side]]


def same(settings: RunSettings) -> Sequence[Side]:
    """Make two sides of one served target; the comparison adds the control."""
    spec = load_model(settings.model)
    export(settings.model, settings.artifacts, _silent, targets=settings.targets[:1])
    verified = ensure_verified(settings.model, settings.artifacts, _silent, targets=settings.targets[:1])
    return [one for one in make_sides(settings, spec, verified, LocalRunner()) if one.role == "compared"]


def slower(settings: RunSettings) -> Sequence[Side]:
    """Make two servers that differ by 10 %."""
    return [
        known_delay("ten", settings, "--delay", "constant:10"),
        known_delay("eleven", settings, "--delay", "constant:11"),
    ]


def _silent(_title: str, _text: str) -> None:
    return


def repeat(
    sides: Sides, times: int, seed: int, out: Path, *, profile: str = "quick", **changes: Any
) -> list[dict[str, object]]:
    """Carry out `times` comparisons, each with a seed of its own; print and keep one line for each.

    `changes` are of the profile.
    """
    results: list[dict[str, object]] = []
    for number in range(times):
        settings = run_settings(
            profile=profile,
            model="digits_cnn",
            sides="tfserving,tfserving",
            seed=seed + number,
            **changes,
        )
        started = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="tandem-trust-") as name:
            outcome = compare(sides(settings), settings, Path(name))
        results.append(_facts(outcome, number, time.monotonic() - started))
        out.write_text(json.dumps(results, indent=1) + "\n")
        print(_line(outcome, number, time.monotonic() - started), flush=True)
    return results


def _facts(outcome: Outcome, number: int, elapsed_s: float) -> dict[str, object]:
    return {
        "comparison": number,
        "elapsed_s": round(elapsed_s, 1),
        "invalid_rounds": sum(not record.valid for record in outcome.all_rounds),
        "rounds": len(outcome.all_rounds),
        "verdicts": {one.metric: one.verdict for one in outcome.comparisons},
        "ratios": {one.metric: one.ratio for one in outcome.comparisons},
        "intervals": {one.metric: one.interval for one in outcome.comparisons},
        "noise_floors": {one.metric: one.noise_floor for one in outcome.comparisons},
    }


def _line(outcome: Outcome, number: int, elapsed_s: float) -> str:
    said = "  ".join(
        f"{one.metric} {one.verdict} {one.ratio:.3f} ({one.interval[0]:.3f}-{one.interval[1]:.3f})"
        if one.ratio and one.interval
        else f"{one.metric} {one.verdict}"
        for one in outcome.comparisons
    )
    invalid = sum(not record.valid for record in outcome.all_rounds)
    return (
        f"{number + 1:>2}  {elapsed_s:5.0f} s  {invalid} of {len(outcome.all_rounds)} rounds invalid  {said}"
    )


def judge_same(results: Sequence[dict[str, object]]) -> bool:
    """Judge that at most one comparison in twenty sees a difference."""
    words = Counter(str(word) for result in results for word in _verdicts(result).values())
    alarms = sum(any(word not in QUIET_WORDS for word in _verdicts(result).values()) for result in results)
    print(f"verdicts: {dict(words)}; comparisons with a false alarm: {alarms} of {len(results)}")
    return alarms <= FALSE_ALARMS_ALLOWED


def judge_slower(results: Sequence[dict[str, object]]) -> bool:
    """Judge whether nine of ten runs called the primary metric, and none the wrong direction."""
    called = sum(_verdicts(result)[PRIMARY] == "better" for result in results)
    wrong = sum("worse" in _verdicts(result).values() for result in results)
    by_metric = {
        metric: dict(Counter(str(_verdicts(result)[metric]) for result in results))
        for metric in _verdicts(results[0])
    }
    print(f"{PRIMARY} called in {called} of {len(results)}; wrong direction in {wrong}; {by_metric}")
    return called >= CALLED_NEEDED * len(results) and wrong == 0


def _verdicts(result: dict[str, object]) -> dict[str, str | None]:
    found = result["verdicts"]
    assert isinstance(found, dict)
    return found


def main() -> int:
    """Parse the command line, measure, and return 0 when the verdicts can be trusted."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("question", choices=("same", "slower"))
    parser.add_argument("--times", type=int, help="comparisons; default 20 (same) or 10 (slower)")
    parser.add_argument("--quick", action="store_true", help="one comparison of seconds, nothing is judged")
    parser.add_argument("--seed", type=int, default=1000)
    parser.add_argument("--out", type=Path, help="JSON file; default build/verdict-trust-QUESTION.json")
    options = parser.parse_args()
    out = options.out or ROOT / "build" / f"verdict-trust-{options.question}.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    if options.quick:
        sides = {"same": same, "slower": slower}[options.question]
        repeat(sides, 1, options.seed, out, profile="smoke", **QUICK)
        return 0
    if options.question == "same":
        good = judge_same(repeat(same, options.times or 20, options.seed, out))
    else:
        good = judge_slower(repeat(slower, options.times or 10, options.seed, out))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
