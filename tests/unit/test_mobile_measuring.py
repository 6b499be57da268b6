"""The survey of all artifacts, with the processes replaced by what they would answer."""

from pathlib import Path

import numpy as np
import pytest

from models.digits_cnn import MODEL
from pipelines.artifacts.contents import file_digests, sha256
from pipelines.artifacts.manifest import Manifest
from pipelines.config.mobile import MobileLimits, MobileSettings
from pipelines.errors import MachineError
from pipelines.export.stage import ExportResult
from pipelines.judge.mobile import figures, read_calls, refigure
from pipelines.mobile import kept, measurement, stage
from pipelines.mobile.inspection import Inspected
from pipelines.mobile.measurement import Survey
from pipelines.mobile.timing import Timed
from pipelines.parity.quality import Expectation, Expectations
from pipelines.record.artifact import ArtifactRecord, NotExportedRecord
from pipelines.record.mobile import MobileRecord
from pipelines.record.parity import ParityRecord
from pipelines.record.reading import read_run
from pipelines.record.reason import reason
from pipelines.report.sentences import say
from pipelines.targets.in_process import Inspection, RuntimeLibrary
from pipelines.tasks.tasks import Outcome
from pipelines.verify.stage import Verified

NAMES = ("m_float32.tflite", "m_int8.tflite")
ACCURACY = 0.99
CALLS_NS = np.arange(1000, 1200, dtype=np.int64)
FOUND = Timed(
    load_ms=1.5,
    first_inference_ms=0.5,
    warmup_runs_count=9,
    elapsed_s=1.25,
    peak_memory_bytes=4096,
    memory_source="somewhere",
    cpu_steal_share=0.0,
    foreign_cpu_share=0.02,
)
INSPECTION = Inspection(parameters_count=10, ops_count=3, delegated_ops_count=2, delegate="XNNPACK")
LIBRARY = RuntimeLibrary("LiteRT", "1", 7, "a file")


def quiet(title, text):
    pass


class Processes:
    """Answers tasks as their processes would; notes them. `dies` are names whose process dies."""

    def __init__(self, monkeypatch):
        self.asked, self.dies, self.interrupt_at = [], {}, None
        monkeypatch.setattr(measurement, "run_tasks", self.run_tasks)
        monkeypatch.setattr(measurement, "installed_library", lambda *_: LIBRARY)

    def run_tasks(self, tasks, _):
        return [Outcome(self.answer(task), 1.0) for task in tasks]

    def answer(self, task):
        function = task.function.rpartition(":")[2]
        self.asked.append(function)
        arguments = task.arguments
        paths = (
            [arguments["artifact"]]
            if "artifact" in arguments
            else [p for p, _ in arguments.get("artifacts", ())]
        )
        for path in paths:
            if self.dies.get(Path(path).name) == function:
                raise MachineError(f"{Path(path).name} ended without a result (exit code -11)")
        if function == "inspect_here":
            return Inspected((INSPECTION,) * len(paths), ("json",))
        if self.interrupt_at == Path(paths[0]).name:
            raise KeyboardInterrupt
        assert arguments["modules"] == ("json",)
        np.save(arguments["calls"], CALLS_NS * arguments["threads_count"])
        return FOUND


def parity_of(name, accuracy, samples_count=200):
    return ParityRecord(
        subject=f"tflite/{name}",
        passed=True,
        samples_count=samples_count,
        max_abs_error=0.1,
        max_rel_error=0.1,
        absolute_tolerance=None,
        relative_tolerance=None,
        max_accuracy_drop=0.01,
        top1_agreement=0.995,
        accuracy=accuracy,
    )


def described(path):
    return ArtifactRecord(
        target="tflite",
        path=path.name,
        format="tflite",
        precision=path.stem.partition("_")[2],
        variant=None,
        size_bytes=path.stat().st_size,
        gzip_bytes=5,
        sha256=sha256(path),
        export_s=1,
        toolchain={},
    )


@pytest.fixture
def root(tmp_path):
    """The artifacts of one model: float32 of 400 bytes, int8 of 100."""
    folder = tmp_path / "artifacts" / "digits_cnn"
    (folder / "tflite").mkdir(parents=True)
    for name, size in zip(NAMES, (400, 100), strict=True):
        (folder / "tflite" / name).write_bytes(b"x" * size)
    return folder


@pytest.fixture
def run_folder(tmp_path):
    folder = tmp_path / "run"
    (folder / "samples").mkdir(parents=True)
    return folder


def manifest_of(root):
    refused = NotExportedRecord(target="tflite", format="tflite", precision="int4", variant=None, reason="no")
    return Manifest(
        key="k",
        model="digits_cnn",
        model_digest=MODEL.digest,
        target="tflite",
        artifacts=tuple(described(root / "tflite" / name) for name in NAMES),
        not_exported=(refused,),
        files=file_digests(root / "tflite", NAMES),
    )


# The source model always says 0, and two of the first hundred samples are something else.
LABELS = np.array([1, 1, *([0] * 198)])


def survey_of(root, run_folder, progress=quiet, errors=None, int8=(0.985, 200)):
    outputs = np.zeros((200, 10), np.float32)
    records = (parity_of(NAMES[0], ACCURACY), parity_of(NAMES[1], *int8))
    known = tuple(record for record in records if record.subject not in (errors or {}))
    verified = Verified(
        {"tflite": known},
        Expectations({"logits": Expectation(outputs, LABELS, MODEL.tolerance)}),
        ACCURACY,
        (),
        errors or {},
    )
    return Survey(MODEL, root, {"tflite": manifest_of(root)}, verified, run_folder, progress)


@pytest.fixture
def two_cores(monkeypatch):
    monkeypatch.setattr(measurement.os, "sched_getaffinity", lambda _: {0, 1})


@pytest.mark.usefixtures("two_cores")
def test_everything_that_was_found_is_in_the_record(root, run_folder, monkeypatch):
    processes, said = Processes(monkeypatch), []
    survey = survey_of(root, run_folder, lambda title, text: said.append(f"{title}: {text}"))
    survey.measure()
    mobile = survey.record(MobileLimits())
    assert processes.asked.count("time_here") == 4
    assert "mobile: [2/2] m_int8.tflite, 2 threads" in said
    assert mobile.gate.chosen == "m_int8.tflite"
    assert mobile.memory_source == "somewhere"
    assert mobile.runtimes["LiteRT"].size_bytes == 7
    assert [refused.precision for refused in mobile.not_exported] == ["int4"]
    _, int8 = mobile.artifacts
    assert int8.accuracy_drop == 0.005
    assert int8.delegated_ops_count == 2
    assert int8.zstd_bytes < 100
    assert int8.runtime_library == "LiteRT"
    single, both = int8.timings
    assert (single.threads_count, both.threads_count) == (1, 2)
    assert single.runs_count == 200
    assert single.p50_ms == pytest.approx(np.median(CALLS_NS) / 1e6)
    assert both.p50_ms == pytest.approx(np.median(CALLS_NS) * 2 / 1e6)
    np.testing.assert_array_equal(read_calls(run_folder / both.samples_file), CALLS_NS * 2)


@pytest.mark.usefixtures("two_cores")
def test_an_artifact_that_was_asked_fewer_samples_is_compared_on_those(root, run_folder, monkeypatch):
    Processes(monkeypatch)
    survey = survey_of(root, run_folder, int8=(0.97, 100))
    survey.measure()
    _, int8 = survey.record(MobileLimits()).artifacts
    assert (int8.samples_count, int8.accuracy_drop) == (100, pytest.approx(0.98 - 0.97))


@pytest.mark.usefixtures("two_cores")
@pytest.mark.parametrize("function", ["inspect_here", "time_here"])
def test_a_process_that_dies_is_an_error_of_its_artifact_and_the_others_go_on(
    root, run_folder, monkeypatch, function
):
    processes = Processes(monkeypatch)
    processes.dies["m_int8.tflite"] = function
    survey = survey_of(root, run_folder)
    survey.measure()
    float32, int8 = survey.record(MobileLimits()).artifacts
    assert int8.error == "m_int8.tflite ended without a result (exit code -11)"
    assert not int8.passed
    assert int8.timings == ()
    assert float32.error is None
    assert len(float32.timings) == 2
    assert float32.passed


@pytest.mark.usefixtures("two_cores")
def test_an_artifact_that_could_not_be_verified_is_not_timed(root, run_folder, monkeypatch):
    processes = Processes(monkeypatch)
    survey = survey_of(root, run_folder, errors={"tflite/m_float32.tflite": "it does not load"})
    survey.measure()
    float32, int8 = survey.record(MobileLimits()).artifacts
    assert processes.asked.count("time_here") == 2
    assert float32.error == "it does not load"
    assert float32.accuracy is float32.accuracy_drop is None
    assert int8.passed


@pytest.mark.usefixtures("two_cores")
def test_an_interruption_keeps_what_was_measured(root, run_folder, monkeypatch):
    Processes(monkeypatch).interrupt_at = "m_int8.tflite"
    survey = survey_of(root, run_folder)
    with pytest.raises(KeyboardInterrupt):
        survey.measure()
    float32, int8 = survey.record(MobileLimits()).artifacts
    assert len(float32.timings) == 2
    assert int8.error == "not measured: it was interrupted"


@pytest.mark.parametrize(
    ("usable", "counts"),
    [((3,), (1,)), ((0, 1), (1, 2)), (range(3), (1, 3)), (range(4), (1, 4)), ((5, 9, 40), (1, 3))]
    + [(range(count), (1, count)) for count in (16, 64)],
)
def test_artifacts_are_timed_with_one_thread_and_with_all_cores(monkeypatch, usable, counts):
    monkeypatch.setattr(measurement.os, "sched_getaffinity", lambda _: set(usable))
    assert measurement.threads_counts() == counts


@pytest.mark.parametrize(("count", "missing"), [(10, {"p50_ms", "p95_ms"}), (11, {"p95_ms"}), (130, set())])
def test_percentiles_need_enough_calls(count, missing):
    found = figures(np.arange(1, count + 1, dtype=np.int64))
    assert set(found["reasons"]) == missing
    assert {name for name in ("p50_ms", "p95_ms") if found[name] is None} == missing
    if "p95_ms" in missing:
        why = reason("too_few_calls", percentile=95, needed_count=130, calls_count=count)
        assert found["reasons"]["p95_ms"] == why


@pytest.fixture
def measured(root, run_folder, monkeypatch, two_cores):
    Processes(monkeypatch)
    survey = survey_of(root, run_folder)
    survey.measure()
    return survey.record(MobileLimits())


def test_figures_follow_again_from_the_raw_files(measured, run_folder):
    forged = measured.model_copy(
        update={
            "artifacts": tuple(
                one.model_copy(
                    update={
                        "timings": tuple(
                            t.model_copy(update={"p50_ms": 0.0, "runs_count": 1}) for t in one.timings
                        )
                    }
                )
                for one in measured.artifacts
            )
        }
    )
    assert refigure(forged, run_folder) == measured


@pytest.mark.parametrize(
    "damage", [Path.unlink, lambda path: path.write_bytes(b"PK no"), lambda path: path.write_bytes(b"")]
)
def test_a_damaged_raw_file_is_named(measured, run_folder, damage):
    path = run_folder / measured.artifacts[0].timings[0].samples_file
    damage(path)
    with pytest.raises(MachineError, match=f"{path.name} cannot be read"):
        refigure(measured, run_folder)


def test_a_kept_record_comes_back_with_its_raw_files(measured, root, run_folder, tmp_path):
    kept.keep(root, "key", measured, run_folder)
    other = tmp_path / "other"
    (other / "samples").mkdir(parents=True)
    assert kept.recall(root, "another key", other) is None
    assert list((other / "samples").iterdir()) == []
    found = kept.recall(root, "key", other)
    assert isinstance(found, MobileRecord)
    assert refigure(found, other) == measured


@pytest.mark.parametrize("text", ["", "{}", '{"key": "key"}'])
def test_a_damaged_kept_record_is_none(measured, root, run_folder, text):
    kept.keep(root, "key", measured, run_folder)
    (root / kept.KEPT_NAME).write_text(text)
    assert kept.recall(root, "key", run_folder) is None


def test_a_kept_record_without_its_raw_files_is_none(measured, root, run_folder):
    kept.keep(root, "key", measured, run_folder)
    next((root / kept.SAMPLES_NAME).iterdir()).unlink()
    assert kept.recall(root, "key", run_folder) is None


def test_the_key_changes_with_any_artifact(root):
    before = kept.key_of(MODEL, {"tflite": manifest_of(root)})
    assert kept.key_of(MODEL, {"tflite": manifest_of(root)}) == before
    (root / "tflite" / NAMES[0]).write_bytes(b"other")
    assert kept.key_of(MODEL, {"tflite": manifest_of(root)}) != before


def test_a_noisy_machine_is_said_and_a_quiet_one_is_not(measured):
    assert stage.noise_warnings(measured) == ()
    one = measured.artifacts[0]
    noisy = tuple(t.model_copy(update={"foreign_cpu_share": 0.4}) for t in one.timings)
    loud = measured.model_copy(
        update={"artifacts": (one.model_copy(update={"timings": noisy}), *measured.artifacts[1:])}
    )
    (warning,) = stage.noise_warnings(loud)
    assert "not quiet in 2 of 4 in-process measurements: up to 40% of all cores" in say(warning).happened


@pytest.fixture
def prepared(root, monkeypatch):
    """What comes before the measurement, without its processes."""
    verified = survey_of(root, root).verified
    exported = ExportResult({"tflite": manifest_of(root)}, (), {}, {}, 0.0)
    made = stage.Prepared(exported, verified, root, "key")
    monkeypatch.setattr(stage, "prepare", lambda *_, **__: made)
    return made


@pytest.mark.usefixtures("two_cores")
def test_a_run_that_fails_half_way_is_finished_and_named(prepared, tmp_path, monkeypatch):
    def refused(*arguments):
        raise MachineError("no space")

    Processes(monkeypatch)
    monkeypatch.setattr(kept, "write_atomically", refused)
    settings = MobileSettings(model="digits_cnn", runs=tmp_path / "runs")
    with pytest.raises(MachineError, match=r"no space; what was measured is kept in .*digits_cnn"):
        stage.measure_mobile(settings, ["tandem", "mobile"], quiet)
    record = read_run(tmp_path / "runs" / "latest")
    assert (record.status, record.status_reason) == ("failed", "no space")


@pytest.mark.usefixtures("two_cores")
def test_a_whole_run_is_published_and_kept(prepared, root, tmp_path, monkeypatch):
    Processes(monkeypatch)
    settings = MobileSettings(model="digits_cnn", runs=tmp_path / "runs")
    run, folder = stage.measure_mobile(settings, ["tandem", "mobile"], quiet)
    assert read_run(folder) == run
    assert (run.kind, run.status, run.mobile.gate.chosen) == ("mobile", "complete", "m_int8.tflite")
    assert (folder / "report.html").is_file()
    stage.require_gate(run)
    notes = []
    monkeypatch.setattr(measurement, "run_tasks", lambda *_: pytest.fail("nothing is measured twice"))
    other = tmp_path / "other"
    (other / "samples").mkdir(parents=True)
    stage.measure_or_recall("digits_cnn", prepared, other, quiet, notes.append)
    assert notes == [run.mobile]


def measured_or_recalled(prepared, tmp_path, name, monkeypatch, dies=None):
    """Which artifacts have no error, where the second one's process dies in `dies`."""
    notes, folder = [], tmp_path / name
    (folder / "samples").mkdir(parents=True)
    Processes(monkeypatch).dies["m_int8.tflite"] = dies
    stage.measure_or_recall("digits_cnn", prepared, folder, quiet, notes.append)
    return [one.error is None for one in notes[0].artifacts]


@pytest.mark.usefixtures("two_cores")
def test_what_failed_once_is_measured_again_the_next_time(prepared, tmp_path, monkeypatch):
    assert measured_or_recalled(prepared, tmp_path, "1", monkeypatch, "time_here") == [True, False]
    assert measured_or_recalled(prepared, tmp_path, "2", monkeypatch) == [True, True]


@pytest.mark.usefixtures("two_cores")
def test_what_failed_twice_does_not_have_everything_measured_for_ever(prepared, tmp_path, monkeypatch):
    for name in ("1", "2"):
        assert measured_or_recalled(prepared, tmp_path, name, monkeypatch, "time_here") == [True, False]
    monkeypatch.setattr(Processes, "answer", lambda *_: pytest.fail("nothing is measured a third time"))
    monkeypatch.setattr(kept, "keep", lambda *_: pytest.fail("nothing is kept a third time"))
    assert measured_or_recalled(prepared, tmp_path, "3", monkeypatch) == [True, False]


@pytest.mark.usefixtures("two_cores")
def test_what_did_not_run_when_it_was_verified_does_not_keep_the_rest_from_being_kept(
    root, run_folder, monkeypatch
):
    Processes(monkeypatch)
    verified = survey_of(root, run_folder, errors={"tflite/m_float32.tflite": "it does not load"}).verified
    exported = ExportResult({"tflite": manifest_of(root)}, (), {}, {}, 0.0)
    stage.measure_or_recall(
        "digits_cnn", stage.Prepared(exported, verified, root, "key"), run_folder, quiet, print
    )
    assert (root / kept.KEPT_NAME).exists()


@pytest.mark.usefixtures("two_cores")
def test_a_record_with_one_thread_will_do_for_one_and_not_for_all(prepared, root, tmp_path, monkeypatch):
    Processes(monkeypatch)
    notes = []
    for counts in ((1,), None, (1,)):
        folder = tmp_path / f"run-{len(notes)}"
        (folder / "samples").mkdir(parents=True)
        stage.measure_or_recall("digits_cnn", prepared, folder, quiet, notes.append, counts)
    timed = [[t.threads_count for t in note.artifacts[0].timings] for note in notes]
    assert timed == [[1], [1, 2], [1, 2]]


@pytest.mark.usefixtures("two_cores")
def test_an_interrupted_run_is_published_and_not_kept(prepared, root, tmp_path, monkeypatch):
    Processes(monkeypatch).interrupt_at = "m_int8.tflite"
    settings = MobileSettings(model="digits_cnn", runs=tmp_path / "runs")
    run, _ = stage.measure_mobile(settings, ["tandem", "mobile"], quiet)
    assert (run.status, run.status_reason) == ("interrupted", "interrupted after 1 of 2 artifacts")
    assert not (root / kept.KEPT_NAME).exists()
