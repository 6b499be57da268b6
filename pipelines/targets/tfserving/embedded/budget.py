"""How much memory requests may take: each of them, and all that are running together."""

import ctypes
import threading
from collections.abc import Callable

from .status import ServingError, TooLargeError, exhausted

# What a request takes below this is not counted, so that small requests touch no lock.
FREE_BYTES = 64 * 1024
# One part in so many stays free for what no estimate knows: what lies between the allocator's blocks, stacks
# of threads, what is freed and not yet worth a search.
_SPARE_PARTS = 8


def return_freed_memory() -> None:
    """Give what was freed back to the system: the allocator keeps it, for each thread, for the same thread.

    Does nothing where the C library has no such call.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


class Budget:
    """Bytes of memory for requests, as estimated before they are taken. Thread-safe.

    What was given back counts on until `return_freed` was called, which takes some ms and is done when there
    would not be enough without it.
    """

    def __init__(
        self, request_bytes: int, total_bytes: int, return_freed: Callable[[], None] = return_freed_memory
    ) -> None:
        self._spare_bytes = total_bytes // _SPARE_PARTS
        self._usable_bytes = total_bytes - self._spare_bytes
        self.request_bytes = min(request_bytes, self._usable_bytes)
        self.total_bytes = total_bytes
        self._used_bytes = self._freed_bytes = 0
        self._return_freed = return_freed
        self._lock = threading.Lock()

    def open(self) -> "Allowance":
        """Open the share of one more request."""
        return Allowance(self)

    def reserve(self, count: int) -> None:
        """Set bytes aside. Raises ServingError (RESOURCE_EXHAUSTED) if others hold too many."""
        with self._lock:
            needed = self._used_bytes + count
            if needed + self._freed_bytes > self._usable_bytes and self._freed_bytes > self._spare_bytes // 2:
                self._return_freed()
                self._freed_bytes = 0
            if needed > self._usable_bytes:
                raise exhausted(
                    f"Requests are using {self._used_bytes} of {self._usable_bytes} bytes and this one needs "
                    f"{count} more; send it again later or raise --total_memory_bytes"
                )
            self._used_bytes += count

    def release(self, count: int) -> None:
        """Give bytes back."""
        with self._lock:
            self._used_bytes -= count
            self._freed_bytes += count


class Allowance:
    """What one request has taken so far; must be closed. Used by one thread at a time."""

    __slots__ = ("_budget", "_reserved_bytes", "_taken_bytes")

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._taken_bytes = self._reserved_bytes = 0

    @property
    def is_counted(self) -> bool:
        """Whether it holds a part of the budget."""
        return self._reserved_bytes > 0

    def take(self, count: int) -> None:
        """Count bytes that are about to be taken.

        Raises TooLargeError beyond one request's share, ServingError (RESOURCE_EXHAUSTED) beyond that of all.
        """
        taken = self._taken_bytes + count
        if taken > self._budget.request_bytes:
            raise too_large(taken, self._budget.request_bytes)
        self._taken_bytes = taken
        if taken > FREE_BYTES:
            self._budget.reserve(taken - self._reserved_bytes)
            self._reserved_bytes = taken

    def keep(self, count: int) -> None:
        """Give back all but so many bytes: an answer that waits to be sent."""
        kept_bytes = min(count if count > FREE_BYTES else 0, self._reserved_bytes)
        if self._reserved_bytes > kept_bytes:
            self._budget.release(self._reserved_bytes - kept_bytes)
            self._reserved_bytes = kept_bytes

    def close(self) -> None:
        """Give everything back; a second time does nothing."""
        self.keep(0)


def too_large(needed: int, limit: int) -> ServingError:
    """Make the error for a request that needs more memory than one may take."""
    size = needed if needed < 1 << 63 else "more than 2**63"
    return TooLargeError(
        f"The request needs about {size} bytes of memory and {limit} are allowed; "
        "send a smaller batch or raise --request_memory_bytes"
    )
