"""A container engine, and the images of one small model on it, for all tests with real containers."""

from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from needs import needed
from real_model import MODEL, SERVERS, say_nothing

from pipelines.package import Image, connect, ensure_images, missing

if TYPE_CHECKING:
    from docker import DockerClient


@pytest.fixture(scope="session")
def engine() -> "Iterator[DockerClient]":
    """An engine that answers."""
    with closing(needed(connect)) as client:
        yield client


@pytest.fixture(scope="session")
def images(engine: "DockerClient", artifacts: Path) -> Iterator[Mapping[str, Image]]:
    """What can be built without a registry, by key; built now unless it is there.

    The stages that only build stay until the last test: one that builds too does not make them again.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(missing, "remove_builders", lambda _: None)
        found = ensure_images(MODEL, artifacts, (*SERVERS, "locust"), say_nothing)
    yield found
    missing.remove_builders(engine)
