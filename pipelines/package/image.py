"""An image as it is on the engine."""

import json
import re
import tarfile
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

from pipelines.files.atomic import write_atomically

if TYPE_CHECKING:
    from docker import DockerClient

REPOSITORY = "tandem"
GZIP = 16 + zlib.MAX_WBITS
GZIP_LEVEL = 6  # what `docker push` and gzip itself use
CHUNK_BYTES = 2**20
# How engines name a layer in a saved image: by the digest of it and all below, or of its content.
LAYER = re.compile(r"[0-9a-f]+/layer\.tar|blobs/sha256/[0-9a-f]+")


@dataclass(frozen=True)
class Image:
    """One built image.

    Attributes:
        key: of its recipe, such as "tfserving-embedded".
        target: what it serves, such as "tfserving"; "locust" for the load generator.
        reference: repository and tag.
        image_id: the engine's own digest of it.
        size_bytes: on disk, all layers.
        compressed_bytes: of its layers after gzip, what a push costs; None if not measured.
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


def compressed_bytes(client: "DockerClient", image: Image, cache: Path) -> int:
    """Count the bytes of all layers after gzip, each on its own as a push sends them.

    A gigabyte takes about a minute, but for layers that `cache` remembers; what was counted is added to it.
    """
    known, total = remembered(cache), 0
    stream = cast("IO[bytes]", _Chunks(client.api.get_image(image.reference)))
    with tarfile.open(fileobj=stream, mode="r|") as saved:
        for member in saved:
            file = saved.extractfile(member) if member.isfile() else None
            if file is None:
                continue
            size = known.get(member.name) or _gzipped(file)
            if LAYER.fullmatch(member.name):
                known[member.name] = size
            total += size
    remember(cache, {**known, image.image_id: total})
    return total


class _Chunks:
    """Bytes that come in pieces of any size, as a file."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks, self._rest = iter(chunks), b""

    def read(self, size: int) -> bytes:
        """Return `size` bytes, fewer at the end."""
        pieces, missing = [], size
        while missing and (piece := self._rest or next(self._chunks, b"")):
            pieces.append(piece[:missing])
            self._rest = piece[missing:]
            missing -= len(pieces[-1])
        return b"".join(pieces)


def _gzipped(file: IO[bytes]) -> int:
    squeeze, size = zlib.compressobj(GZIP_LEVEL, wbits=GZIP), 0
    while chunk := file.read(CHUNK_BYTES):
        size += len(squeeze.compress(chunk))
    return size + len(squeeze.flush())


def remembered(cache: Path) -> dict[str, int]:
    """Return the compressed sizes measured before, by the id of an image or a layer; those never change."""
    try:
        return {str(name): int(value) for name, value in json.loads(cache.read_text()).items()}
    except (FileNotFoundError, ValueError, AttributeError, TypeError):
        return {}


def remember(cache: Path, sizes: Mapping[str, int]) -> None:
    """Keep compressed sizes for the next time."""
    write_atomically(cache, json.dumps({**remembered(cache), **sizes}, indent=2) + "\n")
