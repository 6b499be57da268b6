"""Tables for people, and the same facts for `--json`, of the images stage."""

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from pipelines.console import format as fmt
from pipelines.console.printing import print_table, say
from pipelines.package.image import Image

NUMERIC = ("size", "compressed")


def facts(images: Mapping[str, Image], not_built: Mapping[str, str]) -> dict[str, Any]:
    """Return every image by key, and why others are missing, for JSON."""
    return {
        "images": {key: {**vars(image), "labels": dict(image.labels)} for key, image in images.items()},
        "not_built": dict(not_built),
    }


def print_images(images: Mapping[str, Image], not_built: Mapping[str, str]) -> None:
    """Print the images that `tandem images` built or found."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("image", "answered by", *NUMERIC):
        table.add_column(column, justify="right" if column in NUMERIC else "left", overflow="fold")
    rows = [
        (
            image.reference,
            image.labels.get("io.tandem.implementation", fmt.MISSING),
            fmt.size(image.size_bytes),
            fmt.MISSING if image.compressed_bytes is None else fmt.size(image.compressed_bytes),
        )
        for image in images.values()
    ]
    print_table(table, rows)
    for key, reason in not_built.items():
        say(f"not built: {key}: {reason}")
