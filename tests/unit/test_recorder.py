import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loadtests.errors import RecorderError
from loadtests.recorder import (
    NOT_CHECKED,
    SCHEMA,
    Recorder,
    RequestRecord,
    partial_path,
    read_samples,
    recover,
)

records = st.builds(
    RequestRecord,
    scheduled_ns=st.integers(0, 2**62),
    sent_ns=st.integers(0, 2**62),
    done_ns=st.integers(0, 2**62),
    status=st.sampled_from([0, 200, 404, 503, 599]),
    size_bytes=st.integers(0, 2**31 - 1),
    correct=st.sampled_from([None, True, False]),
)


def a_request(number=0, correct=None):
    return RequestRecord(number, number + 1, number + 1_000_000, 200, 34, correct)


def as_rows(samples):
    back = {NOT_CHECKED: None, 0: False, 1: True}
    columns = (samples.scheduled_ns, samples.sent_ns, samples.done_ns, samples.status, samples.bytes)
    correct = [back[value] for value in samples.correct.tolist()]
    return [
        RequestRecord(*row) for row in zip(*(column.tolist() for column in columns), correct, strict=True)
    ]


@pytest.mark.slow
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(requests=st.lists(records, max_size=60), batch_rows=st.integers(1, 20))
def test_every_request_comes_back_in_order(tmp_path, requests, batch_rows):
    path = tmp_path / "round.parquet"
    with Recorder(path, batch_rows=batch_rows) as recorder:
        for request in requests:
            recorder.add(request)
        assert recorder.rows_count == len(requests)
    assert as_rows(read_samples(path)) == requests
    assert [file.name for file in tmp_path.iterdir()] == ["round.parquet"]


def test_the_columns_are_the_ones_promised(tmp_path):
    path = tmp_path / "round.parquet"
    with Recorder(path) as recorder:
        recorder.add(a_request())
    schema = pq.read_schema(path)
    assert schema.equals(SCHEMA)
    assert schema.names == ["scheduled_ns", "sent_ns", "done_ns", "status", "bytes", "correct"]
    assert pq.read_table(path).column("correct").to_pylist() == [None]
    assert pq.ParquetFile(path).metadata.row_group(0).column(0).compression == "ZSTD"


def test_the_file_appears_only_when_it_is_whole(tmp_path):
    path = tmp_path / "round.parquet"
    recorder = Recorder(path)
    recorder.add(a_request())
    assert not path.exists()
    recorder.close()
    recorder.close()
    assert path.exists()


def test_at_most_64_bytes_a_request_on_disk(tmp_path):
    path, count = tmp_path / "round.parquet", 20_000
    source = np.random.default_rng(1)
    with Recorder(path) as recorder:
        for sent_ns in np.cumsum(source.integers(1, 2_000_000, count)).tolist():
            recorder.add(
                RequestRecord(sent_ns - 7, sent_ns, sent_ns + int(source.integers(10**10)), 200, 99, None)
            )
        recorder.flush()
        assert partial_path(path).stat().st_size / count <= 64
    assert path.stat().st_size / count <= 64


def test_a_second_without_a_full_batch_is_on_disk_anyway(tmp_path):
    path = tmp_path / "round.parquet"
    recorder = Recorder(path)
    for second in range(5):
        recorder.add(RequestRecord(0, 0, recorder._flushed_ns + 1_100_000_000, 200, second, None))
    assert recover(path) == 5


def test_a_killed_process_leaves_every_whole_batch(tmp_path):
    path = tmp_path / "round.parquet"
    recorder = Recorder(path, batch_rows=10)
    requests = [a_request(number) for number in range(37)]
    for request in requests:
        recorder.add(request)
    assert recover(path) == 30
    assert as_rows(read_samples(path)) == requests[:30]
    assert not partial_path(path).exists()


@pytest.mark.slow
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(share=st.floats(0, 1))
def test_recovery_from_a_file_cut_anywhere(tmp_path, share):
    path = tmp_path / "round.parquet"
    recorder = Recorder(path, batch_rows=10)
    requests = [a_request(number) for number in range(50)]
    for request in requests:
        recorder.add(request)
    whole = partial_path(path).read_bytes()
    partial_path(path).write_bytes(whole[: int(len(whole) * share)])
    try:
        count = recover(path)
    except RecorderError:
        assert share < 0.5, "only a file cut inside its very first bytes is no recording"
        return
    assert as_rows(read_samples(path)) == requests[:count]
    assert count % 10 == 0
    assert count >= 50 * share - 20


def test_a_full_disk_is_one_clear_error_and_keeps_the_partial(tmp_path):
    path = tmp_path / "round.parquet"
    partial_path(path).symlink_to("/dev/full")
    with pytest.raises(RecorderError, match=r"No space left on device.*recover") as caught:
        fill(Recorder(path, batch_rows=10))
    assert "\n" not in str(caught.value)
    assert partial_path(path).is_symlink()
    assert not path.exists()


def test_after_a_full_disk_the_recorder_stays_quiet(tmp_path):
    path = tmp_path / "round.parquet"
    partial_path(path).symlink_to("/dev/full")
    with pytest.raises(RecorderError):
        recorder = Recorder(path, batch_rows=10)
        fill(recorder)
    if "recorder" in locals():
        fill(recorder)
        recorder.close()
    assert not path.exists()


def fill(recorder):
    for number in range(5000):
        recorder.add(a_request(number))


def test_a_folder_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(RecorderError, match="cannot record to"):
        Recorder(tmp_path / "nowhere" / "round.parquet")


@pytest.mark.parametrize("content", [None, b"", b"not parquet"])
def test_reading_something_else_is_an_error(tmp_path, content):
    path = tmp_path / "round.parquet"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RecorderError, match="cannot read"):
        read_samples(path)


def test_reading_another_table_is_an_error(tmp_path):
    path = tmp_path / "round.parquet"
    pq.write_table(pa.table({"a": [1]}), path)
    with pytest.raises(RecorderError, match="not a recording"):
        read_samples(path)


def test_recovering_nothing_is_an_error(tmp_path):
    with pytest.raises(RecorderError, match="cannot recover"):
        recover(tmp_path / "round.parquet")


def test_ten_thousand_requests_over_many_batches_all_come_back(tmp_path):
    path = tmp_path / "many.parquet"
    with Recorder(path, batch_rows=64) as recorder:
        for number in range(10_000):
            recorder.add(RequestRecord(number, number + 1, number + 2, 200, 3, None))
    samples = read_samples(path)
    assert samples.scheduled_ns.tolist() == list(range(10_000))
    assert samples.done_ns.tolist() == list(range(2, 10_002))


THREADS_TO_READ = """
import os, sys
from pathlib import Path
from loadtests.recorder import read_samples
before = len(os.listdir("/proc/self/task"))
read_samples(Path(sys.argv[1]))
print(len(os.listdir("/proc/self/task")) - before)
"""


@pytest.mark.slow
def test_reading_needs_no_other_thread(tmp_path):
    """Where memory is too short to start one, reading would wait for it for ever, deaf to SIGTERM."""
    path = tmp_path / "r.parquet"
    with Recorder(path) as recorder:
        recorder.add(RequestRecord(1, 1, 2, 200, 3, True))
    done = subprocess.run(
        [sys.executable, "-c", THREADS_TO_READ, path], capture_output=True, text=True, timeout=60, check=True
    )
    assert int(done.stdout) <= 1  # the allocator's own
