"""Errors of the packages below, as errors a person can act on."""

from loadtests.errors import LoadTestError, RecorderError
from models.errors import ModelError
from pipelines.errors import MachineError, RequestError, UserError


def as_user_error(error: BaseException) -> UserError | None:
    """The same in the words and with the exit code of a UserError; None for what nobody foresaw."""
    if isinstance(error, UserError):
        return error
    if isinstance(error, RecorderError):
        return MachineError(str(error))
    if isinstance(error, ModelError | LoadTestError):
        return RequestError(str(error))
    return None
