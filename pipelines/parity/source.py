"""The source model, run as it is: whether its answers are a function of one sample, and what they are.

Everything else is held against these outputs, so a model that answers differently the second time, or in
another batch, is refused here and by that name, before any file is blamed. Only functions import torch.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from models.errors import ModelError
from models.spec import FloatArray, ModelSpec
from models.weights import load_source
from pipelines.parity import watching
from pipelines.parity.compare import allowed_error

if TYPE_CHECKING:
    import torch

# Batches that servers form and warm up with; sample by sample comes before them.
BATCHES = (1, 2, 3, 8)
# So many samples at least are asked again in each of those batches, and when a model is only exported; of a
# fast model as many as it answers in this time.
LEAST_AGAIN = 32
AGAIN_S = 1.0


def outputs_of(spec: ModelSpec, inputs: FloatArray) -> FloatArray:
    """The source model's outputs (n, …) for `inputs` (n, …), after every check of this module.

    Raises:
        ModelError: it fails, gives something else than its spec says, is no function of one sample alone, or
            its control flow depends on its data.
    """
    if not len(inputs):
        raise ModelError(f"{spec.name} has no held-out samples; without any, nothing can be compared")
    module = load_source(spec)
    _require_no_reading(spec, module, inputs)
    state = {name: tensor.clone() for name, tensor in _tensors(module).items()}
    started = time.monotonic()
    outputs = _require_input_kept(spec, module, inputs)
    each_s = (time.monotonic() - started) / len(inputs)
    _require_repeatable(spec, module, inputs[: max(LEAST_AGAIN, int(AGAIN_S / each_s))], outputs)
    _require_state_kept(spec, module, state)
    return outputs


def _require_repeatable(
    spec: ModelSpec, module: "torch.nn.Module", inputs: FloatArray, outputs: FloatArray
) -> None:
    """Ask the first samples, `inputs` (n, …), again: twice in the same way, rebuilt, and in other batches.

    Raises:
        ModelError: an answer is another one.
    """
    once = outputs if len(inputs) == len(outputs) else _ask(spec, module, inputs)
    _require_same(spec, once, _ask(spec, module, inputs), "asked a second time", RANDOM, module)
    rebuilt = _ask(spec, load_source(spec), inputs)
    _require_same(spec, once, rebuilt, "built a second time from its checkpoint", UNSAVED, module)
    _require_same(spec, once, outputs[: len(inputs)], "asked with more samples beside it", BATCHED, module)
    for batch in BATCHES:
        again = _in_batches(spec, module, inputs, batch)
        how = "asked sample by sample" if batch == 1 else f"asked in batches of {batch}"
        _require_same(spec, once, again, how, BATCHED, module)


RANDOM = (
    "differs from itself: it draws random numbers or keeps something between calls; leave out dropout and "
    "noise when `self.training` is false"
)
UNSAVED = (
    "differs from itself: something in it is drawn at random when it is built and is not in the checkpoint; "
    "register it as a buffer and save it"
)
BATCHED = (
    "depends on its batch: what it says of a sample changes with the samples beside it; compute every sample "
    "by itself (batch normalisation in evaluation mode, no statistics or branches over the batch)"
)


TOO_TIGHT = (
    "differs from itself by rounding, which its tolerance does not allow: float32 sums in another order "
    "differ by about a millionth; give a larger tolerance"
)
# Of the largest output: what differs by less is called rounding.
ROUNDING = 1e-5


def require_deployable(spec: ModelSpec) -> None:
    """As `outputs_of`, on the first samples only: what an exporter wants to know before it traces.

    Raises:
        ModelError: as `outputs_of`.
    """
    outputs_of(spec, spec.samples().inputs[:LEAST_AGAIN])


def _require_no_reading(spec: ModelSpec, module: "torch.nn.Module", inputs: FloatArray) -> None:
    """A value read into Python is a constant in every trace, and what was decided by it is decided for ever.

    Raises:
        ModelError: it happens, with file and line.
    """
    for batch in (2, 1):
        read = watching.first_reading(module, inputs[:batch])
        if read is not None:
            raise ModelError(
                f"source model {spec.name} has data-dependent control flow: {read}; an exported file would "
                "keep what one input decided; express it in tensors (torch.where), or leave it out of forward"
            )


def _require_input_kept(spec: ModelSpec, module: "torch.nn.Module", inputs: FloatArray) -> FloatArray:
    """The outputs, of a module that leaves its input as it is.

    Raises:
        ModelError: it overwrites it; with file and line.
    """
    import torch

    given = torch.tensor(inputs)
    outputs = _call(spec, module, given)
    if not torch.equal(given, torch.tensor(inputs)):
        place = watching.first_overwriting(module, inputs[:1])
        raise ModelError(
            f"source model {spec.name} overwrites its input{place}; work on a copy (x.clone(), inplace=False)"
        )
    return outputs


def _require_state_kept(
    spec: ModelSpec, module: "torch.nn.Module", before: "Mapping[str, torch.Tensor]"
) -> None:
    """Raises:
    ModelError: a parameter or buffer is no longer what it was `before` it answered.
    """
    changed = [name for name, tensor in _tensors(module).items() if not _equal(tensor, before.get(name))]
    if changed:
        raise ModelError(
            f"source model {spec.name} changes its own {changed[0]!r} while it answers, so an answer may "
            f"depend on those before it{_in_training(module)}; write to buffers in training mode only"
        )


def _in_training(module: "torch.nn.Module") -> str:
    """Which part is still in training mode although the model was put into evaluation mode."""
    names = [name or "it" for name, part in module.named_modules() if part.training]
    return f" ({names[0]!r} is still in training mode after eval())" if names else ""


def _tensors(module: "torch.nn.Module") -> "dict[str, torch.Tensor]":
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}


def _equal(one: "torch.Tensor", other: "torch.Tensor | None") -> bool:
    import torch

    return other is not None and one.shape == other.shape and torch.equal(one, other)


def _ask(spec: ModelSpec, module: "torch.nn.Module", inputs: FloatArray) -> FloatArray:
    """Outputs (n, …) of a copy of `inputs` (n, …), all as one batch."""
    import torch

    return _call(spec, module, torch.tensor(inputs))


def _call(spec: ModelSpec, module: "torch.nn.Module", given: "torch.Tensor") -> FloatArray:
    import torch

    with _named(spec, module, len(given)), torch.inference_mode():
        answer = module(given)
        if not isinstance(answer, torch.Tensor):
            raise ModelError(
                f"source model {spec.name} returns a {type(answer).__name__}; one tensor is allowed, its "
                f"output {spec.output.name!r}"
            )
        # A copy: a model may return its input, or the same memory every time.
        outputs = np.array(answer.numpy(force=True))
    return _require_declared(spec, outputs, len(given))


def _require_declared(spec: ModelSpec, outputs: Any, count: int) -> FloatArray:
    """Raises:
    ModelError: another shape or dtype than declared, or not finite.
    """
    declared = (count, *spec.output.shape[1:])
    fits = outputs.ndim == len(declared) and all(
        w in (None, g) for w, g in zip(declared, outputs.shape, strict=True)
    )
    if not fits or outputs.dtype != np.float32:
        raise ModelError(
            f"source model {spec.name} gives {outputs.dtype} of shape {outputs.shape} for {count} samples, "
            f"its output {spec.output.name!r} must be float32 of shape {declared}"
        )
    if not np.isfinite(outputs).all():
        place = tuple(np.argwhere(~np.isfinite(outputs))[0])
        raise ModelError(
            f"source model {spec.name} gives {outputs[place]} for sample {place[0]}; finite numbers are "
            "needed, nothing can be compared with others"
        )
    found: FloatArray = outputs
    return found


@contextmanager
def _named(spec: ModelSpec, module: "torch.nn.Module", batch: int) -> Iterator[None]:
    """Whatever forward raises becomes one line, with the place in the model's own file."""
    try:
        yield
    except ModelError:
        raise
    except (Exception, SystemExit) as error:
        place = watching.place_of(error.__traceback__)
        reason = (str(error).strip().splitlines() or [""])[0]
        raise ModelError(
            f"source model {spec.name} fails on a batch of {batch}{place}: {type(error).__name__}: "
            f"{reason}{_in_training(module)}"
        ) from error


def _in_batches(spec: ModelSpec, module: "torch.nn.Module", inputs: FloatArray, size: int) -> FloatArray:
    parts = [_ask(spec, module, inputs[start : start + size]) for start in range(0, len(inputs), size)]
    return np.concatenate(parts)


def _require_same(
    spec: ModelSpec, once: FloatArray, again: FloatArray, how: str, meaning: str, module: "torch.nn.Module"
) -> None:
    """Raises:
    ModelError: the two differ by more than the model's tolerance.
    """
    error = np.abs(again - once)
    allowed = allowed_error(once, spec.tolerance_of(spec.output.name))
    excess = error - allowed
    if not (excess > 0).any():
        return
    if error.max() <= ROUNDING * np.abs(once).max():
        meaning = TOO_TIGHT
    place = np.unravel_index(int(excess.argmax()), excess.shape)
    raise ModelError(
        f"source model {spec.name} {meaning}{_in_training(module)} (sample {place[0]}: {once[place]:.6g}, "
        f"{how} {again[place]:.6g}, allowed ±{allowed[place]:.2g})"
    )
