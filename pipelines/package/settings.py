"""Settings of the builds that belong to a machine, from the environment."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

DEBIAN_BASE = "debian:bookworm-slim"
TFSERVING_BASE = "tensorflow/serving:2.21.0"


@dataclass(frozen=True)
class Settings:
    """What the images are built from.

    Attributes:
        debian_base: DEBIAN_BASE, a Debian 12 image; None to pull `debian:bookworm-slim`, or make its like.
        tfserving_base: TFSERVING_BASE, an image with `tensorflow_model_server` on its PATH.
    """

    debian_base: str | None
    tfserving_base: str


def read_settings(environment: Mapping[str, str] = os.environ) -> Settings:
    """Read the settings from `environment`; an empty value counts as none."""
    return Settings(
        environment.get("DEBIAN_BASE") or None, environment.get("TFSERVING_BASE") or TFSERVING_BASE
    )
