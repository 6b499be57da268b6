"""A model that was trained in Keras: the spec for it, and Keras on the framework that a road needs.

Keras 3 computes on TensorFlow or on PyTorch. A SavedModel and a `.tflite` are written by the first;
TorchScript, ONNX and ExecuTorch trace the second. A process has one of them, so each exporter asks for its
own.
"""

import hashlib
import io
import json
import os
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from models.checkpoint import CheckpointError
from models.errors import ModelError
from models.signature import tensors
from models.spec import ModelSpec
from models.tensors import Array

if TYPE_CHECKING:
    import torch

BACKEND = "KERAS_BACKEND"
WEIGHTS, CONFIG = "model.weights.h5", "config.json"
LAMBDAS = ("Lambda", "__lambda__")
# What a file holds beside the weights: the state of its training.
TRAINING = ("optimizer", "optimizer_weights")
# Layers that compute in TensorFlow whatever Keras computes on; of these, those that take or give strings.
OF_STRINGS = ("StringLookup", "TextVectorization")
OF_TENSORFLOW = (*OF_STRINGS, "IntegerLookup", "Hashing", "HashedCrossing")


def keras_spec(
    *, model: Path | Callable[[], Any], weights: Path | None = None, trusted: bool = False, **fields: Any
) -> ModelSpec:
    """Make the spec of a model in a `.keras` or `.h5` file, or of one that a function builds.

    Args:
        model: the file, or a function that returns the `keras.Model`.
        weights: the `.weights.h5` or `.keras` file to load into what the function returns.
        trusted: whether code inside the file, as of Lambda layers, may run.
        fields: everything else that a `ModelSpec` takes, but `checkpoint`, `build_torch` and `build_keras`.

    Raises:
        ModelError: a function comes without weights or a file with them; or as `ModelSpec`.
    """
    name = str(fields.get("name"))
    if callable(model) != (weights is not None):
        raise ModelError(
            f"keras_spec of {name} needs a .keras or .h5 file as `model`, or a function as `model` and a "
            ".weights.h5 file as `weights`"
        )
    inputs = [tensor.name for tensor in tensors(name, "inputs", fields.get("inputs"))]

    def load(backend: Literal["torch", "tensorflow"]) -> Any:
        keras = keras_on(backend)
        try:
            if weights is None:
                return keras.saving.load_model(model, compile=False, safe_mode=not trusted)
            built: Any = model()  # type: ignore[operator]
            built.load_weights(weights)
        except Exception as error:
            raise ModelError(_reason(name, weights or model, error)) from error
        return built

    return ModelSpec(
        **fields,
        checkpoint=Path(str(weights or model)),
        build_torch=lambda: _as_module(_traceable(name, load("torch")), inputs),
        build_keras=lambda _: load("tensorflow"),
        whole=True,
    )


def _reason(name: str, file: object, error: Exception) -> str:
    message = next(filter(None, (line.strip() for line in str(error).splitlines())), type(error).__name__)
    if "Lambda" in str(error) or "safe_mode" in str(error):
        return (
            f"{file} of {name} holds a Lambda layer, which is code of whoever wrote the file; replace it by "
            "operations or a layer of your own, or say keras_spec(…, trusted=True) if you trust it"
        )
    return f"Keras does not load {file} of {name}: {message:.200}"


def lambda_layers(path: Path) -> tuple[str, ...]:
    """Name the Lambda layers in a `.keras` or `.h5` file, which hold Python code; run nothing of it.

    Raises:
        CheckpointError: it holds no model of Keras, or weights alone.
    """
    import h5py

    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                config: Any = archive.read(CONFIG)
        else:
            with h5py.File(path, "r") as file:
                config = file.attrs["model_config"]
        tree = json.loads(config)
    except (OSError, KeyError, ValueError, RecursionError, zipfile.BadZipFile) as error:
        raise CheckpointError(
            "it holds no model of Keras but weights alone, or nothing; save the whole model (model.save)"
        ) from error
    return tuple(dict.fromkeys(_lambdas(tree)))


def _lambdas(tree: Any) -> Iterator[str]:
    """Yield the Lambda layers by name, and functions outside of layers by Keras' name for them."""
    left = [tree]
    while left:
        node = left.pop()
        kind = node.get("class_name") if isinstance(node, dict) else None
        if kind in LAMBDAS:
            inner = node.get("config")
            yield str(inner.get("name", kind) if isinstance(inner, dict) else kind)
        elif isinstance(node, dict | list):
            left += node.values() if isinstance(node, dict) else node


def keras_on(backend: Literal["torch", "tensorflow"]) -> Any:
    """Return Keras on that framework, without the layer settings of a user's keras.json.

    Raises:
        ModelError: Keras computes on another one in this process already.
    """
    os.environ[BACKEND] = backend
    import keras

    active = keras.backend.backend()
    if active != backend:
        raise ModelError(
            f"Keras computes on {active} in this process and {backend} is needed; import keras inside "
            "functions of the model file, not at its top"
        )
    pin(keras)
    return keras


def pin(keras: Any) -> None:
    """Set what a keras.json of the user's may have set otherwise: layout, precision and epsilon of layers."""
    keras.config.set_image_data_format("channels_last")
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy("float32")
    keras.config.set_epsilon(1e-7)


def _traceable(name: str, model: Any) -> Any:
    """Return a model that PyTorch can trace.

    Raises:
        ModelError: some layer leaves PyTorch for TensorFlow, which a trace would keep as a constant.
    """
    for layer in model._flatten_layers():
        kind = type(layer).__name__
        if kind not in OF_TENSORFLOW:
            continue
        cure = "compute that part before the model, or with keras.ops"
        if kind in OF_STRINGS:
            side = "outputs" if getattr(layer, "invert", False) else "inputs"
            cure = f"declare the {side} of keras_spec that are strings as such: TensorSpec(…, 'string', …)"
        raise ModelError(
            f"layer {layer.name!r} of {name} ({kind}) computes in TensorFlow alone, and without strings at "
            f"its inputs or outputs the model runs in PyTorch; {cure}"
        )
    return model


def _as_module(model: Any, inputs: Sequence[str]) -> "torch.nn.Module":
    """Wrap a Keras model on PyTorch in a module that takes its inputs by position."""
    import torch

    class FromKeras(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, *given: torch.Tensor) -> Any:
            return self.model(as_taken(self.model, dict(zip(inputs, given, strict=True))), training=False)

    return FromKeras()


def as_taken(model: Any, inputs: dict[str, Any]) -> Any:
    """Arrange inputs as a Keras model takes them: one tensor, a dict by name, or a list in its own order."""
    if len(inputs) == 1:
        (only,) = inputs.values()
        return only
    # What a functional model was built with; a subclassed one has none and is given a list.
    taken = getattr(model, "input", None)
    if isinstance(taken, dict):
        return inputs
    names = [tensor.name for tensor in taken] if isinstance(taken, list | tuple) else []
    return [inputs[name] for name in names] if set(names) == set(inputs) else list(inputs.values())


def read_weights(path: Path) -> tuple[dict[str, Array], str]:
    """Read all weights in a `.keras`, `.h5` or `.weights.h5` file by their place, and the file's digest.

    Nothing in the file is run.

    Raises:
        CheckpointError: it is none of these.
    """
    import h5py

    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    try:
        if content.startswith(b"PK"):
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                content = archive.read(WEIGHTS)
        with h5py.File(io.BytesIO(content), "r") as file:
            arrays: dict[str, Array] = {}

            def note(name: str, item: Any) -> None:
                if isinstance(item, h5py.Dataset) and name.split("/", maxsplit=1)[0] not in TRAINING:
                    arrays[name] = np.asarray(item)

            # Links to other files are not followed.
            file.visititems(note)
    except (OSError, KeyError, ValueError, RuntimeError, zipfile.BadZipFile) as error:
        raise CheckpointError(f"it is no .keras or HDF5 file of Keras: {error!s:.160}") from error
    return {name: array for name, array in arrays.items() if array.dtype.kind in "fiub"}, digest
