"""With which examples a road traces a model."""

from types import SimpleNamespace

import numpy as np

from models.signature import TensorSpec
from models.tensors import stacked
from pipelines.roads.program import traced_inputs


def test_a_length_of_one_is_not_traced_where_there_are_others():
    """An exporter would take it for a constant."""
    tokens = stacked([np.arange(size) for size in (1, 1, 1, 0, 4, 4)])
    spec = SimpleNamespace(
        inputs=(TensorSpec("image", "float32", (None, 1)), TensorSpec("tokens", "int64", (None, None))),
        examples=lambda: SimpleNamespace(named={"image": np.zeros((6, 1), np.float32), "tokens": tokens}),
    )
    image, found = traced_inputs(spec, 3)
    assert (tuple(image.shape), tuple(found.shape)) == ((3, 1), (3, 4))
    spec.examples = lambda: SimpleNamespace(
        named={"image": np.zeros((2, 1), np.float32), "tokens": np.zeros((2, 1), np.int64)}
    )
    assert tuple(traced_inputs(spec, 3)[1].shape) == (3, 1)
