"""Classify, regress and both at once on one servable: the rules REST and gRPC share."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from .dtypes import DT_FLOAT, DT_STRING, Array, TensorSpec, dtype_name, dtype_of
from .servable import DEFAULT_SIGNATURE, Servable, Signature
from .status import Code, ServingError, invalid

CLASSIFY = "tensorflow/serving/classify"
REGRESS = "tensorflow/serving/regress"
_MATRIX = 2

Labelled = list[tuple[bytes, float]]
# Serialized tf.Example records as a 1-d array, fetched only after the signature was found to be fit for them.
Examples = Callable[[], Array]


def _signature(servable: Servable, name: str) -> Signature:
    signature = servable.signatures.get(name or DEFAULT_SIGNATURE)
    if signature is None:
        raise invalid(f"No signature was found with the name: {name or DEFAULT_SIGNATURE}")
    return signature


def classify(servable: Servable, signature_name: str, examples: Examples) -> list[Labelled]:
    """Return (label, score) pairs for each example; what the model does not give is b'' or 0.

    Raises ServingError.
    """
    signature = _signature(servable, signature_name)
    wanted = _classify_outputs(signature)
    records = examples()
    feeds = {signature.inputs["inputs"].tensor_name: records}
    outputs = servable.run(feeds, [spec.tensor_name for spec in wanted.values()])
    return _labelled(dict(zip(wanted, outputs, strict=True)), len(records))


def _classify_outputs(signature: Signature) -> dict[str, TensorSpec]:
    """Return the outputs `classes` and `scores`, as far as a signature has them."""
    if len(signature.inputs) != 1:
        raise invalid("Expected one input Tensor.")
    if len(signature.outputs) not in (1, 2):
        raise invalid(f"Expected one or two output Tensors, found {len(signature.outputs)}")
    if "inputs" not in signature.inputs:
        raise invalid(f"No classification inputs found in SignatureDef: {signature.text}")
    wanted = {
        alias: signature.outputs[alias] for alias in ("classes", "scores") if alias in signature.outputs
    }
    if not wanted:
        raise invalid(
            'Expected classification signature outputs to contain at least one of "classes" or "scores". '
            f"Signature was: {signature.text}"
        )
    return wanted


def _labelled(outputs: Mapping[str, Array], batch: int) -> list[Labelled]:
    for alias, expected in (("classes", DT_STRING), ("scores", DT_FLOAT)):
        if alias in outputs:
            _check_matrix(alias, outputs[alias], expected, batch)
    widths = [array.shape[1] for array in outputs.values()]
    if len(set(widths)) > 1:
        raise invalid(f"Tensors class and score should match in dim_size(1). Got {widths[0]} vs. {widths[1]}")
    shape = (batch, widths[0])
    labels = outputs.get("classes", np.full(shape, b"", dtype=object)).tolist()
    scores = outputs.get("scores", np.zeros(shape, dtype=np.float32)).tolist()
    return [list(zip(*pair, strict=True)) for pair in zip(labels, scores, strict=True)]


def _check_matrix(alias: str, array: Array, expected: int, batch: int) -> None:
    if array.ndim != _MATRIX:
        raise invalid(f"Expected Tensor shape: [batch_size num_classes] but got {_shape_text(array)}")
    dtype = dtype_of(array.dtype)
    if dtype != expected:
        raise invalid(f"Expected {alias} Tensor of {_enum_name(expected)}. Got: {_enum_name(dtype)}")
    if array.shape[0] != batch:
        raise invalid(f"Expected {alias} output batch size of {batch}. Got: {array.shape[0]}")


def _shape_text(array: Array) -> str:
    return f"[{','.join(map(str, array.shape))}]"


def _enum_name(dtype: int) -> str:
    return f"DT_{dtype_name(dtype).upper()}"


def regress(servable: Servable, signature_name: str, examples: Examples) -> Array:
    """Return one float32 per example. Raises ServingError."""
    signature = _signature(servable, signature_name)
    wanted = _regress_output(signature)
    records = examples()
    (output,) = servable.run({signature.inputs["inputs"].tensor_name: records}, [wanted.tensor_name])
    return _regressed(output, len(records))


def _regress_output(signature: Signature) -> TensorSpec:
    if len(signature.inputs) != 1:
        raise invalid("Expected one input Tensor.")
    if len(signature.outputs) != 1:
        raise invalid("Expected one output Tensor.")
    if "inputs" not in signature.inputs:
        raise invalid(f"No regression inputs found in SignatureDef: {signature.text}")
    if "outputs" not in signature.outputs:
        raise invalid(f"No regression outputs found in SignatureDef: {signature.text}")
    return signature.outputs["outputs"]


def _regressed(output: Array, batch: int) -> Array:
    if output.ndim != 1 and not (output.ndim == _MATRIX and output.shape[1] == 1):
        raise invalid(
            "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got "
            f"{_shape_text(output)}"
        )
    if output.shape[0] != batch:
        raise invalid(f"Input batch size did not match output batch size: {batch} vs. {output.shape[0]}")
    dtype = dtype_of(output.dtype)
    if dtype != DT_FLOAT:
        raise invalid(f"Expected output Tensor of DT_FLOAT.  Got: {_enum_name(dtype)}")
    return output.ravel()


def multi_inference(
    servable: Servable, tasks: Sequence[Any], examples: Examples
) -> list[list[Labelled] | Array]:
    """Return one classify or regress result per `InferenceTask`, all on the same examples.

    Raises ServingError.
    """
    methods = [_checked_task(servable, task, tasks[:at]) for at, task in enumerate(tasks)]
    feeds = {
        servable.signatures[task.model_spec.signature_name or DEFAULT_SIGNATURE].inputs["inputs"].tensor_name
        for task in tasks
    }
    if len(feeds) > 1:
        raise invalid("Input tensor must be the same for all Signatures.")
    records = examples()
    return [
        method(servable, task.model_spec.signature_name, lambda: records)
        for method, task in zip(methods, tasks, strict=True)
    ]


def _checked_task(servable: Servable, task: Any, earlier: Sequence[Any]) -> Any:
    spec = task.model_spec
    name = spec.signature_name or DEFAULT_SIGNATURE
    if not spec.name:
        raise invalid("Found ModelSpec with an empty model name.")
    if earlier and spec.name != earlier[0].model_spec.name:
        raise invalid("All ModelSpecs in a MultiInferenceRequest must access the same model name.")
    if any(name == (other.model_spec.signature_name or DEFAULT_SIGNATURE) for other in earlier):
        raise invalid(f"Duplicate evaluation of signature: {name}")
    if name not in servable.signatures:
        raise invalid(f"Requested signature not found in model graph: {name}")
    if task.method_name == CLASSIFY:
        _classify_outputs(servable.signatures[name])
        return classify
    if task.method_name == REGRESS:
        _regress_output(servable.signatures[name])
        return regress
    raise ServingError(Code.UNIMPLEMENTED, f"Unsupported signature method_name: {task.method_name}")
