"""The canonical status codes, shared by REST and gRPC, and the exception that carries them to a client."""

from enum import IntEnum


class Code(IntEnum):
    """Canonical status codes; the numbers are those of gRPC and of TensorFlow."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


HTTP_STATUS = {
    Code.OK: 200,
    Code.CANCELLED: 499,
    Code.UNKNOWN: 500,
    Code.INVALID_ARGUMENT: 400,
    Code.DEADLINE_EXCEEDED: 504,
    Code.NOT_FOUND: 404,
    Code.ALREADY_EXISTS: 409,
    Code.PERMISSION_DENIED: 403,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.FAILED_PRECONDITION: 400,
    Code.ABORTED: 409,
    Code.OUT_OF_RANGE: 400,
    Code.UNIMPLEMENTED: 501,
    Code.INTERNAL: 500,
    Code.UNAVAILABLE: 503,
    Code.DATA_LOSS: 500,
    Code.UNAUTHENTICATED: 401,
}


# Longer texts quote what the client knows anyway.
MAX_MESSAGE = 8192


class ServingError(Exception):
    """A request or a load that failed, with the code and the text its caller gets to see.

    A text beyond `MAX_MESSAGE` characters is cut there.
    """

    def __init__(self, code: Code, message: str) -> None:
        if len(message) > MAX_MESSAGE:
            message = message[:MAX_MESSAGE] + "..."
        super().__init__(message)
        self.code = code
        self.message = message

    @property
    def http_status(self) -> int:
        """The status of the answer over HTTP."""
        return HTTP_STATUS[self.code]

    @property
    def text(self) -> str:
        """Code and message on one line, as `INVALID_ARGUMENT: what happened`."""
        return f"{self.code.name}: {self.message}"


class TooLargeError(ServingError):
    """A request that takes more memory than one request may: RESOURCE_EXHAUSTED, over HTTP 413."""

    def __init__(self, message: str) -> None:
        super().__init__(Code.RESOURCE_EXHAUSTED, message)

    @property
    def http_status(self) -> int:
        """The status of the answer over HTTP."""
        return 413


def as_serving_error(error: Exception) -> ServingError:
    """Turn any failure of a request into what its client gets to see."""
    if isinstance(error, ServingError):
        return error
    if isinstance(error, RecursionError):
        return invalid("Arrays and objects are nested too deeply")
    if isinstance(error, MemoryError):
        return exhausted("Not enough memory for this request")
    if isinstance(error, UnicodeEncodeError | UnicodeDecodeError):
        return invalid(f"The request holds text that is not UTF-8: {error.reason}")
    return ServingError(Code.INTERNAL, f"{type(error).__name__}: {error}")


def invalid(message: str) -> ServingError:
    """Make an INVALID_ARGUMENT error: the request itself was wrong."""
    return ServingError(Code.INVALID_ARGUMENT, message)


def exhausted(message: str) -> ServingError:
    """Make a RESOURCE_EXHAUSTED error: the same request may succeed later."""
    return ServingError(Code.RESOURCE_EXHAUSTED, message)
