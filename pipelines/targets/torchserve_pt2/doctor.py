"""What AOTInductor needs of this machine: a C++ compiler."""

from pipelines.machine.compiler import NoCompilerError, find_compiler
from pipelines.targets.needs import Check


def checks() -> list[Check]:
    """Look for the compiler that torch would call."""
    try:
        compiler = find_compiler()
    except NoCompilerError as error:
        remedy = f"for torchserve-pt2, {error.remedy}"
        return [Check("C++ compiler", ok=False, required=False, found=error.problem, remedy=remedy)]
    return [Check("C++ compiler", ok=True, required=False, found=compiler.version, remedy=None)]
