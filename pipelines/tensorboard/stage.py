"""`--tensorboard DIR`: writes a run as event files, into a folder of its name that is whole or not there."""

import re
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from pipelines.errors import MachineError, RequestError
from pipelines.files.atomic import new_folder
from pipelines.record.run import RunRecord
from pipelines.tensorboard.board import Distribution, Part, Scalar
from pipelines.tensorboard.of_run import parts_of, seconds_of

NUMBERED: Final = 1000
DT_FLOAT: Final = 1
"""Of scalars: TensorBoard's usual loader, unlike that of --load_fast=false, passes over any other."""
DT_DOUBLE: Final = 2
"""Of the buckets of distributions."""


def require_writer(folder: Path | None) -> None:
    """Look before any work is done whether event files can be written to `folder`, if there is one.

    Raises:
        RequestError: the folder cannot be made or written.
        MachineError: the library that writes them is not installed.
    """
    if folder is None:
        return
    if find_spec("tensorboardX") is None:
        raise MachineError("tensorboardX is not installed, which writes event files; run `make setup`")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".tandem-"):
            pass
    except OSError as error:
        raise RequestError(
            f"--tensorboard: nothing can be written to {folder} ({error.strerror}); name another folder"
        ) from error


def write_board(run: RunRecord, run_folder: Path, folder: Path) -> Path:
    """Write everything about a run below `folder` and return the folder it is in, named like the run.

    Raises:
        MachineError: the disk refused, or a raw file of the run is missing.
    """
    parts = parts_of(run, run_folder)
    final = _free(folder / folder_name(run.run_id))
    with new_folder(final) as whole:
        for part in parts:
            _write_part(part, whole / folder_name(part.name), seconds_of(run.started_at_utc))
    return final


def folder_name(name: str) -> str:
    """Turn a name of parts into a path below a folder: no part is hidden, empty or leads elsewhere."""
    parts = [re.sub(r"[^\w.+=-]+", "-", part).strip(".-") or "part" for part in name.split("/")]
    return "/".join(part[:100] for part in parts)


def _free(path: Path) -> Path:
    """Return the path, with a number behind it if another run of the same second has taken it."""
    if not path.exists():
        return path
    numbered = (path.with_name(f"{path.name}-{number}") for number in range(2, NUMBERED))
    return next(candidate for candidate in numbered if not candidate.exists())


def _write_part(part: Part, folder: Path, started_s: float) -> None:
    # It imports PyTorch if that is there, so not before everything is measured.
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.record_writer import RecordWriter

    folder.mkdir(parents=True, exist_ok=True)
    writer = RecordWriter(str(folder / f"events.out.tfevents.{started_s:.0f}.tandem"))
    try:
        writer.write(Event(wall_time=started_s, file_version="brain.Event:2").SerializeToString())
        summaries = [
            *([(started_s, 0, _of_settings(part, started_s))] if part.settings else []),
            *((scalar.at_s, scalar.step, _of_scalar(scalar)) for scalar in part.scalars),
            *(
                (distribution.at_s, distribution.step, _of_distribution(distribution))
                for distribution in part.distributions
            ),
        ]
        for at_s, step, summary in summaries:
            writer.write(Event(wall_time=at_s, step=step, summary=summary).SerializeToString())
    finally:
        writer.close()


def _of_scalar(scalar: Scalar) -> Any:
    return _summary(scalar.tag, "scalars", (), dtype=DT_FLOAT, float_val=[scalar.value])


def _of_distribution(distribution: Distribution) -> Any:
    """Make a row for each bucket: its ends and its count."""
    flat = [
        number for bucket in distribution.buckets for number in (bucket.low, bucket.high, float(bucket.count))
    ]
    shape = (len(distribution.buckets), 3)
    return _summary(distribution.tag, "histograms", shape, dtype=DT_DOUBLE, double_val=flat)


def _summary(tag: str, plugin: str, shape: tuple[int, ...], **values: Any) -> Any:
    """Make a summary with a tensor of these values for one of TensorBoard's plugins."""
    from tensorboardX.proto.summary_pb2 import Summary, SummaryMetadata
    from tensorboardX.proto.tensor_pb2 import TensorProto
    from tensorboardX.proto.tensor_shape_pb2 import TensorShapeProto

    tensor = TensorProto(
        tensor_shape=TensorShapeProto(dim=[TensorShapeProto.Dim(size=size) for size in shape]), **values
    )
    metadata = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name=plugin))
    return Summary(value=[Summary.Value(tag=tag, metadata=metadata, tensor=tensor)])


def _of_settings(part: Part, started_s: float) -> Any:
    """Start a session of the plugin for hyper-parameters; its metrics are the part's scalars."""
    from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData, SessionStartInfo
    from tensorboardX.proto.summary_pb2 import Summary, SummaryMetadata

    start = SessionStartInfo(start_time_secs=started_s)
    for name, value in part.settings.items():
        kind = {bool: "bool_value", str: "string_value"}.get(type(value), "number_value")
        setattr(start.hparams[name], kind, value)
    content = HParamsPluginData(session_start_info=start, version=0).SerializeToString()
    metadata = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="hparams", content=content))
    return Summary(value=[Summary.Value(tag="_hparams_/session_start_info", metadata=metadata)])
