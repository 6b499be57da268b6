"""What TorchServe needs of this machine: its packages, and a Java."""

from pipelines.errors import MachineError
from pipelines.machine.java import find_java
from pipelines.targets.needs import Check, package


def checks() -> list[Check]:
    """Look at all of it; a Java is started to ask its version."""
    return [*map(package, ("torch", "torchserve")), _java()]


def _java() -> Check:
    try:
        java = find_java()
    except MachineError as error:
        return Check(
            "Java", ok=False, required=True, found=str(error), remedy="run `make setup`, or set JAVA_HOME"
        )
    return Check("Java", ok=True, required=True, found=f"{java.version} from {java.source}", remedy=None)
