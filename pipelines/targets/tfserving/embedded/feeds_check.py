"""Which graphs must not have their operations fused.

Grappler's remapper joins a matrix product, the bias added to it and an activation to one kernel, and these
kernels check a bias less than BiasAdd does: one of the wrong rank ends the process. A bias is usually part of
the model. Where it is fed, its shape is the client's, and the graph is left as it was written.
"""

from collections.abc import Iterable, Mapping
from typing import Any

_BIASED = {"BiasAdd", "BiasAddV1", "Add", "AddV2"}
_SOURCES = {"Placeholder", "PlaceholderWithDefault"}
# Operations through which a fed tensor keeps its values and so its freedom of shape.
_PASSING = {
    "Identity",
    "IdentityN",
    "Cast",
    "Reshape",
    "Squeeze",
    "ExpandDims",
    "StopGradient",
    "EnsureShape",
}
_PRODUCTS = {
    "MatMul",
    "BatchMatMulV2",
    "BatchMatMulV3",
    "Conv2D",
    "Conv3D",
    "DepthwiseConv2dNative",
    "Einsum",
}

# Operations whose first input chooses a function and is not passed to it.
_CHOOSING = {"If", "StatelessIf", "Case", "StatelessCase"}


def feeds_a_bias(graph_def: Any) -> bool:
    """Return whether a GraphDef, functions included, adds a tensor that is fed to a product."""
    functions = {function.signature.name: function for function in graph_def.library.function}
    fed: dict[str, set[int]] = {name: set() for name in functions}
    feeds, changed = False, True
    while changed:  # calls of calls: until no function learns of another fed argument
        before = sum(map(len, fed.values()))
        feeds = _scan(graph_def.node, {}, fed)
        for name, function in functions.items():
            arguments = [argument.name for argument in function.signature.input_arg]
            placeholders = {arguments[at]: "Placeholder" for at in fed[name] if at < len(arguments)}
            feeds = _scan(function.node_def, placeholders, fed) or feeds
        changed = sum(map(len, fed.values())) > before
    return feeds


def _scan(nodes: Iterable[Any], fed_arguments: Mapping[str, str], fed: dict[str, set[int]]) -> bool:
    """Return whether these nodes add a fed tensor to a product; note which arguments of functions are fed."""
    by_name = {node.name: node for node in nodes}
    free = _free_tensors(by_name, set(fed_arguments))
    feeds = False
    for node in by_name.values():
        inputs = [_source(name) for name in node.input if not name.startswith("^")]
        skipped = 1 if node.op in _CHOOSING else 0
        for called in _called(node):
            if called in fed:
                fed[called].update(at for at, name in enumerate(inputs[skipped:]) if name in free)
        if node.op in _BIASED and any(name in free for name in inputs):
            feeds = feeds or node.op.startswith("Bias") or _adds_to_product(inputs, by_name)
    return feeds


def _free_tensors(by_name: Mapping[str, Any], free: set[str]) -> set[str]:
    """Name the tensors that are fed, also through operations that only pass them on."""
    free |= {name for name, node in by_name.items() if node.op in _SOURCES}
    added = True
    while added:
        passed = {
            name
            for name, node in by_name.items()
            if node.op in _PASSING and name not in free and node.input and _source(node.input[0]) in free
        }
        free |= passed
        added = bool(passed)
    return free


def _adds_to_product(inputs: Iterable[str], by_name: Mapping[str, Any]) -> bool:
    return any(name in by_name and by_name[name].op in _PRODUCTS for name in inputs)


def _called(node: Any) -> Iterable[str]:
    """Yield the names of the functions a node calls."""
    for attribute in node.attr.values():
        if attribute.HasField("func"):
            yield attribute.func.name
        yield from (function.name for function in attribute.list.func)


def _source(name: str) -> str:
    """Return the node or argument a tensor comes from."""
    return name.partition(":")[0]
