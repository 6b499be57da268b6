"""How a running server is talked to; nothing of how it was started."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

# Fields of GivenRecord that say how a server is configured, `sources` among them.
Configuration = Mapping[str, Any]


@dataclass(frozen=True)
class Endpoint:
    """One server's API.

    Attributes:
        base_url: where predictions are asked for, without a trailing slash; `grpc://HOST:PORT` over gRPC.
        predict_path: path of the prediction endpoint, to POST bodies to, or the full name of gRPC's method.
        model: the name it serves the model under.
        status: None once the server itself says it is ready, else what it says; raises OSError while nothing
            listens. Ready means a right answer as well, which is checked apart from this.
        configuration: asks the running server how it is configured; None where the plan says all there is to
            know. Raises OSError where it does not answer.
        batching: requests that the server has answered and runs of the model that this took, by its own
            count; None where it does not batch or does not tell. Raises OSError where it does not answer.
        addresses: everything that listens, by name, for people.
    """

    base_url: str
    predict_path: str
    model: str
    status: Callable[[], str | None]
    configuration: Callable[[], Configuration] | None = None
    batching: Callable[[], tuple[int, int]] | None = None
    addresses: Mapping[str, str] = field(default_factory=dict)

    @property
    def predict_url(self) -> str:
        """Where to POST."""
        return self.base_url + self.predict_path
