"""The one check of a command that ended before it had anything to record."""

from pipelines.outputs.facts import Check, Facts


def facts_of_failure(command: str, model: str, why: str, started_at_utc: str) -> Facts:
    """Return the facts of a command that failed, such as by an endpoint where nobody answers."""
    check = Check("run", "complete", "the command came to its end", "failed", why)
    return Facts(
        command=command,
        model=model,
        headline=f"it failed: {why}",
        started_at_utc=started_at_utc,
        passed=False,
        checks=(check,),
    )
