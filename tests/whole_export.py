"""One export of digits_cnn to every target, made once for a whole test run.

Apart from conftest.py, of which there are several: what is kept in a file is found again by its module.
"""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipelines.export.stage import ExportResult


@dataclass(frozen=True)
class WholeExport:
    """A fresh export of digits_cnn to every target, and `tandem verify` of all of it.

    Attributes:
        folder: the artifacts folder; tests that change it make a copy.
        said: every call of the export's progress.
        verified: the finished command, told as JSON.
    """

    folder: Path
    result: "ExportResult"
    said: list[tuple[str, str]]
    verified: "subprocess.CompletedProcess[str]"


def export_all(place: Path) -> WholeExport:
    """Export and verify below `place`."""
    from pipelines.export.stage import export

    said: list[tuple[str, str]] = []
    result = export("digits_cnn", place / "artifacts", lambda *words: said.append(words))
    command = [sys.executable, "-m", "pipelines.cli.main", "verify", "digits_cnn", "--json"]
    verified = subprocess.run(command, cwd=place, capture_output=True, text=True, check=False)
    return WholeExport(place / "artifacts", result, said, verified)
