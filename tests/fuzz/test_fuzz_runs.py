"""Runs that somebody damaged or forged: `tandem report` says so in one line with exit code 2, or reports.

TANDEM_FUZZ_RUNS=10000 tries as many of each kind; TANDEM_FUZZ_SEED chooses others.
"""

import copy
import io
import json
import os
import random
import shutil
import sys
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from loadtests.recorder import SCHEMA, Recorder, RequestRecord
from pipelines.cli import main as cli

sys.path.append(str(Path(__file__).parents[1] / "unit"))
from report_fixture import make_run
from report_mobile_fixture import make_mobile, make_mobile_run
from report_slo_fixture import make_slo_run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(0 if "TANDEM_FUZZ_RUNS" in os.environ else 120)]
CASES = int(os.environ.get("TANDEM_FUZZ_RUNS", "25"))
SEED = int(os.environ.get("TANDEM_FUZZ_SEED", "12"))
REQUESTS = 700
KEPT_ROUNDS = 8
KINDS = ("compare", "slo", "mobile", "both")

ODD = (
    None, True, False, 0, -1, 1, 2, 10**30, 10**400, 2**63, 0.0, -0.0, 1e308, -1e308, 5e-324, 1e-9, "", "x",
    "open:0", "open:5", "closed:0", "closed:9999999", "open:1e-7", "../../etc/passwd", "/etc/passwd", "\0",
    "a\nb", "<script>", "\x1b[31m", "\u202e", "é" * 5000, "null", "torchserve", "tfserving", "nobody",
    [], [[]], {}, {"x": 1}, [None], [1e308, 1e308], [0, 0], ["a", "b"],
)  # fmt: skip


def samples(path, requests=REQUESTS):
    with Recorder(path) as recorder:
        for number in range(requests):
            sent = 1_000_000_000 + number * 3_000_000
            done = sent + 2_000_000 + number % 97 * 10_000
            recorder.add(RequestRecord(sent, sent, done, 200, 100, True))


def calls(path, values=None):
    np.savez_compressed(path, invoke_ns=np.arange(1, 200) * 1000 if values is None else values)


def records():
    """One record of each kind, with few rounds of each target: it is read and drawn many times."""
    found = {
        "compare": make_run(),
        "slo": make_slo_run(),
        "mobile": make_mobile_run(),
        "both": make_run(mobile=make_mobile()),
    }
    return {kind: shortened(run.model_dump(mode="json")) for kind, run in found.items()}


def shortened(run):
    for target in run["targets"].values():
        target["rounds"] = target["rounds"][:KEPT_ROUNDS]
    return run


@pytest.fixture(scope="module")
def originals():
    return records()


@pytest.fixture(scope="module")
def raw_files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("raw")
    samples(folder / "samples.parquet")
    calls(folder / "calls.npz")
    return folder


@pytest.fixture
def make(tmp_path, raw_files):
    """A folder with this run and all its raw files, as they were measured."""
    numbers = iter(range(10**9))

    def build(run, original):
        folder = tmp_path / f"run-{next(numbers)}"
        folder.mkdir()
        for name in raw_names(original):
            path = folder / name
            path.parent.mkdir(exist_ok=True)
            source = raw_files / ("calls.npz" if name.endswith(".npz") else "samples.parquet")
            path.hardlink_to(source)
        text = run if isinstance(run, bytes) else json.dumps(run).encode(errors="surrogatepass")
        (folder / "run.json").write_bytes(text)
        return folder

    return build


def raw_names(value):
    """Every `samples_file` in a record."""
    if isinstance(value, dict):
        own = [value["samples_file"]] if isinstance(value.get("samples_file"), str) else []
        return own + [name for inner in value.values() for name in raw_names(inner)]
    return [name for inner in value for name in raw_names(inner)] if isinstance(value, list) else []


@pytest.fixture
def report(capfd):
    """The exit code of `tandem report`; it said one line exactly when that is not 0."""

    def run(folder, allowed=(0, 2)):
        code = cli._run(["report", str(folder)])
        err = capfd.readouterr().err
        lines = err.splitlines()
        assert code in allowed, (code, err, folder)
        assert "Traceback" not in err
        assert len(lines) == (code != 0), (lines, folder)
        assert all(line.startswith("tandem: ") and len(line) < 2000 for line in lines), lines
        shutil.rmtree(folder)
        return code

    return run


def places(value, path=()):
    """Where everything in a JSON value is: keys and positions from the top."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, found in inner:
        yield (*path, key)
        yield from places(found, (*path, key))


def mutated(chance, original):
    """A copy with one to three places changed: replaced, removed, doubled, or exchanged for another."""
    run = copy.deepcopy(original)
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        path = chance.choice(list(places(run)))
        parent = run
        for key in path[:-1]:
            parent = parent[key]
        change(chance, run, parent, path[-1])
    return run


def change(chance, run, parent, key):
    how = chance.randrange(6)
    if how == 0:
        del parent[key]
    elif how == 1 and isinstance(parent, list):
        parent.append(copy.deepcopy(parent[key]))
    elif how == 2 and isinstance(parent, dict):
        parent[f"{key}-2"] = copy.deepcopy(parent[key])
    elif how == 3:
        other = run
        for step in chance.choice(list(places(run))):
            other = other[step]
        parent[key] = copy.deepcopy(other)
    elif how == 4 and isinstance(parent[key], (int, float)):
        parent[key] = parent[key] * chance.choice((-1, 0, 1e-12, 1e9, 10**40))
    else:
        parent[key] = copy.deepcopy(chance.choice(ODD))


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_as_it_was_measured_is_reported(kind, originals, make, report):
    assert report(make(originals[kind], originals[kind])) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_record_with_changed_values_is_reported_or_refused(kind, originals, make, report):
    chance = random.Random(f"{SEED}-{kind}")  # noqa: S311 - tests
    codes = [report(make(mutated(chance, originals[kind]), originals[kind])) for _ in range(CASES)]
    assert 2 in codes


def torn(chance, text):
    """The bytes cut short, or with some flipped, left out or put in."""
    data = bytearray(text)
    if chance.random() < 0.3:
        return bytes(data[: chance.randrange(len(data))])
    for _ in range(chance.choice((1, 1, 2, 8))):
        place = chance.randrange(len(data))
        how = chance.randrange(3)
        if how == 0:
            data[place] ^= 1 << chance.randrange(8)
        elif how == 1:
            del data[place : place + chance.randrange(1, 64)]
        else:
            data[place:place] = chance.randbytes(chance.randrange(1, 64))
        if not data:
            break
    return bytes(data)


def test_a_record_with_changed_bytes_is_reported_or_refused(originals, make, report):
    chance = random.Random(f"{SEED}-bytes")  # noqa: S311 - tests
    text = json.dumps(originals["compare"]).encode()
    codes = [report(make(torn(chance, text), originals["compare"])) for _ in range(CASES)]
    assert 2 in codes


@pytest.mark.parametrize(("kind", "suffix"), [("compare", ".parquet"), ("mobile", ".npz")])
def test_raw_files_with_changed_bytes_are_reported_or_refused(kind, suffix, originals, make, report):
    chance = random.Random(f"{SEED}-{suffix}")  # noqa: S311 - tests
    codes = []
    for _ in range(CASES):
        folder = make(originals[kind], originals[kind])
        path = chance.choice(sorted((folder / "samples").glob(f"*{suffix}")))
        data = path.read_bytes()
        path.unlink()
        path.write_bytes(torn(chance, data))
        codes.append(report(folder))
    assert 2 in codes


def spoil(make, original, change):
    """A run with one change made to its record."""
    run = copy.deepcopy(original)
    change(run)
    return make(run, original)


def first_round(run):
    return run["targets"]["torchserve"]["rounds"][0]


ODD_RECORDS = {
    "open:0": lambda run: first_round(run).update(load="open:0"),
    "unknown control_of": lambda run: run["targets"]["tfserving-control"].update(control_of="nobody"),
    "absolute samples_file": lambda run: first_round(run).update(samples_file="/etc/passwd"),
    "samples_file above": lambda run: first_round(run).update(samples_file="samples/../../x.parquet"),
    "samples_file is the folder": lambda run: first_round(run).update(samples_file="."),
    "long samples_file": lambda run: first_round(run).update(samples_file="é" * 5000),
    "no samples_file": lambda run: first_round(run).update(samples_file=""),
    "missing samples_file": lambda run: first_round(run).update(samples_file="samples/none.parquet"),
    "huge seed": lambda run: run["profile"].update(seed=-1),
}


@pytest.mark.parametrize("name", ODD_RECORDS)
def test_a_record_that_cannot_be_is_refused(name, originals, make, report):
    assert report(spoil(make, originals["compare"], ODD_RECORDS[name]), allowed=(2,)) == 2


@pytest.mark.parametrize("window_s", [1e308, 5e-324, 0.0])
def test_an_odd_window_is_reported_or_refused(window_s, originals, make, report):
    report(spoil(make, originals["compare"], lambda run: first_round(run).update(window_s=window_s)))


TEXTS = {
    "empty": b"",
    "null": b"null",
    "NaN": b'{"schema_version": NaN}',
    "truncated": b'{"schema_version": 1, "kind": "comp',
    "deep lists": b"[" * 200_000,
    "deep objects": b'{"a":' * 200_000,
    "deep targets": b'{"schema_version": 1, "targets": ' + b'{"a":' * 5000 + b"1" + b"}" * 5001,
    "no UTF-8": b"\xff\xfe\xfd",
    "lone surrogate": rb'{"schema_version": 1, "kind": "\ud800"}',
    "another version": b'{"schema_version": 99}',
    "a list": b"[1, 2, 3]",
    "long number": b'{"schema_version": ' + b"9" * 100_000 + b"}",
}


@pytest.mark.parametrize("name", TEXTS)
def test_text_that_is_no_record_is_refused(name, make, report):
    assert report(make(TEXTS[name], {}), allowed=(2,)) == 2


def no_file(path):
    path.unlink()


def a_folder(path):
    path.unlink()
    path.mkdir()


def a_pipe(path):
    path.unlink()
    os.mkfifo(path)


def a_link_out(path):
    path.unlink()
    path.symlink_to("/etc/passwd")


def a_loop(path):
    path.unlink()
    path.symlink_to(path.name)


def a_device(path):
    path.unlink()
    path.symlink_to("/dev/zero")


def a_huge_file(path):
    path.unlink()
    with path.open("wb") as file:
        file.truncate(2**40)


@pytest.mark.parametrize("spoil_file", [no_file, a_folder, a_pipe, a_link_out, a_loop, a_device, a_huge_file])
@pytest.mark.parametrize(("kind", "pattern"), [("compare", "*.parquet"), ("mobile", "*.npz"), ("slo", "")])
def test_what_is_no_regular_file_is_refused(kind, pattern, spoil_file, originals, make, report):
    folder = make(originals[kind], originals[kind])
    path = next((folder / "samples").glob(pattern)) if pattern else folder / "run.json"
    spoil_file(path)
    assert report(folder, allowed=(2,)) == 2


def replace(path, write):
    path.unlink()
    write(path)


def other_columns(path):
    pq.write_table(pa.table({"x": [1]}), path)


def nulls(path):
    fields = [pa.field(field.name, field.type) for field in SCHEMA]
    pq.write_table(pa.table([pa.nulls(3, field.type) for field in fields], pa.schema(fields)), path)


def answers_before_requests(path):
    with Recorder(path) as recorder:
        recorder.add(RequestRecord(10**9, 10**9, 0, 200, 1, True))


@pytest.mark.parametrize("write", [other_columns, nulls, answers_before_requests])
def test_a_recording_that_cannot_be_is_refused(write, originals, make, report):
    folder = make(originals["compare"], originals["compare"])
    replace(next((folder / "samples").glob("*.parquet")), write)
    assert report(folder, allowed=(2,)) == 2


def bomb(path):
    """A few kilobytes that would become a gigabyte."""
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("invoke_ns.npy", "w") as file,
    ):
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(
            header, {"descr": "<i8", "fortran_order": False, "shape": (2**24,)}
        )
        file.write(header.getvalue())
        for _ in range(2**24 * 8 // 2**20):
            file.write(bytes(2**20))


@pytest.mark.parametrize(
    "write",
    [
        bomb,
        lambda path: calls(path, np.array([1.5])),
        lambda path: calls(path, np.array([[1, 2]])),
        lambda path: calls(path, np.array(["x"])),
        lambda path: calls(path, np.array([-5])),
        lambda path: calls(path, np.array([None], dtype=object)),
        lambda path: np.savez(path, other=np.arange(3)),
        lambda path: path.write_bytes(b"not an archive"),
    ],
)
def test_raw_calls_that_cannot_be_are_refused(write, originals, make, report):
    folder = make(originals["mobile"], originals["mobile"])
    replace(next((folder / "samples").glob("*.npz")), write)
    assert report(folder, allowed=(2,)) == 2
