"""One record per request, in flat memory while the round runs and in a columnar file afterwards.

Rows are packed into one reusable buffer. Every `BATCH_ROWS` rows, or once a second, the buffer is
appended to an uncompressed Arrow IPC stream (`NAME.partial`), which takes about 0.2 ms and survives a killed
process up to the last whole batch. Only at the end is it rewritten as compressed Parquet and renamed.
"""

import contextlib
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from loadtests.arrivals import REQUESTS_LIMIT
from loadtests.errors import RecorderError
from loadtests.files import replacing

NOT_CHECKED: Final = -1
"""Value of `Samples.correct` for an answer that nobody looked into."""

BATCH_ROWS: Final = 512
BATCH_NS: Final = 1_000_000_000
ROW_GROUP_BATCHES: Final = 128

_ROW = struct.Struct("<qqqhib")
_ROW_DTYPE = np.dtype(
    [
        ("scheduled_ns", "<i8"),
        ("sent_ns", "<i8"),
        ("done_ns", "<i8"),
        ("status", "<i2"),
        ("bytes", "<i4"),
        ("correct", "i1"),
    ]
)
SCHEMA: Final = pa.schema(
    [
        pa.field("scheduled_ns", pa.int64(), nullable=False),
        pa.field("sent_ns", pa.int64(), nullable=False),
        pa.field("done_ns", pa.int64(), nullable=False),
        pa.field("status", pa.int16(), nullable=False),
        pa.field("bytes", pa.int32(), nullable=False),
        pa.field("correct", pa.bool_(), nullable=True),
    ]
)
_CLOCK_COLUMNS = ("scheduled_ns", "sent_ns", "done_ns")


class RequestRecord(NamedTuple):
    """One request that has ended.

    Attributes:
        scheduled_ns: when it should have been sent; the same as sent_ns under closed load.
        sent_ns: right before it was handed to the HTTP client.
        done_ns: right after the last byte of the answer was read, or when it failed.
        status: HTTP status; 0 when there was no HTTP answer.
        size_bytes: size of the response body.
        correct: whether the answer was right; None when it was not checked.
    """

    scheduled_ns: int
    sent_ns: int
    done_ns: int
    status: int
    size_bytes: int
    correct: bool | None


@dataclass(frozen=True)
class Samples:
    """The requests of one round, one array element per request, in the order in which they ended.

    Attributes:
        scheduled_ns, sent_ns, done_ns: int64, monotonic nanoseconds.
        status: int16, HTTP status; 0 when there was no HTTP answer.
        bytes: int32, size of the response body.
        correct: int8; 1 right, 0 wrong, NOT_CHECKED (-1) when nobody looked.
    """

    scheduled_ns: NDArray[np.int64]
    sent_ns: NDArray[np.int64]
    done_ns: NDArray[np.int64]
    status: NDArray[np.int16]
    bytes: NDArray[np.int32]
    correct: NDArray[np.int8]

    def __len__(self) -> int:
        return len(self.status)


def partial_path(path: Path) -> Path:
    """Return where the rows of `path` are kept until the recording is closed."""
    return path.with_name(path.name + ".partial")


class Recorder:
    """Appends rows to `path`, which appears when the recorder is closed.

    Args:
        path: the Parquet file to make; `NAME.partial` beside it is overwritten.
        batch_rows: rows held in memory between two writes.

    Raises:
        RecorderError: from any method, when the disk takes no more. Whole batches stay in `NAME.partial`.
    """

    def __init__(self, path: Path, *, batch_rows: int = BATCH_ROWS) -> None:
        self.path = path
        self.rows_count = 0
        self._partial = partial_path(path)
        self._buffer = bytearray(_ROW.size * batch_rows)
        self._used = 0
        self._flushed_ns = time.monotonic_ns()
        self._failed = False
        # Arrow's first conversion takes some 10 ms, which must not happen under load.
        _to_batch(self._buffer, 1)
        with self._disk_errors():
            self._file = pa.OSFile(str(self._partial), "wb")
            self._stream = pa.ipc.new_stream(self._file, SCHEMA)

    def add(self, request: RequestRecord) -> None:
        """Record one request."""
        correct = NOT_CHECKED if request.correct is None else request.correct
        _ROW.pack_into(self._buffer, self._used, *request[:5], correct)
        self._used += _ROW.size
        self.rows_count += 1
        if self._used == len(self._buffer) or request.done_ns - self._flushed_ns > BATCH_NS:
            self.flush()
            self._flushed_ns = request.done_ns

    def flush(self) -> None:
        """Append what is in memory to the partial file."""
        rows_count, self._used = self._used // _ROW.size, 0
        if rows_count == 0 or self._failed:
            return
        if self.rows_count > REQUESTS_LIMIT:
            raise RecorderError(
                f"one round has more than {REQUESTS_LIMIT:,} requests, the most that a report reads; make "
                "rounds shorter (--round-s) and more of them (--rounds)"
            )
        with self._disk_errors():
            self._stream.write_batch(_to_batch(self._buffer, rows_count))

    def close(self) -> None:
        """Write the Parquet file and remove the partial one. A second call does nothing."""
        if self._file.closed:
            return
        try:
            self.flush()
        finally:
            self._close_partial()
        if not self._failed:
            with self._disk_errors():
                _write_parquet(self._partial, self.path)
                self._partial.unlink()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _close_partial(self) -> None:
        with self._disk_errors():
            try:
                if not self._failed:
                    self._stream.close()
            finally:
                self._file.close()

    @contextlib.contextmanager
    def _disk_errors(self) -> Iterator[None]:
        try:
            yield
        except (OSError, pa.ArrowException) as problem:
            self._failed = True
            raise RecorderError(
                f"cannot record to {self.path}: {problem}; free some space and recover {self._partial}"
            ) from problem


def recover(path: Path) -> int:
    """Make the Parquet file `path` from the partial file a killed process left beside it.

    Returns:
        The number of requests recovered: every whole batch, at most about a second less than was sent.

    Raises:
        RecorderError: there is no partial file for `path`, or it is not a recording.
    """
    partial = partial_path(path)
    try:
        rows_count = _write_parquet(partial, path)
    except (OSError, pa.ArrowException) as problem:
        raise RecorderError(f"cannot recover {partial}: {problem}") from problem
    partial.unlink()
    return rows_count


def read_samples(path: Path) -> Samples:
    """Read a recording.

    Raises:
        RecorderError: unreadable, or not a recording of ours.
    """
    try:
        # In this thread: `read_table` waits for ever where memory is too short to start another one.
        with pq.ParquetFile(path) as file:
            _require_recording(path, file)
            table = file.read(use_threads=False)
            table.validate(full=True)
    except (OSError, ValueError, pa.ArrowException) as problem:
        raise RecorderError(f"cannot read {path}: {problem}") from problem
    columns = {name: table.column(name).to_numpy() for name in SCHEMA.names[:-1]}
    correct = table.column("correct").cast(pa.int8()).fill_null(NOT_CHECKED).to_numpy()
    return Samples(**columns, correct=correct)


def _require_recording(path: Path, file: pq.ParquetFile) -> None:
    """Look at what the file says of itself, before anything of it is decompressed."""
    if not file.schema_arrow.equals(SCHEMA):
        raise RecorderError(f"{path} is not a recording: it has the columns {file.schema_arrow.names}")
    if not 0 <= file.metadata.num_rows <= REQUESTS_LIMIT:
        raise RecorderError(f"{path} is not a recording: it claims {file.metadata.num_rows} requests")


def _to_batch(buffer: bytearray, rows_count: int) -> pa.RecordBatch:
    rows = np.frombuffer(buffer, dtype=_ROW_DTYPE, count=rows_count)
    # The columns are copied: the buffer is filled again while Arrow may still hold the batch.
    arrays: list[Any] = [pa.array(np.ascontiguousarray(rows[name])) for name in SCHEMA.names[:-1]]
    correct = rows["correct"]
    arrays.append(pa.array(correct == 1, mask=correct == NOT_CHECKED))
    return pa.record_batch(arrays, schema=SCHEMA)


def _read_batches(partial: Path) -> Iterator[pa.RecordBatch]:
    """Yield every whole batch; a batch cut short by the end of the process ends the recording."""
    with pa.OSFile(str(partial), "rb") as file:
        stream = pa.ipc.open_stream(file)
        while True:
            try:
                yield stream.read_next_batch()
            except (StopIteration, OSError, pa.ArrowInvalid):
                return


def _write_parquet(partial: Path, path: Path) -> int:
    """Rewrite `partial` as Parquet, some batches at a time; return the number of rows."""
    rows_count = 0
    waiting: list[pa.RecordBatch] = []
    with replacing(path) as temporary, _parquet_writer(temporary) as writer:
        for batch in _read_batches(partial):
            waiting.append(batch)
            rows_count += batch.num_rows
            if len(waiting) == ROW_GROUP_BATCHES:
                writer.write_table(pa.Table.from_batches(waiting))
                waiting.clear()
        writer.write_table(pa.Table.from_batches(waiting, SCHEMA))
    return rows_count


def _parquet_writer(path: Path) -> pq.ParquetWriter:
    # Timestamps grow steadily, so their differences are small: a fifth of the size of plain int64.
    return pq.ParquetWriter(
        path,
        SCHEMA,
        compression="zstd",
        use_dictionary=["status", "bytes"],
        column_encoding=dict.fromkeys(_CLOCK_COLUMNS, "DELTA_BINARY_PACKED"),
    )
