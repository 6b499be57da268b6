"""Container images of the same artifacts: what goes in, how they are built, and how large they are.

docker/stages and docker/KEY/Dockerfile say how, a target's container.py and `recipes` what. A reference names
everything that went in, so an image whose reference exists on the engine is never built again. Importing this
package does not import the Docker SDK.
"""

from pipelines.package.engine import connect
from pipelines.package.image import Image, compressed_bytes
from pipelines.package.missing import ensure_images, image_status
from pipelines.package.recipes import KEYS, SERVER_KEYS

__all__ = [
    "KEYS",
    "SERVER_KEYS",
    "Image",
    "compressed_bytes",
    "connect",
    "ensure_images",
    "image_status",
]
