"""What ONNX Runtime does not take is an error of the file, in one line, whenever it shows."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from pipelines.errors import GateError
from pipelines.targets.onnx import runtime


def saved(path, dtype=TensorProto.FLOAT, operator="Neg"):
    tensors = [helper.make_tensor_value_info(name, dtype, ["batch", 3]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node(operator, ["x"], ["y"])], "net", tensors[:1], tensors[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    return path


def test_a_sample_that_the_file_does_not_take_is_refused_when_it_is_invoked(tmp_path):
    model = runtime.open_model(saved(tmp_path / "net.onnx"), "onnx", 1, ["y"])
    model.set_inputs({"x": np.zeros(4, np.float32)})
    with pytest.raises(GateError, match=r"net\.onnx refuses its inputs"):
        model.invoke()
    model.set_inputs({"x": np.ones(3, np.float32)})
    model.invoke()
    assert model.outputs()["y"].tolist() == [-1.0, -1.0, -1.0]


def test_an_operator_that_is_not_implemented_for_a_dtype_does_not_load(tmp_path):
    path = saved(tmp_path / "net.onnx", TensorProto.BFLOAT16, "Erf")
    with pytest.raises(GateError, match=r"net\.onnx does not load as ONNX: .*NOT_IMPLEMENTED"):
        runtime.open_model(path, "onnx", 1, ["y"])
