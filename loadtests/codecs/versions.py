"""Which version of a model a gRPC request asks for; REST has it in the path.

A model is written as the paths of its server's REST API go on: `m`, `m/versions/3`, `m/labels/stable`, `m/3`.
"""

from typing import Any, Final

from google.protobuf.wrappers_pb2 import Int64Value  # type: ignore[import-untyped]

VERSIONS: Final = "versions"
LABELS: Final = "labels"
# Fields of TensorFlow Serving's `ModelSpec`, of which a request has one at most.
VERSION_FIELD, LABEL_FIELD = 2, 4
LENGTH_DELIMITED: Final = 2


def split_version(model: str) -> tuple[str, str, str]:
    """Split `m/versions/3` into name, the word before the version, and version; empty where missing."""
    name, _, rest = model.partition("/")
    word, _, version = rest.rpartition("/")
    return name, word, version


def fill_model_spec(spec: Any, model: str) -> None:
    """Write the name, and the version or its label, into a `ModelSpec` of TensorFlow Serving."""
    spec.name, word, version = split_version(model)
    if word == VERSIONS:
        spec.MergeFromString(_field(VERSION_FIELD, Int64Value(value=int(version)).SerializeToString()))
    elif word == LABELS:
        spec.MergeFromString(_field(LABEL_FIELD, version.encode()))


def _field(number: int, content: bytes) -> bytes:
    """Encode a field of a protocol buffer that holds text or a message."""
    return bytes([number << 3 | LENGTH_DELIMITED]) + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    digits = bytearray()
    while number >= 128:  # noqa: PLR2004 - seven bits a byte
        digits.append(number % 128 + 128)
        number //= 128
    return bytes([*digits, number])
