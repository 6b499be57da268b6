"""`tandem images`: all images of one model, with their sizes; failures are reported, not fatal."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pipelines.errors import MachineError
from pipelines.export.stage import export
from pipelines.package.engine import engine
from pipelines.package.image import Image, compressed_bytes, remembered
from pipelines.package.missing import ensure_images, targets_of
from pipelines.package.recipes import IMAGES, USUAL_KEYS
from pipelines.package.wheels import ROOT
from pipelines.tasks.tasks import Progress

SIZES = ROOT / "build" / "compressed-sizes.json"
# Images of vendors have to be pulled, which not every machine can; their targets have others for those.
OPTIONAL = tuple(key for key, (_, image) in IMAGES.items() if image.vendor)


@dataclass(frozen=True)
class Built:
    """Images by key, and why an optional one is missing."""

    images: dict[str, Image]
    not_built: dict[str, str]


def make_images(
    model: str,
    artifacts: Path,
    only: Sequence[str],
    progress: Progress,
    *,
    force: bool = False,
    compressed: bool = False,
    road: str | None = None,
) -> Built:
    """Build what is missing of `only`, or of the usual images (`USUAL_KEYS`) if it is empty.

    Args:
        road: the way into TensorFlow's formats, of what has to be exported; None: as last, else the best.
        compressed: measure compressed sizes too; those measured before are given anyway.

    Raises:
        As `ensure_images`; without `only`, an official base image that cannot be had is no error.
    """
    asked = tuple(dict.fromkeys(only)) or USUAL_KEYS
    if road is not None and set(asked) != {"locust"}:
        # Remembered by the export, so that everything after it takes the same.
        export(model, artifacts, progress, targets=targets_of(asked), road=road)
    required = [key for key in asked if only or key not in OPTIONAL]
    images = ensure_images(model, artifacts, required, progress, force=force)
    not_built: dict[str, str] = {}
    for key in (key for key in asked if key not in required):
        try:
            images |= ensure_images(model, artifacts, [key], progress, force=force)
        except MachineError as error:
            not_built[key] = str(error)
    sized = {key: _sized(images[key], progress, measure=compressed) for key in asked if key in images}
    return Built(sized, not_built)


def _sized(image: Image, progress: Progress, *, measure: bool) -> Image:
    known = remembered(SIZES).get(image.image_id)
    if known is None and measure:
        progress(image.key, "measuring its compressed size")
        with engine() as client:
            known = compressed_bytes(client, image, SIZES)
    return replace(image, compressed_bytes=known)
