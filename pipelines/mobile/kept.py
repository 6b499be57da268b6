"""The last measurement of a model's artifacts, kept beside them so that a comparison need not measure twice.

artifacts/MODEL/mobile.json      the record, and a digest of everything it depends on
artifacts/MODEL/mobile-samples/  its raw calls
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from pydantic import ValidationError

from models.spec import ModelSpec
from pipelines.artifacts.manifest import Manifest, versions
from pipelines.files.atomic import copy_file, new_folder, write_atomically
from pipelines.machine.cores import split_cores
from pipelines.measure.environment import describe
from pipelines.record.base import Record
from pipelines.record.mobile import MobileRecord, TimingRecord
from pipelines.targets.libraries import installed_library
from pipelines.targets.registry import TARGETS
from pipelines.targets.target import TARGETS_FOLDER
from pipelines.verify import proof

KEPT_NAME = "mobile.json"
SAMPLES_NAME = "mobile-samples"


class Kept(Record):
    """A measurement; `key` changes with anything that could change it.

    `failed` are artifacts that ran when they were verified and could not be measured, `is_certain` whether
    there are none, or they failed the last time as well.
    """

    key: str
    mobile: MobileRecord
    failed: tuple[str, ...] = ()
    is_certain: bool = True


def key_of(spec: ModelSpec, manifests: Mapping[str, Manifest]) -> str:
    """Digest of artifacts, held-out samples, machine, tool versions and the code that runs and times them."""
    sources = [
        *sorted(Path(__file__).parent.glob("*.py")),
        *(TARGETS_FOLDER / name / "runtime.py" for name in manifests),
    ]
    facts = {
        "artifacts": {n: {a.path: a.sha256 for a in m.artifacts} for n, m in manifests.items()},
        "question": proof.question(spec),
        "cpu": [describe(split_cores()).cpu_model, len(os.sched_getaffinity(0))],
        "versions": {name: versions(TARGETS[name].toolchain) for name in manifests},
        "runtimes": {
            name: installed_library(name, manifest.artifacts[0].format).version
            for name, manifest in manifests.items()
            if manifest.artifacts
        },
        "sources": [hashlib.sha256(path.read_bytes()).hexdigest() for path in sources],
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def keep(root: Path, key: str, mobile: MobileRecord, run_folder: Path, failed: Sequence[str] = ()) -> None:
    """Keep the record in `root`, with the raw calls of the run in `run_folder`.

    Where artifacts `failed` that may run the next time, it is recalled only once they have failed twice.

    Raises:
        MachineError: the disk refused.
    """
    earlier = _read(root)
    again = earlier is not None and earlier.key == key and set(failed) <= set(earlier.failed)
    kept = Kept(key=key, mobile=mobile, failed=tuple(failed), is_certain=not failed or again)
    with new_folder(root / SAMPLES_NAME) as folder:
        for timing in _timings(mobile):
            if timing.samples_file:
                copy_file(run_folder / timing.samples_file, folder / Path(timing.samples_file).name)
    write_atomically(root / KEPT_NAME, kept.model_dump_json(indent=2) + "\n")


def _read(root: Path) -> Kept | None:
    with suppress(FileNotFoundError, ValidationError):
        return Kept.model_validate_json((root / KEPT_NAME).read_bytes())
    return None


def recall(
    root: Path, key: str, run_folder: Path, threads_counts: Sequence[int] = (1,)
) -> MobileRecord | None:
    """Return the kept record if it is of this `key`, certain, and has timings with so many threads.

    Its raw calls go into the run in `run_folder`.

    Raises:
        MachineError: the disk refused.
    """
    earlier = _read(root)
    if earlier is None or earlier.key != key or not earlier.is_certain:
        return None
    with suppress(FileNotFoundError):
        if _covers(earlier.mobile, threads_counts):
            for timing in _timings(earlier.mobile):
                if timing.samples_file:
                    source = root / SAMPLES_NAME / Path(timing.samples_file).name
                    copy_file(source, run_folder / timing.samples_file)
            return earlier.mobile
    return None


def _covers(mobile: MobileRecord, threads_counts: Sequence[int]) -> bool:
    """Return whether every artifact that was timed at all was timed with so many threads."""
    timed = [
        {timing.threads_count for timing in artifact.timings}
        for artifact in mobile.artifacts
        if artifact.timings
    ]
    return all(counts >= set(threads_counts) for counts in timed)


def _timings(mobile: MobileRecord) -> list[TimingRecord]:
    return [timing for artifact in mobile.artifacts for timing in artifact.timings]
