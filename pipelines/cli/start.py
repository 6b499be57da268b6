"""Commands for a model of one's own: check."""

from dataclasses import asdict

import click

from pipelines.cli.command import command
from pipelines.cli.exits import EXIT_GATE
from pipelines.cli.options import json_option
from pipelines.cli.results import print_json


@command("tandem check my_model.py")
@click.argument("model")
@json_option
def check(model: str, as_json: bool) -> int:
    """Test in seconds what MODEL's spec says: tensors, checkpoint, samples, labels, and the model itself.

    One line per claim, with the line of the file where one is wrong. Nothing is exported. Exit code 1 when a
    claim is wrong.
    """
    from pipelines.check import stage
    from pipelines.cli import tables
    from pipelines.console.printing import ProgressDisplay

    with ProgressDisplay(quiet=as_json) as progress:
        claims = stage.check(model, progress)
    passed = all(claim.state != "wrong" for claim in claims)
    if as_json:
        print_json({"model": model, "passed": passed, "claims": [asdict(claim) for claim in claims]})
    else:
        tables.print_claims(claims)
    return 0 if passed else EXIT_GATE
