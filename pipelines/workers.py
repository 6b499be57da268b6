"""Runs tasks in processes of their own, at the same time, with progress, and ends them all on any failure."""

import json
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import IO, Any, cast

from models.spec import ModelError
from pipelines import errors
from pipelines.children import child_environment, python_module
from pipelines.processes import before_exec, end_group, interrupts_held, last_lines

# Says which task, and what it is doing now.
Progress = Callable[[str, str], None]

QUIET = {"TF_CPP_MIN_LOG_LEVEL": "2"}


@dataclass(frozen=True)
class Task:
    """A function "module:function" with its JSON arguments, shown to people as `title`."""

    title: str
    function: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True)
class Outcome:
    """What a task returned, and its wall time from process start to process end, in seconds."""

    result: Any
    elapsed_s: float


@dataclass
class _Child:
    task: Task
    process: subprocess.Popen[bytes]
    log: Path
    started: float = field(default_factory=time.monotonic)


def run_tasks(tasks: Sequence[Task], progress: Progress) -> list[Outcome]:
    """Run all tasks at once, each in a process of its own; outcomes come in the order of `tasks`.

    Raises:
        UserError: the first task that failed, with its own message; the others are ended.
        ModelError: a task found the model at fault.
        MachineError: a process died or raised something unforeseen; the last log lines are in the message.
    """
    with tempfile.TemporaryDirectory(prefix="tandem-tasks-") as folder:
        children: list[_Child] = []
        messages: SimpleQueue[tuple[int, dict[str, Any] | None]] = SimpleQueue()
        try:
            for number, task in enumerate(tasks):
                with interrupts_held():
                    children.append(_start(task, Path(folder) / f"{number}.log"))
                threading.Thread(target=_read, args=(number, children[-1], messages), daemon=True).start()
            return _collect(children, messages, progress)
        finally:
            for child in children:
                end_group(child.process)


def _start(task: Task, log: Path) -> _Child:
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            python_module("pipelines.worker"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env=child_environment(QUIET),
            start_new_session=True,
            preexec_fn=before_exec(),  # noqa: PLW1509 - only a prctl call, looked up beforehand
        )
    with cast("IO[bytes]", process.stdin) as stdin:
        stdin.write(json.dumps({"function": task.function, "arguments": dict(task.arguments)}).encode())
    return _Child(task, process, log)


def _read(number: int, child: _Child, messages: "SimpleQueue[tuple[int, dict[str, Any] | None]]") -> None:
    with cast("IO[bytes]", child.process.stdout) as lines:
        for line in lines:
            # A killed process may leave half a line behind; then there is no more to come.
            if line.endswith(b"\n"):
                messages.put((number, json.loads(line)))
    messages.put((number, None))


def _collect(
    children: list[_Child],
    messages: "SimpleQueue[tuple[int, dict[str, Any] | None]]",
    progress: Progress,
) -> list[Outcome]:
    outcomes: dict[int, Outcome] = {}
    while len(outcomes) < len(children):
        number, message = messages.get()
        child = children[number]
        if message is None:
            if number not in outcomes:
                raise _died(child)
        elif "progress" in message:
            progress(child.task.title, message["progress"])
        elif "error" in message:
            raise _failure(child, message)
        else:
            outcomes[number] = Outcome(message["result"], time.monotonic() - child.started)
            progress(child.task.title, "done")
    return [outcomes[number] for number in range(len(children))]


def _failure(child: _Child, message: dict[str, Any]) -> Exception:
    if message["kind"] == ModelError.__name__:
        return ModelError(message["error"])
    known = getattr(errors, message["kind"], None)
    if known is not None:
        failure: Exception = known(message["error"])
        return failure
    return errors.MachineError(
        f"{child.task.title} failed: {message['error']}; its last lines: {last_lines(child.log)}"
    )


def _died(child: _Child) -> errors.MachineError:
    code = child.process.wait()
    return errors.MachineError(
        f"{child.task.title} ended without a result (exit code {code}); its last lines: "
        f"{last_lines(child.log) or 'none'}"
    )
