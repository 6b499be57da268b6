"""What goes wrong with a container engine, in words: it refuses, or it is gone."""

ENGINE_GONE = (
    "the container engine does not answer any more; if it was stopped or restarted its containers ended with "
    "it: start it (`docker version` shows whether it answers) and run again"
)


def why(error: Exception) -> str:
    """Explain one of `engine_errors` in one line."""
    explanation = getattr(error, "explanation", None)
    return str(explanation or error) if hasattr(error, "explanation") else ENGINE_GONE
