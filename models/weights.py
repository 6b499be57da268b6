"""Moving one checkpoint into another framework's variables, explicitly and shape-checked."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from models.checkpoint import CheckpointError, read_tensors
from models.spec import FloatArray, ModelError, ModelSpec

if TYPE_CHECKING:
    import torch

Transform = Callable[[FloatArray], FloatArray]

# PyTorch counts batches during training; no inference variable corresponds to it.
UNMAPPED_SUFFIX = "num_batches_tracked"
SHOWN = 3  # problems of one checkpoint that are spelt out
FLOATS, INTEGERS = "floats", "integers"
KINDS = {"f": FLOATS, "i": INTEGERS, "u": INTEGERS, "b": INTEGERS}


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
        ModelError: a tensor or variable is left over, mapped twice, unknown, of another shape or not floats.
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
        if value.dtype.kind != "f":
            raise ModelError(
                f"{mapping.source} holds {KINDS[value.dtype.kind]}, {mapping.variable} needs {FLOATS}"
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
        ModelError: the file is missing, no safetensors file, holds a NaN, or is not the one that the model's
            digest was taken of.
    """
    digest = spec.checkpoint_sha256
    content = spec.checkpoint.read_bytes()
    if hashlib.sha256(content).hexdigest() != digest:
        raise ModelError(f"checkpoint {spec.checkpoint} of {spec.name} was replaced meanwhile; run again")
    try:
        state = read_tensors(content)
    except CheckpointError as error:
        raise ModelError(
            f"checkpoint {spec.checkpoint} is not a readable safetensors file ({error}); "
            f"restore it or run `tandem train {spec.name}`"
        ) from error
    _require_numbers(spec, state)
    return state


def _require_numbers(spec: ModelSpec, state: Mapping[str, FloatArray]) -> None:
    """Infinities may be meant, as in an attention mask; a NaN never is, and compares with nothing."""
    bad = [name for name, tensor in state.items() if tensor.dtype.kind == "f" and np.isnan(tensor).any()]
    if bad:
        raise ModelError(
            f"checkpoint {spec.checkpoint} of {spec.name} has NaN in {_first(bad)}: its training diverged or "
            f"the file is damaged; restore it or run `tandem train {spec.name}`"
        )


def _first(found: Sequence[str], between: str = ", ") -> str:
    rest = f" (and {len(found) - SHOWN} more)" if len(found) > SHOWN else ""
    return between.join(found[:SHOWN]) + rest


def load_source(spec: ModelSpec) -> "torch.nn.Module":
    """The source model in PyTorch, with its weights, in evaluation mode.

    Raises:
        ModelError: the checkpoint does not fit the architecture (names and shapes are listed).
    """
    import torch

    module = spec.build_torch()
    state = read_checkpoint(spec)
    wanted = {name: (tuple(t.shape), _numbers(t)) for name, t in module.state_dict().items()}
    _check_state(spec, wanted, state)
    module.load_state_dict({name: torch.from_numpy(np.array(tensor)) for name, tensor in state.items()})
    return module.eval()


def _numbers(tensor: "torch.Tensor") -> str:
    """What kind of numbers a tensor of the architecture holds."""
    if tensor.is_floating_point():
        return FLOATS
    return "complex numbers" if tensor.is_complex() else INTEGERS


def _check_state(
    spec: ModelSpec, wanted: Mapping[str, tuple[tuple[int, ...], str]], state: Mapping[str, FloatArray]
) -> None:
    """`wanted` has each tensor's shape and kind of numbers, as the architecture declares them."""
    problems = [f"{name} is missing" for name in sorted(set(wanted) - set(state))]
    problems += [f"{name} is not in the architecture" for name in sorted(set(state) - set(wanted))]
    for name in sorted(set(wanted) & set(state)):
        (shape, numbers), tensor = wanted[name], state[name]
        if tensor.shape != shape:
            problems.append(f"{name} has shape {tensor.shape}, the architecture needs {shape}")
        elif KINDS[tensor.dtype.kind] != numbers:
            problems.append(f"{name} holds {KINDS[tensor.dtype.kind]}, the architecture needs {numbers}")
    if problems:
        raise ModelError(
            f"checkpoint {spec.checkpoint} does not fit {spec.name}: {_first(problems, '; ')}; "
            f"run `tandem train {spec.name}` or restore the architecture it was trained with"
        )
