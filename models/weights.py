"""Moving one checkpoint into another framework's variables, explicitly and shape-checked."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from types import MethodType
from typing import TYPE_CHECKING, Any

import numpy as np

from models.checkpoint import CheckpointError
from models.keras_source import read_weights
from models.spec import FloatArray, ModelError, ModelSpec
from models.stored import read_stored

if TYPE_CHECKING:
    import torch

Transform = Callable[..., FloatArray]

# PyTorch counts batches during training; no inference variable corresponds to it.
UNMAPPED_SUFFIX = "num_batches_tracked"
SHOWN = 3  # problems of one checkpoint that are spelt out
FLOATS, INTEGERS = "floats", "integers"
KINDS = {"f": FLOATS, "i": INTEGERS, "u": INTEGERS, "b": INTEGERS}


def unchanged(tensor: FloatArray) -> FloatArray:
    """Return the tensor as it is."""
    return tensor


def conv_kernel(tensor: FloatArray) -> FloatArray:
    """Transpose a PyTorch convolution's (out, in, height, width) to Keras' (height, width, in, out)."""
    return tensor.transpose(2, 3, 1, 0)


def depthwise_kernel(tensor: FloatArray) -> FloatArray:
    """Transpose a grouped PyTorch convolution's (channels, 1, h, w) to Keras' (h, w, channels, 1)."""
    return tensor.transpose(2, 3, 0, 1)


def dense_kernel(tensor: FloatArray) -> FloatArray:
    """Transpose a PyTorch linear layer's (out, in) to Keras' (in, out)."""
    return tensor.T


def dense_kernel_after_flatten(channels: int, height: int, width: int) -> Transform:
    """Transpose like `dense_kernel`, after a flatten: PyTorch flattens CHW, Keras HWC."""

    def transform(tensor: FloatArray) -> FloatArray:
        out = tensor.shape[0]
        return tensor.reshape(out, channels, height, width).transpose(2, 3, 1, 0).reshape(-1, out)

    return transform


def depthwise(multiplier: int) -> Transform:
    """Transpose like `depthwise_kernel`, with several outputs per channel (`depth_multiplier`)."""

    def transform(tensor: FloatArray) -> FloatArray:
        height, width = tensor.shape[2:]
        return tensor.reshape(-1, multiplier, height, width).transpose(2, 3, 0, 1)

    return transform


def summed(*tensors: FloatArray) -> FloatArray:
    """Sum tensors: two biases that are added anyway become one."""
    total = tensors[0]
    for tensor in tensors[1:]:
        total = total + tensor
    return total


@dataclass(frozen=True)
class WeightMapping:
    """One checkpoint tensor, or several, and the twin's variable that receives it.

    `variable` is `layer/variable`, or its whole path where layers share a name. The transform is given the
    tensors in the order of their names. A tensor may go to several variables, as tied weights do.
    """

    source: str | tuple[str, ...]
    variable: str
    transform: Transform = unchanged

    @property
    def sources(self) -> tuple[str, ...]:
        """The names of the checkpoint tensors."""
        return (self.source,) if isinstance(self.source, str) else tuple(self.source)


def batch_norm(source: str, layer: str) -> tuple[WeightMapping, ...]:
    """Map the four tensors of a batch normalisation."""
    return (
        WeightMapping(f"{source}.weight", f"{layer}/gamma"),
        WeightMapping(f"{source}.bias", f"{layer}/beta"),
        WeightMapping(f"{source}.running_mean", f"{layer}/moving_mean"),
        WeightMapping(f"{source}.running_var", f"{layer}/moving_variance"),
    )


def lstm(source: str, layer: str, number: int = 0) -> tuple[WeightMapping, ...]:
    """Map kernel, recurrent kernel and bias of an LSTM's layer `number`; gates have one order in both."""
    return (
        WeightMapping(f"{source}.weight_ih_l{number}", f"{layer}/kernel", dense_kernel),
        WeightMapping(f"{source}.weight_hh_l{number}", f"{layer}/recurrent_kernel", dense_kernel),
        WeightMapping(
            (f"{source}.bias_ih_l{number}", f"{source}.bias_hh_l{number}"), f"{layer}/bias", summed
        ),
    )


def gru(source: str, layer: str, number: int = 0) -> tuple[WeightMapping, ...]:
    """Map the tensors of a GRU (`reset_after=True`); PyTorch's reset and update gates are swapped."""
    biases = (f"{source}.bias_ih_l{number}", f"{source}.bias_hh_l{number}")
    return (
        WeightMapping(f"{source}.weight_ih_l{number}", f"{layer}/kernel", _gru_kernel),
        WeightMapping(f"{source}.weight_hh_l{number}", f"{layer}/recurrent_kernel", _gru_kernel),
        WeightMapping(
            biases, f"{layer}/bias", lambda *both: np.stack([_gru_gates(tensor) for tensor in both])
        ),
    )


def _gru_gates(tensor: FloatArray) -> FloatArray:
    reset, update, new = np.split(tensor, 3)
    return np.concatenate([update, reset, new])


def _gru_kernel(tensor: FloatArray) -> FloatArray:
    return _gru_gates(tensor).T


def load_twin(
    twin: Any,
    state: Mapping[str, FloatArray],
    mappings: Sequence[WeightMapping],
    ignored: Sequence[str] = (),
) -> None:
    """Assign every checkpoint tensor to the Keras model `twin`, but for those whose names match `ignored`.

    Raises:
        ModelError: a tensor or variable is left over or unknown, a variable is mapped twice or its name is
            that of several, or a tensor is of another shape or not floats.
    """
    variables = _Variables(twin)
    wanted = {
        name
        for name in state
        if not name.endswith(UNMAPPED_SUFFIX) and not any(fnmatchcase(name, pattern) for pattern in ignored)
    }
    sources = {source for mapping in mappings for source in mapping.sources}
    targets = [variables.path_of(mapping.variable) for mapping in mappings]
    # What is ignored, or never wanted, may be mapped all the same.
    _require_all("checkpoint tensor", sources, wanted, set(state))
    twice = sorted({path for path in targets if targets.count(path) > 1})
    if twice:
        raise ModelError(f"twin variable mapped twice: {', '.join(twice)}")
    _require_all("twin variable", set(targets), set(variables.by_path), set(variables.by_path))
    for mapping, path in zip(mappings, targets, strict=True):
        _assign(mapping, state, variables.by_path[path])


def _assign(mapping: WeightMapping, state: Mapping[str, FloatArray], variable: Any) -> None:
    arrays = [state[source] for source in mapping.sources]
    named = " and ".join(mapping.sources)
    try:
        value = mapping.transform(*arrays)
    except Exception as error:
        shapes = ", ".join(str(tensor.shape) for tensor in arrays)
        raise ModelError(
            f"the transform of {named} (shape {shapes}) to {mapping.variable} fails: {type(error).__name__}: "
            f"{error!s:.120}"
        ) from error
    if value.shape != tuple(variable.shape):
        raise ModelError(
            f"{named} has shape {value.shape} after mapping, {mapping.variable} needs {tuple(variable.shape)}"
        )
    if value.dtype.kind != "f":
        raise ModelError(f"{named} holds {KINDS[value.dtype.kind]}, {mapping.variable} needs {FLOATS}")
    variable.assign(value)


class _Variables:
    """A twin's variables by path, `layer/…/variable`, and by `layer/variable` where only one is called so."""

    def __init__(self, twin: Any) -> None:
        self.by_path: dict[str, Any] = {}
        self.short: dict[str, list[str]] = {}
        variable_ids: set[int] = set()
        for layers, variable in _variables(twin, ()):
            if id(variable) in variable_ids:
                continue
            variable_ids.add(id(variable))
            path = "/".join([*layers, variable.name])
            if path in self.by_path:
                # Two halves of one layer, as of a bidirectional one: Keras' own path tells them apart.
                path = "/".join([*layers[:-1], getattr(variable, "path", f"{path}'")])
            self.by_path[path] = variable
            for layer in {layers[0], layers[-1]}:
                self.short.setdefault(f"{layer}/{variable.name}", []).append(path)

    def path_of(self, name: str) -> str:
        """Return the path of the variable called `name`; an unknown name as it is.

        Raises:
            ModelError: several are called so.
        """
        if name in self.by_path:
            return name
        paths = self.short.get(name, [name])
        if len(paths) > 1:
            raise ModelError(f"twin variable {name} is several; name one by its path: {_first(paths)}")
        return paths[0]


def _variables(holder: Any, above: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield every variable with the names of the layers that it is in, the innermost layer's first of all."""
    for layer in holder.layers:
        place = (*above, layer.name)
        if getattr(layer, "layers", None):
            yield from _variables(layer, place)
        yield from ((place, variable) for variable in layer.weights)


def _require_all(kind: str, mapped: set[str], needed: set[str], known_names: set[str]) -> None:
    """Raise ModelError if something needed is not mapped, or something is mapped that is not known."""
    missing, unknown = sorted(needed - mapped), sorted(mapped - known_names)
    if missing:
        raise ModelError(f"{kind} without a mapping: {', '.join(missing)}")
    if unknown:
        raise ModelError(f"mapping names an unknown {kind}: {', '.join(unknown)}")


def read_checkpoint(spec: ModelSpec) -> dict[str, FloatArray]:
    """Read all tensors of the model's checkpoint but those it ignores, without executing code.

    Of imported files, read none, but check that they are still the same.

    Raises:
        ModelError: the checkpoint is missing, cannot be read, holds a NaN, or is not the one that the model's
            digest was taken of; or what is to be ignored is not there.
    """
    if spec.given is not None:
        _ = spec.checkpoint_sha256  # what was imported is what is there
        return {}
    return {name: tensor for name, tensor in _read(spec).items() if not spec.ignores(name)}


def _read(spec: ModelSpec) -> dict[str, FloatArray]:
    digest = spec.checkpoint_sha256
    try:
        state, read_digest = read_weights(spec.checkpoint) if spec.whole else read_stored(spec.checkpoint)
    except CheckpointError as error:
        raise ModelError(
            f"checkpoint {spec.checkpoint} of {spec.name} cannot be read as safetensors or as a state dict "
            f"({error}); {spec.remedy}"
        ) from error
    if read_digest != digest:
        raise ModelError(f"checkpoint {spec.checkpoint} of {spec.name} was replaced meanwhile; run again")
    for pattern in spec.ignored:
        if not any(fnmatchcase(name, pattern) for name in state):
            raise ModelError(
                f"{spec.name} ignores {pattern!r}, and no tensor of its checkpoint is called so; it has "
                f"{_first(sorted(state))}"
            )
    _require_numbers(spec, state)
    return state


def _require_numbers(spec: ModelSpec, state: Mapping[str, FloatArray]) -> None:
    """Refuse NaN, which compares with nothing; infinities may be meant, as in an attention mask."""
    bad = [name for name, tensor in state.items() if tensor.dtype.kind == "f" and np.isnan(tensor).any()]
    if bad:
        raise ModelError(
            f"checkpoint {spec.checkpoint} of {spec.name} has NaN in {_first(bad)}: its training diverged or "
            f"the file is damaged; {spec.remedy}"
        )


def _first(names: Sequence[str], between: str = ", ") -> str:
    rest = f" (and {len(names) - SHOWN} more)" if len(names) > SHOWN else ""
    return between.join(names[:SHOWN]) + rest


def load_source(spec: ModelSpec) -> "torch.nn.Module":
    """Load the source model in PyTorch, weights in its architecture's dtypes, in evaluation mode.

    Raises:
        ModelError: the architecture cannot be built, or the checkpoint does not fit it (names and shapes are
            listed).
    """
    import torch

    module = spec.build_torch()
    if not isinstance(module, torch.nn.Module):
        raise ModelError(
            f"build_torch of {spec.name} returns a {type(module).__name__}; a torch.nn.Module is needed"
        )
    if spec.whole or spec.given is not None:
        read_checkpoint(spec)
        return _evaluating(module)
    own = module.state_dict(keep_vars=True)
    read = _read(spec)
    state = {name: tensor for name, tensor in read.items() if name in own or not spec.ignores(name)}
    tied = _tied(own)
    for names in tied:
        _share(spec, names, state)
    wanted = {name: (tuple(t.shape), _numbers(t)) for name, t in own.items()}
    _check_state(spec, wanted, state)
    module.load_state_dict({name: torch.from_numpy(np.array(tensor)) for name, tensor in state.items()})
    return _evaluating(module)


def _evaluating(module: "torch.nn.Module") -> "torch.nn.Module":
    """Put a module into evaluation mode; an exported program, which has one mode, only by its flags.

    Exporters look at these, and a module around it passes the call on.
    """
    import torch

    try:
        return module.eval()
    except NotImplementedError:
        for method in (torch.nn.Module.train, torch.nn.Module.eval):
            setattr(module, method.__name__, MethodType(method, module))
        return module.eval()


def _tied(own: "Mapping[str, torch.Tensor]") -> list[list[str]]:
    """Return the names under which the architecture has the same tensor."""
    same: dict[tuple[object, ...], list[str]] = {}
    for name, tensor in own.items():
        if tensor.numel():
            place = (
                tensor.data_ptr(),
                tuple(tensor.shape),
                tensor.stride(),
                tensor.dtype,
                str(tensor.device),
            )
            same.setdefault(place, []).append(name)
    return [names for names in same.values() if len(names) > 1]


def _share(spec: ModelSpec, names: Sequence[str], state: dict[str, FloatArray]) -> None:
    """Share tied weights, which safetensors' `save_model` saves once: the other names get the same tensor."""
    saved = [name for name in names if name in state]
    for name in saved[1:]:
        if not np.array_equal(state[saved[0]], state[name]):
            raise ModelError(
                f"checkpoint {spec.checkpoint} has different values for {saved[0]} and {name}, which are one "
                f"tensor in {spec.name}'s architecture; untie them in build_torch or save the tied ones"
            )
    for name in names:
        if saved and name not in state:
            state[name] = state[saved[0]]


def _numbers(tensor: "torch.Tensor") -> str:
    """Return what kind of numbers a tensor of the architecture holds."""
    if tensor.is_floating_point():
        return FLOATS
    return "complex numbers" if tensor.is_complex() else INTEGERS


def _check_state(
    spec: ModelSpec, wanted: Mapping[str, tuple[tuple[int, ...], str]], state: Mapping[str, FloatArray]
) -> None:
    """Check that `state` has each tensor of `wanted` in the shape and kind of numbers it declares."""
    problems = [f"{name} is missing" for name in sorted(set(wanted) - set(state))]
    problems += [
        f"{name} is not in the architecture, nor in `ignored`" for name in sorted(set(state) - set(wanted))
    ]
    for name in sorted(set(wanted) & set(state)):
        (shape, numbers), tensor = wanted[name], state[name]
        if tensor.shape != shape:
            problems.append(f"{name} has shape {tensor.shape}, the architecture needs {shape}")
        elif KINDS[tensor.dtype.kind] != numbers:
            problems.append(f"{name} holds {KINDS[tensor.dtype.kind]}, the architecture needs {numbers}")
    if problems:
        raise ModelError(
            f"checkpoint {spec.checkpoint} does not fit {spec.name}: {_first(problems, '; ')}; "
            f"restore the architecture it was trained with{spec.or_train}"
        )
