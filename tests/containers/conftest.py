"""A container engine, and the images of one small model on it, for all tests with real containers."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pipelines.errors import MachineError
from pipelines.images import Image, connect, ensure_images

if TYPE_CHECKING:
    from docker import DockerClient

ROOT = Path(__file__).parents[2]
# The same folder as everybody's, so that what is exported and built already is not made again.
ARTIFACTS = Path(os.environ.get("TANDEM_TEST_ARTIFACTS") or ROOT / "artifacts")
MODEL = "digits_cnn"
BUILT = ("torchserve", "tfserving-embedded", "locust")


def say_nothing(title: str, text: str) -> None:
    """Progress that nobody watches."""


@pytest.fixture(scope="session")
def engine() -> "DockerClient":
    """An engine that answers. Where CI is set its absence is a failure: no test may go missing there."""
    try:
        return connect()
    except MachineError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"needs a container engine: {error}")


@pytest.fixture(scope="session")
def images(engine: "DockerClient") -> Mapping[str, Image]:
    """What can be built without a registry, by key; built now unless it is there."""
    return ensure_images(MODEL, ARTIFACTS, BUILT, say_nothing)
