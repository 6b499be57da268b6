"""`--tensorboard`: what is written, read back by TensorBoard itself, from files and through its server."""

import itertools
import json
import random
import re
import subprocess
import sys
import time
import types
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report_fixture import make_run
from report_mobile_fixture import make_mobile_run
from report_slo_fixture import make_slo_run
from training_fixture import make_training_run

from loadtests.recorder import Recorder, RequestRecord
from pipelines.cli.main import main
from pipelines.errors import MachineError
from pipelines.judge.mobile import write_calls
from pipelines.judge.summarise import summarise
from pipelines.outputs.of_run import figures_of_run
from pipelines.record.run import RunRecord
from pipelines.report import pick
from pipelines.tensorboard.board import buckets_of
from pipelines.tensorboard.stage import folder_name, write_board

# Without it TensorBoard would load TensorFlow to read a file.
WITHOUT_TENSORFLOW = "tensorboard.compat.notf"
SERVE = f"""
import sys, types
sys.modules[{WITHOUT_TENSORFLOW!r}] = types.ModuleType("notf")
from tensorboard.main import run_main
run_main()
"""
SERVER_LIMIT_S = 60.0
REQUESTS, CALLS = 81, 500
MAKERS = {"compare": make_run, "slo": make_slo_run, "mobile": make_mobile_run, "train": make_training_run}


def with_raw_files(run: RunRecord, folder: Path) -> RunRecord:
    """The run with requests and calls in files, its figures made of them."""
    chance = random.Random(7)  # noqa: S311 - reproducible, not secret
    (folder / "samples").mkdir()
    for target in run.targets.values():
        for one in target.rounds:
            with Recorder(folder / one.samples_file) as recorder:
                for number in range(REQUESTS):
                    at_ns, latency_ns = 10**9 + number * 10**6, int(chance.lognormvariate(0, 0.5) * 1e6)
                    recorder.add(RequestRecord(at_ns, at_ns, at_ns + latency_ns, 200, 10, None))
    for artifact in run.mobile.artifacts if run.mobile else ():
        for timing in artifact.timings:
            if timing.samples_file:
                write_calls(folder / timing.samples_file, np.arange(1_000_000, 1_000_000 + CALLS))
    return summarise(run, folder)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[RunRecord, Path]]:
    """A run of a kind, and the folder of its event files, beside the others': made once for all who ask."""
    boards = tmp_path_factory.mktemp("boards")

    @cache
    def make(kind: str) -> tuple[RunRecord, Path]:
        folder = tmp_path_factory.mktemp(kind)
        run = with_raw_files(MAKERS[kind](), folder)
        return run, write_board(run, folder, boards)

    return make


def read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """TensorBoard's own reader of every part, by the part's name."""
    monkeypatch.setitem(sys.modules, WITHOUT_TENSORFLOW, types.ModuleType("notf"))
    from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator

    found = {}
    for file in sorted(folder.rglob("events.out.*")):
        reader = EventAccumulator(str(file.parent), tensor_size_guidance={"scalars": 0, "histograms": 0})
        found[str(file.parent.relative_to(folder))] = reader.Reload()
    return found


def series(reader: Any, tag: str) -> dict[int, Any]:
    """The values of a tag by step."""
    from tensorboard.util import tensor_util

    return {event.step: tensor_util.make_ndarray(event.tensor_proto) for event in reader.Tensors(tag)}


def scalars(readers: dict[str, Any]) -> Iterator[float]:
    for reader in readers.values():
        for tag in reader.summary_metadata:
            if reader.summary_metadata[tag].plugin_data.plugin_name == "scalars":
                yield from (float(value) for value in series(reader, tag).values())


def numbers_in(value: Any) -> set[float]:
    if isinstance(value, dict | list):
        return set().union(*map(numbers_in, value.values() if isinstance(value, dict) else value))
    return {float(value)} if isinstance(value, int | float) and not isinstance(value, bool) else set()


def in_32_bits(values: Iterable[float]) -> set[float]:
    """The numbers as TensorBoard has them."""
    return set(np.array(list(values), np.float32).astype(float).tolist())


@pytest.mark.slow
@pytest.mark.parametrize("kind", MAKERS)
def test_every_scalar_is_a_number_of_run_json_and_every_figure_is_there(
    made: Callable[[str], tuple[RunRecord, Path]], monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    run, folder = made(kind)
    found = list(scalars(read(folder, monkeypatch)))
    assert set(found) <= in_32_bits(numbers_in(json.loads(run.model_dump_json())))
    wanted = [end for one in figures_of_run(run) for end in (one.value, one.low, one.high) if end is not None]
    assert wanted
    assert in_32_bits(wanted) <= set(found)
    assert len(found) >= len(wanted)


@pytest.mark.slow
def test_latencies_are_counted_per_side_load_and_round(
    made: Callable[[str], tuple[RunRecord, Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, folder = made("compare")
    readers = read(folder, monkeypatch)
    assert set(readers) == set(pick.compared(run))
    for name, target in pick.compared(run).items():
        for load in pick.loads(run):
            rounds = [one for one in target.rounds if one.valid and one.load == load]
            found = series(readers[name], f"{load}/latency ms")
            assert list(found) == [one.index for one in rounds]
            for one in rounds:
                rows = found[one.index]
                assert rows[:, 2].sum() == REQUESTS
                cumulative = rows[:, 2].cumsum() / rows[:, 2].sum()
                median = rows[np.searchsorted(cumulative, 0.5)]
                assert one.latency_ms.p50 is not None
                assert median[0] * 0.99 <= one.latency_ms.p50 <= median[1] * 1.01


def test_a_training_has_its_curves_by_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_training_run()
    readers = read(write_board(run, tmp_path, tmp_path), monkeypatch)
    assert run.training is not None
    for one in run.training.trainings:
        found = series(readers[f"{one.framework}/seed-{one.seed}-{one.role}"], "training/loss")
        assert {step: float(value) for step, value in found.items()} == {
            number: float(np.float32(epoch.loss)) for number, epoch in enumerate(one.epochs, start=1)
        }


@pytest.fixture(scope="module")
def served(made: Callable[[str], tuple[RunRecord, Path]]) -> Iterator["Served"]:
    """One TensorBoard, as anybody starts it, over one folder with a run of every kind."""
    boards = {made(kind)[1].parent for kind in MAKERS}
    (folder,) = boards
    distributed = sum(map(with_distributions, (made(kind)[0] for kind in MAKERS)))
    with serving(folder) as address:
        yield Served(address, len(list(folder.rglob("events.out.*"))), distributed)


def with_distributions(run: RunRecord) -> int:
    """How many parts of a run have any."""
    artifacts = run.mobile.artifacts if run.kind == "mobile" and run.mobile else ()
    return len(pick.compared(run)) + sum(any(one.samples_file for one in each.timings) for each in artifacts)


class Served:
    """What a real TensorBoard answers about every part, asked once it has loaded all of them."""

    def __init__(self, address: str, parts_count: int, distributed_count: int) -> None:
        self._address = address
        self.scalars: dict[str, list[str]] = ask(address, "scalars/tags", once_it_has=parts_count)
        self.histograms: dict[str, list[str]] = ask(address, "histograms/tags", once_it_has=distributed_count)

    def scalar(self, part: str, tag: str) -> dict[int, float]:
        """The values of a tag by step."""
        return {step: value for _, step, value in ask(self._address, "scalars/scalars", run=part, tag=tag)}

    def counts(self, part: str, tag: str) -> dict[int, float]:
        """How many values a distribution has by step."""
        drawn = ask(self._address, "histograms/histograms", run=part, tag=tag)
        return {step: sum(row[2] for row in rows) for _, step, rows in drawn}

    def settings(self) -> dict[str, dict[str, Any]]:
        """The settings of every part on the page of hyper-parameters."""
        asked = {"allowedStatuses": ["STATUS_UNKNOWN"], "startIndex": 0, "sliceSize": 1000, "colParams": []}
        groups = ask(self._address, "hparams/session_groups", body=asked)["sessionGroups"]
        return {session["name"]: group["hparams"] for group in groups for session in group["sessions"]}


@pytest.mark.slow
@pytest.mark.parametrize("kind", MAKERS)
def test_the_server_shows_every_scalar(
    made: Callable[[str], tuple[RunRecord, Path]], served: Served, kind: str
) -> None:
    run, folder = made(kind)
    parts = {name: tags for name, tags in served.scalars.items() if name.split("/")[0] == folder.name}
    found = {
        value for part, tags in parts.items() for tag in tags for value in served.scalar(part, tag).values()
    }
    assert found <= in_32_bits(numbers_in(json.loads(run.model_dump_json())))
    wanted = [end for one in figures_of_run(run) for end in (one.value, one.low, one.high) if end is not None]
    assert wanted
    assert in_32_bits(wanted) <= found


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["compare", "slo"])
def test_the_server_shows_latencies_of_every_side_load_and_round(
    made: Callable[[str], tuple[RunRecord, Path]], served: Served, kind: str
) -> None:
    run, folder = made(kind)
    for name, target in pick.compared(run).items():
        part = f"{folder.name}/{name}"
        valid = [one for one in target.rounds if one.valid]
        loads = {one.load for one in valid}
        assert set(served.histograms[part]) == {f"{load}/latency ms" for load in loads}
        for load in loads:
            steps = {one.index for one in valid if one.load == load}
            assert served.counts(part, f"{load}/latency ms") == dict.fromkeys(steps, REQUESTS)


def test_the_server_shows_single_calls_of_every_artifact(
    made: Callable[[str], tuple[RunRecord, Path]], served: Served
) -> None:
    run, folder = made("mobile")
    assert run.mobile is not None
    for artifact in run.mobile.artifacts:
        part = f"{folder.name}/{artifact.target}/{artifact.path}"
        threads = [one.threads_count for one in artifact.timings if one.samples_file]
        assert ("call ms" in served.histograms.get(part, ())) is bool(threads)
        if threads:
            assert served.counts(part, "call ms") == dict.fromkeys(threads, CALLS)


def test_the_server_shows_what_a_search_tried_and_how_trainings_learned(
    made: Callable[[str], tuple[RunRecord, Path]], served: Served
) -> None:
    run, folder = made("slo")
    assert run.slo is not None
    for name, search in run.slo.targets.items():
        rates = {one.round_index: one.rate_per_s for one in search.points}
        assert served.scalar(f"{folder.name}/{name}", "search/rate per_s") == pytest.approx(rates)
    run, folder = made("train")
    assert run.training is not None
    for one in run.training.trainings:
        losses = {number: epoch.loss for number, epoch in enumerate(one.epochs, start=1)}
        part = f"{folder.name}/{one.framework}/seed-{one.seed}-{one.role}"
        assert served.scalar(part, "training/loss") == pytest.approx(losses, rel=1e-6)


def test_the_server_sets_every_part_against_its_settings(
    made: Callable[[str], tuple[RunRecord, Path]], served: Served
) -> None:
    wanted: dict[str, dict[str, Any]] = {}
    for kind in ("compare", "slo"):
        run, folder = made(kind)
        for name, target in pick.compared(run).items():
            own = {"kind": kind, "preset": target.implementation.preset}
            wanted[f"{folder.name}/{name}"] = own | {"workers_count": target.given.workers_count}
    run, folder = made("mobile")
    for artifact in run.mobile.artifacts if run.mobile else ():
        own = {"kind": "mobile", "precision": artifact.precision, "variant": artifact.variant}
        wanted[f"{folder.name}/{artifact.target}/{artifact.path}"] = own
    run, folder = made("train")
    for framework in run.training.frameworks if run.training else ():
        wanted[f"{folder.name}/{framework}"] = {"kind": "train", "framework": framework, "batch_size": 32}
    found = served.settings()
    assert {part: {key: found[part].get(key) for key in own} for part, own in wanted.items()} == wanted
    assert set(found) == set(wanted)


class serving:  # noqa: N801 - a context
    """A real TensorBoard on a free loopback port."""

    def __init__(self, folder: Path) -> None:
        command = [sys.executable, "-c", SERVE, "--logdir", str(folder), "--host", "127.0.0.1", "--port", "0"]
        self._process = subprocess.Popen(
            command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
        )

    def __enter__(self) -> str:
        try:
            assert self._process.stderr is not None
            for line in self._process.stderr:
                if known := re.search(r"http://127\.0\.0\.1:\d+/", line):
                    return known.group()
            raise AssertionError("TensorBoard ended")
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()


def ask(address: str, path: str, body: Any = None, once_it_has: int = 0, **query: str) -> Any:
    """What a plugin of the server answers, once that has so many entries: it loads in the background."""
    deadline = time.monotonic() + SERVER_LIMIT_S
    while len(found := _answer(address, path, body, query)) < once_it_has:
        assert time.monotonic() < deadline, f"{path} has {len(found)} entries"
        time.sleep(0.1)
    return found


def _answer(address: str, path: str, body: Any, query: dict[str, str]) -> Any:
    url = f"{address}data/plugin/{path}?{urllib.parse.urlencode(query)}"
    content = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, content, {"Content-Type": "application/json"})  # noqa: S310
    with urllib.request.urlopen(request, timeout=SERVER_LIMIT_S) as answer:  # noqa: S310 - loopback
        return json.load(answer)


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("tfserving", "tfserving"),
        ("tflite/a b.tflite", "tflite/a-b.tflite"),
        ("../../etc", "part/part/etc"),
        ("", "part"),
        ("a/.hidden", "a/hidden"),
        ("x" * 300, "x" * 100),
    ],
)
def test_a_name_leads_nowhere_else(name: str, path: str) -> None:
    assert folder_name(name) == path


def test_buckets_hold_every_value_once_and_are_nine_per_cent_wide() -> None:
    values = np.random.default_rng(3).lognormal(0, 2, 5000)
    found = buckets_of(values)
    assert sum(one.count for one in found) == 5000
    assert all(one.high == other.low for one, other in itertools.pairwise(found))
    assert all(one.high / one.low < 1.091 for one in found)
    assert (found[0].low, found[-1].high) == (
        pytest.approx(values.min(), rel=0.1),
        pytest.approx(values.max(), rel=0.1),
    )
    assert buckets_of([2.0, 2.0])[0].count == 2
    assert buckets_of([]) == ()


def test_a_run_is_written_beside_another_of_its_name_and_nothing_half(tmp_path: Path) -> None:
    run = make_training_run()
    first, second = (write_board(run, tmp_path, tmp_path) for _ in range(2))
    assert (first.name, second.name) == (run.run_id, f"{run.run_id}-2")
    with pytest.raises(MachineError):
        write_board(make_run(), tmp_path / "nothing", tmp_path)
    assert sorted(one.name for one in tmp_path.iterdir()) == [first.name, second.name]


@pytest.mark.slow
@pytest.mark.parametrize(
    "command", [["compare"], ["slo", "--p99-ms", "20"], ["mobile"], ["train", "--framework", "torch"]]
)
@pytest.mark.usefixtures("unguarded")
def test_a_folder_that_is_none_is_refused_before_any_work(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemExit) as ended:
        main([*command, "--tensorboard", str(tmp_path / "file"), "--runs", str(tmp_path / "runs")])
    said = capsys.readouterr().err
    assert (ended.value.code, said.count("\n")) == (2, 1)
    assert "--tensorboard" in said
    assert not (tmp_path / "runs").exists()
