"""Do the work of an export process: the targets of one framework, each into its folder."""

import shutil
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from pkgutil import resolve_name

from models.spec import ModelError, ModelSpec, load_unchanged
from models.weights import read_checkpoint
from pipelines.errors import MachineError, RequestError, UserError, first_line
from pipelines.imported import placement
from pipelines.roads.known import Asked
from pipelines.targets.exported import Exported, NotExported
from pipelines.targets.registry import TARGETS
from pipelines.tasks.warned import collected


@dataclass(frozen=True)
class ExportOutcome:
    """What an exporter did for one target.

    `failure` is why it failed as a whole, and `again` whether that was the machine's fault.
    """

    exported: tuple[Exported, ...] = ()
    refused: tuple[NotExported, ...] = ()
    warnings: tuple[str, ...] = ()
    failure: str | None = None
    again: bool = False


def empty_folder(folder: Path) -> None:
    """Remove what an exporter that died, or gave up, has left behind."""
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def export_here(
    progress: Callable[[str], None],
    model: str,
    roads: Mapping[str, str | None],
    digest: str,
    examine: bool,
    folders: Mapping[str, Path],
) -> dict[str, ExportOutcome]:
    """Export each named target into its folder, in one framework's process, or say why not.

    The one that is to `examine` the source model does so first.

    Raises:
        ModelError: the checkpoint cannot be read, or the source model is no function of one sample: then
            there is nothing to export to any target.
    """
    progress("loading the framework")
    spec = load_unchanged(model, digest)
    read_checkpoint(spec)
    if examine:
        from pipelines.parity.source import require_deployable

        progress("examining the source model")
        require_deployable(spec)
    return {
        name: _export_one(spec, name, folder, progress, Asked(model, roads[name]))
        for name, folder in folders.items()
    }


def _export_one(
    spec: ModelSpec, name: str, folder: Path, progress: Callable[[str], None], request: Asked
) -> ExportOutcome:
    """Run one target's exporter; return what it wrote, or why it could not, and its warnings.

    Raises:
        RequestError: what was asked for cannot be.
        OSError: the disk refused.
    """
    warned: list[str] = []
    try:
        exporter: Callable[..., list[Exported | NotExported]] = resolve_name(TARGETS[name].export)
        with collected(warned):
            more = {"asked": request} if TARGETS[name].roads else {}
            if placement.is_exported(spec, name):
                exported = exporter(spec, folder, progress, **more)
            else:
                exported = placement.place(spec, name, folder, progress)
    except (RequestError, OSError):
        raise
    except Exception as error:  # noqa: BLE001 - of this target alone; the others are exported all the same
        traceback.print_exc()
        failure = str(error) if isinstance(error, ModelError | UserError) else unforeseen(error)
        failure += f"; its exporter warned: {warned[0]}" if warned else ""
        empty_folder(folder)
        again = isinstance(error, MachineError | ImportError | MemoryError)
        return ExportOutcome(warnings=tuple(warned), failure=failure, again=again)
    return ExportOutcome(
        tuple(one for one in exported if isinstance(one, Exported)),
        tuple(one for one in exported if isinstance(one, NotExported)),
        tuple(warned),
    )


def unforeseen(error: Exception) -> str:
    """Return one line about an error that nobody put into words for people."""
    return f"{type(error).__name__}: {first_line(error)}"
