"""PyTorch → `torch.export` → torchax → JAX → SavedModel with one `XlaCallModule`; runs in its environment."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from models.spec import ModelSpec, load_unchanged
from pipelines.roads.cures import bagged, declare_recurrent, first_of, scanned
from pipelines.roads.lowerings import LOWERINGS, operator_named
from pipelines.roads.program import exported_program
from pipelines.roads.recurrent import recurrent

SIGNATURE = "serving_default"


@contextmanager
def _missing_overloads_tolerated() -> Iterator[None]:
    """Let torchax import: its tables name overloads with `Dimname`, which torch no longer has.

    No program holds them, so that a text in their place is never looked up.
    """
    from torch._ops import OpOverloadPacket

    original = OpOverloadPacket.__getattr__

    def tolerant(packet: Any, key: str) -> Any:
        try:
            return original(packet, key)
        except AttributeError:
            if key.startswith("__"):
                raise
            return f"{packet}.{key}"

    OpOverloadPacket.__getattr__ = tolerant  # type: ignore[method-assign]
    try:
        yield
    finally:
        OpOverloadPacket.__getattr__ = original  # type: ignore[method-assign]


def convert(model: str, digest: str, folder: str, progress: Callable[[str], None]) -> None:
    """Write the SavedModel into `folder`, its signature with the spec's names, dtypes and shapes.

    Raises:
        ModelError: the model is not usable.
        Exception: torch's, torchax' or JAX' own, where they do not take the model.
    """
    spec = load_unchanged(model, digest)
    progress("torch.export")
    program = exported_program(spec, first_of(scanned, bagged))
    progress("torchax and JAX: tracing")
    states, call = _jax_function(program)
    progress("writing the SavedModel")
    _save(spec, states, call, _shapes(program), Path(folder))


def _jax_function(program: Any) -> tuple[Any, Callable[..., Any]]:
    import jax

    jax.config.update("jax_enable_x64", True)
    with _missing_overloads_tolerated():
        import torchax.export
    from torchax.ops import ops_registry

    ops_registry.register_torch_dispatch_op(declare_recurrent(), recurrent, is_jax_function=True)
    for name, lowering in LOWERINGS.items():
        operator = operator_named(name)
        if operator not in ops_registry.all_aten_ops:
            ops_registry.register_torch_dispatch_op(operator, lowering, is_jax_function=True)
    states, call = torchax.export.exported_program_to_jax(program)
    return states, call


def _shapes(program: Any) -> list[str]:
    """Return each input's shape in JAX' notation, with torch's names for dynamic sizes: "s77, 3, s12"."""
    from torch.export.graph_signature import InputKind

    kinds = {spec.arg.name: spec.kind for spec in program.graph_signature.input_specs}
    holders = [node for node in program.graph.nodes if node.op == "placeholder"]
    return [
        ", ".join(str(size) for size in node.meta["val"].shape)
        for node in holders
        if kinds[node.name] == InputKind.USER_INPUT
    ]


def _save(spec: ModelSpec, states: Any, call: Callable[..., Any], shapes: list[str], folder: Path) -> None:
    import tensorflow as tf
    from jax.experimental import jax2tf

    def positional(*inputs: Any) -> tuple[Any, ...]:
        return tuple(call(states, inputs))

    # Nobody trains it further, and the gradients of a resizing to a dynamic size cannot be traced.
    shaped = [f"({shape})" for shape in shapes]
    converted = jax2tf.convert(positional, polymorphic_shapes=shaped, with_gradient=False)
    signature = [tf.TensorSpec(t.shape, t.dtype, name=t.name) for t in spec.inputs]

    class Served(tf.Module):  # type: ignore[misc]
        @tf.function(input_signature=signature, autograph=False)  # type: ignore[untyped-decorator]
        def serve(self, *inputs: Any) -> dict[str, Any]:
            values = converted(*inputs)
            return {
                output.name: tf.ensure_shape(tf.cast(value, output.dtype), output.shape)
                for output, value in zip(spec.outputs, values, strict=True)
            }

    module = Served()
    tf.saved_model.save(module, str(folder), signatures={SIGNATURE: module.serve})
