"""What the container tests deploy, and from where."""

import os
from pathlib import Path

MODEL = "digits_cnn"
TARGETS = ("torchserve", "tfserving")
ROOT = Path(__file__).parents[2]
# The same folder as everybody's, so that images that are built already are not built again.
ARTIFACTS = Path(os.environ.get("TANDEM_TEST_ARTIFACTS", ROOT / "artifacts"))


def say_nothing(title, text):
    pass
