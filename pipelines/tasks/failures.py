"""Errors of the packages below, as errors a person can act on."""

from loadtests.errors import LoadTestError, RecorderError
from models.errors import ModelError
from pipelines.errors import MachineError, RequestError, UserError


def as_user_error(error: BaseException) -> UserError | None:
    """Turn it into a UserError with its words and exit code; return None for what nobody foresaw."""
    if isinstance(error, UserError):
        return error
    if isinstance(error, RecorderError):
        return MachineError(str(error))
    if isinstance(error, ModelError | LoadTestError):
        return RequestError(str(error))
    return None
