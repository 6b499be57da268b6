"""A few threads for requests that are too slow for the event loop."""

import logging
import threading
from collections.abc import Callable
from queue import SimpleQueue

_log = logging.getLogger(__name__)

Job = Callable[[], None]


class Workers:
    """Runs jobs in order of arrival on a fixed number of threads. A job reports its own result."""

    def __init__(self, threads: int) -> None:
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        # Daemons, so that a computation nobody can interrupt does not keep the process from ending.
        self._threads = [
            threading.Thread(target=self._work, name=f"worker-{number}", daemon=True)
            for number in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, job: Job) -> None:
        """Queue a job."""
        self._jobs.put(job)

    def stop(self, timeout_s: float) -> bool:
        """Let the queued jobs finish; whether all threads ended in time."""
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join(timeout_s)
        return not any(thread.is_alive() for thread in self._threads)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                job()
            except Exception:  # noqa: BLE001  one bad job must not take a thread away from the others
                _log.exception("a request failed in an unforeseen way")
            del job  # it holds its request, and the next may be long in coming
