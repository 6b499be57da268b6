"""Moving one checkpoint into another framework's variables, explicitly and shape-checked."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from models.spec import FloatArray, ModelError, ModelSpec

if TYPE_CHECKING:
    import torch

Transform = Callable[[FloatArray], FloatArray]

# PyTorch counts batches during training; no inference variable corresponds to it.
UNMAPPED_SUFFIX = "num_batches_tracked"


def unchanged(tensor: FloatArray) -> FloatArray:
    """The tensor as it is."""
    return tensor


def conv_kernel(tensor: FloatArray) -> FloatArray:
    """(out, in, height, width) of a PyTorch convolution to Keras' (height, width, in, out)."""
    return tensor.transpose(2, 3, 1, 0)


def depthwise_kernel(tensor: FloatArray) -> FloatArray:
    """(channels, 1, height, width) of a grouped PyTorch convolution to Keras' (h, w, channels, 1)."""
    return tensor.transpose(2, 3, 0, 1)


def dense_kernel(tensor: FloatArray) -> FloatArray:
    """(out, in) of a PyTorch linear layer to Keras' (in, out)."""
    return tensor.T


def dense_kernel_after_flatten(channels: int, height: int, width: int) -> Transform:
    """Like `dense_kernel`, for a layer that follows a flatten: PyTorch flattens CHW, Keras HWC."""

    def transform(tensor: FloatArray) -> FloatArray:
        out = tensor.shape[0]
        return tensor.reshape(out, channels, height, width).transpose(2, 3, 1, 0).reshape(-1, out)

    return transform


@dataclass(frozen=True)
class WeightMapping:
    """One checkpoint tensor and the twin's variable (`layer/variable`) that receives it."""

    source: str
    variable: str
    transform: Transform = unchanged


def batch_norm(source: str, layer: str) -> tuple[WeightMapping, ...]:
    """The four tensors of a batch normalisation."""
    return (
        WeightMapping(f"{source}.weight", f"{layer}/gamma"),
        WeightMapping(f"{source}.bias", f"{layer}/beta"),
        WeightMapping(f"{source}.running_mean", f"{layer}/moving_mean"),
        WeightMapping(f"{source}.running_var", f"{layer}/moving_variance"),
    )


def load_twin(twin: Any, state: Mapping[str, FloatArray], mappings: Sequence[WeightMapping]) -> None:
    """Assign every checkpoint tensor to the Keras model `twin`.

    Raises:
        ModelError: a tensor or a variable is left over, mapped twice, unknown, or of another shape.
    """
    variables = {f"{layer.name}/{v.name}": v for layer in twin.layers for v in layer.weights}
    wanted = {name for name in state if not name.endswith(UNMAPPED_SUFFIX)}
    _check_one_to_one([m.source for m in mappings], wanted, "checkpoint tensor")
    _check_one_to_one([m.variable for m in mappings], set(variables), "twin variable")
    for mapping in mappings:
        value, variable = mapping.transform(state[mapping.source]), variables[mapping.variable]
        if value.shape != tuple(variable.shape):
            raise ModelError(
                f"{mapping.source} has shape {value.shape} after mapping, "
                f"{mapping.variable} needs {tuple(variable.shape)}"
            )
        variable.assign(value)


def _check_one_to_one(mapped: list[str], present: set[str], kind: str) -> None:
    twice = sorted({name for name in mapped if mapped.count(name) > 1})
    if twice:
        raise ModelError(f"{kind} mapped twice: {', '.join(twice)}")
    missing, unknown = sorted(present - set(mapped)), sorted(set(mapped) - present)
    if missing:
        raise ModelError(f"{kind} without a mapping: {', '.join(missing)}")
    if unknown:
        raise ModelError(f"mapping names an unknown {kind}: {', '.join(unknown)}")


def read_checkpoint(spec: ModelSpec) -> dict[str, FloatArray]:
    """All tensors of the model's checkpoint, without executing code.

    Raises:
        ModelError: the file is missing, truncated or not a safetensors file.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    if not spec.checkpoint.is_file():
        raise ModelError(
            f"checkpoint {spec.checkpoint} of {spec.name} is missing; run `tandem train {spec.name}`"
        )
    try:
        return load_file(spec.checkpoint)
    except SafetensorError as error:
        raise ModelError(
            f"checkpoint {spec.checkpoint} is not a readable safetensors file ({error}); "
            f"restore it or run `tandem train {spec.name}`"
        ) from error


def load_source(spec: ModelSpec) -> "torch.nn.Module":
    """The source model in PyTorch, with its weights, in evaluation mode.

    Raises:
        ModelError: the checkpoint does not fit the architecture (names and shapes are listed).
    """
    import torch

    module = spec.build_torch()
    state = read_checkpoint(spec)
    _check_state(spec, {name: tuple(t.shape) for name, t in module.state_dict().items()}, state)
    module.load_state_dict({name: torch.from_numpy(np.array(tensor)) for name, tensor in state.items()})
    return module.eval()


def _check_state(
    spec: ModelSpec, shapes: Mapping[str, tuple[int, ...]], state: Mapping[str, FloatArray]
) -> None:
    problems = [f"{name} is missing" for name in sorted(set(shapes) - set(state))]
    problems += [f"{name} is not in the architecture" for name in sorted(set(state) - set(shapes))]
    problems += [
        f"{name} has shape {state[name].shape}, the architecture needs {shape}"
        for name, shape in shapes.items()
        if name in state and state[name].shape != shape
    ]
    if problems:
        rest = f" (and {len(problems) - 3} more)" if len(problems) > 3 else ""  # noqa: PLR2004
        raise ModelError(
            f"checkpoint {spec.checkpoint} does not fit {spec.name}: {'; '.join(problems[:3])}{rest}; "
            f"run `tandem train {spec.name}` or restore the architecture it was trained with"
        )
