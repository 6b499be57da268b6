"""Outputs of a SavedModel, from its folder alone."""

from pathlib import Path

from models.spec import FloatArray
from pipelines.errors import GateError, first_line
from pipelines.targets.tfserving.export import SIGNATURE


def predict(artifact: Path, artifact_format: str, inputs: FloatArray) -> FloatArray:  # noqa: ARG001
    """Outputs (n, …) of the serving signature for inputs (n, …).

    Raises:
        GateError: the folder cannot be loaded.
    """
    import tensorflow as tf

    try:
        loaded = tf.saved_model.load(str(artifact))
    except (OSError, tf.errors.OpError, ValueError) as error:
        raise GateError(f"{artifact} does not load as a SavedModel: {first_line(error)}") from error
    serve = loaded.signatures[SIGNATURE]
    (name,) = serve.structured_input_signature[1]
    (output,) = serve(**{name: tf.constant(inputs)}).values()
    outputs: FloatArray = output.numpy()
    return outputs
