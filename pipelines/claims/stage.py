"""`tandem claims`: reads the run of every condition, measures what is missing, and judges the claims."""

import shutil
import signal
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, Literal

from pipelines.claims.findings import Finding
from pipelines.claims.known import CLAIMS, Claim, Condition, conditions
from pipelines.errors import MachineError, RequestError
from pipelines.files.atomic import disk_error, write_atomically
from pipelines.processes.children import child_environment, python_module
from pipelines.processes.group import before_exec
from pipelines.record.run import RunRecord
from pipelines.run.rebuild import read_coherent
from pipelines.tasks.tasks import Progress

State = Literal["holds", "does not hold", "no difference", "undecided", "not measured"]
CHECK_FAILED: Final = 1
INTERRUPTED: Final = 130
STOP_LIMIT_S: Final = 120.0


@dataclass(frozen=True)
class Answer:
    """What one finding says of a claim."""

    finding: Finding
    state: State


@dataclass(frozen=True)
class Tested:
    """A condition with its run, None where there is none or it is of no use; then `why` says so."""

    condition: Condition
    run: RunRecord | None
    answers: tuple[Answer, ...]
    why: str | None = None


@dataclass(frozen=True)
class Judged:
    """A claim and all its conditions."""

    claim: Claim
    tested: tuple[Tested, ...]

    @property
    def state(self) -> State | Literal["it depends"]:
        """What all decided answers say alike, else that it depends."""
        states = {answer.state for tested in self.tested for answer in tested.answers}
        decided = states & {"holds", "does not hold", "no difference"}
        if len(decided) > 1:
            return "it depends"
        if decided:
            return next(iter(decided))
        return "undecided" if states else "not measured"

    @property
    def is_decided(self) -> bool:
        """Whether any condition was decided."""
        return self.state not in ("not measured", "undecided")

    @property
    def main(self) -> Answer | None:
        """The first decided answer of the condition that is meant; None without one."""
        decided = (answer for answer in self.tested[0].answers if answer.state not in ("undecided",))
        return next(decided, None)

    @property
    def turns(self) -> tuple[tuple[Condition, Answer], ...]:
        """Decided answers that are not the main one's."""
        main = self.main
        return tuple(
            (tested.condition, answer)
            for tested in self.tested
            for answer in tested.answers
            if main is not None and answer.state not in (main.state, "undecided")
        )


def judge(folder: Path) -> tuple[Judged, ...]:
    """Judge every claim by the runs below `folder`, one folder per condition.

    Raises:
        RequestError: the folder cannot be read, or a run in it is damaged or was measured by another command.
    """
    if folder.exists() and not folder.is_dir():
        raise RequestError(f"--runs is {folder}, which is no folder; name one with a folder per condition")
    runs = {condition.key: _read(folder / condition.key, condition) for condition in conditions()}
    return tuple(
        Judged(claim, tuple(_tested(claim, condition, runs[condition.key]) for condition in claim.conditions))
        for claim in CLAIMS
    )


def _read(folder: Path, condition: Condition) -> RunRecord | None:
    if not (folder / "run.json").is_file():
        return None
    run = read_coherent(folder)
    typed = without_runs(run.command)
    if typed != ("tandem", *condition.command):
        raise RequestError(
            f"{folder} was measured by `{' '.join(typed)[:200]}`; this condition is "
            f"`tandem {' '.join(condition.command)}`: remove the folder, or put the right run there"
        )
    return run


def without_runs(command: Sequence[str]) -> tuple[str, ...]:
    """Return a command line without its `--runs` option."""
    left: list[str] = []
    skip = False
    for word in command:
        if not skip and word != "--runs":
            left.append(word)
        skip = word == "--runs"
    return tuple(left)


def _tested(claim: Claim, condition: Condition, run: RunRecord | None) -> Tested:
    if run is None:
        return Tested(condition, None, ())
    if run.status != "complete":
        return Tested(condition, None, (), f"its run was {run.status}")
    answers = tuple(Answer(finding, _state(claim, finding)) for finding in condition.read(run))
    if not answers:
        return Tested(condition, run, (), "its run has no such figure")
    return Tested(condition, run, answers)


def _state(claim: Claim, finding: Finding) -> State:
    if finding.word in (None, "inconclusive"):
        return "undecided"
    if finding.word in claim.holds:
        return "holds"
    return "no difference" if finding.word == "equivalent" else "does not hold"


def measure_missing(folder: Path, progress: Progress) -> tuple[str, ...]:
    """Run the command of every condition without a run, one after the other; returns those that failed.

    What a command wrote goes to `folder`/KEY/run.json when it ended; its run folder stays below runs/claims.

    Raises:
        RequestError: as `judge`, before anything is measured.
        KeyboardInterrupt: the user asked to stop; what was measured is kept.
        MachineError: the disk refused.
    """
    judge(folder)
    missing = [condition for condition in conditions() if not (folder / condition.key / "run.json").is_file()]
    failed = []
    for number, condition in enumerate(missing, start=1):
        title = f"[{number}/{len(missing)}] {condition.key}"
        try:
            code, run = _measure(condition, partial(progress, title))
        except KeyboardInterrupt:
            progress(title, f"interrupted; what was measured is in {folder}, --measure goes on here")
            raise
        if run is None:
            failed.append(condition.key)
            progress(title, f"failed with exit code {code}")
            continue
        _keep(run, folder / condition.key)
        progress(title, "done")
    return tuple(failed)


def _measure(condition: Condition, say: Callable[[str], None]) -> tuple[int, Path | None]:
    """Return the last exit code and the folder of the run, None where the command made none."""
    runs = Path("runs") / "claims" / condition.key
    before, latest = (runs / "latest").resolve(), runs / "latest"
    for command in condition.before:
        say(f"tandem {' '.join(command)}")
        if code := _command(command):
            return code, None
    command = (*condition.command, "--runs", str(runs))
    say(f"tandem {' '.join(command)}")
    code = _command(command)
    # A check that failed is a result too, as of an artifact that is not good enough.
    made = latest.resolve() != before and (latest / "run.json").is_file()
    return code, latest.resolve() if made and code <= CHECK_FAILED else None


def _keep(run: Path, folder: Path) -> None:
    """Keep only the record: figures are judged as they stand there."""
    try:
        write_atomically(folder / "run.json", (run / "run.json").read_bytes())
    except OSError as error:
        raise disk_error(folder, error) from error


def _command(words: Sequence[str]) -> int:
    """Run a Tandem command in a child process, which ends with this one; return its exit code.

    Raises:
        KeyboardInterrupt: it was interrupted.
        MachineError: it cannot be started.
    """
    try:
        process = subprocess.Popen(
            python_module("pipelines.cli", *words),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            env=child_environment(),
            start_new_session=True,  # Ctrl-C comes to it once, from us
            preexec_fn=before_exec(),  # noqa: PLW1509 - only a prctl call, looked up beforehand
        )
    except OSError as error:
        raise MachineError(f"tandem {words[0]} cannot be started: {error.strerror}") from error
    try:
        code = process.wait()
    except BaseException:
        process.send_signal(signal.SIGINT)
        process.wait(STOP_LIMIT_S)
        raise
    if code == INTERRUPTED:
        raise KeyboardInterrupt
    return code


def remove(folder: Path, keys: Sequence[str]) -> None:
    """Forget the runs of those conditions, so that they are measured again.

    Raises:
        RequestError: a key of no condition.
        MachineError: the disk refused.
    """
    known_keys = [condition.key for condition in conditions()]
    for key in keys:
        if key not in known_keys:
            raise RequestError(f"--again names {key[:80]!r}; conditions are {', '.join(known_keys)}")
    for key in keys:
        try:
            shutil.rmtree(folder / key, ignore_errors=False) if (folder / key).exists() else None
        except OSError as error:
            raise disk_error(folder / key, error) from error
