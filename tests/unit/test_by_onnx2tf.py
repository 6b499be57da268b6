"""What onnx2tf is given instead of divisions that it does not take."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from pipelines.roads.by_onnx2tf import multiply_by_reciprocals


def saved(path, divisor, *, as_node, dtype=TensorProto.FLOAT):
    """A file that divides its input by a constant, kept in either of the two ways."""
    tensor = numpy_helper.from_array(divisor, "divisor")
    nodes = [helper.make_node("Div", ["x", "divisor"], ["y"])]
    if as_node:
        nodes.insert(0, helper.make_node("Constant", [], ["divisor"], value=tensor))
    graph = helper.make_graph(
        nodes,
        "divides",
        [helper.make_tensor_value_info("x", dtype, [None, 3])],
        [helper.make_tensor_value_info("y", dtype, [None, 3])],
        initializer=[] if as_node else [tensor],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)


def kinds(path):
    return [node.op_type for node in onnx.load(path).graph.node if node.op_type != "Constant"]


@pytest.mark.parametrize("as_node", [False, True])
@pytest.mark.parametrize("divisor", [np.float32(16.0), np.array([1.5, 255.0, -2.0], np.float32)])
def test_a_division_by_a_constant_is_a_multiplication_with_the_same_answers(tmp_path, divisor, as_node):
    before, after = str(tmp_path / "before.onnx"), str(tmp_path / "after.onnx")
    saved(before, np.asarray(divisor), as_node=as_node)
    multiply_by_reciprocals(before, after)
    assert kinds(after) == ["Mul"]
    x = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    answers = [onnxruntime.InferenceSession(path).run(None, {"x": x})[0] for path in (before, after)]
    np.testing.assert_allclose(answers[1], answers[0], rtol=3e-7)


@pytest.mark.parametrize(
    ("divisor", "dtype"),
    [(np.array(4, np.int64), TensorProto.INT64), (np.array(0.0, np.float32), TensorProto.FLOAT)],
    ids=["whole numbers", "zero"],
)
def test_other_divisions_stay(tmp_path, divisor, dtype):
    before, after = str(tmp_path / "before.onnx"), str(tmp_path / "after.onnx")
    saved(before, divisor, as_node=False, dtype=dtype)
    multiply_by_reciprocals(before, after)
    assert kinds(after) == ["Div"]
