"""An image as it is on the engine."""

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.files.atomic import write_atomically

if TYPE_CHECKING:
    from docker import DockerClient

REPOSITORY = "tandem"
GZIP = 16 + zlib.MAX_WBITS
GZIP_LEVEL = 6  # what `docker push` and gzip itself use


@dataclass(frozen=True)
class Image:
    """One built image.

    Attributes:
        key: of its recipe, such as "tfserving-embedded".
        target: what it serves, such as "tfserving"; "locust" for the load generator.
        reference: repository and tag.
        image_id: the engine's own digest of it.
        size_bytes: on disk, all layers.
        compressed_bytes: of the saved image after gzip, what a push costs; None if not measured.
        labels: OCI labels and ours.
    """

    key: str
    target: str
    reference: str
    image_id: str
    size_bytes: int
    compressed_bytes: int | None
    labels: Mapping[str, str]


def find_image(client: "DockerClient", key: str, target: str, reference: str) -> Image | None:
    """Find the image called `reference`; None if the engine has none."""
    from docker.errors import ImageNotFound

    try:
        found: Any = client.images.get(reference)
    except ImageNotFound:
        return None
    return Image(key, target, reference, str(found.id), int(found.attrs["Size"]), None, dict(found.labels))


def compressed_bytes(client: "DockerClient", image: Image) -> int:
    """Count the bytes of the saved image after gzip, streamed; takes about a minute for a gigabyte."""
    squeeze = zlib.compressobj(GZIP_LEVEL, wbits=GZIP)
    chunks = client.api.get_image(image.reference)
    return sum(len(squeeze.compress(chunk)) for chunk in chunks) + len(squeeze.flush())


def remembered(cache: Path) -> dict[str, int]:
    """Return the compressed sizes measured before, by image id; an image's never changes."""
    try:
        return {str(name): int(value) for name, value in json.loads(cache.read_text()).items()}
    except (FileNotFoundError, ValueError, AttributeError, TypeError):
        return {}


def remember(cache: Path, image_id: str, size_bytes: int) -> None:
    """Keep a compressed size for the next time."""
    write_atomically(cache, json.dumps(remembered(cache) | {image_id: size_bytes}, indent=2) + "\n")
