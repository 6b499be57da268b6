"""The one check of a command that ended before it had a result."""

from collections.abc import Sequence

from pipelines.outputs.facts import Check, Facts, Figure


def facts_of_failure(
    command: str,
    model: str,
    why: str,
    started_at_utc: str,
    figures: Sequence[Figure] = (),
    lines: Sequence[str] = (),
) -> Facts:
    """Return the facts of a command that failed, such as by an endpoint where nobody answers.

    Args:
        figures: what had been measured by then.
        lines: what must be read with them, such as where the rest of it is kept.
    """
    check = Check("run", "complete", "the command came to its end", "failed", why)
    return Facts(
        command=command,
        model=model,
        headline=f"it failed: {why}",
        started_at_utc=started_at_utc,
        passed=False,
        checks=(check,),
        figures=tuple(figures),
        lines=tuple(lines),
    )
