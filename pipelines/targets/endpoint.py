"""How to talk to a running server; nothing of how it was started."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pipelines.access import Access
from pipelines.errors import RequestError
from pipelines.http import fetch
from pipelines.targets.timings import Timings

NOT_FOUND = 404
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
        timings: where the time of its requests went, by its own count since it started; None where it does
            not tell. Raises OSError where it does not answer.
        addresses: everything that listens, by name, for people.
        access: how to reach a running endpoint; None for a server of ours.
        hint: what may be the reason if it refuses a right request; "" where nothing is known.
    """

    base_url: str
    predict_path: str
    model: str
    status: Callable[[], str | None]
    configuration: Callable[[], Configuration] | None = None
    batching: Callable[[], tuple[int, int]] | None = None
    timings: Callable[[], Timings] | None = None
    addresses: Mapping[str, str] = field(default_factory=dict)
    access: Access | None = None
    hint: str = ""

    @property
    def predict_url(self) -> str:
        """Where to POST."""
        return self.base_url + self.predict_path

    def ask(self, body: bytes, headers: Mapping[str, str]) -> tuple[int, bytes]:
        """Return status and answer of one prediction.

        Raises:
            OSError: there is no answer.
            RequestError, MachineError: a running endpoint has no such model, or `Access.ask`.
        """
        if self.access is None:
            return fetch(self.predict_url, body, headers=headers)
        status, answer = self.access.ask(self.predict_url, body, headers)
        if status == NOT_FOUND:
            raise RequestError(
                f"{self.predict_url} answers {status}: {answer[:200].decode(errors='replace')!r}; does the "
                f"server have a model {self.model!r}, and is that its API?"
            )
        return status, answer
