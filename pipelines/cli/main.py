"""`tandem …`: parses, calls a stage, prints, maps errors to exit codes. Imports nothing heavy at the top."""

import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

import click

from loadtests.errors import LoadTestError
from models.errors import ModelError
from pipelines.cli import claims, gating, importing, make, measure, past, read, serve, start, tuning
from pipelines.cli.exits import (
    EXIT_INTERRUPTED,
    EXIT_MACHINE,
    EXIT_REQUEST,
    explain,
    explain_fault,
    explain_load,
    fail,
    is_of_engine,
)
from pipelines.console import output
from pipelines.console.printing import flush_output, open_closed_streams
from pipelines.errors import UserError
from pipelines.tasks.failures import as_user_error


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 done; 1 a check failed; 2 the request was wrong; 3 the environment or a server "
    "failed; 130 interrupted.",
)
@click.version_option(package_name="tandem-serving", prog_name="tandem")
def tandem() -> None:
    """Take one trained model down the PyTorch and the TensorFlow road, serve both, and compare them."""


for _command in (
    *(read.doctor, read.models, read.report),
    *(start.init, start.check),
    *(make.train, make.export, make.verify, make.mobile, make.images),
    *(serve.serve, serve.up, serve.down, serve.logs),
    *(measure.compare, measure.slo, tuning.tune, measure.smoke, gating.gate),
    *(past.history, past.runs, claims.claims),
):
    tandem.add_command(_command)
tandem.add_command(importing.import_files, "import")


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit: 0 done, 1 a check failed, 2 wrong request, 3 environment failure."""
    open_closed_streams()
    if arguments is None:
        output.prepare()
    _heed_signals()
    code = _run(arguments)
    problem = flush_output()
    sys.exit(fail(problem, EXIT_MACHINE) if problem else code)


def _heed_signals() -> None:
    """Be as interruptible as we say, whatever who started us has made of its own signals."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
    signal.signal(signal.SIGTERM, _interrupt)
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # as `nohup` wants it
        signal.signal(signal.SIGHUP, _interrupt)
    # Where nobody waits for children the kernel drops their exit codes, and every failure is a success.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)


def _interrupt(number: int, frame: object) -> None:  # noqa: ARG001 - a signal handler's signature
    raise KeyboardInterrupt


def _run(arguments: Sequence[str] | None) -> int:
    try:
        return _carry_out(arguments)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return EXIT_REQUEST
    except (KeyboardInterrupt, click.Abort):
        return fail("interrupted; all child processes were stopped", EXIT_INTERRUPTED)
    except (UserError, click.ClickException, OSError) as error:
        return fail(*explain(error))
    except (MemoryError, ImportError, SystemError) as error:
        return fail(explain_load(error), EXIT_MACHINE)
    except Exception as error:  # noqa: BLE001 - the last line of defence
        message, code = explain(error) if is_of_engine(error) else (explain_fault(error), EXIT_MACHINE)
        return fail(message, code)


def _carry_out(arguments: Sequence[str] | None) -> int:
    try:
        return int(tandem.main(args=arguments, prog_name="tandem", standalone_mode=False) or 0)
    except (ModelError, LoadTestError) as error:
        raise as_user_error(error) or error from error


if __name__ == "__main__":
    main()
