"""Outputs of a SavedModel, from its folder alone."""

from collections.abc import Sequence
from pathlib import Path

from models.tensors import Array, Tensors
from pipelines.errors import GateError, first_line
from pipelines.targets.asking import ask_in_batches, matched, named
from pipelines.targets.tfserving.export import SIGNATURE


def predict(
    artifact: Path,
    artifact_format: str,  # noqa: ARG001
    inputs: Tensors,
    outputs: Sequence[str],
) -> dict[str, Array]:
    """Answers (n, …) of the serving signature to inputs (n, …).

    Raises:
        GateError: the folder cannot be loaded, or has other inputs or outputs.
    """
    import tensorflow as tf

    try:
        serve = tf.saved_model.load(str(artifact)).signatures[SIGNATURE]
    except KeyError as error:
        raise GateError(f"{artifact} has no signature {SIGNATURE!r}") from error
    except (OSError, tf.errors.OpError, ValueError) as error:
        raise GateError(f"{artifact} does not load as a SavedModel: {first_line(error)}") from error
    wanted = matched(artifact, "input", list(inputs), serve.structured_input_signature[1])

    def call(batch: dict[str, Array]) -> dict[str, Array]:
        try:
            answer = serve(**{wanted[name]: tf.constant(array) for name, array in batch.items()})
        except (tf.errors.OpError, TypeError, ValueError) as error:
            raise GateError(f"{artifact} refuses its inputs: {first_line(error)}") from error
        return {name: tensor.numpy() for name, tensor in named(artifact, answer, outputs).items()}

    return ask_in_batches(artifact, call, inputs)
