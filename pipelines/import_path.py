"""Keeps what a user's folders hold from hiding the standard library, our packages or their dependencies.

`python -m` puts the working directory in front of the import path, and PYTHONPATH comes right after it: a
project's own `models/`, `statistics.py` or `numpy.py` would be executed in place of what was meant. A model
file still finds its helpers, behind everything else. Imports nothing that is not loaded at start-up anyway.
"""

import os
import sys
from contextlib import suppress

VARIABLE = "TANDEM_IMPORT_PATH"
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120 - see above


def put_user_entries_last() -> None:
    """Move the working directory, PYTHONPATH and `VARIABLE` behind all other entries of `sys.path`.

    Processes that this one starts find them in `VARIABLE`.
    """
    entries = _absolute(sys.path)
    named = _absolute(
        [entry for name in ("PYTHONPATH", VARIABLE) for entry in filter(None, [os.environ.get(name)])]
    )
    users = [entry for entry in dict.fromkeys((*entries, *named)) if entry in {*named, *_absolute([""])}]
    others = [entry for entry in entries if entry not in users]
    # An editable install is asked after every folder, so it says here where our packages are.
    sys.path[:] = list(dict.fromkeys((*others, ROOT, *users)))
    os.environ[VARIABLE] = os.pathsep.join(users)


def _absolute(entries: list[str]) -> list[str]:
    """Make each entry, or each of several in one text, absolute; leave out what is relative to nowhere."""
    split = [part for entry in entries for part in entry.split(os.pathsep)]
    with suppress(FileNotFoundError):  # the working directory is gone
        return [os.path.abspath(part) for part in split]  # noqa: PTH100
    return [part for part in split if os.path.isabs(part)]  # noqa: PTH117
