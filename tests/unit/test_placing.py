"""Imported files with the model's own names: everything in them still finds its tensors."""

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper

from pipelines.imported.placing import _rename_onnx

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
    _rename_onnx(path, {"chosen": "chosen", "a": "left", "b": "right", "y": "sum"})
    session = onnxruntime.InferenceSession(path)
    assert [tensor.name for tensor in session.get_inputs()] == ["chosen", "left", "right"]
    left, right = np.array([1, 2], np.float32), np.array([10, 20], np.float32)
    for chosen, wanted in ((True, [-11.0, -22.0]), (False, [9.0, 18.0])):
        given = {"chosen": np.array(chosen), "left": left, "right": right}
        assert session.run(["sum"], given)[0].tolist() == wanted
