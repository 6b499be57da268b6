"""Keep XNNPACK's constants inside its own payload instead of beside it under long names.

ExecuTorch 1.5 names every weight, bias and scale by a digest of 64 letters, so that several methods of a
program can share them, and writes each name twice. Our programs have one method and share nothing; on a
small int8 model the names were a tenth of the file. The payload's schema has a place for constants without a
name (`ConstantDataOffset.offset`), and the runtime looks there when no name is given.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

ALIGNMENT_BYTES = 16


@contextmanager
def constants_in_payload() -> Iterator[None]:
    """Keep constants of what is lowered to XNNPACK in its payload, and leave out debug handles.

    It takes the place of two names that ExecuTorch's XNNPACK step looks up when it runs: where constants are
    collected, and what writes the payload.
    """
    from executorch.backends.xnnpack import xnnpack_preprocess as step

    store, serialize = step.NamedDataStore, step.serialize_xnnpack_binary
    constants: dict[str, bytes] = {}

    class Collected(store):  # type: ignore[misc, valid-type]
        """Takes the constants, and has none when the program asks for them."""

        def add_named_data(self, key: str, data: bytes, *_: Any, **__: Any) -> None:
            constants[key] = bytes(data)

    def serialize_with_constants(graph: Any, content: bytearray) -> bytes:
        for node in graph.xnodes:
            node.debug_handle = 0
        written: bytes = serialize(graph, _place(graph, content, constants))
        return written

    step.NamedDataStore, step.serialize_xnnpack_binary = Collected, serialize_with_constants
    try:
        yield
    finally:
        step.NamedDataStore, step.serialize_xnnpack_binary = store, serialize


def _place(graph: Any, content: bytearray, constants: dict[str, bytes]) -> bytearray:
    """Append the graph's named constants to `content`, equal ones once, and point the graph there."""
    offsets: dict[str, int] = {}
    for constant in graph.constant_data:
        name = constant.named_key
        if not name:
            continue
        if name not in offsets:
            content += bytes(-len(content) % ALIGNMENT_BYTES)
            offsets[name] = len(content)
            content += constants[name]
        # Absent, not empty: the runtime asks whether there is a name.
        constant.offset, constant.named_key = offsets[name], None
    return content
