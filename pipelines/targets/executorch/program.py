"""What is inside a `.pte` file, read from the file alone with the schemas and `flatc` that ExecuTorch ships.

A `.pte` is a flatbuffer with a header of sizes, then segments: one per delegate payload, and constants. The
payload of XNNPACK is a header, a flatbuffer of its own, and its constants.
"""

import json
import re
import struct
import subprocess
import tempfile
from dataclasses import dataclass
from importlib.util import find_spec
from math import prod
from pathlib import Path
from typing import Any

from pipelines.errors import GateError, MachineError
from pipelines.targets.in_process import Inspection

XNNPACK_BACKEND = "XnnpackBackend"
# The flatbuffer's identifier, then at offset 8 the header: magic, its length, and three sizes in bytes.
IDENTIFIER, HEADER_MAGIC = b"ET12", b"eh00"
HEADER = struct.Struct("<4x4s4sIQQQ")
# XNNPACK's header: magic at offset 4, its length, then offset and size of the flatbuffer.
PAYLOAD_MAGIC = b"XH00"
PAYLOAD_HEADER = struct.Struct("<4x4sHII")
DEQUANTISE_PER_CHANNEL = "quantized_decomposed::dequantize_per_channel"
TREE_LIMIT_S = 60


@dataclass(frozen=True)
class Sizes:
    """Where the parts of a `.pte` file are, in bytes from its start."""

    program: int
    segments_start: int
    segments: int


def check_file(path: Path) -> Sizes:
    """Return the sizes from the header of a `.pte` file that is whole, as far as a header can tell.

    The native loader is not to be trusted with less: it maps what the header says.

    Raises:
        GateError: not a `.pte` file, or shorter than it says.
    """
    try:
        with path.open("rb") as file:
            start = file.read(HEADER.size)
    except OSError as error:
        raise GateError(f"{path} does not load as an ExecuTorch program: {error.strerror}") from error
    if len(start) < HEADER.size:
        raise GateError(f"{path} is not an ExecuTorch program: it has {len(start)} bytes")
    identifier, magic, _, program, segments_start, segments = HEADER.unpack(start)
    if (identifier, magic) != (IDENTIFIER, HEADER_MAGIC):
        raise GateError(
            f"{path} is not an ExecuTorch program: it starts with {start[4:12]!r}, not b'ET12eh00'"
        )
    size, declared = path.stat().st_size, max(program, segments_start + segments)
    if size < declared:
        raise GateError(
            f"{path} is not a whole ExecuTorch program: it has {size} bytes of the {declared} it says"
        )
    return Sizes(program, segments_start, segments)


def inspect_program(path: Path) -> Inspection:
    """Count the program's kernel calls and the nodes of XNNPACK's graph as operations, as both are written.

    Raises:
        GateError: the file is not a whole program.
    """
    sizes, content = check_file(path), path.read_bytes()
    program = _tree("exir/_serialize/program.fbs", content[: sizes.program], path)
    plan = program["execution_plan"][0]
    kernels = [
        instruction["instr_args"]
        for chain in plan["chains"]
        for instruction in chain.get("instructions", [])
        if instruction["instr_args_type"] == "KernelCall"
    ]
    graphs = [_payload(program, delegate, content, sizes, path) for delegate in plan.get("delegates", [])]
    parameters = _portable_parameters(plan, kernels)
    if None in graphs:
        return Inspection(
            None, None, None, ", ".join(sorted({delegate["id"] for delegate in plan["delegates"]}))
        )
    readable = [graph for graph in graphs if graph is not None]
    delegated = sum(len(graph["xnodes"]) for graph in readable)
    return Inspection(
        parameters_count=parameters + sum(_payload_parameters(graph) for graph in readable),
        ops_count=len(kernels) + delegated,
        delegated_ops_count=delegated,
        delegate="XNNPACK" if readable else None,
    )


def _tree(schema: str, content: bytes, path: Path) -> Any:
    """Read a flatbuffer as the tree of its JSON, without fields that have default values.

    Raises:
        GateError: `flatc` cannot read it.
        MachineError: ExecuTorch is not installed.
    """
    package = package_folder()
    with tempfile.TemporaryDirectory(prefix="tandem-pte-") as name:
        binary = Path(name) / "content.bin"
        binary.write_bytes(content)
        arguments = [
            "--json",
            "--strict-json",
            "--raw-binary",
            "-o",
            name,
            str(package / schema),
            "--",
            str(binary),
        ]
        done = subprocess.run(
            [str(package / "data/bin/flatc"), *arguments],
            capture_output=True,
            timeout=TREE_LIMIT_S,
            check=False,
        )
        text = binary.with_suffix(".json")
        if done.returncode or not text.is_file():
            lines = done.stderr.decode(errors="replace").strip().splitlines()
            raise GateError(
                f"{path} holds a flatbuffer that cannot be read: "
                f"{lines[-1].strip() if lines else 'no output'}"
            )
        # flatc writes infinities without the spelling that JSON readers know.
        return json.loads(re.sub(rb"(?<=: )(-?)inf\b", rb"\1Infinity", text.read_bytes()))


def package_folder() -> Path:
    """Find the folder where ExecuTorch is installed, by a search, as the package has no file of its own.

    Raises:
        MachineError: it is not.
    """
    package_spec = find_spec("executorch")
    if package_spec is None or not package_spec.submodule_search_locations:
        raise MachineError("executorch is not installed; run `make setup`")
    return Path(next(iter(package_spec.submodule_search_locations)))


def _payload(program: Any, delegate: Any, content: bytes, sizes: Sizes, path: Path) -> Any:
    """Return XNNPACK's graph of one delegate call; None for another delegate, or a payload elsewhere."""
    processed = delegate["processed"]
    if delegate["id"] != XNNPACK_BACKEND or processed.get("location") != "SEGMENT":
        return None
    segment = program["segments"][processed.get("index", 0)]
    start = sizes.segments_start + segment.get("offset", 0)
    magic, _, offset, size = PAYLOAD_HEADER.unpack_from(content, start)
    if magic != PAYLOAD_MAGIC:
        return None
    graph = content[start + offset : start + offset + size]
    return _tree("backends/xnnpack/serialization/schema.fbs", graph, path)


def _portable_parameters(plan: Any, kernels: list[Any]) -> int:
    """Count elements of constant tensors that kernels use, without scales, zero points and lone numbers."""
    names = [operator["name"] for operator in plan.get("operators", [])]
    settings = {
        number
        for call in kernels
        if names[call.get("op_index", 0)] == DEQUANTISE_PER_CHANNEL
        for number in call["args"][1:3]
    }
    return sum(
        prod(value["val"]["sizes"])
        for number, value in enumerate(plan["values"])
        if value["val_type"] == "Tensor"
        and value["val"].get("data_buffer_idx")
        and value["val"].get("sizes")
        and number not in settings
    )


def _payload_parameters(graph: Any) -> int:
    """Count elements of constants that XNNPACK's nodes use; a lone number, such as a factor, is no weight."""
    weights = {
        node["xnode_union"].get(role, 0)
        for node in graph["xnodes"]
        for role in ("filter_id", "bias_id")
        if role in node["xnode_union"]
    }
    counts = {}
    for value in graph["xvalues"]:
        tensor = value["xvalue_union"].get("tensor_value", value["xvalue_union"])
        count = prod(tensor["dims"])
        if tensor.get("constant_buffer_idx") and (count > 1 or tensor.get("id_out", 0) in weights):
            counts[tensor.get("id_out", 0)] = count
    return sum(counts.values())
