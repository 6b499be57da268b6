"""The nodes of a SavedModel's graph, read from its protobuf without TensorFlow, and every one of them.

A field may come more than once and a number may be padded: a search for bytes would miss what is written so.
"""

from collections.abc import Iterator

META_GRAPHS, GRAPH = 2, 2
NODES, FUNCTION_NODES = (1,), (2, 1, 3)
OPERATION, ATTRIBUTES, KEY, VALUE, TEXT = 2, 5, 1, 2, 2
"""Numbers of fields in TensorFlow's saved_model, meta_graph, graph, function, node_def and attr_value."""
VARINT, BYTES = 0, 2
FIXED_BYTES = {1: 8, 5: 4}
TAG_MASK = 2**32 - 1
LONGEST_VARINT, MORE = 10, 0x80


def nodes(saved_model: bytes) -> Iterator[memoryview]:
    """Yield the nodes of all graphs, and of all functions in them.

    Raises:
        ValueError: it is no such protobuf.
    """
    for graph in _at(memoryview(saved_model), META_GRAPHS, GRAPH):
        for path in (NODES, FUNCTION_NODES):
            yield from _at(graph, *path)


def operation_of(node: memoryview) -> str:
    """Return the name of a node's operation."""
    return b"".join([*_at(node, OPERATION)][-1:]).decode(errors="replace")


def texts_of(node: memoryview, attribute: str) -> list[bytes]:
    """Return a node's values of an attribute; an empty one where it is no text, as of a caller's value."""
    entries = [entry for entry in _at(node, ATTRIBUTES) if attribute.encode() in map(bytes, _at(entry, KEY))]
    return [b"".join([*_at(entry, VALUE, TEXT)][-1:]) for entry in entries]


def _at(message: memoryview, number: int, *inner: int) -> Iterator[memoryview]:
    """Yield what is at a path of fields' numbers, as often as it comes."""
    for found, content in _fields(message):
        if found == number:
            yield from _at(content, *inner) if inner else (content,)


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Yield the number and the content of each field of bytes, text or a message."""
    place = 0
    while place < len(message):
        tag, place = _varint(message, place)
        kind = tag & 7
        if kind == BYTES:
            size, place = _varint(message, place)
            if size > len(message) - place:
                raise ValueError("its graph is cut off")
            yield (tag & TAG_MASK) >> 3, message[place : place + size]
            place += size
        elif kind == VARINT:
            _, place = _varint(message, place)
        elif kind in FIXED_BYTES:
            place += FIXED_BYTES[kind]
        else:
            raise ValueError("its graph is no protobuf of TensorFlow's")


def _varint(message: memoryview, place: int) -> tuple[int, int]:
    """Return the number at a place, and the place behind it."""
    number = 0
    for shift, byte in enumerate(message[place : place + LONGEST_VARINT]):
        number |= (byte & ~MORE) << 7 * shift
        if not byte & MORE:
            return number, place + shift + 1
    raise ValueError("its graph is no protobuf of TensorFlow's")
