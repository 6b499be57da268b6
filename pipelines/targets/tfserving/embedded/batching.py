"""Batching of concurrent runs of one model, with the parameters of `--batching_parameters_file`.

Runs that feed and fetch the same tensors wait in one queue, as batches that are still open. A batch is run
when it is full or has waited for `batch_timeout_micros`, and a batch thread is free. What differs from the
real server: without padding, requests whose rows differ in shape never meet in one batch; and when a batch
fails, its requests are run one by one, so that a bad one has its error alone.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from .batching_parameters import BatchingParameters
from .dtypes import Array
from .status import Code, ServingError, invalid

_US_PER_S = 1_000_000
_PADDED_RANKS = range(1, 7)

_FULL = "The batch scheduling queue to which this task was submitted is full"
_NO_ROWS = (
    "Batched output tensor's 0th dimension does not equal the sum of the 0th dimension sizes of the input "
    "tensors"
)

Run = Callable[[dict[str, Array]], list[Array]]


@dataclass(slots=True, eq=False)
class _Task:
    feeds: Mapping[str, Array]
    size: int
    queued_s: float
    done: threading.Event = field(default_factory=threading.Event)
    outputs: list[Array] | None = None
    error: Exception | None = None


@dataclass(slots=True, eq=False)
class _Batch:
    run: Run
    opened_s: float
    tasks: list[_Task] = field(default_factory=list)
    size: int = 0
    closed: bool = False


class Batcher:
    """The queues of all models and the threads that run their batches.

    Args:
        note: called after every run of a batch with its rows, and the seconds that each request had waited.
    """

    def __init__(
        self,
        parameters: BatchingParameters,
        note: Callable[[int, Sequence[float]], None] = lambda _rows, _waited: None,
    ) -> None:
        self.parameters = parameters
        self._note = note
        self._change = threading.Condition()
        self._queues: dict[Hashable, deque[_Batch]] = {}
        for number in range(parameters.threads):
            threading.Thread(target=self._work, name=f"batch-{number}", daemon=True).start()

    def run(self, key: Hashable, feeds: Mapping[str, Array], run: Run) -> list[Array]:
        """Return outputs for `feeds`, computed by `run` together with other requests of the same `key`.

        Raises ServingError.
        """
        size = _size(feeds)
        if size > self.parameters.max_batch_size:
            raise invalid(
                f"Task size {size} is larger than maximum input batch size {self.parameters.max_batch_size}"
            )
        if size == 0:
            return run(dict(feeds))
        task = _Task(feeds, size, time.monotonic())
        self._enqueue((key, self._kind(feeds)), task, run)
        task.done.wait()
        if task.error is not None:
            raise task.error
        assert task.outputs is not None  # noqa: S101 - a task is done with one or the other
        return task.outputs

    def _kind(self, feeds: Mapping[str, Array]) -> Hashable:
        """Return what must be alike for rows to be put together."""
        if self.parameters.pad_variable_length_inputs:
            return tuple((array.dtype.str, array.ndim) for array in feeds.values())
        return tuple((array.dtype.str, array.shape[1:]) for array in feeds.values())

    def _enqueue(self, key: Hashable, task: _Task, run: Run) -> None:
        with self._change:
            queue = self._queues.setdefault(key, deque())
            last = queue[-1] if queue else None
            if last is None or last.closed or last.size + task.size > self.parameters.max_batch_size:
                if len(queue) >= self.parameters.max_enqueued_batches:
                    raise ServingError(Code.UNAVAILABLE, _FULL)
                if last is not None:
                    last.closed = True
                last = _Batch(run, task.queued_s)
                queue.append(last)
            last.tasks.append(task)
            last.size += task.size
            last.closed = last.size >= self.parameters.max_batch_size
            self._change.notify()

    def _work(self) -> None:
        while True:
            with self._change:
                while (batch := self._take()) is None:
                    self._change.wait(self._patience_s())
            try:
                self._process(batch)
            finally:
                for task in batch.tasks:
                    if task.outputs is None and task.error is None:
                        task.error = ServingError(Code.INTERNAL, "the batch was not run")
                    task.done.set()

    def _take(self) -> _Batch | None:
        """Take the oldest batch that is full or has waited long enough."""
        due = [
            (queue[0].opened_s, key)
            for key, queue in self._queues.items()
            if queue[0].closed or self._left_s(queue[0]) <= 0
        ]
        if not due:
            return None
        _, key = min(due, key=lambda pair: pair[0])
        batch = self._queues[key].popleft()
        batch.closed = True
        if not self._queues[key]:
            del self._queues[key]
        return batch

    def _left_s(self, batch: _Batch) -> float:
        return batch.opened_s + self.parameters.batch_timeout_micros / _US_PER_S - time.monotonic()

    def _patience_s(self) -> float | None:
        """Return the seconds until some batch has waited long enough; None if there is none."""
        return (
            max(0.0, min(self._left_s(queue[0]) for queue in self._queues.values())) if self._queues else None
        )

    def _process(self, batch: _Batch) -> None:
        began = time.monotonic()
        try:
            _answer(batch.tasks, self._run_together(batch))
        except Exception as error:  # noqa: BLE001  whatever it is, it goes to the request that caused it
            self._run_apart(batch, error)
        self._note(batch.size, [began - task.queued_s for task in batch.tasks])

    def _run_together(self, batch: _Batch) -> list[Array]:
        rows = self.parameters.padded_size(batch.size)
        outputs = batch.run(_merged([task.feeds for task in batch.tasks], rows - batch.size))
        if any(output.ndim == 0 or len(output) != rows for output in outputs):
            raise ServingError(Code.FAILED_PRECONDITION, _NO_ROWS)
        return outputs

    def _run_apart(self, batch: _Batch, error: Exception) -> None:
        if len(batch.tasks) == 1:
            batch.tasks[0].error = error
            return
        for task in batch.tasks:
            single = _Batch(batch.run, batch.opened_s, [task], task.size)
            try:
                _answer(single.tasks, self._run_together(single))
            except Exception as own:  # noqa: BLE001  as above
                task.error = own


def _size(feeds: Mapping[str, Array]) -> int:
    if not feeds:
        raise invalid("Batching Run() must have at least one input tensor")
    if any(array.ndim == 0 for array in feeds.values()):
        raise invalid("Batching Run() input tensors must have at least one dimension")
    sizes = {len(array) for array in feeds.values()}
    if len(sizes) > 1:
        raise invalid("Batching Run() input tensors must have equal 0th-dimension size")
    return sizes.pop()


def _merged(all_feeds: Sequence[Mapping[str, Array]], padding: int) -> dict[str, Array]:
    """Join all rows one after the other, and add `padding` copies of the first row."""
    merged = {}
    for name in all_feeds[0]:
        arrays = _same_shape([feeds[name] for feeds in all_feeds])
        if padding:
            arrays.append(np.repeat(arrays[0][:1], padding, axis=0))
        merged[name] = arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
    return merged


def _same_shape(arrays: list[Array]) -> list[Array]:
    """Pad dimensions beyond the first to the largest array's, with each array's first value."""
    largest = tuple(map(max, zip(*(array.shape[1:] for array in arrays), strict=True)))
    if all(array.shape[1:] == largest for array in arrays):
        return arrays
    if arrays[0].ndim not in _PADDED_RANKS:
        raise invalid("Only tensors with rank from 1 to 6 can be padded.")
    if any(array.size == 0 for array in arrays):
        raise invalid("Got empty tensor in batch of non-empty tensors.")
    padded = []
    for array in arrays:
        wide = np.full((len(array), *largest), array.flat[0], dtype=array.dtype)
        wide[tuple(map(slice, array.shape))] = array
        padded.append(wide)
    return padded


def _answer(tasks: Sequence[_Task], outputs: Sequence[Array]) -> None:
    begin = 0
    for task in tasks:
        task.outputs = [output[begin : begin + task.size] for output in outputs]
        begin += task.size
