"""What several files of tests here share."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest


@pytest.fixture(scope="session")
def oip_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Any]]:
    """Give a real server of the Open Inference Protocol by its target's name; one of each for all tests."""
    from oip_servers import one_of_each

    with one_of_each(tmp_path_factory.mktemp("oip")) as start:
        yield start


@pytest.fixture(scope="module", params=["triton", "mlserver"])
def oip_server(request: pytest.FixtureRequest, oip_servers: Callable[[str], Any]) -> Any:
    """Triton, then MLServer."""
    return oip_servers(request.param)
