"""Waiting to a fraction of a millisecond inside gevent, whose own timers are up to one millisecond late."""

import ctypes
import errno
import os
import time
from types import TracebackType
from typing import Any, Final, Self

import gevent  # type: ignore[import-untyped]

from loadtests.arrivals import NS_PER_S

_CLOCK_MONOTONIC: Final = 1
_TFD_TIMER_ABSTIME: Final = 1
_READABLE: Final = 1


class _TimeSpec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _TimerSpec(ctypes.Structure):
    _fields_ = (("interval", _TimeSpec), ("value", _TimeSpec))


class PreciseTimer:
    """One Linux timerfd. The event loop wakes when it can be read, instead of counting whole milliseconds.

    Python has timerfd from 3.13 on only, hence ctypes.
    """

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd = self._checked(self._libc.timerfd_create(_CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC))
        self._watcher: Any = gevent.get_hub().loop.io(self._fd, _READABLE)

    def wait_until(self, deadline_ns: int) -> None:
        """Let other greenlets run until `deadline_ns` of the monotonic clock, unless it has passed."""
        if deadline_ns <= time.monotonic_ns():
            return
        value = _TimeSpec(*divmod(deadline_ns, NS_PER_S))
        spec = _TimerSpec(_TimeSpec(0, 0), value)
        self._checked(self._libc.timerfd_settime(self._fd, _TFD_TIMER_ABSTIME, ctypes.byref(spec), None))
        gevent.get_hub().wait(self._watcher)
        os.read(self._fd, 8)

    def close(self) -> None:
        """Give the timer back."""
        self._watcher.close()
        os.close(self._fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @staticmethod
    def _checked(result: int) -> int:
        if result < 0:
            number = ctypes.get_errno()
            raise OSError(number, f"timerfd: {errno.errorcode.get(number, '?')}")
        return result
