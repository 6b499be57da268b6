"""Where and with what a run was measured, field by field, so that runs can be held against one another."""

from collections.abc import Iterator, Mapping, Sequence

from pipelines.record.environment import EnvironmentRecord
from pipelines.record.run import RunRecord
from pipelines.report import pick

SAME_MEMORY = 0.01
"""Two boots of one machine differ by less in the memory they report."""


def environment_of(run: RunRecord) -> Mapping[str, str]:
    """Return machine, versions, who answered and its budget; no commit, which may be what is compared."""
    fields = dict(_machine(run.environment))
    for name, target in pick.compared(run).items():
        who, budget = target.implementation, target.given
        fields[f"{name} implementation"] = f"{who.name} {who.version}"
        fields[f"{name} runner"] = who.runner
        fields[f"{name} cores"] = ", ".join(map(str, budget.cores)) or "all"
        fields[f"{name} cpus"] = str(budget.cpus)
        fields[f"{name} memory limit"] = str(budget.memory_limit_bytes)
    return fields


def _machine(environment: EnvironmentRecord) -> Iterator[tuple[str, str]]:
    for name, value in environment.model_dump(exclude={"versions", "git_commit"}).items():
        yield name, str(value)
    yield from ((f"version of {name}", value) for name, value in sorted(environment.versions.items()))


def differing(runs: Sequence[RunRecord]) -> dict[str, tuple[str, ...]]:
    """Return each field in which runs differ, with its value in every run; `none` where it has none."""
    environments = [environment_of(run) for run in runs]
    names = dict.fromkeys(name for environment in environments for name in environment)
    values = {name: tuple(environment.get(name, "none") for environment in environments) for name in names}
    return {
        name: own
        for name, own in values.items()
        if len(set(own)) > 1 and not (name == "memory_bytes" and _same_memory(runs))
    }


def _same_memory(runs: Sequence[RunRecord]) -> bool:
    sizes = [run.environment.memory_bytes for run in runs]
    return max(sizes) <= min(sizes) * (1 + SAME_MEMORY)
