"""A target that cannot be exported, or whose process dies, is listed with its reason; the others are kept."""

import dataclasses
import importlib
import json
from pathlib import Path

import pytest
from tasks_here import in_this_process

from models.digits_cnn import MODEL
from models.spec import ModelError
from pipelines.artifacts import manifest as artifact
from pipelines.cli.make import require_targets
from pipelines.errors import GateError, MachineError, ProcessDiedError, RequestError
from pipelines.export import stage
from pipelines.targets.exported import Exported
from pipelines.targets.registry import TARGETS
from pipelines.targets.torchserve import export as torchserve
from pipelines.tasks.warned import collected, note

NAMES = ("torchserve", "onnx")


def quiet(*_):
    pass


def good(spec, folder, progress, **_):
    (folder / "a.bin").write_bytes(b"weights")
    return [Exported("a.bin", "x", "float32", 1.0)]


def raising(error):
    def exporter(spec, folder, progress, **_):
        (folder / "left").mkdir()
        (folder / "left" / "behind").write_bytes(b"half")
        raise error

    return exporter


class Exporters:
    """Exporters of both targets in this process. `dies` are targets whose process does."""

    def __init__(self, monkeypatch, root):
        self.monkeypatch, self.root, self.dies, self.asked = monkeypatch, root, set(), []
        monkeypatch.setattr(stage, "run_tasks", self.run_tasks)
        monkeypatch.setattr("pipelines.parity.source.require_deployable", lambda _: None)

    def run_tasks(self, tasks, _):
        outcomes = []
        for task in tasks:
            names = set(task.arguments["folders"])
            self.asked.append(names)
            if names & self.dies:
                for folder in task.arguments["folders"].values():
                    (Path(folder) / "half").write_text("a dead process left this")
                raise ProcessDiedError(f"{task.title} ended without a result (exit code -9, SIGKILL)")
            outcomes += in_this_process([task], _)
        return outcomes

    def export(self, targets=NAMES, *, force=False, **exporters):
        for name in NAMES:
            module, function = TARGETS[name].export.split(":")
            exporter = exporters.get(name, good)
            self.monkeypatch.setattr(importlib.import_module(module), function, exporter)
        return stage.export("digits_cnn", self.root, quiet, targets=targets, force=force)


@pytest.fixture
def exporters(monkeypatch, tmp_path):
    return Exporters(monkeypatch, tmp_path)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ModelError("digits_cnn cannot be written as TorchScript: aten::odd"), "TorchScript: aten::odd"),
        (GateError("no road takes the model"), "no road takes the model"),
        (KeyError("a bug of a framework"), "KeyError: 'a bug of a framework'"),
    ],
)
def test_what_one_exporter_raises_is_its_targets_reason_and_the_other_is_kept(exporters, error, told):
    result = exporters.export(torchserve=raising(error))
    failed, kept = (result.manifests[name] for name in NAMES)
    assert told in failed.failure
    assert kept.failure is None
    assert [one.path for one in kept.artifacts] == ["a.bin"]
    assert not (exporters.root / "digits_cnn/torchserve/left").exists()
    again = exporters.export(torchserve=good)
    assert again.exported == (), "what cannot be had is not tried again without a change"
    assert again.manifests["torchserve"].failure == failed.failure


@pytest.mark.parametrize("error", [MachineError("no network"), ModuleNotFoundError("onnxscript")])
def test_what_the_machine_was_at_fault_for_is_tried_again(exporters, error):
    result = exporters.export(onnx=raising(error))
    with pytest.raises(MachineError, match="onnx could not be exported: "):
        artifact.require_exported(result.manifests.values())
    again = exporters.export()
    assert again.reasons == {"onnx": "the last export of it failed on this machine"}
    assert again.manifests["onnx"].failure is None


def test_a_process_that_dies_costs_its_own_target_only(exporters):
    exporters.dies = {"onnx"}
    result = exporters.export()
    assert exporters.asked == [set(NAMES), {"torchserve"}, {"onnx"}]
    assert "onnx ended without a result (exit code -9, SIGKILL)" in result.manifests["onnx"].failure
    assert [one.path for one in result.manifests["torchserve"].artifacts] == ["a.bin"]
    assert [path.name for path in (exporters.root / "digits_cnn/onnx").iterdir()] == ["manifest.json"]
    exporters.dies = set()
    assert exporters.export().manifests["onnx"].failure is None


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (RequestError("the road is not there"), RequestError),
        (PermissionError(13, "no"), MachineError),
    ],
)
def test_a_wrong_request_and_a_disk_that_refuses_are_no_targets_fault(exporters, error, told):
    with pytest.raises(told):
        exporters.export(onnx=raising(error))
    assert not (exporters.root / "digits_cnn/torchserve").exists()


def test_a_source_model_that_is_wrong_fails_the_whole_export(exporters, monkeypatch):
    def refuse(spec):
        raise ModelError("source model digits_cnn differs from itself")

    monkeypatch.setattr("pipelines.parity.source.require_deployable", refuse)
    with pytest.raises(ModelError, match="differs from itself"):
        exporters.export()


def test_one_process_examines_the_source_model_for_all(exporters, monkeypatch):
    examined = []
    monkeypatch.setattr("pipelines.parity.source.require_deployable", examined.append)
    for name in ("executorch", "tflite"):
        monkeypatch.setattr(f"pipelines.targets.{name}.export.export", good)
    exporters.export(("torchserve", "onnx", "executorch", "tflite"))
    assert len(examined) == 1
    exporters.export(("executorch",), force=True)
    assert len(examined) == 2
    exporters.export(("tflite",), force=True)
    assert len(examined) == 2


def test_targets_that_serve_one_file_have_it_traced_once(monkeypatch, tmp_path):
    traced = []

    def trace(model, path):
        traced.append(path)
        note(f"of {model.name}")
        path.write_bytes(b"script %d" % len(traced))

    monkeypatch.setattr(torchserve, "traceable", lambda spec: spec)
    monkeypatch.setattr(torchserve, "trace", trace)
    monkeypatch.setattr(torchserve, "_traced", {})
    said, taken_s = [], []
    for name in ("a", "b", "c"):
        lines = []
        with collected(lines):
            taken_s.append(torchserve.write_torchscript(MODEL, tmp_path / name))
        said.append(lines)
    assert traced == [tmp_path / "a"]
    assert {(tmp_path / name).read_bytes() for name in ("b", "c")} == {b"script 1"}
    assert said == [["of digits_cnn"]] * 3
    assert len(set(taken_s)) == 1
    # The first one's folder was emptied, or its file is another one by now: traced anew.
    (tmp_path / "a").unlink()
    with collected([]):
        torchserve.write_torchscript(MODEL, tmp_path / "d")
        (tmp_path / "d").write_bytes(b"something else")
        torchserve.write_torchscript(MODEL, tmp_path / "e")
    assert traced == [tmp_path / "a", tmp_path / "d", tmp_path / "e"]


def test_a_trace_that_fails_says_what_was_warned_of(monkeypatch, tmp_path):
    def trace(*_):
        note("a hint")
        raise ModelError("no")

    monkeypatch.setattr(torchserve, "traceable", lambda spec: spec)
    monkeypatch.setattr(torchserve, "trace", trace)
    lines = []
    with pytest.raises(ModelError), collected(lines):
        torchserve.write_torchscript(MODEL, tmp_path / "a")
    assert lines == ["a hint"]


def test_who_names_a_target_needs_it_and_who_names_none_needs_any(exporters):
    refuse = raising(ModelError("no"))
    partly = exporters.export(onnx=refuse).manifests.values()
    require_targets(partly, named=False)
    with pytest.raises(GateError, match="onnx could not be exported: no"):
        require_targets(partly, named=True)
    nothing = exporters.export(targets=("onnx",), onnx=refuse).manifests.values()
    with pytest.raises(GateError):
        require_targets(nothing, named=False)


def test_the_manifest_of_a_failure_is_read_back(exporters):
    exporters.export(onnx=raising(ModelError("aten::odd is not known")))
    folder = exporters.root / "digits_cnn/onnx"
    assert artifact.read_manifest(folder).failure == "aten::odd is not known"
    said = json.loads((folder / "manifest.json").read_text())
    assert (said["artifacts"], said["files"]) == ([], {})


@pytest.mark.parametrize("fault", ["death", "machine"])
def test_a_whole_artifact_is_kept_when_what_was_to_replace_it_fails_on_this_machine(exporters, fault):
    exporters.export()
    before = {name: artifact.read_manifest(exporters.root / "digits_cnn" / name) for name in NAMES}
    exporters.dies = {"onnx"} if fault == "death" else set()
    broken = {} if fault == "death" else {"onnx": raising(MachineError("no memory"))}
    with pytest.raises(MachineError, match="artifacts from before are kept: onnx: "):
        exporters.export(force=True, **broken)
    folder = exporters.root / "digits_cnn" / "onnx"
    assert artifact.read_manifest(folder) == before["onnx"]
    assert (folder / "a.bin").read_bytes() == b"weights"
    assert sorted(path.name for path in folder.iterdir()) == ["a.bin", "manifest.json"]
    assert exporters.export().exported == ()


def test_a_damaged_artifact_is_not_kept(exporters):
    exporters.export()
    (exporters.root / "digits_cnn" / "onnx" / "a.bin").write_bytes(b"damaged")
    exporters.dies = {"onnx"}
    result = exporters.export(force=True)
    assert result.manifests["onnx"].key == artifact.TRY_AGAIN


@pytest.mark.parametrize(
    ("target", "changes", "tool"),
    [
        ("tfserving", {"build_keras": None}, "torch"),
        ("tfserving", {"build_keras": None}, "onnx"),
        ("tflite", {"build_keras": None}, "torch"),
        ("onnx", {"whole": True}, "keras"),
        ("torchserve", {"whole": True}, "keras"),
    ],
)
def test_a_tool_of_ours_that_takes_part_in_an_export_outdates_it(monkeypatch, target, changes, tool):
    def key(spec, version):
        monkeypatch.setattr(
            artifact, "versions", lambda names: {n: version if n == tool else "1" for n in names}
        )
        return stage._key(spec, TARGETS[target])

    spec = dataclasses.replace(MODEL, **changes)
    assert key(spec, "1") != key(spec, "2")
    assert key(MODEL, "1") == key(MODEL, "2")
