"""`python -m pipelines.targets.tfserving.embedded`: parse the flags, then start; nothing heavy before."""

import logging
import os
import signal
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

from pipelines.errors import UserError

from . import SERVER_NAME
from .flags import help_text, parse_flags


def main(arguments: Sequence[str]) -> int:
    """Run the server; its exit code: 0 stopped by a signal, 2 a wrong request, 3 the machine was not able."""
    try:
        flags = parse_flags(arguments)
        if flags.help:
            sys.stdout.write(help_text())
            return 0
        if flags.version:
            sys.stdout.write(f"{SERVER_NAME} {_version()}\n")
            return 0
        _quiet_tensorflow()
        _leave_out_wrappers()
        # Until the event loop takes over, a signal to stop ends a slow start as cleanly as Ctrl-C does.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
        from .app import serve

        return serve(flags)
    except UserError as error:
        sys.stderr.write(f"{SERVER_NAME}: {error}\n")
        return error.exit_code
    except KeyboardInterrupt:
        return 0


def _version() -> str:
    try:
        return version("tandem-serving")
    except PackageNotFoundError:
        return "(not installed)"


def _quiet_tensorflow() -> None:
    """Silence warnings of TensorFlow, which would bury the one line that says the server listens."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)


def _leave_out_wrappers() -> None:
    """Keep Keras, which comes with TensorFlow, from importing an installed scikit-learn: half a second."""
    sys.modules["sklearn"] = None  # type: ignore[assignment]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
