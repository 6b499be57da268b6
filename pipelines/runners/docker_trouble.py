"""What goes wrong with a container engine, in words: it refuses, or it is gone."""

from pipelines.package.engine import said

ENGINE_GONE = (
    "the container engine does not answer any more; if it was stopped or restarted its containers ended with "
    "it: start it (`docker version` shows whether it answers) and run again"
)


def why(error: Exception) -> str:
    """Explain one of `engine_errors` in one line."""
    return said(error) if hasattr(error, "explanation") else ENGINE_GONE
