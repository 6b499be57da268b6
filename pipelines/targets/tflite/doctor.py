"""What TensorFlow Lite needs of this machine."""

from pipelines.targets.needs import Check, package


def checks() -> list[Check]:
    """Look for the runtime."""
    return [package("ai-edge-litert")]
