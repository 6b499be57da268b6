"""Runs tasks in processes of their own, at the same time, with progress, and ends them all on any failure."""

import json
import math
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import IO, Any, Concatenate, Generic, ParamSpec, TypeVar, cast, get_type_hints

from models.spec import ModelError
from pipelines import errors
from pipelines.environments.known import Environment
from pipelines.processes.children import child_environment, python_module
from pipelines.processes.group import before_exec, end_group, how_it_ended, interrupts_held, last_lines
from pipelines.tasks.wire import encoded, typed

# Says which task, and what it is doing now; of one task the latter alone.
Progress = Callable[[str, str], None]
Say = Callable[[str], None]
Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

QUIET = {"TF_CPP_MIN_LOG_LEVEL": "2"}
# Threads of OpenMP wait for one another spinning, each on a core of its own. Where several tasks share the
# cores, whoever is waited for is without one meanwhile: small operations of torch took 40 times as long so.
SIDE_BY_SIDE = {"OMP_WAIT_POLICY": "PASSIVE"}
LIMIT_VARIABLE = "TANDEM_TASK_LIMIT_S"
# A reader ends when the pipe of its child does, and that is gone by then.
READER_LIMIT_S = 5.0
Messages = SimpleQueue[tuple[int, dict[str, Any] | None]]


@dataclass(frozen=True)
class Task(Generic[Result]):
    """A function "module:function" with its arguments, shown to people as `title`; `task_of` makes one.

    After `limit_s` seconds it is taken for hung and ended; `TANDEM_TASK_LIMIT_S` replaces every task's limit.
    It runs in this Python, or in that of another `environment`, which has to be made. `result` is the type of
    what it returns.
    """

    title: str
    function: str
    arguments: Mapping[str, Any]
    limit_s: float
    environment: Environment | None = None
    result: Any = Any


def task_of(
    title: str,
    limit_s: float,
    function: Callable[Concatenate[Say, Arguments], Result],
    /,
    *positional: Arguments.args,
    **arguments: Arguments.kwargs,
) -> Task[Result]:
    """Make a task of a call of `function`, whose first parameter, for progress, its process gives.

    Arguments and result travel as JSON and are on the other side again what the function's annotations say:
    numbers, texts, paths, dataclasses, records, and containers of those.

    Args:
        positional: none; arguments are given by name.
    """
    assert not positional  # noqa: S101 - a call in this package
    result = get_type_hints(function).get("return", Any)
    name = f"{function.__module__}:{function.__qualname__}"
    return Task(title, name, arguments, limit_s, result=result)


@dataclass(frozen=True)
class Outcome(Generic[Result]):
    """What a task returned, and the wall time from its process's start to its result, in seconds."""

    result: Result
    elapsed_s: float


@dataclass
class _Child:
    task: Task[Any]
    process: subprocess.Popen[bytes]
    log: Path
    limit_s: float
    started: float = field(default_factory=time.monotonic)
    doing: str = "nothing that it told"

    @property
    def left_s(self) -> float:
        """Seconds until it is taken for hung."""
        return self.started + self.limit_s - time.monotonic()


def run_tasks(tasks: Sequence[Task[Result]], progress: Progress) -> list[Outcome[Result]]:
    """Run all tasks at once, each in a process of its own; outcomes come in the order of `tasks`.

    Raises:
        UserError: the first task that failed, with its own message; the others are ended.
        ModelError: a task found the model at fault.
        ProcessDiedError: a process died or hung beyond its limit; the last log lines are in the message.
        MachineError: a process raised something unforeseen; with the last log lines as well.
    """
    with tempfile.TemporaryDirectory(prefix="tandem-tasks-") as folder:
        children: list[_Child] = []
        readers: list[threading.Thread] = []
        messages: Messages = SimpleQueue()
        variables = {**QUIET, **(SIDE_BY_SIDE if len(tasks) > 1 else {})}
        try:
            for number, task in enumerate(tasks):
                with interrupts_held():
                    children.append(_start(task, Path(folder) / f"{number}.log", variables))
                arguments = (number, children[-1], messages)
                readers.append(threading.Thread(target=_read, args=arguments, daemon=True))
                readers[-1].start()
            return _collect(children, messages, progress)
        finally:
            for child in children:
                end_group(child.process)
            for reader in readers:
                reader.join(READER_LIMIT_S)


def _start(task: Task[Any], log: Path, variables: Mapping[str, str]) -> _Child:
    """Start a child; its task is a file and no pipe: a child that dies at birth breaks nothing of ours."""
    order, limit_s = log.with_suffix(".json"), _limit_s(task)
    python = None if task.environment is None else task.environment.python
    of_environment = {} if task.environment is None else task.environment.variables
    order.write_text(encoded({"function": task.function, "arguments": dict(task.arguments)}))
    try:
        with log.open("wb") as stderr, order.open("rb") as stdin:
            process = subprocess.Popen(
                python_module("pipelines.tasks.task_main", python=python),
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=stderr,
                env=child_environment({**variables, **of_environment}),
                start_new_session=True,
                preexec_fn=before_exec(),  # noqa: PLW1509 - only a prctl call, looked up beforehand
            )
    except (OSError, subprocess.SubprocessError) as error:
        reason = getattr(error, "strerror", None) or error
        raise errors.MachineError(f"no process can be started for {task.title}: {reason}") from error
    return _Child(task, process, log, limit_s)


def _limit_s(task: Task[Any]) -> float:
    """Return the task's limit; raise RequestError if the environment's is no number of seconds."""
    limit_text = os.environ.get(LIMIT_VARIABLE)
    if not limit_text:
        return task.limit_s
    try:
        limit_s = float(limit_text)
    except ValueError:
        limit_s = math.nan
    if not 0 < limit_s < threading.TIMEOUT_MAX:
        raise errors.RequestError(
            f"{LIMIT_VARIABLE} is {limit_text!r}; allowed: seconds above 0, such as 3600"
        )
    return limit_s


def _read(number: int, child: _Child, messages: Messages) -> None:
    with cast("IO[bytes]", child.process.stdout) as lines:
        for line in lines:
            # A killed process may leave half a line behind; then there is no more to come.
            if line.endswith(b"\n"):
                messages.put((number, _message(line)))
    messages.put((number, None))


def _message(line: bytes) -> dict[str, Any]:
    try:
        message = json.loads(line)
    except ValueError:
        message = None
    if isinstance(message, dict):
        return message
    return {"error": f"it broke the protocol with {line[:100]!r}", "kind": "unexpected"}


def _next(
    children: list[_Child], outcomes: Mapping[int, Outcome[Any]], messages: Messages
) -> tuple[int, dict[str, Any] | None]:
    """Return the next message of any child.

    Raises:
        MachineError: a child's time is up.
    """
    waiting = [child for number, child in enumerate(children) if number not in outcomes]
    first = min(waiting, key=lambda child: child.left_s)
    try:
        return messages.get(timeout=max(0.0, first.left_s))
    except Empty:
        raise _hung(first) from None


def _collect(children: list[_Child], messages: Messages, progress: Progress) -> list[Outcome[Any]]:
    outcomes: dict[int, Outcome[Any]] = {}
    while len(outcomes) < len(children):
        number, message = _next(children, outcomes, messages)
        child = children[number]
        if message is None:
            if number not in outcomes:
                raise _died(child)
        elif "progress" in message:
            child.doing = message["progress"]
            progress(child.task.title, message["progress"])
        elif "error" in message:
            raise _failure(child, message)
        else:
            elapsed_s = time.monotonic() - child.started
            outcomes[number] = Outcome(_result(child.task, message["result"]), elapsed_s)
            progress(child.task.title, "done")
    return [outcomes[number] for number in range(len(children))]


def _result(task: Task[Any], told: Any) -> Any:
    """Return what was told as what the task returns; MachineError if it is something else."""
    from pydantic import ValidationError

    try:
        return typed(task.result, told)
    except ValidationError as error:
        first = error.errors()[0]
        place = "".join(f"[{part!r}]" for part in first["loc"])
        raise errors.MachineError(
            f"{task.title} failed: its result{place} is not what it should be: {first['msg']}"
        ) from error


def _failure(child: _Child, message: dict[str, Any]) -> Exception:
    if message["kind"] == ModelError.__name__:
        return ModelError(message["error"])
    error_class = getattr(errors, message["kind"], None)
    if error_class is not None:
        failure: Exception = error_class(message["error"])
        return failure
    return errors.MachineError(
        f"{child.task.title} failed: {message['error']}; its last lines: {last_lines(child.log)}"
    )


def _hung(child: _Child) -> errors.ProcessDiedError:
    return errors.ProcessDiedError(
        f"{child.task.title} did not end within {child.limit_s:.0f} s and was ended; it was last at: "
        f"{child.doing}; its last lines: {last_lines(child.log) or 'none'}; if it needs longer, set "
        f"{LIMIT_VARIABLE} to more seconds"
    )


def _died(child: _Child) -> errors.ProcessDiedError:
    code = child.process.wait()
    return errors.ProcessDiedError(
        f"{child.task.title} ended without a result ({how_it_ended(code)}); its last lines: "
        f"{last_lines(child.log) or 'none'}"
    )
