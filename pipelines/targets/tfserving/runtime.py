"""Outputs of a SavedModel, from its folder alone."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from models.tensors import Array, Tensors, as_text
from pipelines.errors import GateError, first_line
from pipelines.targets.asking import ask_in_batches, matched, named
from pipelines.targets.tfserving.export import SIGNATURE


def predict(
    artifact: Path,
    artifact_format: str,  # noqa: ARG001
    inputs: Tensors,
    outputs: Sequence[str],
) -> dict[str, Array]:
    """Answer inputs (n, …) with the outputs (n, …) of the serving signature.

    Raises:
        GateError: the folder cannot be loaded, or has other inputs or outputs.
    """
    import tensorflow as tf

    serve, wanted = _load(artifact, list(inputs))

    def call(batch: dict[str, Array]) -> dict[str, Array]:
        try:
            answer = serve(**{wanted[name]: tf.constant(array) for name, array in batch.items()})
        except (tf.errors.OpError, TypeError, ValueError) as error:
            raise GateError(f"{artifact} refuses its inputs: {first_line(error)}") from error
        return {name: _array(artifact, t) for name, t in named(artifact, answer, outputs).items()}

    return ask_in_batches(artifact, call, inputs)


def _array(artifact: Path, tensor: Any) -> Array:
    """Return a tensor as an array; raise GateError if it holds a string that NumPy cannot keep."""
    array: Array = tensor.numpy()
    try:
        return as_text(array) if array.dtype.kind == "O" else array
    except ValueError as error:
        raise GateError(f"{artifact}: {error}") from error


def open_call(
    artifact: Path,
    artifact_format: str,  # noqa: ARG001 - as every target's
    threads_count: int,
    outputs: Sequence[str],  # noqa: ARG001 - as above
) -> Callable[[Tensors], object]:
    """Return the serving signature as a function of a batch of its inputs, on that many threads.

    Raises:
        GateError: the folder cannot be loaded, or has other inputs.
    """
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads_count)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    loaded: list[Any] = []

    def call(batch: Tensors) -> object:
        if not loaded:
            loaded.extend(_load(artifact, list(batch)))
        serve, wanted = loaded
        answer = serve(**{wanted[name]: tf.constant(array) for name, array in batch.items()})
        return [tensor.numpy() for tensor in answer.values()]

    return call


def _load(artifact: Path, inputs: list[str]) -> tuple[Any, dict[str, str]]:
    """Load the serving signature, and its own name of each of `inputs`."""
    import tensorflow as tf

    try:
        serve = tf.saved_model.load(str(artifact)).signatures[SIGNATURE]
    except KeyError as error:
        raise GateError(f"{artifact} has no signature {SIGNATURE!r}") from error
    except (OSError, tf.errors.OpError, ValueError) as error:
        raise GateError(f"{artifact} does not load as a SavedModel: {first_line(error)}") from error
    return serve, matched(artifact, "input", inputs, serve.structured_input_signature[1])
