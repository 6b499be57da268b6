"""What is compared with what: two runs, or two sides of one, and whether they may be."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.errors import RequestError
from pipelines.record.run import RunRecord
from pipelines.record.target import PayloadRecord, TargetRecord
from pipelines.report import pick
from pipelines.run.environment import differing
from pipelines.run.rebuild import read_coherent

BASE, NEW = "base", "new"


@dataclass(frozen=True)
class Pair:
    """A candidate and its baseline.

    Attributes:
        side: what people call the pair, such as `torchserve`.
        interleaved: whether both were measured in one run, round beside round.
    """

    side: str
    candidate_run: RunRecord
    candidate: str
    baseline_run: RunRecord
    baseline: str

    @property
    def interleaved(self) -> bool:
        """Whether both were measured in one run, so that their rounds are pairs."""
        return self.candidate_run is self.baseline_run

    @property
    def ours(self) -> TargetRecord:
        """The candidate's record."""
        return self.candidate_run.targets[self.candidate]

    @property
    def theirs(self) -> TargetRecord:
        """The baseline's record."""
        return self.baseline_run.targets[self.baseline]


@dataclass(frozen=True)
class Difference:
    """A field of the environment that the two runs do not share."""

    field: str
    baseline: str
    candidate: str

    def __str__(self) -> str:
        return f"{self.field} ({self.baseline} → {self.candidate})"


def read_gated(path: Path) -> RunRecord:
    """Read a run to be gated, from its folder or its run.json.

    Raises:
        RequestError: it is no run, or none that a gate can go by.
    """
    folder = path.parent if path.name == "run.json" else path
    run = read_coherent(folder)
    if run.kind != "compare":
        raise RequestError(f"{path} is a run of `tandem {run.kind}`; a gate takes runs of `tandem compare`")
    if run.status != "complete":
        raise RequestError(f"{path} is {run.status}; a gate takes complete runs: measure it again")
    if run.profile is None or not run.profile.verdicts:
        name = run.profile.name if run.profile else "none"
        raise RequestError(
            f"{path} gives no verdicts (profile {name}); measure it with `--profile quick` or full"
        )
    return run


def pairs_within(run: RunRecord, baseline: str | None, candidate: str | None) -> tuple[Pair, ...]:
    """Pair the sides of one run: those named, or `new` against `base`, by target where there are several.

    Raises:
        RequestError: as `pair_names`.
    """
    return tuple(
        Pair(new.removeprefix(f"{NEW}-") if new != NEW else NEW, run, new, run, base)
        for base, new in pair_names(tuple(pick.compared(run)), baseline, candidate)
    )


def pair_names(
    sides: Sequence[str], baseline: str | None, candidate: str | None
) -> tuple[tuple[str, str], ...]:
    """Return the names of baseline and candidate of every pair among the sides of one run.

    Raises:
        RequestError: there are no such sides, both are the same, or one has no partner.
    """
    chosen = [(baseline or BASE, candidate or NEW)]
    if not (baseline or candidate):
        ends = [name.removeprefix(kind) for kind in (BASE, NEW) for name in sides if _is_of(name, kind)]
        chosen = [(BASE + end, NEW + end) for end in dict.fromkeys(ends)]
    same = [one for one, other in chosen if one == other]
    if same:
        raise RequestError(
            f"the gate would compare the side {same[0]} with itself, which always passes; name two sides "
            f"with --baseline-side and --candidate-side: the run has {', '.join(sides)}"
        )
    missing = [name for both in chosen for name in both if name not in sides]
    if missing or not chosen:
        lacks = ", ".join(missing) or f"{BASE}, {NEW}"
        raise RequestError(
            f"the run has no side {lacks}, only {', '.join(sides) or 'none'}; within one run a gate compares "
            "two of its sides: measure `--sides base=ARTIFACTS_DIR,new=ARTIFACTS_DIR`, name the sides with "
            "--baseline-side and --candidate-side, or give a second run"
        )
    return tuple(chosen)


def _is_of(name: str, kind: str) -> bool:
    return name == kind or name.startswith(f"{kind}-")


def pairs_across(baseline: RunRecord, candidate: RunRecord) -> tuple[Pair, ...]:
    """Pair every side of the candidate's run with the same side of the baseline's.

    Raises:
        RequestError: the runs are the same, or of different models, loads, payloads or sides.
    """
    if baseline.run_id == candidate.run_id:
        raise RequestError(
            f"baseline and candidate are one run, {candidate.run_id}, which always passes; leave one of them "
            "out to compare its sides, or give another run"
        )
    for what, theirs, ours in _asked(baseline, candidate):
        if theirs != ours:
            raise RequestError(
                f"the runs differ in {what}: baseline {theirs}, candidate {ours}; measure both alike"
            )
    return tuple(Pair(name, candidate, name, baseline, name) for name in pick.compared(candidate))


def _asked(baseline: RunRecord, candidate: RunRecord) -> Iterator[tuple[str, str, str]]:
    """Yield what the two commands asked for, which has to be the same for any figure to compare."""
    theirs, ours = _asked_of(baseline), _asked_of(candidate)
    yield from ((name, theirs[name], ours.get(name, "none")) for name in theirs)


def _asked_of(run: RunRecord) -> dict[str, str]:
    profile = run.profile
    return {
        "model": f"{run.model.name} {run.model.digest[:12]}",
        "loads": ", ".join(profile.loads if profile else ()),
        "sides": ", ".join(pick.compared(run)),
        "payload": _payload(run.payload),
    } | {f"payload of {name}": _carried(run, name) for name in pick.compared(run)}


def _payload(payload: PayloadRecord | None) -> str:
    if payload is None:
        return "none"
    size = f"{payload.body_bytes_min} to {payload.body_bytes_max} bytes"
    return f"{payload.protocol}, {payload.codec}, {payload.rows} rows, {size}"


def _carried(run: RunRecord, name: str) -> str:
    """Describe a side's requests."""
    who = run.targets[name].implementation
    return f"{who.protocol}, {who.body}, {_payload(_payload_of(run, name))}"


def _payload_of(run: RunRecord, name: str) -> PayloadRecord | None:
    """Return what a side's requests carried; older runs have that of the run alone, None if it is another."""
    own, who = run.targets[name].payload, run.targets[name].implementation
    if own is not None or run.payload is None:
        return own
    return run.payload if (run.payload.protocol, run.payload.codec) == (who.protocol, who.body) else None


def differences(baseline: RunRecord, candidate: RunRecord) -> tuple[Difference, ...]:
    """List how two runs' environments differ: machine, versions, who answered and its budget."""
    values = differing((baseline, candidate))
    return tuple(Difference(name, theirs, ours) for name, (theirs, ours) in values.items())


def configured(baseline: RunRecord, candidate: RunRecord) -> tuple[Difference, ...]:
    """List how the configurations of the servers that both have differ: that may be what is asked about."""
    changes = []
    for name in (name for name in pick.compared(candidate) if name in pick.compared(baseline)):
        theirs, ours = (run.targets[name].implementation for run in (baseline, candidate))
        has_settings = all(_has_settings(run.targets[name]) for run in (baseline, candidate))
        before, after = (
            {"preset": each.preset, **(each.settings if has_settings else {})} for each in (theirs, ours)
        )
        changes += [
            Difference(f"{name} {key}", str(before.get(key, "none")), str(after.get(key, "none")))
            for key in dict.fromkeys((*before, *after))
            if before.get(key) != after.get(key)
        ]
    return tuple(changes)


def _has_settings(target: TargetRecord) -> bool:
    """Return whether its settings are recorded: older records hold none, and no payload either."""
    return bool(target.implementation.settings) or target.payload is not None


def carried(baseline: RunRecord, candidate: RunRecord) -> tuple[Difference, ...]:
    """List how the requests of the sides that both have differ, as far as both runs recorded them."""
    both = [name for name in pick.compared(candidate) if name in pick.compared(baseline)]
    payloads = [(name, *_carried_of_both(baseline, candidate, name)) for name in both]
    return tuple(
        Difference(f"payload of {name}", before, after) for name, before, after in payloads if before != after
    )


def _carried_of_both(baseline: RunRecord, candidate: RunRecord, name: str) -> tuple[str, str]:
    runs = (baseline, candidate)
    if all(_payload_of(run, name) for run in runs):
        return _carried(baseline, name), _carried(candidate, name)
    theirs, ours = (run.targets[name].implementation for run in runs)
    return f"{theirs.protocol}, {theirs.body}", f"{ours.protocol}, {ours.body}"


def require_same(unlike: tuple[Difference, ...]) -> None:
    """Raise RequestError if the environments differ."""
    if unlike:
        raise RequestError(
            f"the runs were not measured in one environment: {'; '.join(map(str, unlike))}; measure the "
            "baseline again here, use `tandem compare --sides base=ARTIFACTS_DIR,new=ARTIFACTS_DIR`, or pass "
            "--allow-environment"
        )
