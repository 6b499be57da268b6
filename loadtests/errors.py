"""Errors of a load test that a person can mend; each message fits on one line."""


class LoadTestError(Exception):
    """Base of the errors of this package."""


class LoadError(LoadTestError):
    """A load was not written as `closed:USERS` or `open:RATE`."""


class PlanError(LoadTestError):
    """A round's plan cannot be carried out as it is written."""


class PayloadError(LoadTestError):
    """A payload pool, or a sample to make one of, does not fit."""


class AddressError(LoadTestError):
    """The address to load is not one, or its certificates cannot be read."""


class RecorderError(LoadTestError):
    """Requests could not be recorded: the disk is full, or the file is not a recording."""


class LimitError(LoadTestError):
    """The machine does not let this process open as many connections as the load needs."""
