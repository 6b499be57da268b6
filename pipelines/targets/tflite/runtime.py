"""Outputs of a TensorFlow Lite flatbuffer, from the file alone, through LiteRT."""

from pathlib import Path

import numpy as np

from models.spec import FloatArray
from pipelines.errors import GateError


def predict(artifact: Path, artifact_format: str, inputs: FloatArray) -> FloatArray:  # noqa: ARG001
    """Outputs (n, …) for inputs (n, …), one sample at a time as a device would.

    Raises:
        GateError: the file cannot be loaded.
    """
    from ai_edge_litert.interpreter import Interpreter

    try:
        interpreter = Interpreter(model_path=str(artifact), num_threads=1)
    except (ValueError, RuntimeError) as error:
        raise GateError(
            f"{artifact} does not load as TensorFlow Lite: {str(error).splitlines()[0]}"
        ) from error
    interpreter.resize_tensor_input(interpreter.get_input_details()[0]["index"], (1, *inputs.shape[1:]))
    interpreter.allocate_tensors()
    source = interpreter.get_input_details()[0]["index"]
    sink = interpreter.get_output_details()[0]["index"]
    outputs = []
    for sample in inputs:
        interpreter.set_tensor(source, sample[None])
        interpreter.invoke()
        outputs.append(interpreter.get_tensor(sink)[0])
    return np.stack(outputs)
