"""What an exporter says it could not write, and which targets somebody asked for."""

import importlib

import pytest
from tasks_here import in_this_process

from models.digits_cnn import MODEL
from pipelines.artifacts import manifest as artifact
from pipelines.compare import stage as comparing
from pipelines.config.asked import run_settings
from pipelines.errors import GateError, MachineError, RequestError
from pipelines.export import stage as exporting
from pipelines.mobile import kept, stage
from pipelines.record.mobile import MobileRecord
from pipelines.record.reason import reason
from pipelines.report.sentences import sentence
from pipelines.run import warnings
from pipelines.targets.exported import Exported, NotExported
from pipelines.targets.registry import IN_PROCESS, ORDINARY, SERVED, TARGETS


def quiet(title, text):
    pass


def exporter(spec, folder, progress, **_):
    (folder / "a.tflite").write_bytes(b"weights")
    return [
        Exported("a.tflite", "tflite", "int8", 1.5, variant="xnnpack"),
        NotExported("tflite", "int16x8", "an operation has no such kernel"),
    ]


@pytest.fixture
def exported(monkeypatch, tmp_path):
    """The tflite target exported by the exporter above, without a process."""
    import pipelines.targets.tflite.export as module

    monkeypatch.setattr(module, "export", exporter)
    monkeypatch.setattr(exporting, "run_tasks", in_this_process)
    return exporting.export("digits_cnn", tmp_path, quiet, targets=("tflite",))


def test_what_could_not_be_exported_is_in_the_manifest_with_its_reason(exported, tmp_path):
    manifest = artifact.read_manifest(tmp_path / "digits_cnn" / "tflite")
    assert manifest == exported.manifests["tflite"]
    (written,), (refused,) = manifest.artifacts, manifest.not_exported
    assert (written.path, written.precision, written.variant) == ("a.tflite", "int8", "xnnpack")
    assert (refused.target, refused.precision, refused.reason) == (
        "tflite",
        "int16x8",
        "an operation has no such kernel",
    )


def nothing(spec, folder, progress, **_):
    return []


def only_refused(spec, folder, progress, **_):
    return [NotExported("tflite", "float32", "an operation has no such kernel")]


@pytest.fixture
def export_with(monkeypatch, tmp_path):
    """Exports a target with any exporter, without a process."""

    def run(exporter, target):
        module = importlib.import_module(TARGETS[target].export.split(":")[0])
        monkeypatch.setattr(module, TARGETS[target].export.split(":")[1], exporter)
        monkeypatch.setattr(exporting, "run_tasks", in_this_process)
        return exporting.export("digits_cnn", tmp_path, quiet, targets=(target,))

    return run


@pytest.mark.slow
@pytest.mark.parametrize(
    ("exporter", "target", "why"),
    [
        (nothing, "tflite", "gave no reason"),
        (nothing, "torchserve", "gave no reason"),
        (only_refused, "tfserving", "no such kernel"),
    ],
)
def test_an_export_without_an_artifact_says_why_to_whoever_needs_one(export_with, exporter, target, why):
    manifest = export_with(exporter, target).manifests[target]
    assert manifest.artifacts == ()
    with pytest.raises(GateError, match=f"{target} could not be exported: .*{why}"):
        artifact.require_exported([manifest])


def test_a_target_for_devices_that_cannot_be_exported_stands_in_a_warning(export_with):
    exported = export_with(only_refused, "tflite")
    assert exported.manifests["tflite"].artifacts == ()
    (warning,) = warnings.empty_exports(exported, "digits_cnn")
    assert (warning.code, warning.figures["target"]) == ("nothing_exported", "tflite")
    assert "no such kernel" in warning.figures["reasons"][0]
    assert kept.key_of(MODEL, exported.manifests)


def test_an_export_that_still_holds_is_current_and_a_damaged_one_is_not(exported, tmp_path):
    assert list(exporting.current("digits_cnn", tmp_path, TARGETS)) == ["tflite"]
    (tmp_path / "digits_cnn/tflite/a.tflite").write_bytes(b"other")
    assert exporting.current("digits_cnn", tmp_path, TARGETS) == {}


def test_targets_are_chosen_by_name_once_each():
    assert exporting.chosen_targets("tflite, torchserve,tflite") == ("tflite", "torchserve")
    assert exporting.chosen_targets(None) == ORDINARY


@pytest.mark.parametrize("text", ["tflit", "", "tflite,,torchserve"])
def test_an_unknown_target_is_a_wrong_request(text):
    with pytest.raises(RequestError, match="unknown target"):
        exporting.chosen_targets(text)


def test_no_target_is_both_served_and_in_process():
    assert set(IN_PROCESS) | set(SERVED) == set(TARGETS)
    assert not set(IN_PROCESS) & set(SERVED)


class FakeRun:
    """What a comparison changes of its run before any server starts."""

    def __init__(self, tmp_path, profile):
        self.settings = run_settings(
            profile=profile, sides="torchserve", model="digits_cnn", artifacts=tmp_path
        )
        self.spec, self.folder = MODEL, tmp_path
        self.exported = exporting.ExportResult({}, (), {}, {}, 0.0)
        self.mobile, self.warnings = None, []


def test_a_smoke_comparison_without_a_kept_record_says_how_to_get_one(tmp_path):
    run = FakeRun(tmp_path, "smoke")
    comparing._include_mobile(run, quiet)
    (warning,) = run.warnings
    assert run.mobile is None
    assert warning == reason("mobile_not_measured", model="digits_cnn")


def test_what_goes_wrong_with_mobile_artifacts_fails_no_comparison(tmp_path, monkeypatch):
    def broken(*arguments, **named):
        raise MachineError("the export failed")

    monkeypatch.setattr(comparing, "prepare", broken)
    run = FakeRun(tmp_path, "quick")
    comparing._include_mobile(run, quiet)
    assert run.warnings == [reason("mobile_failed", model="digits_cnn", error="the export failed")]


def test_a_gate_that_says_no_is_a_warning_of_a_comparison(tmp_path):
    run = FakeRun(tmp_path, "quick")
    gate = stage.MobileLimits()
    empty = MobileRecord.model_construct(artifacts=(), gate=gate, source_accuracy=None)
    comparing._note(run, empty)
    assert run.mobile.gate.chosen is None
    assert run.warnings == [reason("mobile_refused", model="digits_cnn", cause="none_exported")]
    assert "no artifact could be exported for devices" in sentence(run.warnings[0])
