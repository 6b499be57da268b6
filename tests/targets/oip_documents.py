"""The tables of the Open Inference Protocol's documents, and how messages and JSON are compared with them."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto

FOLDER = Path(__file__).parents[1] / "conformance" / "open-inference-protocol"
GRPC = json.loads((FOLDER / "grpc.json").read_text())
REST = json.loads((FOLDER / "rest.json").read_text())
TENSOR_DATA = {
    "type": "array",
    "items": {"anyOf": [{"$ref": "#/$defs/tensor_data"}, {"type": ["number", "string", "boolean"]}]},
}


def messages(file: FileDescriptorProto) -> dict[str, dict[str, str]]:
    """Describe all messages of a file as `grpc.json` does, but its map entries."""
    return {
        name: {field.name: _field(field, one, file.package) for field in one.field}
        for name, one in _walk(file.message_type, "")
    }


def _walk(found: Any, outer: str) -> Iterator[tuple[str, DescriptorProto]]:
    for one in found:
        if not one.options.map_entry:
            yield outer + one.name, one
            yield from _walk(one.nested_type, f"{outer}{one.name}.")


def _field(field: FieldDescriptorProto, owner: DescriptorProto, package: str) -> str:
    entries = {one.name: one for one in owner.nested_type if one.options.map_entry}
    entry = entries.get(field.type_name.rpartition(".")[2])
    if entry is not None:
        key, value = (_type(one, package) for one in entry.field)
        return f"{field.number} map<{key}, {value}>"
    many = "repeated " if field.label == field.LABEL_REPEATED else ""
    choice = f" of {owner.oneof_decl[field.oneof_index].name}" if field.HasField("oneof_index") else ""
    return f"{field.number} {many}{_type(field, package)}{choice}"


def _type(field: FieldDescriptorProto, package: str) -> str:
    if field.type_name:
        return field.type_name.removeprefix(f".{package}.")
    return FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower()


def fields(described: Mapping[str, Mapping[str, str]]) -> set[tuple[str, str, str]]:
    """Every field with its message, and every message without fields."""
    named = {(name, field, text) for name, found in described.items() for field, text in found.items()}
    return named | {(name, "", "") for name, found in described.items() if not found}


def schema(name: str) -> dict[str, Any]:
    """Return the JSON Schema of one of the protocol's objects, which may have more fields."""
    definitions = {one: _object(found) for one, found in REST["objects"].items()}
    return {"$ref": f"#/$defs/{name}", "$defs": {**definitions, "tensor_data": TENSOR_DATA}}


def _object(found: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {field.rstrip("?"): _kind(kind) for field, kind in found.items()},
        "required": [field for field in found if not field.endswith("?")],
    }


def _kind(kind: Any) -> dict[str, Any]:
    if isinstance(kind, list):
        return {"type": "array", "items": _kind(kind[0])}
    if kind in REST["objects"] or kind == "tensor_data":
        return {"$ref": f"#/$defs/{kind}"}
    return {"type": kind}


def require(value: Any, name: str) -> set[str]:
    """Check that a value is one of the protocol's objects; return which of its own fields are not of it.

    Raises:
        jsonschema.ValidationError: it is none.
    """
    jsonschema.Draft202012Validator(schema(name)).validate(value)
    return set(value) - {field.rstrip("?") for field in REST["objects"][name]}
