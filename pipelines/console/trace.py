"""Keeps the trace of a fault of ours in a file, so that its one line on a terminal can name it."""

import sys
import tempfile
import traceback


def keep_trace(error: BaseException) -> str:
    """Write the trace of `error`; the file's path, or the line it happened in if nothing can be written."""
    text = f"{' '.join(sys.orig_argv)}\nPython {sys.version}\n\n{''.join(traceback.format_exception(error))}"
    try:
        with tempfile.NamedTemporaryFile(
            "w",
            prefix="tandem-error-",
            suffix=".txt",
            encoding="utf-8",
            errors="backslashreplace",
            delete=False,
        ) as file:
            file.write(text)
        return file.name
    except OSError as refused:
        last = traceback.extract_tb(error.__traceback__)[-1]
        return f"no file ({refused.strerror}), line {last.lineno} of {last.filename}"
