"""The command that decides on runs: gate."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from pipelines.cli.command import command
from pipelines.cli.exits import EXIT_GATE, fail
from pipelines.cli.options import (
    artifacts_option,
    generator_core_option,
    json_option,
    output_option,
    runs_option,
    server_cores_option,
)
from pipelines.cli.results import command_line, end_interrupted, failure_written, print_json

LIMITED = ("p99", "p95", "p50", "throughput", "memory", "cold-start", "size", "image-size", "accuracy")
HELPS = {
    "throughput": "Share by which it may fall, such as 10%.",
    "size": "Share by which the artifacts of a target may grow; 0% for not at all.",
    "image-size": "Share by which a target's container image may grow; 0% for not at all.",
    "accuracy": "Percentage points by which it may fall on the held-out samples; 0% for not at all.",
}
STORED, SIDES, SELF_TEST = "BASELINE", "--sides", "--self-test"
WAYS: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("undecided", "baseline_side", "candidate_side", "allow_environment"), (STORED, SIDES)),
    "decide_within": (SIDES,),
    **dict.fromkeys(("model", "server_cores", "generator_core", "artifacts", "runs"), (SIDES, SELF_TEST)),
    **dict.fromkeys(("target", "delay_ms", "slowdown", "wrong_every"), (SELF_TEST,)),
}
"""By option the ways to gate in which it does something, where those are not all."""


def limit_options(function: Any) -> Any:
    """Add an option per metric that a gate knows."""
    for key in reversed(LIMITED):
        help_text = HELPS.get(key, "Share by which it may rise, such as 10%.")
        help_text += "  [default: 5% if no limit is given]" if key == "p99" else ""
        name = f"--max-{key}-regression"
        function = click.option(name, key.replace("-", "_"), metavar="PERCENT", help=help_text)(function)
    return function


@command("tandem gate runs/main runs/latest --max-p99-regression 10% --output junit=gate.xml")
@click.argument("baseline", type=click.Path(path_type=Path), required=False)
@click.argument("candidate", type=click.Path(path_type=Path), required=False)
@limit_options
@click.option(
    "--undecided",
    type=click.Choice(["fail", "pass"]),
    default="fail",
    show_default=True,
    help="Whether an undecided gate fails (exit code 1) or passes (0).",
)
@click.option(
    "--allow-environment",
    is_flag=True,
    help="Compare runs of different machines or versions, and print the differences.",
)
@click.option("--baseline-side", metavar="SIDE", help="Baseline within one run.  [default: base]")
@click.option("--candidate-side", metavar="SIDE", help="Candidate within one run.  [default: new]")
@click.option(
    "--sides",
    metavar="NAMES",
    help="Measure these sides first, interleaved, in place of BASELINE; such as base=ARTIFACTS_DIR,"
    "new=ARTIFACTS_DIR.",
)
@click.option(
    "--decide-within",
    metavar="TIME",
    help="With --sides: add blocks until the gate is decided, within a time such as 20min.  [default: the "
    "four blocks of the profile for gates]",
)
@click.option("--self-test", is_flag=True, help="Inject faults into a server and show that the gate fires.")
@click.option("--model", default="digits_cnn", show_default=True, help="Model of --sides and the self-test.")
@click.option("--target", default="tfserving", show_default=True, help="Target that the self-test serves.")
@click.option("--delay-ms", type=float, help="Delay that the self-test injects, ms.  [default: 5]")
@click.option(
    "--slowdown",
    metavar="PERCENT",
    help="Delay that the self-test injects, of the p50 that it measures first, such as 10%; in place of "
    "--delay-ms, with the four blocks of the default profile for gates.",
)
@click.option(
    "--wrong-every",
    type=int,
    default=1000,
    show_default=True,
    help="One answer in so many is wrong in the self-test.",
)
@server_cores_option
@generator_core_option
@artifacts_option
@runs_option
@output_option
@json_option
def gate(
    baseline: Path | None,
    candidate: Path | None,
    undecided: str,
    allow_environment: bool,
    baseline_side: str | None,
    candidate_side: str | None,
    sides: str | None,
    decide_within: str | None,
    self_test: bool,
    model: str,
    target: str,
    delay_ms: float | None,
    slowdown: str | None,
    wrong_every: int,
    server_cores: str | None,
    generator_core: str | None,
    artifacts: Path,
    runs: Path,
    outputs: tuple[str, ...],
    as_json: bool,
    **typed: str | None,
) -> int:
    """Say whether CANDIDATE is worse than BASELINE by more than allowed; both are runs of `tandem compare`.

    Without CANDIDATE, BASELINE is one run of `--sides base=ARTIFACTS_DIR,new=ARTIFACTS_DIR`, which measured
    both builds interleaved on this machine: the better way, since machines differ from day to day.

    With --sides the gate measures such a run itself, and with --decide-within until its limits are decided.

    `fail` and `pass` are decided on the ends of intervals, by the rules of verdicts (docs/gate.md). Exit code
    1 on fail, and on undecided unless --undecided pass.

    --self-test measures one server four times behind a proxy, twice as it is, once with a delay and once with
    wrong answers, and exits with 1 unless the gate says fail exactly where it should.
    """
    from pipelines.gate import presentation
    from pipelines.gate.limits import asked_limits
    from pipelines.gate.self_test import LIMITS, USUAL_DELAY_MS, SelfTestRequest, asked_slowdown
    from pipelines.gate.stage import GateRequest, require_one_way
    from pipelines.gate.stage import gate as stage
    from pipelines.outputs.asked import asked_outputs, write_outputs

    wanted = asked_outputs(outputs)
    limits = asked_limits({key.replace("_", "-"): text for key, text in typed.items()})
    _require_of(_way(baseline, sides, self_test=self_test))
    if self_test:
        if slowdown is not None and delay_ms is not None:
            raise click.UsageError("--slowdown and --delay-ms are two ways to say one delay; leave one out.")
        speeds = limits if any(typed.values()) else LIMITS
        share = None if slowdown is None else asked_slowdown(slowdown)
        delay_ms = USUAL_DELAY_MS if delay_ms is None else delay_ms
        self_test_request = SelfTestRequest(
            *(model, target, delay_ms, wrong_every, speeds, artifacts, runs, share),
            server_cores=server_cores,
            generator_core=generator_core,
        )
        return _self_test(self_test_request, wanted, as_json=as_json)
    request = GateRequest(
        baseline or runs, candidate, limits, allow_environment, baseline_side, candidate_side
    )
    about = model if baseline is None else _model_of(baseline) if wanted else ""
    try:
        with failure_written("gate", about, wanted):
            require_one_way(request)
            if sides is None:
                result = stage(request)
            else:
                result = _measured(
                    request,
                    as_json=as_json,
                    model=model,
                    sides=sides,
                    decide_within=decide_within,
                    server_cores=server_cores,
                    generator_core=generator_core,
                    artifacts=artifacts,
                    runs=runs,
                )
    except KeyboardInterrupt as error:
        return end_interrupted(error)
    failed = result.word == "fail" or (result.word == "undecided" and undecided == "fail")
    if as_json:
        print_json(presentation.facts(result))
    else:
        presentation.print_result(result)
    write_outputs(wanted, presentation.outputs_facts(result, passed=not failed))
    return fail(f"gate: {presentation.verdict(result)}", EXIT_GATE) if failed else 0


def _way(baseline: Path | None, sides: str | None, *, self_test: bool) -> str:
    """Return which of the three ways to gate was chosen.

    Raises:
        UsageError: none, or more than one.
    """
    given = {STORED: baseline is not None, SIDES: sides is not None, SELF_TEST: self_test}
    chosen = [way for way, is_given in given.items() if is_given]
    if len(chosen) > 1:
        raise click.UsageError("BASELINE, --sides and --self-test are three ways to gate; choose one.")
    if not chosen:
        raise click.UsageError("Name a run as BASELINE, such as runs/latest, or --sides, or --self-test.")
    return chosen[0]


def _require_of(way: str) -> None:
    """Raise UsageError for an option on the command line that does nothing in this way to gate."""
    context = click.get_current_context()
    for option in context.command.params:
        ways = WAYS.get(option.name or "", (way,))
        typed = context.get_parameter_source(option.name or "") is ParameterSource.COMMANDLINE
        if typed and way not in ways:
            raise click.UsageError(
                f"{option.opts[0]} does nothing in a gate with {way}; leave it out, or gate with "
                f"{' or '.join(ways)}."
            )


def _model_of(baseline: Path) -> str:
    """Return the model of a run; where it cannot be read, its path is all that is known."""
    from pipelines.record.reading import read_run

    with suppress(Exception):
        return read_run(baseline.parent if baseline.name == "run.json" else baseline).model.name
    return str(baseline)


def _measured(request: Any, *, as_json: bool, **typed: Any) -> Any:
    from pipelines.config.asked import run_settings
    from pipelines.console.printing import ProgressDisplay
    from pipelines.gate.interleaved import GATE_BLOCKS, measure_and_gate
    from pipelines.runners.choice import settled

    blocks = GATE_BLOCKS if typed["decide_within"] is None else None
    requested = run_settings(profile="quick", mobile=False, blocks=blocks, **typed)
    with ProgressDisplay(quiet=as_json) as progress, settled(requested, progress) as (settings, runner):
        return measure_and_gate(request, settings, runner, command_line(), progress)


def _self_test(request: Any, outputs: tuple[Any, ...], *, as_json: bool) -> int:
    from dataclasses import asdict

    from pipelines.console.printing import ProgressDisplay, say
    from pipelines.gate import self_test as stage
    from pipelines.outputs.asked import write_outputs

    try:
        with (
            failure_written("gate --self-test", request.model, outputs),
            ProgressDisplay(quiet=as_json) as progress,
        ):
            result = stage.self_test(request, command_line(), progress)
    except KeyboardInterrupt as error:
        return end_interrupted(error)
    facts = stage.facts_of_self_test(result)
    if as_json:
        print_json(asdict(facts))
    else:
        for trial in result.trials:
            say(stage.told(trial))
        say(f"Run: {result.folder}")
    write_outputs(outputs, facts)
    stage.require(result)
    return 0
