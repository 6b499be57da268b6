"""Imported files: which of them a target is made of, and that everything in them still finds its tensors."""

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from models.given import Given, GivenFile
from pipelines.imported import placement, reference
from pipelines.targets.exported import Exported
from pipelines.targets.onnx.imported import rename
from pipelines.targets.registry import TARGETS
from pipelines.targets.target import Target

FLOAT = TensorProto.FLOAT


def value(name, dtype=FLOAT, shape=(None,)):
    return helper.make_tensor_value_info(name, dtype, shape)


def branch(operator, inner):
    """A graph without inputs: it takes what is around it, as branches do."""
    nodes = [
        helper.make_node(operator, ["a", "b"], [inner]),
        helper.make_node("Neg", [inner], [f"{inner}_neg"]),
    ]
    return helper.make_graph(nodes, operator, [], [value(f"{inner}_neg")])


def test_branches_find_the_tensors_around_them_by_their_new_names(tmp_path):
    path = tmp_path / "net.onnx"
    # A branch has a name of its own that becomes the model's name of another tensor.
    branches = {"then_branch": branch("Add", "left"), "else_branch": branch("Sub", "other")}
    node = helper.make_node("If", ["chosen"], ["y"], **branches)
    inputs = [value("chosen", TensorProto.BOOL, ()), value("a"), value("b")]
    graph = helper.make_graph([node], "chooses", inputs, [value("y")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, path)
    rename(path, {"chosen": "chosen", "a": "left", "b": "right", "y": "sum"})
    session = onnxruntime.InferenceSession(path)
    assert [tensor.name for tensor in session.get_inputs()] == ["chosen", "left", "right"]
    left, right = np.array([1, 2], np.float32), np.array([10, 20], np.float32)
    for chosen, wanted in ((True, [-11.0, -22.0]), (False, [9.0, 18.0])):
        given = {"chosen": np.array(chosen), "left": left, "right": right}
        assert session.run(["sum"], given)[0].tolist() == wanted


@pytest.fixture
def own_target(monkeypatch):
    """A target of somebody else that is made of ONNX files, and of archives by the program in them."""
    module = ModuleType("own_target")

    def place(spec, file, folder):
        return [Exported(f"{spec.name}.{file.kind}", "own", file.precision, 0.0, road="own")]

    def predict(path, its_format, inputs, outputs):
        return {name: np.array([path.name, its_format]) for name in outputs}

    module.place, module.predict = place, predict
    monkeypatch.setitem(sys.modules, "own_target", module)

    def build(*imports, **more):
        target = Target(
            name="own",
            framework="own",
            toolchain=(),
            export="own_target:export",
            runtime="own_target:predict",
            server=None,
            imports=imports,
            place="own_target:place",
            **more,
        )
        monkeypatch.setitem(TARGETS, "own", target)
        return target

    return build


def model(*files):
    return SimpleNamespace(name="net", given=Given(Path("imported"), files, files[0].kind, False, 1))


def file(kind, program=None):
    return GivenFile(kind, f"net.{kind}", "", "", 0, "float32", {}, {}, program)


def test_any_target_says_itself_what_it_is_made_of_and_who_places_it(own_target):
    own_target(("onnx", "own-onnx"), ("tflite", "own-lite"))
    spec, told = model(file("tflite"), file("onnx")), []
    assert [one.kind for one in placement.files_for(spec, "own")] == ["onnx"]
    assert not placement.is_exported(spec, "own")
    (placed,) = placement.place(spec, "own", Path("folder"), told.append)
    assert (placed.path, placed.road) == ("net.onnx", "own")
    own_target()
    assert placement.files_for(spec, "own") == ()


def test_an_archive_without_a_program_is_for_targets_that_take_archives(own_target):
    closed, opened = model(file("mar")), model(file("mar", "program.pt"), file("torchscript"))
    kinds = (("mar", "own-archive"), ("torchscript", "own-script"))
    own_target(*kinds)
    assert placement.files_for(closed, "own") == ()
    assert [one.kind for one in placement.files_for(opened, "own")] == ["mar"]
    own_target(*kinds, archives=True)
    assert [one.kind for one in placement.files_for(closed, "own")] == ["mar"]
    assert [one.kind for one in placement.files_for(opened, "own")] == ["mar", "torchscript"]


def test_the_reference_is_read_by_the_first_target_that_is_made_of_it(own_target, monkeypatch):
    own = own_target(("onnx", "own-onnx"))
    assert reference.reader_of("onnx")[0].name == "onnx"
    monkeypatch.setattr(reference, "TARGETS", {"own": own})
    answers = reference.answers("onnx", Path("net.onnx"), {}, ["y"])
    assert answers["y"].tolist() == ["net.onnx", "own-onnx"]


@pytest.mark.parametrize("target", TARGETS.values(), ids=lambda target: target.name)
def test_every_target_of_ours_that_is_made_of_files_can_place_them(target):
    assert bool(target.imports) == bool(target.place)
    if target.place:
        assert callable(placement._placer(target.name))
