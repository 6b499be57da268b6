"""The command that decides on runs: gate."""

from pathlib import Path
from typing import Any

import click

from pipelines.cli.command import command
from pipelines.cli.exits import EXIT_GATE, fail
from pipelines.cli.options import json_option, output_option
from pipelines.cli.results import print_json

LIMITED = ("p99", "p95", "p50", "throughput", "memory", "cold-start", "size", "image-size", "accuracy")
HELPS = {
    "throughput": "Share by which it may fall, such as 10%.",
    "size": "Share by which the artifacts of a target may grow; 0% for not at all.",
    "image-size": "Share by which a target's container image may grow; 0% for not at all.",
    "accuracy": "Percentage points by which it may fall on the held-out samples; 0% for not at all.",
}


def limit_options(function: Any) -> Any:
    """Add an option per metric that a gate knows."""
    for key in reversed(LIMITED):
        told = HELPS.get(key, "Share by which it may rise, such as 10%.")
        told += "  [default: 5% if no limit is given]" if key == "p99" else ""
        name = f"--max-{key}-regression"
        function = click.option(name, key.replace("-", "_"), metavar="PERCENT", help=told)(function)
    return function


@command("tandem gate runs/main runs/latest --max-p99-regression 10% --output junit=gate.xml", guarded=False)
@click.argument("baseline", type=click.Path(path_type=Path))
@click.argument("candidate", type=click.Path(path_type=Path), required=False)
@limit_options
@click.option(
    "--undecided",
    type=click.Choice(["fail", "pass"]),
    default="fail",
    show_default=True,
    help="What an undecided gate is to CI: exit code 1, or 0.",
)
@click.option(
    "--allow-environment", is_flag=True, help="Compare runs of different machines or versions; it is printed."
)
@click.option("--baseline-side", metavar="SIDE", help="Of one run.  [default: base]")
@click.option("--candidate-side", metavar="SIDE", help="Of one run.  [default: new]")
@output_option
@json_option
def gate(
    baseline: Path,
    candidate: Path | None,
    undecided: str,
    allow_environment: bool,
    baseline_side: str | None,
    candidate_side: str | None,
    outputs: tuple[str, ...],
    as_json: bool,
    **typed: str | None,
) -> int:
    """Say whether CANDIDATE is worse than BASELINE by more than allowed; both are runs of `tandem compare`.

    Without CANDIDATE, BASELINE is one run of `--sides base=ARTIFACTS_DIR,new=ARTIFACTS_DIR`, which measured
    both builds interleaved on this machine: the better way, since machines differ from day to day.

    `fail` and `pass` are decided on the ends of intervals, by the rules of verdicts (docs/gate.md). Exit code
    1 on fail, and on undecided unless --undecided pass.
    """
    from pipelines.gate import telling
    from pipelines.gate.limits import asked_limits
    from pipelines.gate.stage import GateRequest, require_one_way
    from pipelines.gate.stage import gate as stage
    from pipelines.outputs.asked import asked_outputs, write_outputs

    wanted = asked_outputs(outputs)
    limits = asked_limits({key.replace("_", "-"): text for key, text in typed.items()})
    request = GateRequest(baseline, candidate, limits, allow_environment, baseline_side, candidate_side)
    require_one_way(request)
    result = stage(request)
    failed = result.word == "fail" or (result.word == "undecided" and undecided == "fail")
    if as_json:
        print_json(telling.facts(result))
    else:
        telling.print_result(result)
    write_outputs(wanted, telling.outputs_facts(result, passed=not failed))
    return fail(f"gate: {telling.verdict(result)}", EXIT_GATE) if failed else 0
