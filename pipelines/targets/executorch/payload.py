"""Keep XNNPACK's constants inside its own payload instead of beside it under long names.

ExecuTorch 1.5 names every weight, bias and scale by a digest of 64 letters, so that several methods of a
program can share them, and writes each name twice. Our programs have one method and share nothing; on a
small int8 model the names were a tenth of the file. The payload's schema has a place for constants without a
name (`ConstantDataOffset.offset`), and the runtime looks there when no name is given.

It frees the payload once XNNPACK has been set up. Filters and biases are packed into XNNPACK's own memory by
then; any other constant, as the slope of a PReLU or the summand of an addition, is read where it lies at
every call (a freed one: SIGSEGV), and keeps its name: what is named stays loaded.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

ALIGNMENT_BYTES = 16
# Where a node refers to constants that XNNPACK packs, which is a copy.
PACKED = ("filter_id", "bias_id")


@contextmanager
def constants_in_payload() -> Iterator[None]:
    """Keep constants of what is lowered to XNNPACK in its payload, and leave out debug handles.

    It takes the place of two names that ExecuTorch's XNNPACK step looks up when it runs: where constants are
    collected, and what writes the payload.
    """
    from executorch.backends.xnnpack import xnnpack_preprocess as step

    store, serialize = step.NamedDataStore, step.serialize_xnnpack_binary
    constants: dict[str, bytes] = {}
    keepers: dict[str, Callable[[], None]] = {}

    class Collected(store):  # type: ignore[misc, valid-type]
        """Takes the constants, and has only those that keep their names when the program asks for them."""

        def add_named_data(self, key: str, data: bytes, *more: Any, **named: Any) -> None:
            constants[key] = bytes(data)
            keepers[key] = partial(super().add_named_data, key, data, *more, **named)

    def serialize_with_constants(graph: Any, content: bytearray) -> bytes:
        for node in graph.xnodes:
            node.debug_handle = 0
        read_in_place = _read_in_place(graph)
        for place in read_in_place:
            if name := graph.constant_data[place].named_key:
                keepers[name]()
        written: bytes = serialize(graph, _place(graph, content, constants, read_in_place))
        return written

    step.NamedDataStore, step.serialize_xnnpack_binary = Collected, serialize_with_constants
    try:
        yield
    finally:
        step.NamedDataStore, step.serialize_xnnpack_binary = store, serialize


def _read_in_place(graph: Any) -> set[int]:
    """Return the places of constants that some node does not pack; the runtime reads them at every call."""
    used = [(name, value) for node in graph.xnodes for name, value in vars(node.xnode_union).items()]
    packed = {value for name, value in used if name in PACKED}
    read = {value for name, value in used if name.endswith("_id") and name not in PACKED}
    tensors = [getattr(value.xvalue_union, "tensor_value", value.xvalue_union) for value in graph.xvalues]
    kept = [tensor for tensor in tensors if tensor.id_out in read or tensor.id_out not in packed]
    return {tensor.constant_buffer_idx for tensor in kept if tensor.constant_buffer_idx}


def _place(graph: Any, content: bytearray, constants: dict[str, bytes], read_in_place: set[int]) -> bytearray:
    """Append the graph's other named constants to `content`, equal ones once, and point the graph there."""
    offsets: dict[str, int] = {}
    for place, constant in enumerate(graph.constant_data):
        name = constant.named_key
        if not name or place in read_in_place:
            continue
        if name not in offsets:
            content += bytes(-len(content) % ALIGNMENT_BYTES)
            offsets[name] = len(content)
            content += constants[name]
        # Absent, not empty: the runtime asks whether there is a name.
        constant.offset, constant.named_key = offsets[name], None
    return content
