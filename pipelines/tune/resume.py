"""Going on with a search that was interrupted: its folder, and what it found so far."""

from pathlib import Path

from models.spec import ModelSpec, load_model
from pipelines.config.settings import RunSettings
from pipelines.errors import RequestError
from pipelines.record.run import RunRecord
from pipelines.record.tune import TuneRecord
from pipelines.run.rebuild import read_coherent


def read_search(folder: Path) -> RunRecord:
    """Read the record of a search that did not end.

    Raises:
        RequestError: there is none, it is a run of another command, or it is complete.
    """
    run = read_coherent(folder)
    if run.tune is None:
        raise RequestError(
            f"--resume {folder}: that is a run of `tandem {run.kind}`; give one of `tandem tune`"
        )
    if run.status == "complete":
        raise RequestError(
            f"--resume {folder}: that search is complete; `tandem report {folder}` shows it again"
        )
    return run


def kept_search(run: RunRecord, folder: Path, settings: RunSettings) -> TuneRecord:
    """Return what a search found so far, if it is still about the same model, machine and sides.

    Raises:
        RequestError: the model, the cores or the sides are others now, with what each was.
    """
    assert run.tune is not None  # noqa: S101 - `read_search` has looked
    spec: ModelSpec = load_model(settings.model)
    pairs = {
        "model": (run.model.digest[:12], spec.digest[:12]),
        "server cores": (_listed(run.environment.server_cores), _listed(settings.cores.server)),
        "sides": (", ".join(run.tune.sides), ", ".join(side.name for side in settings.sides)),
    }
    for what, (before, now) in pairs.items():
        if before != now:
            raise RequestError(
                f"--resume {folder}: the {what} was {before} and is {now} now; its trials cannot be compared "
                "with new ones, start a new search"
            )
    return run.tune


def _listed(cores: tuple[int, ...]) -> str:
    return ",".join(map(str, cores))
