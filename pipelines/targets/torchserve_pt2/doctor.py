"""What AOTInductor needs of this machine: a C++ compiler."""

from pipelines.errors import MachineError
from pipelines.machine.compiler import find_compiler
from pipelines.targets.needs import Check


def checks() -> list[Check]:
    """Look for the compiler that torch would call."""
    try:
        compiler = find_compiler()
    except MachineError as error:
        what, remedy = str(error).split("; ", 1)
        remedy = f"for torchserve-pt2, {remedy}"
        return [Check("C++ compiler", ok=False, required=False, found=what, remedy=remedy)]
    return [Check("C++ compiler", ok=True, required=False, found=compiler.version, remedy=None)]
