"""What files say of their tensors, and what a SavedModel does, from its graph's file alone."""

from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from pipelines.errors import GateError

SIGNATURE = "serving_default"
FLOAT32 = "float32"
LEAST_WEIGHTS = 2  # a tensor of fewer numbers is a factor or an axis
Shape = tuple[int | None, ...]


@dataclass(frozen=True)
class Tensor:
    """An input or output as a file has it; the batch is in its shape."""

    name: str
    dtype: str | None
    shape: Shape | None


@dataclass(frozen=True)
class Read:
    """What a file says; `outputs` are None where only an answer shows them."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...] | None
    precision: str
    parameters_count: int


def read_saved_model(path: Path) -> Read:
    """Read the serving signature from the graph's file alone; compute nothing of it.

    Raises:
        GateError: it has no signature `serving_default`.
    """
    from tensorflow.core.protobuf import saved_model_pb2

    saved = saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes())
    served = [graph for graph in saved.meta_graphs if "serve" in graph.meta_info_def.tags]
    there = served[0].signature_def if served else {}
    if SIGNATURE not in there:
        others = ", ".join(sorted(name for name in there if not name.startswith("__"))) or "none"
        raise GateError(
            f"the saved_model has no signature {SIGNATURE!r} for the tag 'serve'; it has {others}: save it "
            f"with signatures={{'{SIGNATURE}': …}}"
        )
    signature = there[SIGNATURE]
    return Read(
        tuple(_of_info(name, signature.inputs[name]) for name in sorted(signature.inputs)),
        tuple(_of_info(name, signature.outputs[name]) for name in sorted(signature.outputs)),
        FLOAT32,
        _variables(path) + _constants_of(served[0].graph_def),
    )


def _of_info(name: str, info: Any) -> Tensor:
    import tensorflow as tf

    shape = info.tensor_shape
    sizes = None if shape.unknown_rank else tuple(None if dim.size < 0 else dim.size for dim in shape.dim)
    return Tensor(name, tf.dtypes.as_dtype(info.dtype).name, sizes)


def _variables(path: Path) -> int:
    import tensorflow as tf

    prefix = path / "variables" / "variables"
    if not prefix.with_suffix(".index").is_file():
        return 0
    reader = tf.train.load_checkpoint(str(prefix))
    dtypes, shapes = reader.get_variable_to_dtype_map(), reader.get_variable_to_shape_map()
    named = [name for name in shapes if dtypes[name].is_floating and "optimizer" not in name.lower()]
    return sum(prod(shapes[name]) for name in named)


def _constants_of(graph: Any) -> int:
    nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
    sizes = [
        prod(dim.size for dim in node.attr["value"].tensor.tensor_shape.dim)
        for node in nodes
        if node.op == "Const" and node.attr["value"].tensor.tensor_shape.dim
    ]
    return sum(size for size in sizes if size >= LEAST_WEIGHTS)
