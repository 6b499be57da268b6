"""A source model that has strings, run in Keras on TensorFlow: PyTorch, which runs all others, has none.

The same is asked of it as of any source model (`pipelines.parity.source`), as far as TensorFlow leaves it to
the model: nothing there can overwrite its input. Only functions import TensorFlow.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from models.errors import ModelError
from models.forward import flattened
from models.keras_source import as_taken
from models.spec import ModelSpec
from models.tensors import Array, Tensors, as_text, ask, count, fits
from models.weights import read_checkpoint
from pipelines.errors import first_line


def load(spec: ModelSpec) -> Any:
    """Load the Keras model with its weights.

    Raises:
        ModelError: its file is missing or does not load.
    """
    read_checkpoint(spec)
    assert spec.build_keras is not None  # noqa: S101 - `ModelSpec` takes strings from Keras alone
    return spec.build_keras({})


def require_traceable(spec: ModelSpec, model: Any) -> None:
    """Raise ModelError if control flow depends on values, which no SavedModel can have."""
    import tensorflow as tf

    signature = [tf.TensorSpec(tensor.shape, tensor.dtype, name=tensor.name) for tensor in spec.inputs]

    def call(*given: Any) -> Any:
        named = {tensor.name: value for tensor, value in zip(spec.inputs, given, strict=True)}
        return model(as_taken(model, named), training=False)

    try:
        tf.function(call, input_signature=signature).get_concrete_function()
    except Exception as error:
        raise ModelError(
            f"source model {spec.name} cannot be traced by TensorFlow: {_reason(error)}"
        ) from error


def asker(spec: ModelSpec, model: Any) -> Callable[[Tensors, int | None], dict[str, Array]]:
    """Return a function of inputs (n, …) by name and a batch size (None: all at once), to the outputs."""
    import tensorflow as tf

    names = [output.name for output in spec.outputs]

    def call(batch: Tensors) -> dict[str, Array]:
        tensors = {name: tf.constant(array) for name, array in batch.items()}
        try:
            answer = flattened(spec.name, model(as_taken(model, tensors), training=False), names)
        except ModelError:
            raise
        except Exception as error:
            raise ModelError(
                f"source model {spec.name} fails on a batch of {count(batch)}: {_reason(error)}"
            ) from error
        return {
            name: _declared(spec, name, tensor, count(batch))
            for name, tensor in zip(names, answer, strict=True)
        }

    return lambda inputs, size: ask(call, inputs, size or count(inputs))


def weights_of(model: Any) -> list[Array]:
    """Return the variables as they are now."""
    return [np.asarray(array) for array in model.get_weights()]


def _declared(spec: ModelSpec, name: str, tensor: Any, rows_count: int) -> Array:
    """Return an output as an array; raise ModelError if it is not as declared, or not finite."""
    output, array = spec.find_output(name), np.asarray(tensor)
    if array.dtype.kind == "O":
        try:
            array = as_text(array)
        except ValueError as error:
            raise ModelError(f"source model {spec.name} at its output {name!r}: {error}") from error
    declared = (rows_count, *output.shape[1:])
    if not fits(array.shape, declared) or not output.holds(array.dtype):
        dtype = "string" if array.dtype.kind == "S" else array.dtype
        raise ModelError(
            f"source model {spec.name} gives {dtype} of shape {array.shape} for {rows_count} samples, its "
            f"output {name!r} must be {output.dtype} of shape {declared}"
        )
    if output.is_float and not np.isfinite(array).all():
        raise ModelError(
            f"source model {spec.name} gives numbers that are not finite at its output {name!r}; nothing can "
            "be compared with them"
        )
    return array


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {first_line(error):.200}"
