"""Runs one task in a process of its own: `python -m pipelines.tasks.task_main`, the task as JSON on stdin.

The task names a function "module:function" and its keyword arguments, which become what its annotations
say. Its first argument is a callable for one line of progress. What it returns becomes JSON.
Everything the function or a library prints goes to stderr; stdout carries only our messages, one JSON object
a line: progress, then result or error.
"""

import json
import os
import sys
import traceback
from pkgutil import resolve_name
from typing import IO, Any

from models.spec import ModelError
from pipelines.errors import UserError
from pipelines.processes.group import die_with_parent
from pipelines.tasks.failures import as_user_error
from pipelines.tasks.lean import import_less
from pipelines.tasks.wire import encoded, typed_arguments


def main() -> int:
    """Run the task on stdin; 0 if it returned, 1 if it raised."""
    die_with_parent()
    import_less()
    with _own_stdout() as messages:

        def say(message: dict[str, Any]) -> None:
            messages.write(encoded(message) + "\n")
            messages.flush()

        task = json.load(sys.stdin)
        try:
            function = resolve_name(task["function"])
            arguments = typed_arguments(function, task["arguments"])
            say({"result": function(lambda text: say({"progress": text}), **arguments)})
        except (UserError, ModelError) as error:
            say({"error": str(error), "kind": type(error).__name__})
            return 1
        except Exception as error:  # noqa: BLE001 - a process boundary: the parent reports what it was
            user_error = as_user_error(error)
            if user_error is not None:
                say({"error": str(user_error), "kind": type(user_error).__name__})
                return 1
            traceback.print_exc()
            say({"error": f"{type(error).__name__}: {error}", "kind": "unexpected"})
            return 1
    return 0


def _own_stdout() -> IO[str]:
    """Return the real stdout, for messages; send descriptor 1 to stderr, so that libraries cannot mix in."""
    messages = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return messages


if __name__ == "__main__":
    sys.exit(main())
